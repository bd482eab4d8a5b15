//! `cargo xtask control-plane`: a real etcd, kube-apiserver, controller-manager and scheduler on loopback, without
//! nodes, built from the Go module proxy into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use crate::evidence::{self, Ledger};
use crate::go;

/// How long the apiserver may take to be ready.
const READY: Duration = Duration::from_secs(60);
const SERVER: &str = "https://127.0.0.1:16443";
const CONTROLLERS: &str = "kube-controller-manager";
/// The one user; loopback only, and gone with the state directory.
const TOKEN: &str = "control-plane-test";

/// How many random sequences are compared, and from which on.
#[derive(Args)]
pub struct Comparison {
    /// Random sequences of operations that are tried on the real and on the simulated Kubernetes.
    #[arg(long, default_value_t = 100)]
    sequences: u64,
    /// The seed of the first.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Note the result in docs/evidence/comparison.jsonl; needs a checkout without changes.
    #[arg(long)]
    record: bool,
}

/// Starts the control plane, runs the tests that need it, and stops it again.
pub fn test(of: &Comparison) -> Result<bool> {
    let commit = if of.record { Some(evidence::commit()?) } else { None };
    let binary = go::kubernetes()?;
    let state = tempdir()?;
    let mut plane = Plane::start(&binary, &state)?;
    let run = |test: &str| -> Result<(bool, String)> {
        let done = Command::new("cargo")
            .args(["test", "--workspace", "--test", test, "--", "--ignored", "--nocapture"])
            .env("REHOME_CONTROL_PLANE", state.join("kubeconfig"))
            .env("REHOME_SEQUENCES", of.sequences.to_string())
            .env("REHOME_SEQUENCES_FROM", of.from.to_string())
            .stderr(Stdio::inherit())
            .output()
            .context("cargo test")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        print!("{said}");
        Ok((done.status.success(), said))
    };
    // The binder's period is the default first: real clusters have it.
    let (moved, _) = run("control_plane")?;
    plane.hurry(&binary, &state)?;
    let (alike, said) = run("comparison")?;
    drop(plane);
    fs::remove_dir_all(&state)?;
    if let Some(commit) = commit.filter(|_| alike) {
        let [sequences, operations, differ] = compared(&said).context("the comparison has no closing line")?;
        let command = format!("cargo xtask control-plane --sequences {} --from {}", of.sequences, of.from);
        let result = json!({"sequences": sequences, "operations": operations, "differ": differ});
        Ledger::Comparison.append(&commit, &command, &result)?;
    }
    Ok(moved && alike)
}

/// `comparison: 100 sequences, 1000 operations, 0 differ`
fn compared(said: &str) -> Option<[u64; 3]> {
    let line = said.lines().find_map(|line| line.strip_prefix("comparison: "))?;
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().ok()
}

fn tempdir() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("rehome-control-plane-{}", std::process::id()));
    fs::create_dir_all(&path)?;
    Ok(path)
}

/// Running components; they end with this value.
struct Plane {
    children: Vec<(&'static str, Child)>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        for (_, child) in self.children.iter_mut().rev() {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Plane {
    fn start(binary: &Path, state: &Path) -> Result<Self> {
        let mut plane = Self { children: Vec::new() };
        prepare(state)?;
        let path = |name: &str| state.join(name).display().to_string();
        let kubeconfig = path("kubeconfig");
        plane.spawn(binary, state, "etcd", &[format!("-data-dir={}", path("etcd"))])?;
        let apiserver = [
            "--etcd-servers=http://127.0.0.1:12379".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--secure-port=16443".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", path("certificates")),
            format!("--token-auth-file={}", path("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-signing-key-file={}", path("sa.key")),
            format!("--service-account-key-file={}", path("sa.key")),
            // Pods are made by the set's controller without a service account controller's help.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ];
        plane.spawn(binary, state, "kube-apiserver", &apiserver)?;
        plane.wait_ready(binary, &kubeconfig, state)?;
        let common = common(&kubeconfig);
        plane.spawn(binary, state, CONTROLLERS, &common)?;
        plane.spawn(binary, state, "kube-scheduler", &common)?;
        Ok(plane)
    }

    /// Starts the controllers again so that they settle soon: hundreds of sets and claims change at a time.
    fn hurry(&mut self, binary: &Path, state: &Path) -> Result<()> {
        let at = self.children.iter().position(|(name, _)| *name == CONTROLLERS).context("no controllers run")?;
        let (_, mut child) = self.children.remove(at);
        child.kill()?;
        child.wait()?;
        let mut arguments = common(&state.join("kubeconfig").display().to_string()).to_vec();
        arguments.extend(
            ["--pvclaimbinder-sync-period=1s", "--kube-api-qps=1000", "--kube-api-burst=2000"].map(str::to_owned),
        );
        self.spawn(binary, state, CONTROLLERS, &arguments)
    }

    fn spawn(&mut self, binary: &Path, state: &Path, name: &'static str, arguments: &[String]) -> Result<()> {
        let log = fs::File::create(state.join(format!("{name}.log")))?;
        let child = Command::new(binary)
            .arg(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        self.children.push((name, child));
        Ok(())
    }

    fn wait_ready(&mut self, binary: &Path, kubeconfig: &str, state: &Path) -> Result<()> {
        let started = Instant::now();
        loop {
            let ready = Command::new(binary)
                .args(["kubectl", "--kubeconfig", kubeconfig, "get", "--raw", "/readyz"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            if ready.success() {
                println!("== the apiserver is ready after {:.1?}", started.elapsed());
                return Ok(());
            }
            for (name, child) in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    let log = fs::read_to_string(state.join(format!("{name}.log"))).unwrap_or_default();
                    let last: Vec<&str> = log.lines().rev().take(5).collect();
                    bail!("{name} ended with {status}: {}", last.join("\n"));
                }
            }
            if started.elapsed() > READY {
                bail!("the apiserver is not ready after {READY:?}");
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

/// What controllers and scheduler are started with.
fn common(kubeconfig: &str) -> [String; 2] {
    [format!("--kubeconfig={kubeconfig}"), "--leader-elect=false".to_owned()]
}

/// Key, token and kubeconfig.
fn prepare(state: &Path) -> Result<()> {
    let key = Command::new("openssl")
        .args(["genrsa", "-out"])
        .arg(state.join("sa.key"))
        .arg("2048")
        .stderr(Stdio::null())
        .status()
        .context("openssl")?;
    if !key.success() {
        bail!("openssl made no key");
    }
    fs::write(state.join("tokens.csv"), format!("{TOKEN},admin,admin,\"system:masters\"\n"))?;
    let kubeconfig = format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: plane, cluster: {{server: \"{SERVER}\", insecure-skip-tls-verify: true}}}}]
users: [{{name: admin, user: {{token: {TOKEN}}}}}]
contexts: [{{name: plane, context: {{cluster: plane, user: admin}}}}]
current-context: plane
"
    );
    fs::write(state.join("kubeconfig"), kubeconfig)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_closing_line_of_the_comparison_is_read() {
        assert_eq!(super::compared("x\ncomparison: 100 sequences, 1000 operations, 2 differ\n"), Some([100, 1000, 2]));
        assert_eq!(super::compared("comparison: none"), None);
    }
}
