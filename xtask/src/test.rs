//! `cargo xtask test`: formatting, lints, tests, the demo; one line at the end that counts.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use crate::foreign::{self, Outcome, Transcripts};
use crate::{lab, python, tools};

/// Set by CI: a machine that cannot run the lab fails.
const LAB_REQUIRED: &str = "REHOME_LAB_REQUIRED";

#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
}

/// Says what begins, and how long all before it took: where the time of a run goes is asked again and again.
fn heading(name: &str) {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    println!("== {name} (after {:.0} s)", STARTED.get_or_init(Instant::now).elapsed().as_secs_f64());
}

/// Runs everything; true if nothing failed.
pub fn test() -> Result<bool> {
    let mut count = Count::default();
    if lab::obstacle().is_none() {
        // First: tests that need sshd and the like run too.
        heading("packages");
        lab::install_packages()?;
    }
    check(&mut count, "formatting", &["fmt", "--all", "--check"])?;
    check(&mut count, "lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])?;
    let transcripts = Transcripts::new()?;
    cargo_test(&mut count, &transcripts)?;
    let seeds = Aside::start("5,000 simulated migrations", 19, &["xtask", "sim", "--seeds", "5000", "--jobs", "2"]);
    // It waits for two thirds of its time.
    let control_plane = if found("go") && found("openssl") {
        Some(Aside::start("real control plane", 0, &["xtask", "control-plane"]))
    } else {
        None
    };
    foreign_clients(&mut count, &transcripts);
    skipped_by_themselves(&mut count);
    for arguments in [&["--members", "3"][..], &["--members", "5", "--seed", "7", "--kill-at", "40"]] {
        let name = format!("demo {}", arguments.join(" "));
        let mut all = vec!["demo"];
        all.extend(arguments);
        check(&mut count, &name, &all)?;
    }
    dependencies(&mut count);
    match control_plane {
        Some(control_plane) => control_plane.finish(&mut count)?,
        None => count
            .skipped
            .push("real control plane: it is built with Go 1.26, and needs openssl (golang.org/dl)".to_owned()),
    }
    seeds.finish(&mut count)?;
    on_real_parts(&mut count)?;
    for skipped in &count.skipped {
        println!("not run: {skipped}");
    }
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped.len());
    Ok(count.failed == 0)
}

fn found(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What a dependency may be. Advisories are not asked for: they change without a change of ours.
fn dependencies(count: &mut Count) {
    heading("dependencies");
    let checked = tools::cargo_deny().and_then(|program| {
        Command::new(program).args(["check", "bans", "licenses", "sources"]).output().context("cargo-deny")
    });
    match checked {
        Ok(output) if output.status.success() => count.passed += 1,
        Ok(output) => {
            count.failed += 1;
            println!("{}FAILED: dependencies", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => count.skipped.push(format!("dependencies: {error:#}")),
    }
}

/// The CSI driver under csi-sanity, and the whole story in the lab.
fn on_real_parts(count: &mut Count) -> Result<()> {
    if let Some(reason) = lab::obstacle() {
        let what = format!("lab (a real Cassandra, real nodes, real disks) and csi-sanity: {reason}");
        // Where the lab is required, what cannot be run has failed.
        if std::env::var_os(LAB_REQUIRED).is_some() {
            println!("FAILED: {what}");
            count.failed += 1;
        } else {
            count.skipped.push(what);
        }
        return Ok(());
    }
    check(count, "csi-sanity on the lab's CSI driver", &["xtask", "lab", "sanity"])?;
    heading("lab");
    let mut child =
        Command::new("cargo").args(["xtask", "lab", "test"]).stdout(Stdio::piped()).spawn().context("cargo xtask")?;
    let mut told = None;
    for line in BufReader::new(child.stdout.take().context("it is piped")?).lines() {
        let line = line?;
        told = lab::closing_line(&line).or(told);
        println!("{line}");
    }
    let ended_well = child.wait()?.success();
    let (passed, failed) = told.unwrap_or_default();
    count.passed += passed;
    // A lab that did not come up told nothing; one that leaves traces fails after its story.
    count.failed += if ended_well { failed } else { failed.max(1) };
    Ok(())
}

/// One check that a cargo command succeeds. Its output is shown only if it fails.
fn check(count: &mut Count, name: &str, arguments: &[&str]) -> Result<()> {
    heading(name);
    judge(count, name, &Command::new("cargo").args(arguments).output().context("cargo")?);
    Ok(())
}

fn judge(count: &mut Count, name: &str, output: &Output) {
    if output.status.success() {
        count.passed += 1;
    } else {
        count.failed += 1;
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("FAILED: {name}");
    }
}

/// A check that runs beside others, and takes of the processors what its niceness leaves it.
struct Aside {
    name: &'static str,
    running: std::thread::JoinHandle<std::io::Result<Output>>,
}

impl Aside {
    fn start(name: &'static str, niceness: u32, arguments: &'static [&'static str]) -> Self {
        let mut command = Command::new("nice");
        command.args(["-n", &niceness.to_string(), "cargo"]).args(arguments).stdin(Stdio::null());
        Self { name, running: std::thread::spawn(move || command.output()) }
    }

    fn finish(self, count: &mut Count) -> Result<()> {
        heading(self.name);
        let output = self.running.join().map_err(|_| anyhow!("{} panicked", self.name))?;
        judge(count, self.name, &output.context("nice")?);
        Ok(())
    }
}

/// All tests of the workspace, counted from their own result lines.
fn cargo_test(count: &mut Count, transcripts: &Transcripts) -> Result<()> {
    heading("tests");
    let mut child = Command::new("cargo")
        .args(["test", "--workspace", "--no-fail-fast"])
        .env("RUST_BACKTRACE", "0")
        .env(foreign::TRANSCRIPTS, transcripts)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test")?;
    let mut tests = 0;
    let mut failures = 0;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some((passed, failed)) = result_line(&line) {
                tests += passed;
                failures += failed;
            } else if let Some(ignored) = ignored_line(&line) {
                // Those that name a task of ours are that task's.
                if !ignored.contains("cargo xtask ") {
                    count.skipped.push(ignored);
                }
            } else {
                println!("{line}");
            }
        }
    }
    let status = child.wait()?;
    count.passed += tests;
    count.failed += failures;
    // A test binary that did not compile, or died, has no result line.
    if !status.success() && failures == 0 {
        count.failed += 1;
    }
    Ok(())
}

/// What is not ours, against the emulator: clients, and the models over all that crossed the wire in any test.
fn foreign_clients(count: &mut Count, transcripts: &Transcripts) {
    if let Some(reason) = python::missing() {
        count.skipped.push(format!("boto3 and the AWS CLI against the emulator: {reason}"));
        count.skipped.push(format!("the emulator's replies against botocore's models: {reason}"));
        return;
    }
    heading("boto3 and the AWS CLI against the emulator");
    let clients = foreign::clients(transcripts).unwrap_or_else(Outcome::none);
    count.skipped.extend(clients.skipped.iter().cloned());
    tally(count, "boto3 and the AWS CLI against the emulator", &clients);
    heading("the emulator's replies against botocore's models");
    let models = foreign::models(transcripts).unwrap_or_else(Outcome::none);
    println!("{}", models.output.lines().last().unwrap_or_default());
    tally(count, "the emulator's replies against botocore's models", &models);
}

fn tally(count: &mut Count, name: &str, outcome: &Outcome) {
    count.passed += outcome.passed;
    count.failed += outcome.failed;
    if outcome.failed > 0 {
        println!("{}FAILED: {name}", outcome.output);
    }
}

/// What the tests that skip themselves lack: they pass, and cannot say so.
fn skipped_by_themselves(count: &mut Count) {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    for (path, what) in [
        ("/usr/sbin/sshd", "scripts over a real sshd: needs root and openssh-server"),
        ("/dev/loop-control", "loop devices of the emulator: needs root and loop devices"),
    ] {
        if !is_root || !Path::new(path).exists() {
            count.skipped.push(what.to_owned());
        }
    }
}

/// `test NAME ... ignored, REASON`
fn ignored_line(line: &str) -> Option<String> {
    let (name, reason) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some(format!("{name}{}", reason.replacen(',', ":", 1)))
}

/// `test result: ok. 11 passed; 0 failed; 0 ignored; ...`
fn result_line(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?;
    let number =
        |word: &str| rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok());
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::{ignored_line, result_line};

    #[test]
    fn the_labs_closing_line_is_counted() {
        assert_eq!(crate::lab::closing_line("lab: 18 passed, 1 failed"), Some((18, 1)));
        assert_eq!(crate::lab::closing_line("so      plan is the same twice (1.0 s)"), None);
    }

    #[test]
    fn result_lines_are_counted() {
        let line = "test result: FAILED. 9 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 36.41s";
        assert_eq!(result_line(line), Some((9, 2)));
        assert_eq!(result_line("test a ... ok"), None);
        assert_eq!(ignored_line("test a ... ignored, needs b").as_deref(), Some("a: needs b"));
        assert_eq!(ignored_line("test a ... ok"), None);
    }
}
