//! `cargo xtask foreign`: the EC2 emulator is held to account by what is not ours: boto3, the AWS CLI, and botocore's
//! service models, to which every exchange on the wire is held.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cache, cargo, python};

/// The environment's name of the directory that every server of the emulator writes its transcript to.
pub const TRANSCRIPTS: &str = "REHOME_TRANSCRIPTS";
/// Where the tests in Python are.
const TESTS: &str = "crates/ec2-emulator/tests/foreign";

/// Transcripts of a run, gone with this value.
pub struct Transcripts(PathBuf);

impl Transcripts {
    /// An empty directory.
    pub fn new() -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("rehome-transcripts-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }
}

impl AsRef<OsStr> for Transcripts {
    fn as_ref(&self) -> &OsStr {
        self.0.as_os_str()
    }
}

impl Drop for Transcripts {
    fn drop(&mut self) {
        // Left behind in the temporary directory at worst.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How many tests of a run did what, and what it printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub passed: u64,
    pub failed: u64,
    /// Tests that skipped themselves, and why.
    pub skipped: Vec<String>,
    pub output: String,
}

impl Outcome {
    /// A run that could not begin: a failure.
    #[expect(clippy::needless_pass_by_value, reason = "as `unwrap_or_else` takes it")]
    pub fn none(error: anyhow::Error) -> Self {
        Self { passed: 0, failed: 1, skipped: Vec::new(), output: format!("{error:#}\n") }
    }
}

/// The task: wire tests of the emulator's own, foreign clients, and the models over both.
pub fn test() -> Result<bool> {
    if let Some(reason) = python::missing() {
        bail!("{reason}");
    }
    let transcripts = Transcripts::new()?;
    let own = Command::new("cargo")
        .args(["test", "--package", "rehome-ec2-emulator", "--features", "wire", "--test", "wire", "--test", "instant"])
        .env(TRANSCRIPTS, &transcripts)
        .status()
        .context("cargo test")?;
    let clients = clients(&transcripts)?;
    print!("{}", clients.output);
    for skipped in &clients.skipped {
        println!("not run: {skipped}");
    }
    let models = models(&transcripts)?;
    print!("{}", models.output);
    Ok(own.success() && clients.failed + models.failed == 0)
}

/// boto3 and the AWS CLI against `rehome emulate ec2`.
pub fn clients(transcripts: &Transcripts) -> Result<Outcome> {
    let rehome = cargo::rehome()?;
    let output = python(["-m", "unittest", "discover", "--verbose", "--start-directory", "."])?
        .env("REHOME", rehome)
        .env(TRANSCRIPTS, transcripts)
        .output()
        .context("unittest")?;
    // unittest prints to standard error.
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let (passed, failed) = counts(&text).unwrap_or((0, 1));
    let skipped = text.lines().filter_map(skipped_line).collect();
    // A run that died at its end is a failure whatever it counted.
    let failed = if output.status.success() { failed } else { failed.max(1) };
    Ok(Outcome { passed, failed, skipped, output: text })
}

/// botocore's models over all transcripts: one check. Every action that the emulator offers must be in them.
pub fn models(transcripts: &Transcripts) -> Result<Outcome> {
    check(python(["check.py", "--all"])?.arg(transcripts))
}

/// The same over the transcripts in a directory, whatever actions are in them.
pub fn models_of(transcripts: &Path) -> Result<Outcome> {
    check(python(["check.py"])?.arg(transcripts))
}

fn check(command: &mut Command) -> Result<Outcome> {
    let output = command.output().context("check.py")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let passed = u64::from(output.status.success());
    Ok(Outcome { passed, failed: 1 - passed, skipped: Vec::new(), output: text })
}

/// The project's Python in the directory of the tests.
fn python<const N: usize>(arguments: [&str; N]) -> Result<Command> {
    let mut command = Command::new(python::venv()?.join("bin/python"));
    command.current_dir(cache::checkout()?.join(TESTS)).arg("-B").args(arguments);
    Ok(command)
}

/// Passed and failed tests, from unittest's closing lines: `Ran 9 tests in 3.1s`, then `OK` or
/// `FAILED (failures=1, errors=2, skipped=3)`.
fn counts(text: &str) -> Option<(u64, u64)> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("Ran "));
    let ran: u64 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let closing = lines.find(|line| line.starts_with("OK") || line.starts_with("FAILED"))?;
    let number = |name: &str| -> u64 {
        let parts = closing.split(['(', ')', ',']).map(str::trim);
        parts.filter_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok()).sum()
    };
    let failed = number("failures") + number("errors");
    Some((ran.saturating_sub(failed + number("skipped")), failed))
}

/// `test_a (test_b.C.test_a) ... skipped 'REASON'`
fn skipped_line(line: &str) -> Option<String> {
    let (name, reason) = line.split_once(" ... skipped ")?;
    Some(format!("{}: {}", name.split(' ').next()?, reason.trim_matches('\'')))
}

#[cfg(test)]
mod tests {
    use super::{counts, skipped_line};

    #[test]
    fn unittests_closing_lines_are_counted() {
        assert_eq!(counts("..\n-----\nRan 57 tests in 28.177s\n\nOK\n"), Some((57, 0)));
        let failed = "Ran 9 tests in 1.0s\n\nFAILED (failures=1, errors=2, skipped=3)\n";
        assert_eq!(counts(failed), Some((3, 3)));
        assert_eq!(counts("Traceback (most recent call last):\n"), None);
        let line = "test_a (test_b.C.test_a) ... skipped 'needs root'";
        assert_eq!(skipped_line(line).as_deref(), Some("test_a: needs root"));
        assert_eq!(skipped_line("test_a (test_b.C.test_a) ... ok"), None);
    }
}
