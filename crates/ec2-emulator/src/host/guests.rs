//! The guest program: the user's own way to run machines.
//!
//! `docs/emulator.md` has this for users. It is called as `PROGRAM VERB INSTANCE [ARGUMENT...]`, with `EC2_ZONE`, `EC2_PRIVATE_IP`, `EC2_INSTANCE_TYPE` and
//! `EC2_NAME` (the tag) set where the verb is `start`. Exit code 0 is success; other codes are an error, unless said
//! otherwise. Every call must end soon and may come again.
//!
//! | verb | what it does |
//! | --- | --- |
//! | `start` | begins to start the machine; its `/dev` must be there when it returns |
//! | `stop` | begins a clean shutdown |
//! | `kill` | ends the machine at once |
//! | `down` | 0 when the machine is down, 1 while it is not |
//! | `remove` | removes what is left of a terminated machine |
//! | `attach DEVICE BLOCK_DEVICE VOLUME` | shows a block device of this host as DEVICE in the machine; nothing if it is down |
//! | `detach DEVICE BLOCK_DEVICE VOLUME` | takes it away again; only called when nothing has it mounted, or by force |
//! | `freeze`, `thaw` | stops every process of the machine, and lets them go on |
//! | `exec LIMIT` | runs the shell script on standard input as root, for at most LIMIT seconds; its exit code and output are the script's; 69 if the machine has no agent |

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rehome_model::ids::{InstanceId, VolumeId};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::Instant;

use crate::disks::{DiskError, Machine};

use super::command;

/// The exit code of `exec` for a machine that cannot run scripts (`EX_UNAVAILABLE` of sysexits.h).
const NO_AGENT: i32 = 69;
/// The exit code of `timeout`, with which a program ends that ended its script at the limit.
const TIMED_OUT: i32 = 124;
/// How long after its limit a script's end may take to be told.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How a script in a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// It ran to its end.
    Ended {
        /// Exit code.
        exit_code: i32,
        /// Standard output.
        stdout: String,
        /// Standard error.
        stderr: String,
    },
    /// It was ended at its limit.
    TimedOut,
    /// The machine is down or has no agent.
    Unreachable,
}

/// Machines, through the guest program.
#[derive(Clone, Debug)]
pub struct Guests {
    program: PathBuf,
}

impl Guests {
    /// Machines run by a program.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    fn call(&self, verb: &'static str, instance: &InstanceId, arguments: &[&str]) -> Result<(), DiskError> {
        let all = [&[verb, instance.as_str()], arguments].concat();
        command::run(verb, instance, &self.program, all).map(|_| ())
    }

    pub(super) fn start(&self, machine: &Machine) -> Result<(), DiskError> {
        let name = machine.tags.get("Name").map_or("", String::as_str);
        let settings = [
            format!("EC2_ZONE={}", machine.zone),
            format!("EC2_PRIVATE_IP={}", machine.private_ip),
            format!("EC2_INSTANCE_TYPE={}", machine.instance_type),
            format!("EC2_NAME={name}"),
        ];
        let program = self.program.display().to_string();
        let call = [program.as_str(), "start", machine.id.as_str()];
        let arguments = settings.iter().map(String::as_str).chain(call);
        command::run("start", &machine.id, "env", arguments).map(|_| ())
    }

    pub(super) fn stop(&self, instance: &InstanceId, clean: bool) -> Result<(), DiskError> {
        self.call(if clean { "stop" } else { "kill" }, instance, &[])
    }

    pub(super) fn is_down(&self, instance: &InstanceId) -> bool {
        self.call("down", instance, &[]).is_ok()
    }

    pub(super) fn remove(&self, instance: &InstanceId) -> Result<(), DiskError> {
        self.call("remove", instance, &[])
    }

    /// `attach` or `detach`.
    pub(super) fn show(
        &self,
        verb: &'static str,
        instance: &InstanceId,
        device: &str,
        block_device: &Path,
        volume: &VolumeId,
    ) -> Result<(), DiskError> {
        self.call(verb, instance, &[device, &block_device.display().to_string(), volume.as_str()])
    }

    pub(super) fn freeze(&self, instance: &InstanceId) -> Result<(), DiskError> {
        self.call("freeze", instance, &[])
    }

    pub(super) fn thaw(&self, instance: &InstanceId) -> Result<(), DiskError> {
        self.call("thaw", instance, &[])
    }

    /// Whether the machine runs scripts.
    pub async fn has_agent(&self, instance: &InstanceId) -> bool {
        const LIMIT: Duration = Duration::from_secs(10);
        matches!(self.exec(instance, "true", LIMIT).await, Ok(Output::Ended { exit_code: 0, .. }))
    }

    /// Runs a script in a machine.
    pub async fn exec(&self, instance: &InstanceId, script: &str, limit: Duration) -> std::io::Result<Output> {
        let started = Instant::now();
        let mut child = Command::new(&self.program)
            .args(["exec", instance.as_str(), &limit.as_secs().max(1).to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read its script has ended already; its exit code says why.
            let _ = input.write_all(script.as_bytes()).await;
        }
        let Ok(ended) = tokio::time::timeout(limit + END_LIMIT, child.wait_with_output()).await else {
            return Ok(Output::TimedOut);
        };
        let ended = ended?;
        Ok(match ended.status.code() {
            Some(NO_AGENT) => Output::Unreachable,
            Some(TIMED_OUT) if started.elapsed() >= limit => Output::TimedOut,
            code => Output::Ended {
                // 128 + 15 for a script that was ended by a signal, as a shell says it.
                exit_code: code.unwrap_or(143),
                stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
            },
        })
    }
}
