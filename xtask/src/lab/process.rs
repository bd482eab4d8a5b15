//! Processes that outlive the command which starts them, known by pid and start time.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::command::{succeeds, tail, wait_for};
use super::layout::state;

/// How long a process may take to end when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(15);

/// Where a process writes.
pub fn log(name: &str) -> PathBuf {
    state("log").join(format!("{name}.log"))
}

fn note(name: &str) -> PathBuf {
    state("processes").join(name)
}

/// How a process is started again.
fn recipe(name: &str) -> PathBuf {
    state("recipes").join(name)
}

/// Starts a process in a network namespace, in a session of its own, and notes it.
pub fn start(name: &str, namespace: &str, command: &Command) -> Result<()> {
    let text = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
    let mut words = vec![format!("--net=/run/netns/{namespace}"), "setsid".to_owned(), text(command.get_program())];
    words.extend(command.get_args().map(text));
    let environment: BTreeMap<String, String> =
        command.get_envs().filter_map(|(key, value)| Some((text(key), text(value?)))).collect();
    fs::write(recipe(name), serde_json::to_string(&(&words, &environment))?)?;
    spawn(name, &words, &environment)
}

/// Ends a process as `kill -9` does, and starts it again as it was.
pub fn restart(name: &str) -> Result<()> {
    let text = fs::read_to_string(recipe(name)).with_context(|| format!("no part is called {name}"))?;
    let (words, environment): (Vec<String>, BTreeMap<String, String>) = serde_json::from_str(&text)?;
    kill(name);
    spawn(name, &words, &environment)
}

fn spawn(name: &str, words: &[String], environment: &BTreeMap<String, String>) -> Result<()> {
    let log_file = fs::File::options().create(true).append(true).open(log(name))?;
    let child = Command::new("nsenter")
        .args(words)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(log_file.try_clone()?)
        .stderr(log_file)
        .spawn()
        .with_context(|| format!("{name} cannot be started"))?;
    let pid = child.id();
    let born = born(pid).with_context(|| format!("{name} ended at once: {}", tail(&log(name), 5)))?;
    fs::write(note(name), format!("{pid} {born}\n"))?;
    Ok(())
}

/// When a process was started, in the kernel's ticks: with its pid, who it is. None for one that ended.
fn born(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold spaces; the state comes after it, the start time is field 22.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let born = fields.nth(18)?;
    (state != "Z").then(|| born.to_owned())
}

/// Its pid, if it runs.
pub fn pid(name: &str) -> Option<u32> {
    let text = fs::read_to_string(note(name)).ok()?;
    let (pid, noted) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    (born(pid)? == noted).then_some(pid)
}

/// Names of all processes that were started, whether they run or not.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(state("processes")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// An error that names the first process which ended by itself.
pub fn all_alive() -> Result<()> {
    match names().into_iter().find(|name| pid(name).is_none()) {
        Some(name) => bail!("{name} has ended: {}", tail(&log(&name), 8)),
        None => Ok(()),
    }
}

/// Asks a process to end, and ends it if it does not.
pub fn stop(name: &str) {
    let signal = |signal: &str| {
        if let Some(pid) = pid(name) {
            succeeds(Command::new("kill").args([signal, &pid.to_string()]));
        }
    };
    signal("-TERM");
    if wait_for(name, END_LIMIT, || Ok(pid(name).is_none())).is_err() {
        kill(name);
    }
    // Gone already is as good.
    let _ = fs::remove_file(note(name));
}

/// Ends a process at once, as `kill -9` does.
pub fn kill(name: &str) {
    if let Some(pid) = pid(name) {
        succeeds(Command::new("kill").args(["-KILL", &pid.to_string()]));
        let _ = wait_for(name, END_LIMIT, || Ok(self::pid(name).is_none()));
    }
    let _ = fs::remove_file(note(name));
}
