//! Finalize: the end of the way back, of a completed run.

use std::sync::Arc;

use rehome_model::format::{self, Format};
use rehome_model::ids::StepId;
use rehome_model::plan::{Plan, Purpose, Step};
use rehome_model::record::{FinalizeChoice, Phase, RunRecord, StepRecord, StepState};
use rehome_planner::is_finalize_step;

use crate::context::StepContext;
use crate::error::StepError;
use crate::refused::EngineError;
use crate::schedule::{self, Ending};
use crate::shared::Shared;

/// The recorded run with its finalize beside it, as one plan: the run's own steps are all done, and their outputs stay
/// in the record.
pub(crate) fn take_up(
    mut record: RunRecord,
    plan: Plan,
    choice: &FinalizeChoice,
) -> Result<(RunRecord, Plan), EngineError> {
    let header = &mut record.header;
    // What was begun goes on as it was chosen; the legacy side can be released later, and never taken back.
    let chosen = match (header.phase, header.finalize.take()) {
        (Phase::Finalizing | Phase::Finalized, Some(begun)) => {
            FinalizeChoice { release_legacy: begun.release_legacy || choice.release_legacy, ..begun }
        }
        (Phase::Completed, _) => choice.clone(),
        (phase, _) => return Err(EngineError::NotCompleted { run: header.run.clone(), phase }),
    };
    let finalize = rehome_planner::finalize(&plan, &record, &chosen);
    record.header.finalize = Some(chosen);
    // Gates are looked at anew each time: that the members were whole yesterday says nothing.
    let is_gate = |id: &StepId| finalize.step(id).is_some_and(|step| step.action.is_gate());
    record.steps.retain(|id, _| !is_gate(id));
    let mut steps = plan.steps;
    steps.extend(finalize.steps);
    Ok((record, Plan { purpose: Purpose::Finalize, steps, groups: Vec::new(), ..plan }))
}

fn is_done(record: Option<&StepRecord>) -> bool {
    record.is_some_and(|record| record.state == StepState::Done)
}

/// Carries it out, or what is left of it. While the gates do not hold, the run stays completed.
pub(crate) async fn carry_out(shared: &Arc<Shared>) -> Ending {
    let steps = shared.steps();
    let left = shared.plan.steps.iter().any(|step| !step.action.is_gate() && !is_done(steps.get(&step.id)));
    if shared.phase() == Phase::Finalized && !left {
        return Ending::Done;
    }
    schedule::run_plan(shared).await
}

/// The first act of a finalize ends the way back: from here on neither apply nor rollback takes the run up.
pub(crate) async fn enter(context: &StepContext) -> Result<(), StepError> {
    let shared = &context.shared;
    if shared.plan.purpose != Purpose::Finalize || shared.phase() == Phase::Finalizing {
        return Ok(());
    }
    shared
        .change_header(|header| {
            header.phase = Phase::Finalizing;
            // An older rehome does not know this phase: it must refuse the record by its version.
            header.format = Format::current(format::RUN);
        })
        .await
}

/// The finalize of a recorded run as a plan, for a person to review. The engine computes the same from the record.
pub fn finalize_plan(plan: &Plan, record: &RunRecord, choice: &FinalizeChoice) -> Result<Plan, EngineError> {
    let (record, merged) = take_up(record.clone(), plan.clone(), choice)?;
    let left = |step: &Step| is_finalize_step(&step.id) && !is_done(record.steps.get(&step.id));
    let steps = merged.steps.into_iter().filter(left);
    let chosen = record.header.finalize.as_ref().unwrap_or(choice);
    let whole = rehome_planner::finalize(plan, &record, chosen);
    Ok(Plan { steps: steps.collect(), ..whole })
}
