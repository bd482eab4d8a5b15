//! Events: all that an execution tells the world. Renderers only consume them.

use serde::{Deserialize, Serialize};

use crate::ids::{RunId, StepId};
use crate::record::{Phase, StepState};

/// One event, at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970, by the apiserver's clock as the driver learned it with the lease.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields repeat the step's own")]
pub enum EventKind {
    /// A driver took the run up, anew or again.
    RunStarted { run: RunId, resumed: bool, steps: usize, steps_done: usize },
    /// The run went into another phase.
    PhaseChanged { phase: Phase },
    /// A step began to look, and if needed to act.
    StepStarted { step: StepId, title: String, undo: bool },
    /// A step waits for something; at most one a poll.
    StepWaiting { step: StepId, reason: String },
    /// A step met an error that it tries again.
    StepRetried { step: StepId, error: String, attempt: u32 },
    /// A step ended.
    StepEnded { step: StepId, title: String, state: StepState, took_ms: u64, undo: bool },
    /// A step failed for good; the run now undoes itself or stops.
    StepFailed { step: StepId, title: String, error: String },
    /// Something a person should know that changes nothing.
    Note { text: String },
    /// The driver let the run go.
    RunEnded { phase: Phase },
}
