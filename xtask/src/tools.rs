//! Tools of cargo's that the project's tests need, installed into the cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;

const DENY: &str = "0.20.2";
const FUZZ: &str = "0.13.2";
const MUTANTS: &str = "27.1.0";

/// cargo-deny.
pub fn cargo_deny() -> Result<PathBuf> {
    install("cargo-deny", DENY)
}

/// cargo-fuzz.
pub fn cargo_fuzz() -> Result<PathBuf> {
    install("cargo-fuzz", FUZZ)
}

/// cargo-mutants.
pub fn cargo_mutants() -> Result<PathBuf> {
    install("cargo-mutants", MUTANTS)
}

/// The first time it is built, for some minutes.
fn install(name: &str, version: &str) -> Result<PathBuf> {
    let root = cache::directory()?.join(format!("tools/{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        println!("== building {name} {version} (cached in {})", root.display());
        let built = Command::new("cargo")
            .args(["install", "--quiet", "--locked", "--version", version, "--root"])
            .arg(&root)
            .arg(name)
            // Its output goes away with the build; only the program is kept.
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .context("cargo install")?;
        if !built.success() {
            bail!("{name} {version} was not built");
        }
    }
    Ok(program)
}
