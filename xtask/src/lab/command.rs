//! Programs run to their end.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A program with its arguments.
pub fn program<S: AsRef<str>>(words: &[S]) -> Command {
    let mut command = Command::new(words[0].as_ref());
    command.args(words[1..].iter().map(AsRef::as_ref)).stdin(Stdio::null());
    command
}

/// Runs a line of words without quoting, such as `ip netns add lab-cp`; says what failed.
pub fn run(line: &str) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    output(&mut program(&words)).map(|_| ())
}

/// Runs a command; its output, or what it said when it failed.
pub fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        bail!("{} ended with {status}: {}", shown(command), last_lines(&said, 12));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// The same command, which ends when this process is killed: what a long task starts does not go on without it.
pub fn mortal(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(key, value),
            None => bound.env_remove(key),
        };
    }
    bound
}

/// Whether a command succeeds. What it prints is not shown.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A command as a person would type it.
fn shown(command: &Command) -> String {
    let words: Vec<String> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|w| w.display().to_string()).collect();
    words.join(" ")
}

/// The last lines of a text.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The last lines of a file, for messages.
pub fn tail(path: &Path, count: usize) -> String {
    std::fs::read_to_string(path).map_or_else(|error| error.to_string(), |text| last_lines(&text, count))
}

/// Waits until something is so, looking often; an error names it.
pub fn wait_for(what: &str, limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !is_so()? {
        if started.elapsed() > limit {
            bail!("{what}: not so after {} s", limit.as_secs());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
