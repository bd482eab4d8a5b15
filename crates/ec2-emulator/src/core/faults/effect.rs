//! What a fault does to a call.

use serde::{Deserialize, Serialize};

use crate::api::ApiError;

/// What happens to a call. The names in files and at the admin endpoint are these in camel case, times in ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It fails and has no effect.
    #[serde(rename = "error")]
    Fail(ApiError),
    /// It has its effect; the reply is this error.
    #[serde(rename = "errorAfterEffect")]
    LoseReply(ApiError),
    /// It has its effect; there is no reply. On the wire the connection is closed; in process it is the error `Transport`,
    /// as which the AWS adapter tells of it.
    NoReply,
    /// It has its effect at once; the reply comes so many ms later.
    DelayMs(u64),
    /// It is throttled, in the service's own code.
    Throttle,
    /// The caller is denied it, in the service's own code.
    Deny,
    /// What it began takes so many ms longer: an attachment that hangs in `attaching`, a snapshot that sticks at 99 %.
    #[serde(rename = "slowMs")]
    Slow(u64),
    /// What it began never ends: a volume stays `attaching`, `detaching` or `creating`, an instance `stopping`.
    Stuck,
    /// It is accepted; the volume or snapshot it made fails later, the instance it started falls back to `stopped`.
    FailLater,
    /// There is no capacity for it.
    InsufficientCapacity,
    /// A describe shows what was so many ms ago, as far back as when the rule was set. Of another call it is the change
    /// that shows so late.
    StaleMs(u64),
    /// Before the call somebody else terminates the instances whose id or tag `Name` matches, protected or not.
    InstanceGone(String),
    /// The agents of the instances that the call names do not answer SSM, or of all, if it names none.
    AgentGone,
    /// SSM gives the command up after so many ms; the script goes on.
    CommandTimesOutMs(u64),
    /// SSM shows only so many characters of each output.
    CutOutput(usize),
}

/// What takes its time: `slowMs` and `stuck`.
const TAKES_TIME: &[&str] = &[
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
    "CreateVolume",
    "CopyVolumes",
    "AttachVolume",
    "DetachVolume",
    "ModifyVolume",
    "CreateSnapshot",
    "CreateSnapshots",
    "CopySnapshot",
    "EnterStandby",
    "ExitStandby",
];
const FAILS_LATER: &[&str] =
    &["CreateVolume", "CopyVolumes", "CreateSnapshot", "CreateSnapshots", "CopySnapshot", "StartInstances"];
const TAKES_CAPACITY: &[&str] = &["RunInstances", "StartInstances", "CreateVolume", "CopyVolumes"];
const ASKS_AGENTS: &[&str] = &["SendCommand", "DescribeInstanceInformation"];
const SHOWS_OUTPUT: &[&str] = &["SendCommand", "GetCommandInvocation"];
const SSM: &[&str] = &["SendCommand", "GetCommandInvocation", "DescribeInstanceInformation"];

impl Effect {
    /// A 503 without effect.
    pub fn unavailable() -> Self {
        Self::Fail(Self::unavailable_error())
    }

    /// A 503 after the effect.
    pub fn lost_reply() -> Self {
        Self::LoseReply(Self::unavailable_error())
    }

    fn unavailable_error() -> ApiError {
        ApiError::with_status(503, "Unavailable", "The service is unavailable. Please try again shortly.")
    }

    /// Whether it can happen to calls of this action. A rule passes over all others.
    pub fn is_for(&self, action: &str) -> bool {
        match self {
            Self::Fail(_)
            | Self::LoseReply(_)
            | Self::NoReply
            | Self::DelayMs(_)
            | Self::Throttle
            | Self::Deny
            | Self::InstanceGone(_) => true,
            Self::Slow(_) | Self::Stuck => TAKES_TIME.contains(&action),
            Self::FailLater => FAILS_LATER.contains(&action),
            Self::InsufficientCapacity => TAKES_CAPACITY.contains(&action),
            Self::StaleMs(_) => !SSM.contains(&action),
            Self::AgentGone => ASKS_AGENTS.contains(&action),
            Self::CommandTimesOutMs(_) => action == "SendCommand",
            Self::CutOutput(_) => SHOWS_OUTPUT.contains(&action),
        }
    }
}
