//! How rehome, and the foreign clients that look after it, are called in the lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::command::{last_lines, output};
use super::control_plane::kubectl;
use super::layout::state;
use super::{cloud, inside, pki};
use crate::cache;

/// The lab's migration file.
pub fn migration() -> Result<PathBuf> {
    Ok(cache::checkout()?.join("lab/cassandra/migration.yaml"))
}

/// Where a command's output is kept.
pub fn kept(name: &str) -> PathBuf {
    state("story").join(name)
}

/// `rehome VERB -f MIGRATION ...`
pub fn rehome_command(words: &[&str]) -> Result<Command> {
    let mut command = inside("rehome");
    command.arg(words[0]).arg("--file").arg(migration()?).args(&words[1..]);
    Ok(command)
}

/// Runs rehome; keeps what it printed, in `NAME.out` and `NAME.err`.
pub fn rehome(name: &str, words: &[&str]) -> Result<()> {
    kept_run(name, rehome_command(words)?)
}

/// Runs a command of rehome's; keeps what it printed.
pub fn kept_run(name: &str, mut command: Command) -> Result<()> {
    let (out, err) = (kept(&format!("{name}.out")), kept(&format!("{name}.err")));
    command.stdin(Stdio::null()).stdout(fs::File::create(&out)?).stderr(fs::File::create(&err)?);
    let status = command.status()?;
    if !status.success() {
        let said = fs::read_to_string(&err)? + &fs::read_to_string(&out)?;
        bail!("{name} ended with {status}: {}", last_lines(&said, 30));
    }
    Ok(())
}

/// A command of `docs/tutorial.md`, as it stands there; or on another migration file than the one it names.
pub fn tutorial_command(verb: &str, file: Option<&Path>) -> Result<Command> {
    let checkout = cache::checkout()?;
    let page = fs::read_to_string(checkout.join("docs/tutorial.md"))?;
    let start = format!("$ rehome {verb} ");
    let line =
        page.lines().find(|line| line.starts_with(&start)).with_context(|| format!("no {verb} in the tutorial"))?;
    let mut words: Vec<String> = line.split_whitespace().skip(2).map(str::to_owned).collect();
    if let Some(file) = file {
        for word in words.iter_mut().filter(|word| word.ends_with("migration.yaml")) {
            *word = file.display().to_string();
        }
    }
    let mut command = inside("rehome");
    command.current_dir(checkout).args(words);
    Ok(command)
}

pub fn tutorial(verb: &str, file: Option<&Path>) -> Result<()> {
    kept_run(verb, tutorial_command(verb, file)?)
}

/// A command of the foreign clients' script; each thing that it saw is told.
pub fn proof(words: &[&str]) -> Result<()> {
    for line in proof_quietly(words)?.lines() {
        println!("          {line}");
    }
    Ok(())
}

/// The same without telling; what it printed.
pub fn proof_quietly(words: &[&str]) -> Result<String> {
    let mut command = cloud::script("proof.py")?;
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{}:{path}", state("bin").display()))
        .env("ADMIN_KUBECONFIG", pki::kubeconfig("admin"))
        .env("LAB_ACCOUNT", state("pool/ec2"))
        .arg("--notes")
        .arg(kept("legacy.json"))
        .args(words);
    let done = command.stdin(Stdio::null()).output()?;
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        bail!("{} {}", last_lines(&printed, 3), last_lines(&String::from_utf8_lossy(&done.stderr), 12));
    }
    Ok(printed)
}

/// `rehome apply` under `lab/chaos.py`; what that saw.
pub fn chaos(options: &[&str], log: &str) -> Result<Value> {
    let file = migration()?.display().to_string();
    counted(options, &["apply", "--yes", "--file", &file], log)
}

/// `rehome apply` with its calls noted and its events, as JSON, in the log.
pub fn apply_counted(log: &str) -> Result<Value> {
    let file = migration()?.display().to_string();
    counted(&[], &["apply", "--yes", "--output", "json", "--file", &file], log)
}

/// `rehome plan` of a file, with its calls counted.
pub fn plan_counted(file: &Path, log: &str) -> Result<Value> {
    counted(&[], &["plan", "--file", &file.display().to_string()], log)
}

pub fn counted(options: &[&str], words: &[&str], log: &str) -> Result<Value> {
    let python = crate::python::venv()?.join("bin/python");
    let mut command = inside(&python.display().to_string());
    command.arg(cache::checkout()?.join("lab/chaos.py")).args(options).arg("--log").arg(kept(log)).arg("--");
    let printed = output(command.arg(state("bin/rehome")).args(words))?;
    let line = printed.lines().last().context("chaos.py printed nothing")?;
    Ok(serde_json::from_str(line)?)
}

/// Gives the Lease of a driver that was killed back, as the driver does when it ends.
pub fn give_lease_back() -> Result<()> {
    let lease = "rehome-run-lab";
    let free = r#"{"spec":{"holderIdentity":""}}"#;
    output(&mut kubectl(&["patch", "lease", lease, "-n", "cassandra", "--type=merge", "-p", free])).map(|_| ())
}
