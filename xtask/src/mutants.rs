//! `cargo xtask mutants`: small mistakes put into the planner, the lint and the engine, each of which a test should see.
//!
//! cargo-mutants is built into the cache, and works on a clone of the last commit there. Two passes: most mistakes are seen by tests
//! that take a few seconds together; only those that these do not see meet all others, which take more than a minute. A pass ends a
//! mistake's tests at the first one that fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use crate::evidence::{self, Ledger};
use crate::{cache, tools};

/// Whose tests are to see the mistakes. The simulator's test all three.
const TESTED_BY: [&str; 4] = ["rehome-planner", "rehome-lint", "rehome-engine", "rehome-sim"];
/// The tests that count: all that are in the crates, and the simulator's own.
const TESTS: [&str; 2] = ["--lib", "--test=simulated"];
/// What is in the names of tests that take more than a second: whole files, and sweeps over all calls or moments of a run.
const SLOW: [&str; 11] = [
    "_any_",
    "anywhere",
    "nothing_is_built",
    "credentials::",
    "faults::",
    "planted::",
    "restored::",
    "scale::",
    "seeds::",
    "silence::",
    "troubles::",
];
/// After so long the tests of a pass count as ones that do not end, in seconds. That is seen, too.
const LIMIT_S: [u32; 2] = [90, 600];

/// What is asked.
#[derive(Args)]
pub struct Mutants {
    /// Put mistakes into this crate: planner, lint or engine.
    package: String,
    /// One part of N: the K-th of those numbered from 0.
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only those whose description matches: "src/sequel.rs", "in Builder::release".
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
    /// Note the result in docs/evidence/mutants.jsonl; needs a checkout without changes.
    #[arg(long, conflicts_with = "only")]
    record: bool,
}

/// The mistakes of a pass, by name, as cargo-mutants lists them.
#[derive(Debug, Default)]
struct Pass {
    caught: Vec<String>,
    missed: Vec<String>,
    /// Their tests did not end.
    timeout: Vec<String>,
    unviable: Vec<String>,
}

impl Pass {
    fn read(output: &Path) -> Result<Self> {
        let of = |name: &str| lines(&output.join("mutants.out").join(name));
        let (caught, missed) = (of("caught.txt")?, of("missed.txt")?);
        Ok(Self { caught, missed, timeout: of("timeout.txt")?, unviable: of("unviable.txt")? })
    }

    /// Only those of these names: cargo-mutants 27.1 tries each field of a struct that can be left out, whatever is asked for.
    fn only(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        for names in [&mut self.caught, &mut self.missed, &mut self.timeout, &mut self.unviable] {
            names.retain(|name| wanted(name));
        }
        self
    }
}

/// The task. Answers whether every mistake was seen.
pub fn mutants(asked: &Mutants) -> Result<bool> {
    let package = format!("rehome-{}", asked.package);
    if !TESTED_BY[..3].contains(&package.as_str()) {
        bail!("there are mistakes for planner, lint and engine, not for {}", asked.package);
    }
    let commit = if asked.record { Some(evidence::commit()?) } else { None };
    let program = tools::cargo_mutants()?;
    let folder = cache::directory()?.join("mutants");
    let tree = clone(&folder)?;
    let (quick, full) = (folder.join(format!("{package}-quick")), folder.join(format!("{package}-full")));
    let mut select = vec!["--package".to_owned(), package.clone()];
    select.extend(asked.shard.iter().flat_map(|shard| ["--shard".to_owned(), shard.clone()]));
    select.extend(asked.only.iter().flat_map(|only| ["--re".to_owned(), only.clone()]));
    let first = pass(&program, &tree, &quick, LIMIT_S[0], &select, &SLOW)?;
    // On a busy machine a test may only be slow: what did not end is looked at once more, with a longer limit.
    let unseen = [first.missed, first.timeout].concat();
    let mut late = Pass::default();
    if !unseen.is_empty() {
        println!("== {} that the quick tests do not see meet all others", unseen.len());
        let mut arguments = vec!["--package".to_owned(), package.clone()];
        let files: BTreeSet<&str> = unseen.iter().filter_map(|name| name.split(':').next()).collect();
        arguments.extend(files.iter().map(|file| format!("--file={file}")));
        arguments.extend(unseen.iter().map(|name| format!("--re=^{}$", escaped(name))));
        late = pass(&program, &tree, &full, LIMIT_S[1], &arguments, &[])?.only(|name| unseen.iter().any(|u| u == name));
    }
    let caught = first.caught.len() + late.caught.len() + late.timeout.len();
    for name in &late.missed {
        println!("NOT SEEN {name}");
    }
    let (missed, unviable) = (late.missed.len(), first.unviable.len());
    println!("mutants: {package}: {caught} seen, {missed} not seen, {unviable} that do not compile");
    if let Some(commit) = commit {
        let shard = asked.shard.as_deref().unwrap_or("0/1");
        let command = format!("cargo xtask mutants {} --shard {shard}", asked.package);
        let result = json!({
            "package": package, "shard": shard, "caught": caught, "without_end": late.timeout.len(),
            "missed": missed, "unviable": unviable, "unseen": late.missed,
        });
        Ledger::Mutants.append(&commit, &command, &result)?;
    }
    Ok(missed == 0)
}

/// The last commit, where mistakes do no harm.
fn clone(folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| tree.display().to_string())?;
    }
    let mut git = Command::new("git");
    let status = git.args(["clone", "--quiet"]).arg(cache::checkout()?).arg(&tree).status().context("git")?;
    if !status.success() {
        bail!("git clone ended with {status}");
    }
    Ok(tree)
}

/// One pass of cargo-mutants over the mistakes that `select` names, before all tests but those with one of `slow` in their names.
fn pass(program: &Path, tree: &Path, output: &Path, limit_s: u32, select: &[String], slow: &[&str]) -> Result<Pass> {
    fs::create_dir_all(output)?;
    // `--fail-fast` is not stable yet: it is asked for with RUSTC_BOOTSTRAP.
    let mut told = vec!["--", "-Zunstable-options", "--fail-fast"];
    told.extend(slow.iter().flat_map(|name| ["--skip", name]));
    let here = |command: &mut Command| {
        // Built apart, so that dependencies stay built, and without what only a debugger needs.
        let target = tree.with_file_name("target");
        command
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("RUSTC_BOOTSTRAP", "1");
    };
    // Tests that fail without any mistake would see all of them. cargo-mutants would try those of one crate only.
    let mut sound = Command::new("cargo");
    sound.args(["test", "--quiet"]).args(TESTED_BY.map(|package| format!("--package={package}")));
    sound.args(TESTS).args(&told);
    here(&mut sound);
    let said = sound.output().context("cargo test")?;
    if !said.status.success() {
        let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        bail!("the tests fail without a mistake:\n{text}");
    }
    let mut command = Command::new(program);
    command.args(["mutants", "--in-place", "--baseline=skip", "--no-shuffle", "--colors=never"]);
    command.arg("--output").arg(output).args(["--timeout", &limit_s.to_string()]);
    command.args(TESTED_BY.map(|package| format!("--test-package={package}")));
    command.args(select).args(TESTS.map(|test| format!("--cargo-arg={test}"))).arg("--").args(&told);
    here(&mut command);
    let status = command.status().context("cargo-mutants")?;
    // 2: some were not seen. 3: some did not end. (https://mutants.rs/exit-codes.html)
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        bail!("cargo-mutants ended with {status}; its logs are in {}", output.display());
    }
    Pass::read(output)
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// As a regular expression that matches just this.
fn escaped(name: &str) -> String {
    let special =
        |c: char| c.is_ascii_punctuation() && !matches!(c, '_' | '/' | ':' | '"' | '\'' | ',' | '<' | '>' | '=');
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_matched_literally() {
        let name = "crates/lint/src/set.rs:106:49: replace && with || in check_names -> Vec<String>";
        let expected = r"crates/lint/src/set\.rs:106:49: replace \&\& with \|\| in check_names \-> Vec<String>";
        assert_eq!(escaped(name), expected);
    }

    #[test]
    fn of_what_a_second_pass_tries_only_what_it_was_asked_for_counts() {
        let output = std::env::temp_dir().join(format!("rehome-mutants-{}", std::process::id()));
        fs::create_dir_all(output.join("mutants.out")).expect("a folder");
        for (name, text) in
            [("caught.txt", "a\nb\n"), ("missed.txt", "c\nd\n"), ("timeout.txt", "e\n"), ("unviable.txt", "")]
        {
            fs::write(output.join("mutants.out").join(name), text).expect("a list");
        }
        let read = Pass::read(&output).expect("four lists").only(|name| name < "d" && name != "a");
        fs::remove_dir_all(&output).expect("it is there");
        assert_eq!((read.caught, read.missed), (vec!["b".to_owned()], vec!["c".to_owned()]));
        assert!(read.timeout.is_empty() && read.unviable.is_empty());
    }

    #[test]
    fn the_slow_tests_are_there() {
        let tests = cache::checkout().expect("a checkout").join("crates/sim/tests/simulated");
        let mut names = String::new();
        for file in fs::read_dir(tests).expect("the simulator's tests") {
            let path = file.expect("a file").path();
            let text = fs::read_to_string(&path).expect("text");
            let module = path.file_stem().expect("a name").to_string_lossy();
            for line in text.lines().filter(|line| line.contains("fn ")) {
                names.push_str(&format!("{module}::{line}\n"));
            }
        }
        for name in SLOW {
            assert!(names.contains(name), "no test has {name} in its name");
        }
    }
}
