//! Pods: scripts in containers of the new side.

use async_trait::async_trait;
use rehome_model::task::PodTask;

use crate::error::ScriptError;
use crate::hosts::ScriptOutput;

/// A script for a container: the task it carries out, and that task rendered by the application's profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodScript {
    /// The task. Simulated pods carry it out; real ones run `text`.
    pub task: PodTask,
    /// A POSIX shell script, idempotent.
    pub text: String,
    /// Limit in seconds.
    pub limit_s: u32,
}

/// Runs scripts in containers (Kubernetes `pods/exec`).
#[async_trait]
pub trait Pods: Send + Sync {
    /// Runs a script in a container with `sh -c`. The same contract as [`crate::Hosts::run`].
    async fn run(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        script: &PodScript,
    ) -> Result<ScriptOutput, ScriptError>;
}
