//! Exit codes, and errors that carry one.

use std::fmt;
use std::process::ExitCode;

/// What the process's exit code says. Documented in docs/interface.md; never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// What was asked for did not come about; the world is as it was, or was put back.
    Failed = 1,
    /// The command line or a file is wrong. Nothing was changed.
    Usage = 2,
    /// Checks found errors, or the facts of a plan no longer hold. Nothing was changed.
    Findings = 3,
    /// Cloud, cluster or hosts cannot be reached or refuse the caller, or another driver is at work. Nothing was changed by
    /// this, and it may go later.
    Unreachable = 4,
    /// A person must look: a run is stuck, or failed after its commit and was not put back, a finalize is half done, a
    /// record is damaged, `gc` left something in place.
    Stuck = 5,
    /// It was interrupted, or stopped on its way; what was begun is recorded, and the same command goes on.
    Interrupted = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with an exit code and what to do next.
#[derive(Debug)]
pub struct Problem {
    /// The code.
    pub exit: Exit,
    /// What happened.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// An error with its code and next step.
pub fn problem(exit: Exit, message: impl Into<String>, hint: &str) -> anyhow::Error {
    let message = format!("{}\nhint: {hint}", message.into());
    anyhow::Error::new(Problem { exit, message })
}

/// The code of an error.
pub fn of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(|cause| cause.downcast_ref::<Problem>()).map_or(Exit::Failed, |problem| problem.exit)
}
