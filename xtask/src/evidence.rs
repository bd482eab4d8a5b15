//! `docs/evidence`: what was run, on which commit, with what result. One line of JSON for each run.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cache;

/// A ledger of these tasks. That of seeds is the seeds' runner's own.
#[derive(Clone, Copy, Debug)]
pub enum Ledger {
    /// Soaks in the lab.
    Lab,
    /// Fuzz targets.
    Fuzz,
    /// The simulated Kubernetes against the real one.
    Comparison,
    /// Mistakes that tests should see.
    Mutants,
}

impl Ledger {
    fn path(self) -> Result<PathBuf> {
        let name = match self {
            Self::Lab => "lab.jsonl",
            Self::Fuzz => "fuzz.jsonl",
            Self::Comparison => "comparison.jsonl",
            Self::Mutants => "mutants.jsonl",
        };
        Ok(cache::checkout()?.join("docs/evidence").join(name))
    }

    /// Adds a line.
    pub fn append(self, commit: &str, command: &str, result: &Value) -> Result<()> {
        let at = said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?;
        let line = json!({"at": at, "commit": commit, "command": command, "result": result});
        let path = self.path()?;
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&path)?;
        writeln!(file, "{line}").with_context(|| path.display().to_string())?;
        println!("== added to {}: {line}", path.display());
        Ok(())
    }

    /// Why a line is none, or speaks of something that is not well.
    #[cfg_attr(not(test), expect(dead_code, reason = "the ledgers are read by their test"))]
    fn wrong(self, line: &str, before: &str) -> Option<String> {
        let entry: Value = match serde_json::from_str(line) {
            Ok(entry) => entry,
            Err(error) => return Some(error.to_string()),
        };
        let hex = |text: &str| text.len() == 40 && text.chars().all(|digit| digit.is_ascii_hexdigit());
        if !entry["commit"].as_str().is_some_and(hex) || entry["command"].as_str().is_none() {
            return Some("it names no commit and command".to_owned());
        }
        if entry["at"].as_str().is_none_or(|at| at < before) {
            return Some("it is older than the line before".to_owned());
        }
        let (some, none): (&[&str], &[&str]) = match self {
            Self::Lab => (&["kills", "acknowledged"], &["lost"]),
            Self::Fuzz => (&["seconds", "processor_s", "runs"], &[]),
            Self::Comparison => (&["sequences", "operations"], &["differ"]),
            Self::Mutants => (&["caught"], &[]),
        };
        let number = |key: &&str| entry["result"][*key].as_u64();
        let bad =
            some.iter().find(|key| number(key).unwrap_or(0) == 0).or(none.iter().find(|key| number(key) != Some(0)));
        bad.map(|key| format!("{key} is {}", entry["result"][*key]))
    }
}

/// The commit that runs; nothing may be changed beside it but the evidence.
pub fn commit() -> Result<String> {
    let git = |words: &[&str]| said(Command::new("git").current_dir(cache::checkout()?).args(words));
    // What measurements write is no change of what is measured.
    let changed = git(&["status", "--porcelain", "--", ":!docs/evidence", ":!docs/proof.md", ":!docs/performance.md"])?;
    if !changed.is_empty() {
        bail!("commit first: the evidence names commits, and there are changes beside it:\n{changed}");
    }
    git(&["rev-parse", "HEAD"])
}

fn said(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let done = command.output().with_context(|| program.clone())?;
    if !done.status.success() {
        bail!("{program} ended with {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::Ledger;

    #[test]
    fn the_ledgers_are_well_formed_and_speak_of_nothing_bad() {
        for ledger in [Ledger::Lab, Ledger::Fuzz, Ledger::Comparison, Ledger::Mutants] {
            let path = ledger.path().expect("a checkout");
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let mut before = String::new();
            for line in text.lines() {
                assert_eq!(ledger.wrong(line, &before), None, "{line}");
                let entry: Value = serde_json::from_str(line).expect("JSON");
                before = entry["at"].as_str().expect("a time").to_owned();
            }
        }
    }

    #[test]
    fn every_mistake_that_no_test_saw_is_listed_with_what_became_of_it() {
        let path = Ledger::Mutants.path().expect("a checkout");
        let listed = fs::read_to_string(path.with_file_name("unseen-mutants.md")).expect("the list");
        let text = fs::read_to_string(&path).expect("the ledger");
        for line in text.lines() {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            for name in entry["result"]["unseen"].as_array().expect("names") {
                let name = without_place(name.as_str().expect("text"));
                assert!(listed.contains(&format!("`{name}`")), "{name}");
            }
        }
    }

    /// Without line and column, which change with whatever stands before.
    fn without_place(name: &str) -> String {
        let mut parts = name.splitn(4, ':');
        let file = parts.next().unwrap_or_default();
        format!("{file}:{}", parts.nth(2).unwrap_or_default())
    }

    #[test]
    fn a_line_with_a_loss_a_difference_or_nothing_in_it_is_refused() {
        let line = |result: Value| {
            json!({"at": "2026-01-01T00:00:00Z", "commit": "a".repeat(40), "command": "c", "result": result})
                .to_string()
        };
        let soak = |lost: u32| line(json!({"kills": 3, "acknowledged": 9, "lost": lost}));
        assert_eq!(Ledger::Lab.wrong(&soak(0), ""), None);
        assert!(Ledger::Lab.wrong(&soak(1), "").is_some() && Ledger::Lab.wrong(&soak(0), "2027").is_some());
        assert!(Ledger::Lab.wrong("{}", "").is_some() && Ledger::Lab.wrong("", "").is_some());
        let compared = |differ: u32| line(json!({"sequences": 3, "operations": 9, "differ": differ}));
        assert_eq!(Ledger::Comparison.wrong(&compared(0), ""), None);
        assert!(Ledger::Comparison.wrong(&compared(1), "").is_some());
        let fuzzed = |runs: u32| line(json!({"target": "plan", "seconds": 1, "processor_s": 1, "runs": runs}));
        assert_eq!(Ledger::Fuzz.wrong(&fuzzed(1), ""), None);
        assert!(Ledger::Fuzz.wrong(&fuzzed(0), "").is_some());
    }
}
