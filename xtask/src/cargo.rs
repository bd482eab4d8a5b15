//! What cargo builds for other tasks.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;

/// The directory of build output.
pub fn target() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(given) => Ok(std::path::absolute(PathBuf::from(given))?),
        None => Ok(cache::checkout()?.join("target")),
    }
}

/// Builds the product with everything in it, and answers the binary.
pub fn rehome() -> Result<PathBuf> {
    let built = Command::new("cargo").args(["build", "--quiet", "--package", "rehome"]).status().context("cargo")?;
    if !built.success() {
        bail!("rehome was not built");
    }
    Ok(target()?.join("debug/rehome"))
}
