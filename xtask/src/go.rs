//! Programs built from the Go module proxy into the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;

/// The version of Kubernetes in `lab/kubernetes/go.mod`, as its components say it themselves.
const KUBERNETES: (&str, &str, &str) = ("v1.34.4", "1", "34");

/// A program, and where its sources are.
struct Program {
    name: &'static str,
    /// The module's folder in the checkout.
    module: &'static str,
    /// The package of its main function.
    package: &'static str,
}

/// All Kubernetes components in one binary. Cold: about ten minutes on two cores.
pub fn kubernetes() -> Result<PathBuf> {
    build(&Program { name: "lab-k8s", module: "lab/kubernetes", package: "." })
}

/// The lab's own CSI driver for EBS volumes.
pub fn csi_driver() -> Result<PathBuf> {
    build(&Program { name: "lab-ebs-csi", module: "lab/csi", package: "." })
}

/// Kubernetes' external-attacher. Cold: three minutes.
pub fn attacher() -> Result<PathBuf> {
    let package = "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher";
    build(&Program { name: "csi-attacher", module: "lab/csi/attacher", package })
}

/// The go command, with the project's caches. Programs are rebuilt when their sources change.
pub fn command(module: &Path) -> Result<Command> {
    let cache = cache::directory()?.join("go");
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false")
        .env("GOMODCACHE", cache.join("mod"))
        .env("GOCACHE", cache.join("build"));
    Ok(command)
}

fn build(program: &Program) -> Result<PathBuf> {
    let sources = cache::checkout()?.join(program.module);
    let binary = cache::directory()?.join("go").join(program.name);
    println!("== building {} (cached in {})", program.name, binary.display());
    let (version, major, minor) = KUBERNETES;
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    let status = command(&sources)?
        .args(["build", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(&binary)
        .arg(program.package)
        .status()
        .with_context(|| format!("go is needed to build {}", program.name))?;
    if !status.success() {
        bail!("{} was not built", program.name);
    }
    Ok(binary)
}
