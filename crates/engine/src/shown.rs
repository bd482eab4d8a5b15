//! What somebody has agreed to.

use rehome_model::ids::RunId;
use rehome_model::plan::Plan;
use rehome_model::record::RunRecord;

use crate::driver::Command;

/// A recorded run as it was when somebody was asked about it. A question stays on a screen for as long as it likes, and
/// another driver may go on meanwhile: "nothing that was written is given up" is true before the opening only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The run.
    pub run: RunId,
    /// Whether clients may have written to the new side.
    pub opened: bool,
    /// Whether it was taken back already.
    pub back: bool,
}

impl Shown {
    /// What is shown of a record.
    pub fn of(plan: &Plan, record: &RunRecord) -> Self {
        let header = &record.header;
        Self { run: header.run.clone(), opened: rehome_planner::opened(plan, record), back: header.phase.is_back() }
    }

    /// Whether what was agreed to would be another thing now. An opening changes only what is given up.
    pub(crate) fn is_past(&self, now: &Self, command: &Command) -> bool {
        let gives_up = matches!(command, Command::RollbackDiscardWrites);
        now.run != self.run || now.back != self.back || (gives_up && now.opened != self.opened)
    }
}
