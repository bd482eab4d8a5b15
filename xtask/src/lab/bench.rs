//! `cargo xtask lab bench`: one move with EC2 as fast as the emulator can be, measured, and written to `docs/proof.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::calls::{self, kept};
use super::hammer::{self, Hammer, Where};
use super::story;
use super::{Up, command};
use crate::{cache, evidence};

/// Plans made for the median.
const PLANS: usize = 3;

/// Phases of the downtime, by the kind of their steps; and whether the time is the application's own.
const PHASES: [(&str, &str, bool); 12] = [
    ("stop-service", "the application drains and stops", true),
    ("inspect-disk", "identity read from each disk", false),
    ("unmount", "volumes unmounted", false),
    ("final-snapshot", "final snapshots started", false),
    ("await-final-snapshot", "final snapshots completed", false),
    ("stop-instance", "legacy instances shut down", false),
    ("create-volume", "volumes made from the snapshots", false),
    ("release-volume", "PersistentVolumes created and bound", false),
    ("scale-set", "set scaled up", false),
    ("pods-run", "volumes attached, containers started", true),
    ("verify-closed", "the application starts; members verified", true),
    ("open", "opened to clients", false),
];

/// When something began and ended, in ms.
type Span = (u64, u64);

/// Measures on a lab that has just come up, and writes the document.
pub fn bench(options: &Up, up_took: Duration) -> Result<()> {
    let commit = evidence::commit()?;
    calls::proof(&["before"])?;
    let mut plans = Vec::new();
    for _ in 0..PLANS {
        let started = Instant::now();
        calls::rehome("plan", &["plan"])?;
        plans.push(started.elapsed());
    }
    plans.sort();
    // A client that asks little: it must not slow down what is measured.
    let client = Hammer::start("bench", 1, Duration::from_millis(50))?;
    let seen = calls::apply_counted("bench.log")?;
    if seen["exit_code"] != 0 {
        bail!("the move ended with {}: {}", seen["exit_code"], command::tail(&kept("bench.log"), 20));
    }
    client.wait_for_writes()?;
    let gap = client.stop()?["longest_gap_s"].as_f64().context("the client tells no gap")?;
    hammer::verify("bench", None, Where::Pods)?;
    // Figures of a move that went wrong are none.
    calls::proof(&["adopted"])?;
    let spans = spans(&kept("bench.log"))?;
    let addresses = story::pods()?;
    let started = Instant::now();
    story::check_rows(options.rows, &addresses)?;
    let rows_read = started.elapsed();
    let totals = [
        ("lab up, with the rows loaded", up_took.as_secs_f64()),
        ("`rehome plan`", plans[PLANS / 2].as_secs_f64()),
        ("all rows read back at QUORUM from the pods", rows_read.as_secs_f64()),
        ("the longest time in which no write of a client was acknowledged", gap),
    ];
    let document = document(options, &totals, &spans, &calls(&seen), &commit)?;
    let file = cache::checkout()?.join("docs/proof.md");
    fs::write(&file, document)?;
    println!("== wrote {}", file.display());
    Ok(())
}

/// Steps by kind: when the first began and the last ended.
fn spans(log: &Path) -> Result<BTreeMap<String, Span>> {
    let mut spans: BTreeMap<String, Span> = BTreeMap::new();
    for line in fs::read_to_string(log)?.lines().filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(line)?;
        let (Some(at), Some("step-ended"), Some(step), Some(took)) =
            (event["at_ms"].as_u64(), event["event"].as_str(), event["step"].as_str(), event["took_ms"].as_u64())
        else {
            continue;
        };
        let kind = step.split(':').next().unwrap_or(step).to_owned();
        let span = spans.entry(kind).or_insert((u64::MAX, 0));
        *span = (span.0.min(at - took), span.1.max(at));
    }
    Ok(spans)
}

/// Calls that changed something, by name.
fn calls(seen: &Value) -> BTreeMap<String, u32> {
    let mut calls = BTreeMap::new();
    for name in seen["names"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let short = match name.split_once(' ') {
            Some((verb, path)) if path.starts_with('/') => format!("{verb} {}", resource(path)),
            _ => name.to_owned(),
        };
        *calls.entry(short).or_insert(0) += 1;
    }
    calls
}

/// The resource of a path of the Kubernetes API, without the object's name: `/api/v1/namespaces/a/pods/b` is `pods`.
fn resource(path: &str) -> String {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let version = if parts.first() == Some(&"apis") { 3 } else { 2 };
    let first =
        if parts.get(version) == Some(&"namespaces") && parts.len() > version + 2 { version + 2 } else { version };
    let subresource = parts.get(first + 2).map(|name| format!("/{name}")).unwrap_or_default();
    format!("{}{subresource}", parts.get(first).unwrap_or(&path))
}

fn document(
    options: &Up,
    totals: &[(&str, f64)],
    spans: &BTreeMap<String, Span>,
    calls: &BTreeMap<String, u32>,
    commit: &str,
) -> Result<String> {
    let begin = spans.get("stop-service").context("no member was stopped")?.0;
    let end = spans.get("open").context("nothing was opened")?.1;
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let theirs: Vec<Span> =
        PHASES.iter().filter(|(_, _, own)| *own).filter_map(|(kind, _, _)| spans.get(*kind).copied()).collect();
    let application = covered(theirs);
    let (delays, shares) = if options.time_scale == 0.0 {
        (
            "**EC2's delays were switched off**: `rehome plan` estimates what they add.".to_owned(),
            "of that, rehome's and Kubernetes' share, with none of EC2's",
        )
    } else {
        (format!("EC2's delays times {}.", options.time_scale), "of that, rehome's, EC2's and Kubernetes' share")
    };
    let mut text = format!(
        "# Proof\n\nWritten by `cargo xtask lab bench`: do not edit. One move of a real Cassandra 5.0.9 of three members and {} \
         rows (RF 3) from\nsystemd guests into pods of a real Kubernetes, strategy `snapshot`, cutover `stop`. {delays} Commit {}. \
         Everything ran on one\nmachine: {}.\n\n| | |\n| --- | --- |\n",
        options.rows,
        &commit[..12.min(commit.len())],
        machine()?
    );
    let downtime = [
        ("downtime, from the first drain to the last member open", seconds(end - begin)),
        ("of that, the application's own stop and start", seconds(application)),
        (shares, seconds(end - begin - application)),
    ];
    for (what, value) in totals.iter().chain(&downtime) {
        let _ = writeln!(text, "| {what} | {value:.1} s |");
    }
    text.push_str("\n## The downtime, by phase\n\nPhases of different members overlap. Seconds since the first drain.\n\n| phase | from | to |\n| --- | --- | --- |\n");
    for (kind, what, own) in PHASES {
        let Some((from, to)) = spans.get(kind) else { continue };
        let mark = if own { " *" } else { "" };
        let _ = writeln!(text, "| {what}{mark} | {:.1} | {:.1} |", seconds(from - begin), seconds(to - begin));
    }
    text.push_str(
        "\n\\* the application's own time.\n\n## Calls that changed something\n\n| call | times |\n| --- | --- |\n",
    );
    for (name, count) in calls {
        let _ = writeln!(text, "| {name} | {count} |");
    }
    text.push_str("\nScripts on hosts are `SendCommand TASK`; `survey`, `view` and `read-identity` only look.\n");
    Ok(text)
}

/// How many ms are in at least one of the spans.
fn covered(mut spans: Vec<Span>) -> u64 {
    spans.sort_unstable();
    let (mut total, mut until) = (0, 0);
    for (from, to) in spans {
        let from = from.max(until);
        total += to.saturating_sub(from);
        until = until.max(to);
    }
    total
}

fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores, {} GiB, Linux {}", kib >> 20, kernel.trim()))
}

#[cfg(test)]
mod tests {
    use super::{covered, resource};

    #[test]
    fn a_path_is_named_by_its_resource() {
        assert_eq!(resource("/api/v1/namespaces/a/configmaps/b"), "configmaps");
        assert_eq!(resource("/api/v1/persistentvolumes"), "persistentvolumes");
        assert_eq!(resource("/apis/apps/v1/namespaces/a/statefulsets/b/scale"), "statefulsets/scale");
    }

    #[test]
    fn time_covered_twice_counts_once() {
        assert_eq!(covered(vec![(10, 20), (15, 30), (40, 50), (41, 42)]), 30);
        assert_eq!(covered(Vec::new()), 0);
    }
}
