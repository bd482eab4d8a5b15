//! Debian packages that the lab needs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::command::{output, succeeds};

const PACKAGES: &[&str] = &[
    "busybox-static",
    "containerd",
    "containernetworking-plugins",
    "curl",
    "e2fsprogs",
    "iproute2",
    "maven",
    "mmdebstrap",
    "openjdk-17-jre-headless",
    "openssh-client",
    "openssh-server",
    "openssl",
    "procps",
    "runc",
    "systemd-container",
    "util-linux",
    "xfsprogs",
];

/// Installs those that are missing.
pub fn install() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !succeeds(Command::new("apt-get").arg("--version")) {
        bail!("this machine has no apt-get: install {} by hand", missing.join(" "));
    }
    println!("== installing {}", missing.join(" "));
    output(Command::new("apt-get").args(["update", "-q"]))?;
    let _held = NoStarts::hold()?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(&missing);
    output(install.env("DEBIAN_FRONTEND", "noninteractive")).map(|_| ())
}

/// While this exists, no package that is installed starts its service: programs are wanted, not a second containerd or an
/// sshd for everybody.
struct NoStarts(Option<&'static str>);

impl NoStarts {
    fn hold() -> Result<Self> {
        // Debian's own way (invoke-rc.d(8)); 101 forbids.
        const POLICY: &str = "/usr/sbin/policy-rc.d";
        if Path::new(POLICY).exists() {
            return Ok(Self(None));
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self(Some(POLICY)))
    }
}

impl Drop for NoStarts {
    fn drop(&mut self) {
        if let Some(policy) = self.0 {
            // Gone already is as good.
            let _ = fs::remove_file(policy);
        }
    }
}

fn is_installed(package: &str) -> bool {
    let asked = Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]).output();
    // A program that came to the machine another way is as good as its package.
    asked.is_ok_and(|answer| answer.stdout == b"installed")
        || PROGRAMS.iter().any(|(of, program)| *of == package && on_path(program))
}

/// Packages that machines often have by other means.
const PROGRAMS: &[(&str, &str)] =
    &[("maven", "mvn"), ("openjdk-17-jre-headless", "java"), ("curl", "curl"), ("openssh-server", "/usr/sbin/sshd")];

fn on_path(program: &str) -> bool {
    succeeds(Command::new("sh").args(["-c", &format!("command -v {program}")]))
}
