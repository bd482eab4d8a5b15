//! The way back: the undo of every step that was begun, in reverse order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rehome_model::ids::StepId;
use rehome_model::plan::{Plan, Purpose, Step, Undo};
use rehome_model::record::{Phase, RunRecord, StepRecord, StepState};

use crate::schedule::{self, Ending, Work};
use crate::shared::Shared;

/// Whether a failure of `step` leaves things as they are, because its group is committed: clients may write already.
pub(crate) fn committed(shared: &Shared, step: &StepId) -> bool {
    let steps = shared.steps();
    let any_commit = shared.plan.groups.iter().any(|group| steps.contains_key(&group.commit));
    // The commit step itself counts as soon as it was begun: whether its act took effect is not known.
    any_commit || shared.plan.groups.iter().any(|group| group.commit == *step && steps.contains_key(step))
}

/// The steps whose undo is still to be done, each after the undo of all that were built on it.
pub(crate) fn work(plan: &Plan, steps: &BTreeMap<StepId, StepRecord>) -> (Vec<Work>, BTreeSet<StepId>) {
    let begun = |id: &StepId| steps.contains_key(id);
    let undone: BTreeSet<StepId> =
        steps.iter().filter(|(_, record)| record.state == StepState::Undone).map(|(id, _)| id.clone()).collect();
    let mut built_on: BTreeMap<&StepId, Vec<StepId>> = BTreeMap::new();
    for step in plan.steps.iter().filter(|step| begun(&step.id)) {
        for before in &step.after {
            built_on.entry(before).or_default().push(step.id.clone());
        }
    }
    let to_undo = plan.steps.iter().rev().filter(|step| begun(&step.id) && !undone.contains(&step.id));
    let work = to_undo
        .map(|step| Work {
            action: match &step.undo {
                Undo::Act(action) => Some(action.as_ref().clone()),
                Undo::Nothing(_) => None,
            },
            after: built_on.get(&step.id).cloned().unwrap_or_default(),
            step: step.clone(),
            undo: true,
        })
        .collect();
    (work, undone)
}

/// Undoes everything that was begun.
pub(crate) async fn run_undo(shared: &Arc<Shared>) -> Ending {
    let (work, undone) = work(&shared.plan, &shared.steps());
    let ending = schedule::run_all(shared, work, undone).await;
    let written = match &ending {
        Ending::Done => shared.change_header(|header| header.phase = Phase::RolledBack).await,
        Ending::Failed { step, error } => {
            let reason = format!("undo of {step}: {error}");
            shared
                .change_header(|header| {
                    header.phase = Phase::Stuck;
                    header.reason = Some(reason);
                })
                .await
        }
        Ending::Interrupted(_) => Ok(()),
    };
    match written {
        Ok(()) => ending,
        Err(error) => Ending::Interrupted(error.to_string()),
    }
}

/// The rollback of a recorded run as a plan, for a person to review. The engine computes the same from the record.
pub fn rollback_plan(plan: &Plan, record: &RunRecord) -> Plan {
    let (work, _) = work(plan, &record.steps);
    let kept: BTreeSet<StepId> =
        work.iter().filter(|item| item.action.is_some()).map(|item| item.step.id.clone()).collect();
    let name = |id: &StepId| StepId(format!("undo:{id}"));
    let steps = work
        .into_iter()
        .filter_map(|item| {
            item.action.map(|action| Step {
                id: name(&item.step.id),
                title: format!("undo: {}", item.step.title),
                why: "taken back with the run".to_owned(),
                after: item.after.iter().filter(|id| kept.contains(*id)).map(name).collect(),
                action,
                undo: Undo::Nothing("a rollback is not itself rolled back; apply again instead".to_owned()),
                alternatives: Vec::new(),
                group: None,
                ..item.step
            })
        })
        .collect();
    Plan { purpose: Purpose::RollbackDiscardWrites, steps, groups: Vec::new(), ..plan.clone() }
}
