//! `cargo xtask sim`: whole migrations under random troubles.

use std::process::Command;

use anyhow::{Context, Result};

/// Builds the runner in release mode, and runs it with these arguments.
pub fn sim(arguments: &[String]) -> Result<bool> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "rehome-sim", "--bin", "rehome-sim", "--"])
        .args(arguments)
        .status()
        .context("cargo run")?;
    Ok(status.success())
}
