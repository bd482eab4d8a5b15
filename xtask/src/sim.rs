//! `cargo xtask sim`: whole migrations under random troubles.

use std::process::Command;

use anyhow::{Context, Result};

/// From so many seeds on the profile `sim`, which takes minutes to build, pays.
const MANY: u64 = 50_000;

/// Builds the runner, and runs it with these arguments.
pub fn sim(arguments: &[String]) -> Result<bool> {
    let after = |name: &str| arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1));
    let seeds = after("--seeds").and_then(|seeds| seeds.parse::<u64>().ok()).unwrap_or(0);
    let profile = if seeds >= MANY { "sim" } else { "release" };
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--profile", profile, "--package", "rehome-sim", "--bin", "rehome-sim", "--"])
        .args(arguments)
        .status()
        .context("cargo run")?;
    Ok(status.success())
}
