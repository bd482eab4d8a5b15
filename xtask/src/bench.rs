//! `cargo xtask bench`: what can be measured without a lab; written to `docs/performance.md`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Runs of each measurement of real time; the median is printed.
const RUNS: usize = 5;
/// Members of the large move.
const MEMBERS: u64 = 1_000;
/// What the plan of the large move may take.
const PLAN_MS: f64 = 1_000.0;
/// See [`PLAN_MS`]; 10^6 bytes.
const PLAN_MB: f64 = 100.0;
/// An apiserver takes ConfigMaps of 1 MiB.
const OBJECT_BYTES: f64 = 1_048_576.0;
/// The least time may be exceeded by a tenth, the fewest calls by a fifth.
const TIME_RATIO: f64 = 1.1;
const CALLS_RATIO: f64 = 1.2;

/// Measures, prints, and writes the document. True if every limit holds.
pub fn bench() -> Result<bool> {
    let commit = crate::evidence::commit()?;
    build(&["--package", "rehome", "--no-default-features"])?;
    build(&["--package", "rehome-sim", "--bin", "rehome-bench"])?;
    let release = crate::cargo::target()?.join("release");
    demo(&release.join("rehome"))?;
    let bench = release.join("rehome-bench");
    let mut rows = Vec::new();
    let mut holds = true;
    for members in [100, MEMBERS] {
        let moved = run(&bench, members, 100)?;
        if members == MEMBERS {
            holds &= plan_rows(&moved["plan"], &mut rows);
        }
        holds &= move_rows(members, &moved["apply"], &mut rows);
    }
    let shared = run(&bench, MEMBERS, 80)?;
    let (took, least) = (&shared["apply"]["makespan_ms"], &shared["apply"]["bound"]["opened_ms"]);
    rows.push(format!(
        "| {MEMBERS} members, `apiSharePercent: 80` (the default): time of apply | {:.0} s, at least {:.0} s | {:.2} | no limit |",
        number(took) / 1_000.0,
        number(least) / 1_000.0,
        ratio(took, least)
    ));
    let document = document(&rows, &shared, &commit);
    println!("{}", rows.join("\n"));
    let file = crate::cache::checkout()?.join("docs/performance.md");
    std::fs::write(&file, document)?;
    println!("== wrote {}", file.display());
    Ok(holds)
}

fn build(what: &[&str]) -> Result<()> {
    let status = Command::new("cargo").args(["build", "--release"]).args(what).status().context("cargo build")?;
    if !status.success() {
        bail!("cargo build --release {} failed", what.join(" "));
    }
    Ok(())
}

/// Times of this machine: printed, and in no document.
fn demo(binary: &PathBuf) -> Result<()> {
    let size = std::fs::metadata(binary)?.len();
    let start = median(binary, &["--version"])?;
    let three = median(binary, &["demo", "--output", "json"])?;
    let thirty = median(binary, &["demo", "--members", "30", "--output", "json"])?;
    println!("binary without the AWS SDK  {:.1} MiB", size as f64 / f64::from(1 << 20));
    println!("start-up (--version)        {start:?}");
    println!("demo, 3 members             {three:?}");
    println!(
        "demo, 30 members            {thirty:?}, {:.1} times that of 3",
        thirty.as_secs_f64() / three.as_secs_f64()
    );
    Ok(())
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

/// One large move, and what it took.
fn run(bench: &Path, members: u64, share: u8) -> Result<Value> {
    println!("== {members} members, {share} % of the rates");
    let arguments = ["--members", &members.to_string(), "--share", &share.to_string()];
    let output = Command::new(bench).args(arguments).output()?;
    if !output.status.success() {
        bail!("rehome-bench {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn ratio(value: &Value, to: &Value) -> f64 {
    number(value) / number(to)
}

/// A row: what, how it was, how it relates to its limit.
fn row(rows: &mut Vec<String>, what: &str, was: &str, ratio: f64, limit: f64) -> bool {
    let holds = ratio <= limit;
    rows.push(format!("| {what} | {was} | {ratio:.2} | {limit:.2}{} |", if holds { "" } else { " **exceeded**" }));
    holds
}

fn plan_rows(plan: &Value, rows: &mut Vec<String>) -> bool {
    let ms = number(&plan["plan_us"]) / 1_000.0;
    let megabytes = |kib: &Value| number(kib) * 1_024.0 / 1_000_000.0;
    let survey = megabytes(&plan["survey_kib"]);
    let mb = megabytes(&plan["most_kib"]) - survey;
    let time = format!("of {PLAN_MS:.0} ms on the machine that wrote this");
    row(rows, &format!("{MEMBERS} members: check and plan"), &time, ms / PLAN_MS, 1.0)
        & row(
            rows,
            &format!("{MEMBERS} members: memory that check and plan take"),
            &format!("{mb:.0} MB of {PLAN_MB:.0}, beside {survey:.0} MB of the survey"),
            mb / PLAN_MB,
            1.0,
        )
}

fn move_rows(members: u64, apply: &Value, rows: &mut Vec<String>) -> bool {
    let seconds = |ms: &Value| number(ms) / 1_000.0;
    let (took, least) = (&apply["makespan_ms"], &apply["bound"]["opened_ms"]);
    let calls: u64 = apply["ec2"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    let fewest = number(&apply["least_calls"]);
    let largest = &apply["record"]["largest_bytes"];
    row(
        rows,
        &format!("{members} members: time of apply"),
        &format!("{:.0} s, at least {:.0} s", seconds(took), seconds(least)),
        ratio(took, least),
        TIME_RATIO,
    ) & row(
        rows,
        &format!("{members} members: calls to EC2"),
        &format!("{calls}, at least {fewest:.0}"),
        calls as f64 / fewest,
        CALLS_RATIO,
    ) & row(
        rows,
        &format!("{members} members: largest object of the run record"),
        &format!("{:.0} KiB of 1024", number(largest) / 1024.0),
        number(largest) / OBJECT_BYTES,
        1.0,
    )
}

fn document(rows: &[String], moved: &Value, commit: &str) -> String {
    let mut text = include_str!("performance.md").to_owned();
    let mut table = String::from("| what | | ratio | at most |\n| --- | --- | --- | --- |\n");
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{row}");
    }
    text =
        text.replace("{table}\n", &table).replace("{commit}", &format!("commit {}", &commit[..12.min(commit.len())]));
    for (name, value) in moved["delays"].as_object().into_iter().flatten() {
        text = text.replace(&format!("{{{name}}}"), &format!("{}", number(value) / 1_000.0));
    }
    text
}
