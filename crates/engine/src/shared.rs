//! What the steps of one run share: the ports, the limits, and the record as this driver knows it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rehome_model::event::{Event, EventKind};
use rehome_model::ids::{MemberName, RunId, StepId};
use rehome_model::plan::{Plan, Step};
use rehome_model::record::{Phase, RunHeader, RunRecord, StepRecord, StepState};
use rehome_profiles::Profile;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::cloud::Desk;
use crate::driver::{Driver, Ports};
use crate::error::StepError;
use crate::kubernetes::Kube;
use crate::lease::Lease;
use crate::limits::{API_SHARE_PERCENT, KUBE_AT_ONCE, SCRIPTS_AT_ONCE};
use crate::objects::Objects;
use crate::store::RecordStore;

/// A run as it is taken up.
pub(crate) struct Begun {
    pub record: RunRecord,
    pub plan: Plan,
    /// Whether no driver has begun it before.
    pub new: bool,
    /// Whether its plan is in the cluster.
    pub stored: bool,
}

/// Everything the steps of a run share.
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) kube: Kube,
    pub(crate) profile: &'static dyn Profile,
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: RunId,
    pub(crate) clock: Clock,
    pub(crate) lease: Arc<Lease>,
    pub(crate) stop: watch::Receiver<bool>,
    /// Whether a step has failed on the way forward: what only waits need not wait any longer.
    pub(crate) given_up: watch::Sender<bool>,
    /// A host has let nobody in for so long that a person has to look.
    pub(crate) let_in_nowhere: AtomicBool,
    /// What the steps share towards the cloud.
    pub(crate) desk: Desk,
    /// And towards the cluster.
    pub(crate) objects: Objects,
    /// Scripts that may run at the same time.
    pub(crate) scripts: tokio::sync::Semaphore,
    /// The same for those that take long.
    pub(crate) slow_scripts: tokio::sync::Semaphore,
    pub(crate) store: RecordStore,
    /// Whether the plan and a header of this run were found in the cluster.
    pub(crate) stored: bool,
    header: Mutex<RunHeader>,
    steps: Mutex<Lines>,
    documents: BTreeMap<Option<MemberName>, Document>,
    header_writer: tokio::sync::Mutex<()>,
    events: mpsc::UnboundedSender<Event>,
}

/// The lines of the record, as this driver knows them.
struct Lines {
    of: BTreeMap<StepId, StepRecord>,
    /// Counts the changes.
    changes: u64,
    /// Results that may not be written yet: whose document, and up to which change it must be.
    unwritten: BTreeMap<StepId, (Option<MemberName>, u64)>,
}

/// One document of the record.
struct Document {
    steps: Vec<StepId>,
    /// One writer at a time; up to which change the cluster has it.
    written: tokio::sync::Mutex<u64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock means that a step panicked; what it guards is written whole, so it is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an act may start after a wait in line, during which the lease may have ended or somebody pressed Ctrl-C.
fn may_still_act(lease: &Lease, stop: &watch::Receiver<bool>) -> Result<(), StepError> {
    if *stop.borrow() {
        return Err(StepError::interrupted("stopped on request"));
    }
    lease.check()
}

impl Shared {
    /// What the steps of a run share that `driver` drives.
    pub(crate) fn new(
        driver: &Driver,
        clock: Clock,
        kube: Kube,
        store: RecordStore,
        lease: Lease,
        profile: &'static dyn Profile,
        begun: Begun,
    ) -> Arc<Self> {
        let plan = begun.plan;
        let mut of_document: BTreeMap<Option<MemberName>, Vec<StepId>> = BTreeMap::from([(None, Vec::new())]);
        of_document.extend(plan.members.iter().map(|member| (Some(member.name.clone()), Vec::new())));
        for step in &plan.steps {
            if let Some(steps) = of_document.get_mut(&step.member) {
                steps.push(step.id.clone());
            }
        }
        let document = |steps| Document { steps, written: tokio::sync::Mutex::new(0) };
        let documents = of_document.into_iter().map(|(member, steps)| (member, document(steps))).collect();
        let lease = Arc::new(lease);
        let leave = {
            let (lease, stop) = (Arc::clone(&lease), driver.stop.clone());
            Arc::new(move || may_still_act(&lease, &stop).map_err(|error| error.message))
        };
        let shared = Self {
            ports: driver.ports.clone(),
            kube: kube.limited(KUBE_AT_ONCE, leave),
            desk: Desk::new(plan.members.len(), plan.api_share_percent.unwrap_or(API_SHARE_PERCENT)),
            objects: Objects::new(plan.members.len()),
            scripts: tokio::sync::Semaphore::new(SCRIPTS_AT_ONCE),
            slow_scripts: tokio::sync::Semaphore::new(SCRIPTS_AT_ONCE),
            profile,
            run: begun.record.header.run.clone(),
            clock,
            lease,
            stop: driver.stop.clone(),
            given_up: watch::Sender::new(false),
            let_in_nowhere: AtomicBool::new(false),
            store,
            stored: begun.stored,
            header: Mutex::new(begun.record.header),
            steps: Mutex::new(Lines { of: begun.record.steps, changes: 0, unwritten: BTreeMap::new() }),
            documents,
            header_writer: tokio::sync::Mutex::new(()),
            events: driver.events.clone(),
            plan: Arc::new(plan),
        };
        shared.event(EventKind::RunStarted {
            run: shared.run.clone(),
            resumed: !begun.new,
            steps: shared.plan.steps.len(),
            steps_done: shared.steps().values().filter(|step| step.state == StepState::Done).count(),
        });
        Arc::new(shared)
    }

    /// Whether an act may start after a wait in line.
    pub(crate) fn may_still_act(&self) -> Result<(), StepError> {
        may_still_act(&self.lease, &self.stop)
    }

    pub(crate) fn event(&self, kind: EventKind) {
        // Nobody may be listening any more; the record is what counts.
        let _ = self.events.send(Event { at_ms: self.clock.now_ms(), kind });
    }

    pub(crate) fn output(&self, step: &StepId, output: &str) -> Option<String> {
        locked(&self.steps).of.get(step).and_then(|record| record.outputs.get(output).cloned())
    }

    pub(crate) fn step_record(&self, step: &StepId) -> Option<StepRecord> {
        locked(&self.steps).of.get(step).cloned()
    }

    pub(crate) fn steps(&self) -> BTreeMap<StepId, StepRecord> {
        locked(&self.steps).of.clone()
    }

    pub(crate) fn phase(&self) -> Phase {
        locked(&self.header).phase
    }

    /// Writes a step's line, and with it the newest lines of all steps in the same document.
    pub(crate) async fn save_step(&self, step: &Step, record: StepRecord) -> Result<(), StepError> {
        let (change, before) = {
            let mut steps = locked(&self.steps);
            steps.changes += 1;
            (steps.changes, steps.of.insert(step.id.clone(), record))
        };
        let saved = self.save_document(step.member.as_ref(), change).await;
        if saved.is_err() {
            // What is not written did not happen: else a retry would take the intent for written, and act.
            let mut steps = locked(&self.steps);
            match before {
                Some(before) => steps.of.insert(step.id.clone(), before),
                None => steps.of.remove(&step.id),
            };
        }
        saved
    }

    /// Takes note of a step's result. It is written with what its successors write next, or by [`Self::write_result`].
    pub(crate) fn note_result(&self, step: &Step, record: StepRecord) {
        let mut steps = locked(&self.steps);
        steps.changes += 1;
        let change = steps.changes;
        steps.of.insert(step.id.clone(), record);
        steps.unwritten.insert(step.id.clone(), (step.member.clone(), change));
    }

    /// Sees a step's result written.
    pub(crate) async fn write_result(&self, step: &Step) -> Result<(), StepError> {
        let noted = locked(&self.steps).unwritten.get(&step.id).cloned();
        if let Some((member, change)) = noted {
            self.save_document(member.as_ref(), change).await?;
            locked(&self.steps).unwritten.remove(&step.id);
        }
        Ok(())
    }

    /// Sees the results of `steps` written.
    pub(crate) async fn see_written(&self, steps: &[StepId]) -> Result<(), StepError> {
        self.write_noted(steps, |_| true).await
    }

    /// The same of those that stand in other documents than `member`'s: what is written there next has its own with it.
    pub(crate) async fn see_others_written(
        &self,
        steps: &[StepId],
        member: Option<&MemberName>,
    ) -> Result<(), StepError> {
        self.write_noted(steps, |of| of != member).await
    }

    async fn write_noted(
        &self,
        steps: &[StepId],
        counts: impl Fn(Option<&MemberName>) -> bool,
    ) -> Result<(), StepError> {
        let mut noted: BTreeMap<Option<MemberName>, u64> = BTreeMap::new();
        {
            let lines = locked(&self.steps);
            let unwritten = steps.iter().filter_map(|id| lines.unwritten.get(id));
            for (of, change) in unwritten.filter(|(of, _)| counts(of.as_ref())) {
                let upto = noted.entry(of.clone()).or_default();
                *upto = (*upto).max(*change);
            }
        }
        let writes = noted.iter().map(|(of, change)| self.save_document(of.as_ref(), *change));
        futures::future::try_join_all(writes).await.map(|_| ())
    }

    /// Sees a document written up to a change.
    async fn save_document(&self, member: Option<&MemberName>, change: u64) -> Result<(), StepError> {
        let Some(document) = self.documents.get(&member.cloned()) else {
            let name = member.map_or("the cluster", MemberName::as_str);
            return Err(StepError::failed("Plan", format!("a step belongs to {name}, which the plan does not have")));
        };
        let mut written = document.written.lock().await;
        // Steps that are ready at the same moment have told their lines after this: one write for all.
        tokio::task::yield_now().await;
        if *written >= change {
            // Who wrote while this one waited has written this line too.
            return Ok(());
        }
        let (upto, lines) = {
            let steps = locked(&self.steps);
            let line = |id: &StepId| Some((id.clone(), steps.of.get(id)?.clone()));
            (steps.changes, document.steps.iter().filter_map(line).collect::<BTreeMap<_, _>>())
        };
        self.store.save_steps(self.run.as_str(), member, &lines, &self.lease).await?;
        *written = upto;
        Ok(())
    }

    /// Changes the header and writes it.
    pub(crate) async fn change_header(&self, change: impl FnOnce(&mut RunHeader) + Send) -> Result<(), StepError> {
        let _turn = self.header_writer.lock().await;
        self.lease.check()?;
        let (before, header) = {
            let known = locked(&self.header);
            let mut header = known.clone();
            change(&mut header);
            (known.phase, header)
        };
        // Only what the cluster has is the run's phase: a driver that ends here tells what the next one will find.
        self.store.save_header(&header, &self.lease).await?;
        let phase = header.phase;
        *locked(&self.header) = header;
        if before != phase {
            self.event(EventKind::PhaseChanged { phase });
        }
        Ok(())
    }

    pub(crate) fn record(&self) -> RunRecord {
        RunRecord { header: locked(&self.header).clone(), steps: self.steps() }
    }
}
