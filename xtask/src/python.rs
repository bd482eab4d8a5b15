//! The project's Python environment: a venv in the cache, with the packages that `xtask/requirements.txt` pins.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache;

/// What the environment is made with. Packages are pinned for it.
const PYTHON: &str = "python3";

/// What is missing on this machine for an environment; none if it can be made.
pub fn missing() -> Option<&'static str> {
    let runs = |arguments: &[&str]| {
        let ended = Command::new(PYTHON).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ended.is_ok_and(|status| status.success())
    };
    if !runs(&["--version"]) {
        Some("python3 is not installed")
    } else if !runs(&["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]) {
        Some("python3 is older than 3.11")
    } else if !runs(&["-c", "import ensurepip, venv"]) {
        Some("python3 has no venv module (Debian: python3-venv)")
    } else {
        None
    }
}

/// The environment's directory: `bin/python` has the packages. It is made the first time, and again when the pins or
/// the interpreter have changed. Several tasks may ask for it at once.
pub fn venv() -> Result<PathBuf> {
    let requirements = cache::checkout()?.join("xtask/requirements.txt");
    let pins = fs::read(&requirements).with_context(|| requirements.display().to_string())?;
    let version = Command::new(PYTHON).arg("-VV").output().context("python3")?.stdout;
    let key = blake3::hash(&[pins, version].concat()).to_hex();
    let environments = cache::directory()?.join("venv");
    fs::create_dir_all(&environments)?;
    let directory = environments.join(&key[..16]);
    let lock = File::create(environments.join(format!("{}.lock", &key[..16])))?;
    lock.lock().context("the environment's lock")?;
    let complete = directory.join("complete");
    if !complete.exists() {
        println!("== making a Python environment (cached in {})", directory.display());
        make(&directory, &requirements)?;
        File::create(complete)?;
    }
    Ok(directory)
}

fn make(directory: &Path, requirements: &Path) -> Result<()> {
    run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(directory))?;
    // Where packages come from is the machine's own affair: pip's settings say.
    let pip = directory.join("bin/python");
    run(Command::new(pip)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(requirements))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
