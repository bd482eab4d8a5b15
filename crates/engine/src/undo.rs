//! The way back: the undo of every step that was begun, in reverse order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rehome_model::ids::StepId;
use rehome_model::plan::{Action, Plan, Purpose, Step, Undo};
use rehome_model::record::{Phase, RunRecord, StepRecord, StepState};

use crate::schedule::{self, Ending, Work};
use crate::shared::Shared;

/// Whether a failure leaves things as they are, because a group is committed: clients may write already. The commit step counts
/// as soon as it was begun: whether its act took effect is not known.
pub(crate) fn is_committed(shared: &Shared) -> bool {
    let steps = shared.steps();
    shared.plan.groups.iter().any(|group| steps.contains_key(&group.commit))
}

/// Whether a step of a group was begun: its intent is written before it acts, so that without one no legacy instance was touched
/// but for its protections, base snapshots and flushes.
pub(crate) fn is_in_cutover(shared: &Shared) -> bool {
    let steps = shared.steps();
    shared.plan.steps.iter().any(|step| step.group.is_some() && steps.contains_key(&step.id))
}

/// Whether the undo of a step only takes away what the run made. Nothing waits for that: production comes first, and what was
/// captured last is kept until it serves again.
fn is_cleanup(step: &Step) -> bool {
    let Undo::Act(action) = &step.undo else { return false };
    matches!(**action, Action::DeleteSnapshots { .. } | Action::DeleteVolumes { .. })
}

/// The steps whose undo is still to be done, each after the undo of all that were built on it; those that only clean up come
/// after all others.
pub(crate) fn work(plan: &Plan, steps: &BTreeMap<StepId, StepRecord>) -> (Vec<Work>, BTreeSet<StepId>) {
    let begun = |id: &StepId| steps.contains_key(id);
    let undone: BTreeSet<StepId> =
        steps.iter().filter(|(_, record)| record.state == StepState::Undone).map(|(id, _)| id.clone()).collect();
    let mut built_on: BTreeMap<&StepId, Vec<&Step>> = BTreeMap::new();
    for step in plan.steps.iter().filter(|step| begun(&step.id)) {
        for before in &step.after {
            built_on.entry(before).or_default().push(step);
        }
    }
    let to_undo = plan.steps.iter().rev().filter(|step| begun(&step.id) && !undone.contains(&step.id));
    let (last, first): (Vec<&Step>, Vec<&Step>) = to_undo.partition(|step| is_cleanup(step));
    let work = first.into_iter().chain(last).map(|step| {
        let cleanup = is_cleanup(step);
        Work {
            action: match &step.undo {
                Undo::Act(action) => Some(action.as_ref().clone()),
                Undo::Nothing(_) => None,
            },
            after: waits_for(&built_on, step, !cleanup).into_iter().collect(),
            step: step.clone(),
            undo: true,
        }
    });
    (work.collect(), undone)
}

/// The steps that were built on this one. `through`: of those that only clean up, what was built on them in their place.
fn waits_for(built_on: &BTreeMap<&StepId, Vec<&Step>>, step: &Step, through: bool) -> BTreeSet<StepId> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![&step.id];
    while let Some(id) = open.pop() {
        for later in built_on.get(id).into_iter().flatten() {
            if !(through && is_cleanup(later)) {
                found.insert(later.id.clone());
            } else if seen.insert(&later.id) {
                open.push(&later.id);
            }
        }
    }
    found
}

/// Undoes everything that was begun.
pub(crate) async fn run_undo(shared: &Arc<Shared>) -> Ending {
    let (work, mut undone) = work(&shared.plan, &shared.steps());
    let (last, first): (Vec<Work>, Vec<Work>) = work.into_iter().partition(|item| is_cleanup(&item.step));
    let back: Vec<StepId> = first.iter().map(|item| item.step.id.clone()).collect();
    let mut ending = schedule::run_all(shared, first, undone.clone()).await;
    if ending == Ending::Done {
        undone.extend(back);
        ending = schedule::run_all(shared, last, undone).await;
    }
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
                group: None,
                ..item.step
            })
        })
        .collect();
    Plan { purpose: Purpose::RollbackDiscardWrites, steps, groups: Vec::new(), ..plan.clone() }
}
