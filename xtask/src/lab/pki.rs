//! Keys, certificates and kubeconfigs of the lab, by openssl.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::command::output;
use super::layout::{APISERVER, CENTER_ADDRESS, nodes, state};

const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
/// Days a certificate holds: longer than any lab stays up.
const DAYS: &str = "30";

/// A file of the lab's pki.
pub fn file(name: &str) -> String {
    state("pki").join(name).display().to_string()
}

/// The kubeconfig of a user.
pub fn kubeconfig(user: &str) -> String {
    file(&format!("{user}.kubeconfig"))
}

/// Makes all of them.
pub fn up() -> Result<()> {
    fs::create_dir_all(state("pki"))?;
    openssl(
        &[
            &["req", "-x509"],
            &EC[..],
            &["-nodes", "-days", DAYS, "-subj", "/CN=lab-ca", "-keyout", "ca.key", "-out", "ca.crt"],
        ]
        .concat(),
    )?;
    openssl(&["genrsa", "-out", "sa.key", "2048"])?;
    openssl(&["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"])?;
    let names = format!(
        "IP:127.0.0.1,IP:{CENTER_ADDRESS},IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,\
         DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    );
    certificate("apiserver", "/CN=kube-apiserver", Some(&names))?;
    let outside = format!("https://{CENTER_ADDRESS}:6443");
    for (user, subject, server) in [
        ("admin", "/O=system:masters/CN=admin", APISERVER),
        ("controller-manager", "/CN=system:kube-controller-manager", APISERVER),
        ("scheduler", "/CN=system:kube-scheduler", APISERVER),
        ("coredns", "/O=system:masters/CN=coredns", APISERVER),
        ("attacher", "/O=system:masters/CN=attacher", APISERVER),
        // rehome itself has no more than `rehome rbac` asks for.
        ("rehome", "/CN=rehome", APISERVER),
        // May do nothing.
        ("nobody", "/CN=nobody", APISERVER),
    ] {
        user_of(user, subject, server)?;
    }
    for node in nodes() {
        user_of(&node.name, &format!("/O=system:nodes/CN=system:node:{}", node.name), &outside)?;
    }
    Ok(())
}

fn user_of(user: &str, subject: &str, server: &str) -> Result<()> {
    certificate(user, subject, None)?;
    let (authority, own, key) = (file("ca.crt"), file(&format!("{user}.crt")), file(&format!("{user}.key")));
    let text = format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: lab, cluster: {{server: \"{server}\", certificate-authority: {authority}}}}}]
users: [{{name: {user}, user: {{client-certificate: {own}, client-key: {key}}}}}]
contexts: [{{name: lab, context: {{cluster: lab, user: {user}}}}}]
current-context: lab
"
    );
    fs::write(kubeconfig(user), text)?;
    Ok(())
}

fn openssl(arguments: &[&str]) -> Result<()> {
    output(Command::new("openssl").args(arguments).current_dir(state("pki"))).map(|_| ())
}

fn certificate(name: &str, subject: &str, alternative_names: Option<&str>) -> Result<()> {
    let (key, request, own, settings) =
        (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"), format!("{name}.ext"));
    let alternative = alternative_names.map(|names| format!("subjectAltName={names}\n")).unwrap_or_default();
    fs::write(state("pki").join(&settings), format!("extendedKeyUsage=serverAuth,clientAuth\n{alternative}"))?;
    openssl(&[&["req"], &EC[..], &["-nodes", "-subj", subject, "-keyout", &key, "-out", &request]].concat())?;
    openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        DAYS,
        "-out",
        &own,
        "-extfile",
        &settings,
    ])
}
