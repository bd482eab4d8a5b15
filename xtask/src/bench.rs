//! `cargo xtask bench`: what can be measured without a lab.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs of each measurement; the median is printed.
const RUNS: usize = 5;

/// Measures and prints.
pub fn bench() -> Result<bool> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--package", "rehome", "--no-default-features"])
        .status()
        .context("cargo build")?;
    if !built.success() {
        bail!("rehome was not built");
    }
    let binary = crate::cargo::target()?.join("release").join("rehome");
    let size = std::fs::metadata(&binary)?.len();
    let start = median(&binary, &["--version"])?;
    let three = median(&binary, &["demo", "--output", "json"])?;
    let thirty = median(&binary, &["demo", "--members", "30", "--output", "json"])?;
    println!("binary without the AWS SDK  {:.1} MiB", size as f64 / f64::from(1 << 20));
    println!("start-up (--version)        {start:?}");
    println!("demo, 3 members             {three:?}");
    println!(
        "demo, 30 members            {thirty:?}, {:.1} times that of 3",
        thirty.as_secs_f64() / three.as_secs_f64()
    );
    Ok(true)
}

fn median(binary: &PathBuf, arguments: &[&str]) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        let output = Command::new(binary).args(arguments).output()?;
        if !output.status.success() {
            bail!("rehome {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[RUNS / 2])
}
