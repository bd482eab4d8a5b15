//! Which step runs when: all whose predecessors are done, at once. What limits them are the calls they share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use rehome_model::event::EventKind;
use rehome_model::ids::StepId;
use rehome_model::plan::{Action, Purpose, Step};
use rehome_model::record::{Phase, StepRecord, StepState};
use rehome_planner::is_keep_writes_step;

use crate::context::{Outputs, StepContext};
use crate::error::{StepError, StepErrorKind};
use crate::limits::{RETRY, RETRY_MAX};
use crate::order::Order;
use crate::shared::Shared;
use crate::{actions, finalize, undo};

/// How a set of steps ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All are done.
    Done,
    /// The driver was stopped; nothing failed.
    Interrupted(String),
    /// A step failed. Those that ran beside it were seen to their end.
    Failed {
        /// The step.
        step: StepId,
        /// Its error.
        error: StepError,
    },
}

/// One thing to run: a step forwards, or its undo.
#[derive(Clone)]
pub(crate) struct Work {
    /// The step.
    pub step: Step,
    /// What is carried out; none if there is nothing to do but to keep the order.
    pub action: Option<Action>,
    /// What must be done before.
    pub after: Vec<StepId>,
    /// Whether this is the undo.
    pub undo: bool,
}

/// Runs what of the plan is done while production serves.
pub(crate) async fn prepare(shared: &Arc<Shared>) -> Ending {
    let before = rehome_planner::while_serving(&shared.plan);
    let done = done(shared);
    let work = shared.plan.steps.iter().filter(|step| before.contains(&step.id) && !done.contains(&step.id));
    let work = work.map(|step| forwards(step, &[])).collect();
    run_all(shared, work, done).await
}

fn done(shared: &Shared) -> BTreeSet<StepId> {
    shared.steps().into_iter().filter(|(_, record)| record.state == StepState::Done).map(|(id, _)| id).collect()
}

/// A step, after those that it names and these.
fn forwards(step: &Step, also_after: &[StepId]) -> Work {
    let also_after = also_after.iter().filter(|id| **id != step.id);
    Work {
        step: step.clone(),
        action: Some(step.action.clone()),
        after: step.after.iter().chain(also_after).cloned().collect(),
        undo: false,
    }
}

/// Runs all steps of the plan that are not done yet.
pub(crate) async fn run_plan(shared: &Arc<Shared>) -> Ending {
    let mut done = done(shared);
    // Until it is opened, a run that is taken up looks at its fence anew, before all else: while nobody drove, somebody may
    // have brought the legacy side back.
    let fence: Vec<StepId> = if shared.plan.purpose == Purpose::Apply && !undo::is_committed(shared) {
        let fences = shared.plan.steps.iter().filter(|step| matches!(step.action, Action::AwaitLegacyFenced { .. }));
        fences.map(|step| step.id.clone()).filter(|id| done.remove(id)).collect()
    } else {
        Vec::new()
    };
    let work: Vec<Work> = shared
        .plan
        .steps
        .iter()
        .filter(|step| !done.contains(&step.id))
        // Of a run that failed after its opening some steps were never begun, and never will be.
        .filter(|step| shared.plan.purpose != Purpose::RollbackKeepWrites || is_keep_writes_step(&step.id))
        .map(|step| forwards(step, &fence))
        .collect();
    let mut ending = run_all(shared, work, done).await;
    if let Ending::Failed { step, error } = &ending
        && let Err(unseen) = see_nothing_written(shared).await
    {
        let why = "it is not taken back, since whether clients have written to pods could not be seen";
        ending = Ending::Interrupted(format!("{step}: {error}; {why}: {unseen}"));
    }
    let end = match shared.plan.purpose {
        Purpose::Finalize => Phase::Finalized,
        Purpose::RollbackKeepWrites => Phase::Returned,
        Purpose::Apply | Purpose::RollbackDiscardWrites => Phase::Completed,
    };
    if ending == Ending::Done
        && let Err(error) = shared.change_header(|header| header.phase = end).await
    {
        return Ending::Interrupted(error.to_string());
    }
    ending
}

/// A run that failed is taken back by itself only if no client can have written to its pods. None can before a volume is
/// released.
async fn see_nothing_written(shared: &Arc<Shared>) -> Result<(), StepError> {
    let (plan, steps) = (&shared.plan, shared.steps());
    let mut releases = plan.steps.iter().filter(|step| matches!(step.action, Action::ReleaseVolume { .. }));
    let released = releases.any(|step| steps.contains_key(&step.id));
    match plan.groups.first().and_then(|group| plan.step(&group.commit)) {
        Some(commit) if plan.purpose == Purpose::Apply && released && !undo::is_committed(shared) => {
            let context = StepContext::new(Arc::clone(shared), commit.clone(), Vec::new(), false, 0);
            with_retries(&context, async || actions::gate::see_nothing_written(&context).await).await
        }
        _ => Ok(()),
    }
}

/// How far a step has come.
enum Stage {
    /// It did what it does, and its line is known here. What waits for it may begin; none of that acts, or tells a result,
    /// before this line is written.
    Performed(Box<Performed>),
    /// Nothing of it is under way any more.
    Over(StepId, Result<(), StepError>),
}

/// A step whose result is not written yet.
struct Performed {
    context: StepContext,
    title: String,
    started_ms: u64,
}

/// Runs `work` in the order of its `after`. After a failure nothing new starts, and what only waits ends; on the way back only what waits for the step
/// that failed, since one host that refuses must not keep all others out of service.
pub(crate) async fn run_all(shared: &Arc<Shared>, work: Vec<Work>, done: BTreeSet<StepId>) -> Ending {
    let undoing = work.iter().any(|item| item.undo);
    let mut order = Order::new(&shared.plan, work, &done);
    // One task for all of them: dropping the driver's future ends every step at its current await, as a kill would.
    let mut running: FuturesUnordered<LocalBoxFuture<'_, Stage>> = FuturesUnordered::new();
    let mut ending: Option<Ending> = None;
    let mut performed: Option<Box<Performed>> = None;
    loop {
        if ending.is_none() && *shared.stop.borrow() {
            ending = Some(Ending::Interrupted("stopped on request".to_owned()));
        }
        let goes_on = match &ending {
            None => true,
            Some(Ending::Failed { .. }) => undoing && !*shared.stop.borrow(),
            Some(_) => false,
        };
        if goes_on {
            while let Some((work, rank)) = order.next() {
                running.push(Box::pin(run_one(Arc::clone(shared), work, rank)));
            }
        }
        // After those that waited for it: their intents and its result are one write.
        if let Some(performed) = performed.take() {
            running.push(Box::pin(write_result(*performed)));
        }
        let (id, result) = match running.next().await {
            None => break,
            Some(Stage::Over(id, result)) => (id, result),
            Some(Stage::Performed(step)) => {
                order.done(&step.context.step.id);
                performed = Some(step);
                continue;
            }
        };
        let Err(error) = result else { continue };
        if error.kind == StepErrorKind::Interrupted {
            ending.get_or_insert(Ending::Interrupted(error.message));
        } else if !matches!(ending, Some(Ending::Failed { .. })) {
            // A failure outweighs an interruption: it must be acted on.
            ending = Some(Ending::Failed { step: id, error });
            shared.given_up.send_replace(!undoing);
        }
    }
    shared.given_up.send_replace(false);
    match ending {
        Some(ending) => ending,
        None => match order.left().as_slice() {
            [] => Ending::Done,
            left @ [first, ..] => {
                let names: Vec<&str> = left.iter().map(StepId::as_str).collect();
                let error = StepError::failed("Plan", format!("these steps wait for each other: {}", names.join(", ")));
                Ending::Failed { step: first.clone(), error }
            }
        },
    }
}

async fn run_one(shared: Arc<Shared>, work: Work, rank: u64) -> Stage {
    let started_ms = shared.clock.now_ms();
    let title = if work.undo { format!("undo: {}", work.step.title) } else { work.step.title.clone() };
    let context = StepContext::new(Arc::clone(&shared), work.step, work.after, work.undo, rank);
    let step = context.step.id.clone();
    shared.event(EventKind::StepStarted { step, title: title.clone(), undo: work.undo });
    match with_retries(&context, async || attempt_once(&context, work.action.as_ref()).await).await {
        Ok(()) => Stage::Performed(Box::new(Performed { context, title, started_ms })),
        Err(error) => failed(&context, title, error).await,
    }
}

/// Sees the result of a step written.
async fn write_result(performed: Performed) -> Stage {
    let Performed { context, title, started_ms } = performed;
    let shared = &context.shared;
    if let Err(error) = with_retries(&context, async || shared.write_result(&context.step).await).await {
        return failed(&context, title, error).await;
    }
    let state = if context.undo { StepState::Undone } else { StepState::Done };
    let took_ms = shared.clock.now_ms().saturating_sub(started_ms);
    let step = context.step.id.clone();
    shared.event(EventKind::StepEnded { step: step.clone(), title, state, took_ms, undo: context.undo });
    Stage::Over(step, Ok(()))
}

async fn failed(context: &StepContext, title: String, error: StepError) -> Stage {
    let (shared, step) = (&context.shared, context.step.id.clone());
    if error.kind != StepErrorKind::Interrupted {
        shared.event(EventKind::StepFailed { step: step.clone(), title, error: error.message.clone() });
        let mut record = context.record().unwrap_or_else(|| blank(shared.clock.now_ms()));
        record.error = Some(error.message.clone());
        if let Err(unwritten) = shared.save_step(&context.step, record).await {
            tracing::warn!(%unwritten, "a step's failure was not recorded");
        }
    }
    Stage::Over(step, Err(error))
}

/// The line of a step that was just begun.
pub(crate) fn blank(at_ms: u64) -> StepRecord {
    StepRecord { state: StepState::Intended, attempt: 1, outputs: Outputs::new(), error: None, at_ms }
}

/// Tries until done, failed for good, or the deadline passes.
async fn with_retries(
    context: &StepContext,
    try_once: impl AsyncFn() -> Result<(), StepError>,
) -> Result<(), StepError> {
    let mut pause = RETRY;
    let mut attempt = 1;
    loop {
        let error = match try_once().await {
            Ok(()) => return Ok(()),
            Err(error) if error.kind == StepErrorKind::Again => error,
            // An apiserver whose authenticator is overloaded refuses one and takes the next. If it is not that, the lease, renewed
            // with the same credentials, runs out in a moment.
            Err(error) if error.is_unauthorized() && context.may_act().is_ok() => error,
            Err(error) => return Err(error),
        };
        context.shared.event(EventKind::StepRetried {
            step: context.step.id.clone(),
            error: error.message.clone(),
            attempt,
        });
        attempt += 1;
        match context.pause(pause, &error.message).await {
            Ok(()) => pause = (pause * 2).min(RETRY_MAX),
            Err(late) if late.code == "DeadlineExceeded" => {
                return Err(StepError { code: error.code, ..late });
            }
            Err(other) => return Err(other),
        }
    }
}

/// Intent before, result after. A gate tells only its result: it changes nothing that would have to be looked for.
///
/// The result is written later, with the intents of those that waited for it ([`Shared::note_result`]): an act waits
/// until what it is built on is written, and so does the result of a gate.
async fn attempt_once(context: &StepContext, action: Option<&Action>) -> Result<(), StepError> {
    let shared = &context.shared;
    let mut record = context.record().unwrap_or_else(|| blank(shared.clock.now_ms()));
    let intended = if context.undo { StepState::Undoing } else { StepState::Intended };
    let acts = action.is_some_and(|action| !action.is_gate());
    let known = context.record().is_some_and(|record| record.state == intended);
    if acts && !known {
        enter_cutover(context).await?;
        finalize::enter(context).await?;
        // While a step is taken back its line says when it last acted (see `StepContext::settle`): of one that was not
        // done an act may arrive at this moment, from a driver that stood still.
        if !context.undo || record.state == StepState::Intended {
            record.at_ms = shared.clock.now_ms();
        }
        record.state = intended;
        context.fresh.store(!context.undo && context.record().is_none(), Ordering::Relaxed);
        // Both to their end: an intent whose write is given up half-way would be taken for written.
        let (saved, before) = futures::join!(shared.save_step(&context.step, record), context.see_before_written());
        saved.and(before)?;
    } else {
        context.fresh.store(false, Ordering::Relaxed);
        if acts {
            context.see_before_written().await?;
        }
    }
    let outputs = match action {
        Some(action) => actions::perform(context, action).await?,
        None => Outputs::new(),
    };
    if !acts {
        context.see_before_written().await?;
    }
    let mut record = context.record().unwrap_or_else(|| blank(shared.clock.now_ms()));
    record.state = if context.undo { StepState::Undone } else { StepState::Done };
    record.error = None;
    record.at_ms = shared.clock.now_ms();
    record.outputs.extend(outputs);
    // Before the result: of a step that is done nobody would note it any more.
    note_opening(context, action).await?;
    shared.note_result(&context.step, record);
    Ok(())
}

/// The first act of a group begins the cutover: downtime counts from here.
async fn enter_cutover(context: &StepContext) -> Result<(), StepError> {
    let shared = &context.shared;
    if context.undo || context.step.group.is_none() || shared.phase() != Phase::Preparing {
        return Ok(());
    }
    // All that it is built on, those in its own document too.
    shared.see_written(&context.after).await?;
    let now = shared.clock.now_ms();
    shared
        .change_header(|header| {
            if header.phase == Phase::Preparing {
                header.phase = Phase::Cutover;
                header.cutover_at_ms = Some(now);
            }
        })
        .await
}

/// Once the opened members were verified, downtime is over.
async fn note_opening(context: &StepContext, action: Option<&Action>) -> Result<(), StepError> {
    let applying = context.plan().purpose == Purpose::Apply;
    if context.undo || !applying || !matches!(action, Some(Action::AwaitMembers { open: true, .. })) {
        return Ok(());
    }
    let now = context.shared.clock.now_ms();
    context.shared.change_header(|header| header.opened_at_ms = header.opened_at_ms.or(Some(now))).await
}
