//! Hosts: scripts on legacy instances.

use async_trait::async_trait;
use rehome_model::ids::InstanceId;
use rehome_model::task::HostTask;

use crate::error::ScriptError;

/// A script for a host: the task it carries out, and that task rendered by the application's profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostScript {
    /// The task. Simulated hosts carry it out; real ones run `text`.
    pub task: HostTask,
    /// A POSIX shell script, run as root, idempotent; its last line is one short JSON object.
    pub text: String,
    /// Limit in seconds, after which the answer is `TimedOut` and the script is asked to end.
    pub limit_s: u32,
}

/// What a script said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptOutput {
    /// Exit code.
    pub exit_code: i32,
    /// Standard output. May be cut at 24,000 characters (SSM): scripts say the important last part in fewer.
    pub stdout: String,
    /// Standard error. May be cut at 8,000 characters (SSM).
    pub stderr: String,
}

/// Runs scripts on legacy instances as root.
///
/// Not idempotent by itself: a script may run twice (a lost reply, a second driver), or go on after `TimedOut`; the
/// scripts are made for that. A non-zero exit is not an error of the port.
#[async_trait]
pub trait Hosts: Send + Sync {
    /// Runs a script to its end.
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError>;
}
