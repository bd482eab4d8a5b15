//! `cargo xtask sim`: whole migrations under random troubles.

use std::process::Command;

use anyhow::{Context, Result};

/// Builds the runner with the profile `sim`, and runs it with these arguments.
pub fn sim(arguments: &[String]) -> Result<bool> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--profile", "sim", "--package", "rehome-sim", "--bin", "rehome-sim", "--"])
        .args(arguments)
        .status()
        .context("cargo run")?;
    Ok(status.success())
}
