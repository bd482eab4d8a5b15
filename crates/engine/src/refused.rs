//! Why a run was not taken up.

use rehome_model::ids::RunId;
use rehome_model::record::Phase;
use thiserror::Error;

use crate::account::OtherAccount;
use crate::lease::LeaseError;
use crate::store::StoreError;

/// Why a run could not be taken up; or why its driver stopped on the way ([`EngineError::Stopped`] alone).
#[derive(Debug, Error)]
pub enum EngineError {
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lease.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Another plan's run is under way.
    #[error(
        "run {run} of another plan is {phase}; go on with `rehome apply` without a new plan, or roll it back first"
    )]
    OtherPlan {
        /// The run.
        run: RunId,
        /// Its phase.
        phase: Phase,
    },
    /// The migration is done.
    #[error("run {run} is completed; there is nothing to apply")]
    AlreadyCompleted {
        /// The run.
        run: RunId,
    },
    /// The run is being taken back.
    #[error("run {run} is being rolled back; go on with `rehome rollback --discard-writes`")]
    BeingUndone {
        /// The run.
        run: RunId,
    },
    /// There is no way back any more.
    #[error(
        "run {run} is finalized: what a rollback needs was let go by `rehome finalize`; the new side is the only one"
    )]
    Finalized {
        /// The run.
        run: RunId,
    },
    /// The volumes with the new writes are on their way to the legacy side.
    #[error("run {run} is being rolled back with its new writes; go on with `rehome rollback --keep-writes`")]
    BeingReturned {
        /// The run.
        run: RunId,
    },
    /// The legacy side serves already.
    #[error("run {run} is rolled back already; the legacy side serves")]
    RolledBackAlready {
        /// The run.
        run: RunId,
    },
    /// There are no writes to keep.
    #[error(
        "run {run} was not opened to clients: nothing was written to the new side, and `rehome rollback \
         --discard-writes` loses nothing"
    )]
    NotOpened {
        /// The run.
        run: RunId,
    },
    /// Something is in the way of the volumes.
    #[error("the writes of run {run} cannot be taken back to the legacy side:\n  - {}", obstacles.join("\n  - "))]
    CannotKeepWrites {
        /// The run.
        run: RunId,
        /// What is in the way.
        obstacles: Vec<String>,
    },
    /// The legacy instances could not be started.
    #[error(
        "run {run} cannot be taken back: its legacy instances are stopped, and the caller is denied {}", denied.join(", ")
    )]
    CannotStart {
        /// The run.
        run: RunId,
        /// What is denied.
        denied: Vec<String>,
    },
    /// The credentials are of another account or region.
    #[error(transparent)]
    OtherAccount(#[from] OtherAccount),
    /// Cloud or cluster did not answer, before anything was begun.
    #[error("what stands in the way cannot be told: {0}")]
    Unseen(String),
    /// Only what is done can be finalized.
    #[error("run {run} is {phase}, not completed; there is nothing to finalize yet")]
    NotCompleted {
        /// The run.
        run: RunId,
        /// Its phase.
        phase: Phase,
    },
    /// There is no run.
    #[error(
        "no run of migration {migration} is recorded in namespace {namespace} (if its record was lost, \
         docs/without-a-record.md is the way back by hand)"
    )]
    NoRun {
        /// The migration.
        migration: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// It is not what somebody agreed to any more.
    #[error("run {run} has gone on since it was shown")]
    GoneOn {
        /// The run that was shown.
        run: RunId,
    },
    /// The run is beyond what was asked for.
    #[error("run {run} is in its cutover already: production does not serve")]
    CutoverBegun {
        /// The run.
        run: RunId,
    },
    /// The run was taken up, and its header or plan could not be written on the way: acts may have been made.
    #[error("the driver stopped on its way: {0}")]
    Stopped(String),
}
