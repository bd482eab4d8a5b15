//! Python packages of the project's own: foreign clients for its tests.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache;

/// A virtual environment with the packages of `lab/requirements.txt`, made anew when those change.
pub fn venv() -> Result<PathBuf> {
    let requirements = cache::checkout()?.join("lab/requirements.txt");
    let text = std::fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
    let directory = cache::directory()?.join("python");
    let done = directory.join("done");
    if std::fs::read_to_string(&done).is_ok_and(|made_of| made_of == text) {
        return Ok(directory);
    }
    let made = |command: &mut Command| -> Result<()> {
        let status = command.stdout(Stdio::null()).status().context("python3 with its venv module is needed")?;
        if !status.success() {
            bail!("the Python packages of {} were not installed", requirements.display());
        }
        Ok(())
    };
    println!("== installing Python packages in {}", directory.display());
    made(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
    let pip = directory.join("bin/pip");
    made(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements))?;
    std::fs::write(done, text)?;
    Ok(directory)
}
