//! The driver: takes a run up, from wherever it stands, and brings it to an end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rehome_model::event::{Event, EventKind};
use rehome_model::format::{self, Format};
use rehome_model::ids::{MemberName, RunId, StepId};
use rehome_model::names;
use rehome_model::plan::{Plan, Step};
use rehome_model::record::{FinalizeChoice, Phase, RunHeader, RunRecord, StepRecord, StepState};
use rehome_ports::{Cloud, Hosts, Pods};
use rehome_profiles::Profile;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::cloud::Desk;
use crate::error::StepError;
use crate::kubernetes::Kube;
use crate::lease::{Lease, LeaseError};
use crate::limits::{API_SHARE_PERCENT, KUBE_AT_ONCE, SCRIPTS_AT_ONCE};
use crate::objects::Objects;
use crate::schedule::{self, Ending};
use crate::store::{RecordStore, StoreError};
use crate::{finalize, keep_writes, undo};

/// What the engine works with.
#[derive(Clone)]
pub struct Ports {
    /// The cloud.
    pub cloud: Arc<dyn Cloud>,
    /// The legacy hosts.
    pub hosts: Arc<dyn Hosts>,
    /// The pods.
    pub pods: Arc<dyn Pods>,
    /// The target cluster.
    pub kube: kube::Client,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Carry out this plan, or go on with the run of it.
    Apply(Box<Plan>),
    /// Take the recorded run back; writes made on the new side are discarded.
    RollbackDiscardWrites,
    /// Take the recorded run back, with the volumes that the new side wrote to.
    RollbackKeepWrites,
    /// End the way back of the recorded, completed run.
    Finalize(FinalizeChoice),
}

/// How a run stands when the driver lets it go.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Its phase.
    pub phase: Phase,
    /// Whether the driver was stopped before the end; `apply` goes on.
    pub interrupted: bool,
    /// What failed, if something did.
    pub failure: Option<String>,
    /// The record.
    pub record: RunRecord,
}

/// Why a run could not be taken up.
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
        "run {run} of another plan is {phase:?}; go on with `rehome apply` without a new plan, or roll it back first"
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
    /// Cloud or cluster did not answer, before anything was begun.
    #[error("what stands in the way cannot be told: {0}")]
    Unseen(String),
    /// Only what is done can be finalized.
    #[error("run {run} is {phase:?}, not completed; there is nothing to finalize yet")]
    NotCompleted {
        /// The run.
        run: RunId,
        /// Its phase.
        phase: Phase,
    },
    /// There is no run.
    #[error("no run of migration {migration} is recorded in namespace {namespace}")]
    NoRun {
        /// The migration.
        migration: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// A step's driver failed in a way that no step explains.
    #[error("the driver stopped: {0}")]
    Driver(String),
}

/// Everything the steps of a run share.
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) kube: Kube,
    pub(crate) profile: &'static dyn Profile,
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: RunId,
    pub(crate) clock: Clock,
    pub(crate) lease: Lease,
    pub(crate) stop: watch::Receiver<bool>,
    /// What the steps share towards the cloud.
    pub(crate) desk: Desk,
    /// And towards the cluster.
    pub(crate) objects: Objects,
    /// Scripts that may run at the same time.
    pub(crate) scripts: tokio::sync::Semaphore,
    /// The same for those that take long.
    pub(crate) slow_scripts: tokio::sync::Semaphore,
    store: RecordStore,
    /// Whether the plan and a header of this run were found in the cluster.
    stored: bool,
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

impl Shared {
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
        let guard = || self.lease.check();
        self.store.save_steps(self.run.as_str(), member, &lines, &guard).await?;
        *written = upto;
        Ok(())
    }

    /// Changes the header and writes it.
    pub(crate) async fn change_header(&self, change: impl FnOnce(&mut RunHeader) + Send) -> Result<(), StepError> {
        let _turn = self.header_writer.lock().await;
        self.lease.check()?;
        let (before, header) = {
            let mut header = locked(&self.header);
            let before = header.phase;
            change(&mut header);
            (before, header.clone())
        };
        if before != header.phase {
            self.event(EventKind::PhaseChanged { phase: header.phase });
        }
        Ok(self.store.save_header(&header, &|| self.lease.check()).await?)
    }

    fn record(&self) -> RunRecord {
        RunRecord { header: locked(&self.header).clone(), steps: self.steps() }
    }
}

/// A driver of one migration's runs.
pub struct Driver {
    /// What it works with.
    pub ports: Ports,
    /// Its clock.
    pub clock: Clock,
    /// Its own name: unique among all drivers that may ever run at the same time.
    pub holder: String,
    /// Where its events go.
    pub events: mpsc::UnboundedSender<Event>,
    /// Becomes true when it is to stop between acts.
    pub stop: watch::Receiver<bool>,
}

impl Driver {
    /// Carries out a command to its end, or until stopped.
    pub async fn drive(
        &self,
        namespace: &str,
        migration: &str,
        profile: &'static dyn Profile,
        command: Command,
    ) -> Result<Outcome, EngineError> {
        let kube = Kube::new(self.ports.kube.clone());
        let store = RecordStore::new(kube.clone(), namespace, migration);
        // Looked at before the lease too, so that a refusal changes nothing at all.
        self.choose(&store, profile, namespace, migration, &command).await?;
        let lease = Lease::new(kube.clone(), namespace, migration, &self.holder, self.clock);
        lease.acquire().await?;
        let forever = async || {
            lease.keep().await;
            std::future::pending::<()>().await;
        };
        // Renewed while it looks: a cluster that is slow to answer would cost the lease before the first act.
        let chosen = tokio::select! {
            biased;
            chosen = self.choose(&store, profile, namespace, migration, &command) => chosen,
            () = forever() => unreachable!("pending"),
        };
        let begun = match chosen {
            Ok(begun) => begun,
            Err(error) => {
                lease.release().await;
                return Err(error);
            }
        };
        let shared = self.shared(kube, store, lease, profile, begun);
        // In a fixed order, so that a simulated run can be told again.
        let outcome = tokio::select! {
            biased;
            outcome = self.carry_out(&shared, &command) => outcome,
            () = async { shared.lease.keep().await; std::future::pending::<()>().await } => unreachable!("pending"),
        };
        shared.event(EventKind::RunEnded { phase: shared.phase() });
        shared.lease.release().await;
        outcome
    }

    /// Which run the command means: the recorded one, or a new one.
    async fn choose(
        &self,
        store: &RecordStore,
        profile: &dyn Profile,
        namespace: &str,
        migration: &str,
        command: &Command,
    ) -> Result<Begun, EngineError> {
        let recorded = store.load().await;
        let stored = recorded.is_ok();
        let recorded = match (recorded, command) {
            // A crash between header and plan: the run did nothing yet, and the plan is at hand.
            (Err(StoreError::Damaged { .. }), Command::Apply(plan)) => store
                .load_header()
                .await?
                .filter(|header| header.phase == Phase::Preparing && header.plan_hash == plan.hash())
                .map(|header| (RunRecord { header, steps: BTreeMap::new() }, plan.as_ref().clone())),
            (recorded, _) => recorded?,
        };
        match (recorded, command) {
            (Some((record, _)), Command::Apply(_) | Command::RollbackDiscardWrites)
                if matches!(record.header.phase, Phase::Finalizing | Phase::Finalized) =>
            {
                Err(EngineError::Finalized { run: record.header.run })
            }
            (Some(recorded), Command::RollbackKeepWrites) => {
                let now_ms = self.clock.now_ms();
                let (record, plan) = keep_writes::take_up(&self.ports, profile, recorded, now_ms).await?;
                Ok(Begun { record, plan, new: false, stored: true })
            }
            (Some((record, _)), Command::Apply(_) | Command::RollbackDiscardWrites | Command::Finalize(_))
                if record.header.phase == Phase::Returning =>
            {
                Err(EngineError::BeingReturned { run: record.header.run })
            }
            (Some((record, _)), Command::RollbackDiscardWrites) if record.header.phase == Phase::Returned => {
                Err(EngineError::RolledBackAlready { run: record.header.run })
            }
            (Some((record, plan)), Command::Finalize(choice)) => {
                let (record, plan) = finalize::take_up(record, plan, choice)?;
                Ok(Begun { record, plan, new: false, stored: true })
            }
            (None, Command::RollbackDiscardWrites | Command::RollbackKeepWrites | Command::Finalize(_)) => {
                Err(EngineError::NoRun { migration: migration.to_owned(), namespace: namespace.to_owned() })
            }
            (Some((record, plan)), Command::RollbackDiscardWrites) => {
                Ok(Begun { record, plan, new: false, stored: true })
            }
            (Some((record, recorded_plan)), Command::Apply(plan)) => {
                let run = record.header.run.clone();
                let same = record.header.plan_hash == plan.hash();
                match record.header.phase {
                    phase if phase.is_back() => Ok(self.begin(migration, plan, record.header.generation + 1)),
                    Phase::Completed if same => Ok(Begun { record, plan: recorded_plan, new: false, stored }),
                    Phase::Completed => Err(EngineError::AlreadyCompleted { run }),
                    // Stuck: an undo failed. Some steps are undone and some are not; only the way back is whole.
                    Phase::Undoing | Phase::Stuck => Err(EngineError::BeingUndone { run }),
                    phase if !same => Err(EngineError::OtherPlan { run, phase }),
                    _ => Ok(Begun { record, plan: recorded_plan, new: false, stored }),
                }
            }
            (None, Command::Apply(plan)) => Ok(self.begin(migration, plan, 1)),
        }
    }

    fn begin(&self, migration: &str, plan: &Plan, generation: u32) -> Begun {
        let (plan_hash, started_at_ms) = (plan.hash(), self.clock.now_ms());
        let header = RunHeader {
            format: Format::current(format::RUN),
            run: names::run(migration, &plan_hash, generation, started_at_ms),
            migration: migration.to_owned(),
            plan_hash,
            generation,
            phase: Phase::Preparing,
            reason: None,
            started_at_ms,
            cutover_at_ms: None,
            opened_at_ms: None,
            finalize: None,
            keep_writes: None,
        };
        Begun { record: RunRecord { header, steps: BTreeMap::new() }, plan: plan.clone(), new: true, stored: false }
    }

    fn shared(
        &self,
        kube: Kube,
        store: RecordStore,
        lease: Lease,
        profile: &'static dyn Profile,
        begun: Begun,
    ) -> Arc<Shared> {
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
        let shared = Shared {
            ports: self.ports.clone(),
            kube: kube.limited(KUBE_AT_ONCE),
            desk: Desk::new(plan.members.len(), plan.api_share_percent.unwrap_or(API_SHARE_PERCENT)),
            objects: Objects::new(plan.members.len()),
            scripts: tokio::sync::Semaphore::new(SCRIPTS_AT_ONCE),
            slow_scripts: tokio::sync::Semaphore::new(SCRIPTS_AT_ONCE),
            profile,
            run: begun.record.header.run.clone(),
            clock: self.clock,
            lease,
            stop: self.stop.clone(),
            store,
            stored: begun.stored,
            header: Mutex::new(begun.record.header),
            steps: Mutex::new(Lines { of: begun.record.steps, changes: 0, unwritten: BTreeMap::new() }),
            documents,
            header_writer: tokio::sync::Mutex::new(()),
            events: self.events.clone(),
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

    async fn carry_out(&self, shared: &Arc<Shared>, command: &Command) -> Result<Outcome, EngineError> {
        let stopped = |error: &StepError| EngineError::Driver(error.to_string());
        // The plan first: a crash between them leaves a plan that no header speaks of, and the next driver begins anew.
        // A header without its plan could be neither carried out nor taken back.
        if !shared.stored {
            shared.store.save_plan(shared.run.as_str(), &shared.plan, &|| shared.lease.check()).await?;
            shared.change_header(|_| ()).await.map_err(|error| stopped(&error))?;
        }
        if matches!(command, Command::Finalize(_)) {
            return Ok(Self::outcome(shared, &finalize::carry_out(shared).await));
        }
        if matches!(command, Command::RollbackKeepWrites) {
            let ending = keep_writes::carry_out(shared).await.map_err(|error| stopped(&error))?;
            return Ok(Self::outcome(shared, &ending));
        }
        let undoing = matches!(command, Command::RollbackDiscardWrites) && shared.phase() != Phase::RolledBack;
        if undoing {
            let reason = "rolled back by the user, new writes discarded".to_owned();
            shared
                .change_header(|header| {
                    header.phase = Phase::Undoing;
                    header.reason.get_or_insert(reason);
                })
                .await
                .map_err(|error| stopped(&error))?;
        } else if shared.phase().is_final() {
            return Ok(Self::outcome(shared, &Ending::Done));
        } else {
            match schedule::run_plan(shared).await {
                Ending::Failed { step, error } if !undo::committed(shared, &step) => {
                    let reason = format!("{step}: {error}");
                    shared
                        .change_header(|header| {
                            header.phase = Phase::Undoing;
                            header.reason = Some(reason);
                        })
                        .await
                        .map_err(|error| stopped(&error))?;
                }
                ending => return Ok(Self::outcome(shared, &ending)),
            }
        }
        let ending = undo::run_undo(shared).await;
        Ok(Self::outcome(shared, &ending))
    }

    fn outcome(shared: &Shared, ending: &Ending) -> Outcome {
        let record = shared.record();
        let failure = match ending {
            Ending::Failed { step, error } => Some(format!("{step}: {error}")),
            _ => record.header.reason.clone(),
        };
        Outcome { phase: record.header.phase, interrupted: matches!(ending, Ending::Interrupted(_)), failure, record }
    }
}

/// A run as it is taken up.
struct Begun {
    record: RunRecord,
    plan: Plan,
    /// Whether no driver has begun it before.
    new: bool,
    /// Whether its plan is in the cluster.
    stored: bool,
}

/// The record of a migration's run and its plan, from any machine that reaches the cluster; none if none was begun.
pub async fn status(
    kube: kube::Client,
    namespace: &str,
    migration: &str,
) -> Result<Option<(RunRecord, Plan)>, StoreError> {
    RecordStore::new(Kube::new(kube), namespace, migration).load().await
}
