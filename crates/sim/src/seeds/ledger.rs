//! The evidence: what was run, on which commit, with what result; and the seeds that ever failed.

use serde::{Deserialize, Serialize};

use super::story::Scenario;

/// One recorded run of many seeds: a line of `docs/evidence/sim.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When, RFC 3339.
    pub at: String,
    /// The commit that was run; nothing was changed beside it.
    pub commit: String,
    /// The command that runs it again.
    pub command: String,
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// The result.
    pub result: Result,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Result {
    /// Runs with a violation.
    pub violations: u64,
    /// Runs that were stuck at some time, whether or not the next command helped.
    pub stuck: u64,
    /// Runs a second.
    pub runs_per_second: f64,
    /// Runs a second of processor time: what one core does that has nothing else to do. Linux only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_per_cpu_second: Option<f64>,
}

/// The entries of a ledger, oldest first. `Err` says which line is no entry, or speaks of a violation.
pub fn entries(text: &str) -> std::result::Result<Vec<Entry>, String> {
    let mut found: Vec<Entry> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |why: String| format!("line {}: {why}", number + 1);
        let entry: Entry = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        if entry.commit.len() != 40 || !entry.commit.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(bad(format!("{:?} is no commit", entry.commit)));
        }
        if entry.at.parse::<jiff::Timestamp>().is_err() {
            return Err(bad(format!("{:?} is no time", entry.at)));
        }
        if found.last().is_some_and(|last| last.at > entry.at) {
            return Err(bad("it is older than the line before: the ledger is only appended to".to_owned()));
        }
        if entry.seeds == 0 || entry.result.violations != 0 {
            return Err(bad(format!("{} violations in {} runs", entry.result.violations, entry.seeds)));
        }
        found.push(entry);
    }
    Ok(found)
}

/// The seeds that once failed: `SEED SCENARIO why`, where the scenario `-` is the seed's own choice.
pub fn past_failures(text: &str) -> std::result::Result<Vec<(u64, Option<Scenario>, String)>, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let bad = || format!("{line:?} is not `SEED SCENARIO why`");
            let (seed, rest) = line.split_once(' ').ok_or_else(bad)?;
            let (scenario, why) = rest.split_once(' ').ok_or_else(bad)?;
            let known = Scenario::of(scenario);
            if known.is_none() && scenario != "-" {
                return Err(bad());
            }
            Ok((seed.parse().map_err(|_| bad())?, known, why.to_owned()))
        })
        .collect()
}
