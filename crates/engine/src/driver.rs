//! The driver: takes a run up, from wherever it stands, and brings it to an end.

use std::collections::BTreeMap;
use std::sync::Arc;

use rehome_model::event::{Event, EventKind};
use rehome_model::format::{self, Format};
use rehome_model::names;
use rehome_model::plan::Plan;
use rehome_model::record::{FinalizeChoice, Phase, RunHeader, RunRecord};
use rehome_ports::{Cloud, Hosts, Pods};
use rehome_profiles::Profile;
use tokio::sync::{mpsc, watch};

use crate::account::{self, Mismatch};
use crate::clock::Clock;
use crate::error::StepError;
use crate::kubernetes::Kube;
use crate::lease::Lease;
use crate::limits::LEASE_REQUEST;
use crate::refused::EngineError;
use crate::schedule::{self, Ending};
use crate::shared::{Begun, Shared};
use crate::shown::Shown;
use crate::store::{RecordStore, StoreError};
use crate::{finalize, keep_writes, permissions, undo};

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
    /// The same, up to where production would stop: somebody wants to be there then.
    Prepare(Box<Plan>),
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
    /// Whether the driver was stopped before the end, and nothing failed; the same command goes on.
    pub interrupted: bool,
    /// What failed, if something did; why it was stopped, if it was.
    pub failure: Option<String>,
    /// The record.
    pub record: RunRecord,
}

/// A driver of one migration's runs.
pub struct Driver {
    /// What it works with.
    pub ports: Ports,
    /// The clock of its machine. A run's times are the apiserver's, whose clock it learns with the lease.
    pub clock: Clock,
    /// Its own name: unique among all drivers that may ever run at the same time.
    pub holder: String,
    /// Where its events go.
    pub events: mpsc::UnboundedSender<Event>,
    /// Becomes true when it is to stop between acts.
    pub stop: watch::Receiver<bool>,
    /// The recorded run that a person has agreed to, as it was shown; none if nobody was asked about one.
    pub shown: Option<Shown>,
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
        let found = recorded(&store, &command).await?;
        if let Some(plan) = to_carry_out(&found, &command) {
            same_account(&self.ports, plan).await?;
        }
        if let (Some((record, plan)), Command::RollbackDiscardWrites) = (&found.run, &command) {
            may_start(&self.ports, record, plan).await?;
        }
        self.choose(found, profile, namespace, migration, &command, self.clock).await?;
        let lease = Lease::new(kube.clone().within(LEASE_REQUEST), namespace, migration, &self.holder, self.clock);
        let clock = lease.acquire().await?;
        let forever = async || {
            lease.keep().await;
            std::future::pending::<()>().await;
        };
        // Renewed while it looks: a cluster that is slow to answer would cost the lease before the first act.
        let chosen = tokio::select! {
            biased;
            chosen = async {
                let found = recorded(&store, &command).await?;
                self.choose(found, profile, namespace, migration, &command, clock).await
            } => chosen,
            () = forever() => unreachable!("pending"),
        };
        let begun = match chosen {
            Ok(begun) => begun,
            Err(error) => {
                lease.release().await;
                return Err(error);
            }
        };
        let shared = Shared::new(self, clock, kube, store, lease, profile, begun);
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
        Recorded { run: recorded, stored }: Recorded,
        profile: &dyn Profile,
        namespace: &str,
        migration: &str,
        command: &Command,
        clock: Clock,
    ) -> Result<Begun, EngineError> {
        if let Some(shown) = &self.shown
            && recorded.as_ref().is_none_or(|(record, plan)| shown.is_past(&Shown::of(plan, record), command))
        {
            return Err(EngineError::GoneOn { run: shown.run.clone() });
        }
        match (recorded, command) {
            (Some((record, _)), Command::Apply(_) | Command::Prepare(_) | Command::RollbackDiscardWrites)
                if matches!(record.header.phase, Phase::Finalizing | Phase::Finalized) =>
            {
                Err(EngineError::Finalized { run: record.header.run })
            }
            (Some(recorded), Command::RollbackKeepWrites) => {
                let now_ms = clock.now_ms();
                let (record, plan) = keep_writes::take_up(&self.ports, profile, recorded, now_ms).await?;
                Ok(Begun { record, plan, new: false, stored: true })
            }
            (
                Some((record, _)),
                Command::Apply(_) | Command::Prepare(_) | Command::RollbackDiscardWrites | Command::Finalize(_),
            ) if record.header.phase == Phase::Returning => Err(EngineError::BeingReturned { run: record.header.run }),
            (Some((record, _)), Command::Prepare(_)) if record.header.phase == Phase::Cutover => {
                Err(EngineError::CutoverBegun { run: record.header.run })
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
            (Some((record, recorded_plan)), Command::Apply(plan) | Command::Prepare(plan)) => {
                let run = record.header.run.clone();
                // The hash is of what its own build wrote: one that does not know every field of it reads the same plan.
                let same = record.header.plan_hash == plan.hash() || **plan == recorded_plan;
                match record.header.phase {
                    phase if phase.is_back() => Ok(begin(migration, plan, record.header.generation + 1, clock)),
                    Phase::Completed if same => Ok(Begun { record, plan: recorded_plan, new: false, stored }),
                    Phase::Completed => Err(EngineError::AlreadyCompleted { run }),
                    // Stuck: an undo failed. Some steps are undone and some are not; only the way back is whole.
                    Phase::Undoing | Phase::Stuck => Err(EngineError::BeingUndone { run }),
                    phase if !same => Err(EngineError::OtherPlan { run, phase }),
                    _ => Ok(Begun { record, plan: recorded_plan, new: false, stored }),
                }
            }
            (None, Command::Apply(plan) | Command::Prepare(plan)) => Ok(begin(migration, plan, 1, clock)),
        }
    }

    async fn carry_out(&self, shared: &Arc<Shared>, command: &Command) -> Result<Outcome, EngineError> {
        let stopped = |error: &StepError| EngineError::Stopped(error.to_string());
        // The plan first: a crash between them leaves a plan that no header speaks of, and the next driver begins anew.
        // A header without its plan could be neither carried out nor taken back.
        if !shared.stored {
            let saved = shared.store.save_plan(shared.run.as_str(), &shared.plan, &shared.lease).await;
            saved.map_err(|error| EngineError::Stopped(error.to_string()))?;
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
            let run = async {
                match command {
                    Command::Prepare(_) => schedule::prepare(shared).await,
                    _ => schedule::run_plan(shared).await,
                }
            };
            match run.await {
                Ending::Failed { step, error } if !undo::is_committed(shared) => {
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
            Ending::Interrupted(why) => Some(why.clone()),
            Ending::Done => record.header.reason.clone(),
        };
        Outcome { phase: record.header.phase, interrupted: matches!(ending, Ending::Interrupted(_)), failure, record }
    }
}

/// What is recorded of a migration.
struct Recorded {
    /// The newest run and its plan.
    run: Option<(RunRecord, Plan)>,
    /// Whether that plan is in the cluster.
    stored: bool,
}

async fn recorded(store: &RecordStore, command: &Command) -> Result<Recorded, EngineError> {
    let loaded = store.load().await;
    let stored = loaded.is_ok();
    let run = match (loaded, command) {
        // A crash between header and plan: the run did nothing yet, and the plan is at hand.
        (Err(StoreError::Damaged { .. }), Command::Apply(plan) | Command::Prepare(plan)) => store
            .load_header()
            .await?
            .filter(|header| header.phase == Phase::Preparing && header.plan_hash == plan.hash())
            .map(|header| (RunRecord { header, steps: BTreeMap::new() }, plan.as_ref().clone())),
        (loaded, _) => loaded?,
    };
    Ok(Recorded { run, stored })
}

/// The plan by which a command would ask the cloud for something; none where it finds its work done, or nothing to do.
fn to_carry_out<'a>(recorded: &'a Recorded, command: &'a Command) -> Option<&'a Plan> {
    let given = match command {
        Command::Apply(plan) | Command::Prepare(plan) => Some(plan.as_ref()),
        _ => None,
    };
    match &recorded.run {
        None => given,
        Some((record, _)) if record.header.phase.is_back() => given,
        Some((record, _)) if record.header.phase == Phase::Completed && given.is_some() => None,
        Some((_, plan)) => Some(plan),
    }
}

/// Refuses to take a run back whose legacy instances could not be started.
async fn may_start(ports: &Ports, record: &RunRecord, plan: &Plan) -> Result<(), EngineError> {
    let denied = permissions::denied_start(ports.cloud.as_ref(), plan, record).await;
    if denied.is_empty() { Ok(()) } else { Err(EngineError::CannotStart { run: record.header.run.clone(), denied }) }
}

/// Refuses credentials of another account than the plan's.
pub(crate) async fn same_account(ports: &Ports, plan: &Plan) -> Result<(), EngineError> {
    match account::compare(ports.cloud.as_ref(), plan).await {
        Ok(()) => Ok(()),
        Err(Mismatch::Other(other)) => Err(other.into()),
        Err(Mismatch::Unknown(why)) => Err(EngineError::Unseen(why)),
    }
}

/// A run that nothing is recorded of yet.
fn begin(migration: &str, plan: &Plan, generation: u32, clock: Clock) -> Begun {
    let (plan_hash, started_at_ms) = (plan.hash(), clock.now_ms());
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

/// The record of a migration's run and its plan, from any machine that reaches the cluster; none if none was begun.
pub async fn status(
    kube: kube::Client,
    namespace: &str,
    migration: &str,
) -> Result<Option<(RunRecord, Plan)>, StoreError> {
    RecordStore::new(Kube::new(kube), namespace, migration).load().await
}
