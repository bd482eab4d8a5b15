//! Tools of cargo's that the project's tests need, installed into the cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;

const DENY: &str = "0.20.2";

/// cargo-deny. The first time it is built, for some minutes.
pub fn cargo_deny() -> Result<PathBuf> {
    let root = cache::directory()?.join(format!("tools/cargo-deny-{DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        println!("== building cargo-deny {DENY} (cached in {})", root.display());
        let built = Command::new("cargo")
            .args(["install", "--quiet", "--locked", "--version", DENY, "--root"])
            .arg(&root)
            .arg("cargo-deny")
            // Its output goes away with the build; only the program is kept.
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .context("cargo install")?;
        if !built.success() {
            bail!("cargo-deny {DENY} was not built");
        }
    }
    Ok(program)
}
