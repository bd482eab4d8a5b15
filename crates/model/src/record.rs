//! The run record: what an execution has done, kept in the target cluster, readable from any machine that reaches it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::format::Format;
use crate::ids::{RunId, StepId, VolumeId};
use crate::plan::LEFT;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before the first member is quiesced: production serves.
    Preparing,
    /// From the first quiesced member to the opening: downtime.
    Cutover,
    /// The new side serves; the old one is kept.
    Completed,
    /// A failure before the opening, or the user, is being undone.
    Undoing,
    /// The legacy side serves on its original volumes.
    RolledBack,
    /// Needs a person.
    Stuck,
    /// The user has said that the old side is no longer needed; what only a rollback needs is being taken away.
    Finalizing,
    /// There is no way back any more.
    Finalized,
    /// The volumes with all new writes go back to the legacy instances.
    Returning,
    /// The legacy side serves on the volumes that the new side wrote to.
    Returned,
}

/// As in "the run is being undone".
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preparing => "preparing",
            Self::Cutover => "in its cutover",
            Self::Completed => "completed",
            Self::Undoing => "being undone",
            Self::RolledBack => "rolled back",
            Self::Stuck => "stuck",
            Self::Finalizing => "being finalized",
            Self::Finalized => "finalized",
            Self::Returning => "being rolled back with its new writes",
            Self::Returned => "rolled back with its new writes",
        })
    }
}

impl Phase {
    /// Whether nothing is left to do in this phase: `apply` has nothing to go on with.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Finalized) || self.is_back()
    }

    /// Whether the run is over with the legacy side serving: the next `apply` begins another.
    pub fn is_back(self) -> bool {
        matches!(self, Self::RolledBack | Self::Returned)
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// An act may have been sent: its effect is to be looked for.
    Intended,
    /// Its postcondition was seen to hold.
    Done,
    /// It is being undone.
    Undoing,
    /// Its undo's postcondition was seen to hold.
    Undone,
    /// It failed, and what is left is unknown or cannot be undone.
    Stuck,
}

/// A step's line in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Where it stands.
    pub state: StepState,
    /// Attempts so far; part of client tokens.
    pub attempt: u32,
    /// Declared outputs, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// The last error, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the state was written, in ms since 1970; while it is being undone, when it last acted.
    pub at_ms: u64,
}

/// The header of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHeader {
    /// Format of the record.
    pub format: Format,
    /// The run.
    pub run: RunId,
    /// The migration's name.
    pub migration: String,
    /// Hash of the plan that is carried out.
    pub plan_hash: String,
    /// Counts the runs of this migration, from 1.
    pub generation: u32,
    /// Where it stands.
    pub phase: Phase,
    /// Why it is being undone or stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the first driver took it up, in ms since 1970.
    pub started_at_ms: u64,
    /// When the first member left service, in ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutover_at_ms: Option<u64>,
    /// When the new side was verified open, in ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at_ms: Option<u64>,
    /// What the user asked `finalize` for, once its first act was begun. Since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finalize: Option<FinalizeChoice>,
    /// What `rollback --keep-writes` saw when it was begun. Since version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_writes: Option<KeepWrites>,
}

/// What a rollback that keeps writes must know and cannot see any more once it has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepWrites {
    /// When the user asked for it, in ms since 1970.
    pub at_ms: u64,
    /// Legacy volume -> the device name at which it was attached, and its successor will be.
    pub devices: BTreeMap<VolumeId, String>,
}

/// What the user asked `finalize` for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalizeChoice {
    /// When the user said so, in ms since 1970.
    pub at_ms: u64,
    /// Until when the final snapshots are kept, in ms since 1970.
    pub keep_until_ms: u64,
    /// Whether the legacy instances' protections are put back as they were.
    pub release_legacy: bool,
}

/// A whole run record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The header.
    pub header: RunHeader,
    /// All steps that were begun.
    pub steps: BTreeMap<StepId, StepRecord>,
}

impl RunRecord {
    /// What steps left in place that somebody must look at, in words.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.steps.values().filter_map(|step| step.outputs.get(LEFT).map(String::as_str))
    }
}
