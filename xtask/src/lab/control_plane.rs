//! etcd, apiserver, controller-manager, scheduler and CoreDNS, in the control plane's namespace.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::command::{output, succeeds, wait_for};
use super::layout::{CENTER, CENTER_ADDRESS, state};
use super::{pki, process};

/// How long a component may take to be ready.
const READY: Duration = Duration::from_secs(120);
/// Where CoreDNS says that it is ready.
const DNS_READY: &str = "8181";

/// kubectl with the lab's administrator, in the control plane's namespace.
pub fn kubectl(arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{CENTER}")).arg(state("bin/lab-k8s")).arg("kubectl");
    command.arg(format!("--kubeconfig={}", pki::kubeconfig("admin"))).args(arguments);
    command
}

fn component(binary: &Path, name: &str, arguments: &[String]) -> Result<()> {
    process::start(name, CENTER, Command::new(binary).arg(name).args(arguments))
}

/// Starts all but CoreDNS, which [`dns`] starts once there is an apiserver.
pub fn up(binary: &Path) -> Result<()> {
    component(binary, "etcd", &[format!("-data-dir={}", state("etcd").display())])?;
    start_apiserver(binary)?;
    let kubeconfig = |user: &str| format!("--kubeconfig={}", pki::kubeconfig(user));
    component(
        binary,
        "kube-controller-manager",
        &[
            kubeconfig("controller-manager"),
            // The binder's resync stays at its default: real clusters have it.
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--use-service-account-credentials".to_owned(),
            format!("--service-account-private-key-file={}", pki::file("sa.key")),
            format!("--root-ca-file={}", pki::file("ca.crt")),
        ],
    )?;
    let scheduler = [kubeconfig("scheduler"), "--leader-elect=false".to_owned(), "--bind-address=127.0.0.1".to_owned()];
    component(binary, "kube-scheduler", &scheduler)?;
    wait_for("the apiserver is ready", READY, || {
        process::all_alive()?;
        Ok(succeeds(&mut kubectl(&["get", "--raw", "/readyz"])))
    })
}

/// Starts the apiserver alone: tests end it and start it again.
pub fn start_apiserver(binary: &Path) -> Result<()> {
    component(
        binary,
        "kube-apiserver",
        &[
            "--etcd-servers=http://127.0.0.1:12379".to_owned(),
            "--bind-address=0.0.0.0".to_owned(),
            "--secure-port=6443".to_owned(),
            format!("--advertise-address={CENTER_ADDRESS}"),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--tls-cert-file={}", pki::file("apiserver.crt")),
            format!("--tls-private-key-file={}", pki::file("apiserver.key")),
            format!("--client-ca-file={}", pki::file("ca.crt")),
            format!("--kubelet-client-certificate={}", pki::file("admin.crt")),
            format!("--kubelet-client-key={}", pki::file("admin.key")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-signing-key-file={}", pki::file("sa.key")),
            format!("--service-account-key-file={}", pki::file("sa.pub")),
        ],
    )
}

/// Starts CoreDNS and waits for it.
pub fn dns(binary: &Path) -> Result<()> {
    let corefile = state("Corefile");
    let text = format!(
        ".:53 {{
  bind {CENTER_ADDRESS}
  errors
  ready {CENTER_ADDRESS}:{DNS_READY}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {}
    pods verified
    ttl 1
  }}
}}
",
        pki::kubeconfig("coredns")
    );
    fs::write(&corefile, text)?;
    component(binary, "coredns", &["-conf".to_owned(), corefile.display().to_string()])?;
    let ready = format!("http://{CENTER_ADDRESS}:{DNS_READY}/ready");
    wait_for("CoreDNS is ready", READY, || {
        process::all_alive()?;
        let mut ask = Command::new("nsenter");
        Ok(succeeds(ask.arg(format!("--net=/run/netns/{CENTER}")).args(["curl", "-sf", &ready])))
    })
}

/// Applies a manifest.
pub fn apply(file: &Path) -> Result<()> {
    output(&mut kubectl(&["apply", "-f", &file.display().to_string()])).map(|_| ())
}

/// Applies a manifest given as text.
pub fn apply_text(name: &str, text: &str) -> Result<()> {
    let file = state(name);
    fs::write(&file, text)?;
    apply(&file)
}
