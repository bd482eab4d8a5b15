//! `cargo xtask fuzz`: what reads other people's bytes, under libFuzzer.
//!
//! cargo-fuzz is built into the cache. The toolchain stays the project's: `RUSTC_BOOTSTRAP=1` lets it instrument. What a
//! fuzzer finds interesting is kept in the cache and used again; the repository has a few seeds a target. An input that
//! fails is in `fuzz/artifacts`, and the command that runs it again is printed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::evidence::{self, Ledger};
use crate::{cache, tools};

/// The most a reader may need for one input.
const MEMORY_MIB: u32 = 2_048;

/// The task. Answers whether all that ran was clean.
pub fn fuzz(seconds: u32, record: bool, wanted: &[String]) -> Result<bool> {
    let checkout = cache::checkout()?;
    let known = targets(&checkout)?;
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        bail!("there is no target {unknown}; there are: {}", known.join(", "));
    }
    let commit = if record { Some(evidence::commit()?) } else { None };
    if let Some(reason) = missing() {
        println!("not run: fuzzing: {reason}");
        return Ok(true);
    }
    let program = match tools::cargo_fuzz() {
        Ok(program) => program,
        Err(error) => {
            println!("not run: fuzzing: {error:#}");
            return Ok(true);
        }
    };
    let mut clean = true;
    for target in known.iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        if let Some(Clean { runs, processor_s }) = run(&checkout, &program, target, seconds)? {
            println!("clean     {target}: {runs} runs in {seconds} s, {processor_s} s of them on a processor");
            if let Some(commit) = &commit {
                let command = format!("cargo xtask fuzz --seconds {seconds} {target}");
                let result = json!({"target": target, "seconds": seconds, "processor_s": processor_s, "runs": runs});
                Ledger::Fuzz.append(commit, &command, &result)?;
            }
        } else {
            println!("NOT CLEAN {target}");
            clean = false;
        }
    }
    Ok(clean)
}

/// The names of all targets, in order.
fn targets(checkout: &Path) -> Result<Vec<String>> {
    let folder = checkout.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for file in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        names.extend(file?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Why nothing can be fuzzed here.
fn missing() -> Option<&'static str> {
    let compiles = Command::new("c++").arg("--version").output().is_ok_and(|done| done.status.success());
    (!compiles).then_some("libFuzzer needs a C++ compiler (Debian: g++)")
}

/// What a target did that met no failing input.
struct Clean {
    runs: u64,
    /// Less than the seconds of the clock, where other work had the processors.
    processor_s: u64,
}

/// Runs one target. Answers what it did, or nothing if an input failed.
fn run(checkout: &Path, program: &Path, target: &str, seconds: u32) -> Result<Option<Clean>> {
    let cache = cache::directory()?.join("fuzz");
    let corpus = cache.join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let log = cache.join(format!("{target}.log"));
    // A change that breaks a target must not look like an input that does.
    let cargo = |verb: &str| {
        let mut command = Command::new(program);
        command.arg(verb).current_dir(checkout).env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR");
        command.arg("--target-dir").arg(cache.join("target")).arg(target);
        command
    };
    if !cargo("build").status().context("cargo-fuzz build")?.success() {
        bail!("the target {target} was not built");
    }
    let mut command = cargo("run");
    command.arg(&corpus).arg(checkout.join("fuzz/corpus").join(target)).arg("--");
    command.args([&format!("-max_total_time={seconds}"), &format!("-rss_limit_mb={MEMORY_MIB}"), "-timeout=10"]);
    command.args(["-print_final_stats=1", "-verbosity=1"]).stderr(fs::File::create(&log)?);
    let before = processor_of_children()?;
    let done = command.status().context("cargo-fuzz run")?;
    let processor_s = processor_of_children()?.saturating_sub(before).as_secs();
    let said = fs::read_to_string(&log)?;
    if done.success() {
        let runs = executed(&said).with_context(|| format!("{} does not say how many runs", log.display()))?;
        return Ok(Some(Clean { runs, processor_s }));
    }
    let last: Vec<&str> = said.lines().rev().take(40).collect();
    println!("{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    Ok(None)
}

/// What the children that have ended took of the processors, their own children's included (proc_pid_stat(5)).
fn processor_of_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    children_in(&stat).with_context(|| format!("/proc/self/stat: {stat}"))
}

fn children_in(stat: &str) -> Option<Duration> {
    /// Linux tells programs of hundredths of a second, whatever its own clock does.
    const MS_A_TICK: u64 = 10;
    // The program's name may have spaces and parentheses in it; what follows the last one is fields, of which the first is the third.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(16)? + ticks(17)?) * MS_A_TICK))
}

/// From libFuzzer's closing statistics.
fn executed(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_seeds_and_is_built() {
        let checkout = cache::checkout().expect("a checkout");
        let manifest = fs::read_to_string(checkout.join("fuzz/Cargo.toml")).expect("a manifest");
        for target in targets(&checkout).expect("targets") {
            let seeds = fs::read_dir(checkout.join("fuzz/corpus").join(&target)).map(Iterator::count);
            assert!(seeds.unwrap_or(0) > 0, "{target} has no seeds");
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target} is not built");
        }
    }

    #[test]
    fn libfuzzers_statistics_are_read() {
        assert_eq!(executed("#2 DONE\nstat::number_of_executed_units: 1234\n"), Some(1234));
        assert_eq!(executed("error"), None);
    }
    #[test]
    fn the_processor_time_of_children_is_read_from_fields_16_and_17() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 500 9000 0 0 11 22 345 67 20 0 1 0 100 1000 200";
        assert_eq!(children_in(stat), Some(Duration::from_millis(4_120)));
        assert_eq!(children_in("7 (short) S 1"), None);
    }
}
