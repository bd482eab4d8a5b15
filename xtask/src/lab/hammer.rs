//! A client that writes through a whole move, and keeps a ledger of what was acknowledged.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::calls::kept;
use super::command::{last_lines, mortal, output, wait_for};
use super::layout::state;
use super::story::{legacy_addresses, pods};
use super::{legacy, pki};

/// A gap between two acknowledged writes that only the cutover makes.
const CUTOVER_GAP: Duration = Duration::from_secs(15);
/// How long it may take the client to find the cluster and write.
const FOUND_LIMIT: Duration = Duration::from_secs(120);

/// The running client.
pub struct Hammer {
    child: Child,
    ledger: PathBuf,
}

impl Hammer {
    /// Starts it; answers once a write is acknowledged.
    pub fn start(name: &str, writers: u32, pause: Duration) -> Result<Self> {
        let ledger = kept(&format!("{name}.ledger"));
        let _ = fs::remove_file(&ledger);
        let pods = format!(
            "{} --kubeconfig={} get pods -n cassandra -o jsonpath='{{.items[*].status.podIP}}'",
            state("bin/kubectl").display(),
            pki::kubeconfig("admin")
        );
        let mut command = legacy::client()?;
        command.args(["hammer", "--writers", &writers.to_string(), "--pause-s", &pause.as_secs_f64().to_string()]);
        command.arg("--ledger").arg(&ledger).args(["--elsewhere", &pods]).args(legacy::hosts(&legacy_addresses()));
        let said = fs::File::create(kept(&format!("{name}.hammer.err")))?;
        let hammer = Self {
            child: mortal(&command)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(said)
                .spawn()
                .context("client.py hammer")?,
            ledger,
        };
        hammer.wait_for_writes()?;
        Ok(hammer)
    }

    /// Waits until one more write is acknowledged, wherever the cluster is.
    pub fn wait_for_writes(&self) -> Result<()> {
        let count =
            || Ok::<usize, anyhow::Error>(fs::read_to_string(&self.ledger).map_or(0, |text| text.lines().count()));
        let before = count()?;
        wait_for("a write is acknowledged", FOUND_LIMIT, || Ok(count()? > before))
    }

    /// Ends it; what it saw.
    pub fn stop(self) -> Result<Value> {
        output(Command::new("kill").arg(self.child.id().to_string()))?;
        let done = self.child.wait_with_output()?;
        let printed = String::from_utf8_lossy(&done.stdout);
        let seen: Value = serde_json::from_str(printed.lines().last().context("the client printed nothing")?)?;
        if !done.status.success() {
            bail!("the client read what it did not write: {seen}");
        }
        Ok(seen)
    }
}

/// Reads every acknowledged write of a ledger from the cluster, where it is now; how many there are. That one is lost, or
/// cannot be read, is an error.
pub fn verify(name: &str, until: Option<f64>, at: Where) -> Result<u64> {
    let mut command = legacy::client()?;
    command.arg("verify-ledger").arg("--ledger").arg(kept(&format!("{name}.ledger")));
    if let Some(until) = until {
        command.args(["--until", &until.to_string()]);
    }
    let addresses = match at {
        Where::Pods => pods()?,
        Where::Legacy => legacy_addresses(),
    };
    let done = command.args(legacy::hosts(&addresses)).stdin(Stdio::null()).output().context("client.py")?;
    let said = String::from_utf8_lossy(&done.stderr);
    let seen: Value = serde_json::from_str(String::from_utf8_lossy(&done.stdout).trim())
        .with_context(|| format!("client.py verify-ledger ended with {}: {}", done.status, last_lines(&said, 12)))?;
    if !done.status.success() {
        bail!("acknowledged writes of {name}.ledger are not there: {seen}");
    }
    seen["acknowledged"].as_u64().context("no count")
}

/// Where the cluster serves.
#[derive(Clone, Copy)]
pub enum Where {
    /// In the pods.
    Pods,
    /// On the legacy members.
    Legacy,
}

/// When the last write before the cutover was acknowledged, by the ledger: what comes after the gap is written to the pods.
pub fn cutover(name: &str) -> Result<f64> {
    let text = fs::read_to_string(kept(&format!("{name}.ledger")))?;
    let times: Vec<f64> = text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    let gaps: Vec<f64> =
        times.windows(2).filter(|two| two[1] - two[0] > CUTOVER_GAP.as_secs_f64()).map(|two| two[0]).collect();
    // A cutover that was undone made a gap as well, and the writes after it went to the legacy members.
    gaps.last().copied().with_context(|| format!("no gap of {} s in {name}.ledger", CUTOVER_GAP.as_secs()))
}
