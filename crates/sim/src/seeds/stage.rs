//! The stage: a world, what all drivers of a run share, and how one person runs one command in it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rehome_engine::{Clock, Command, Driver, EngineError, Outcome, Ports, StoreError};
use rehome_model::event::{Event, EventKind};
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
use rehome_model::record::{Phase, RunRecord};
use rehome_ports::Hosts;
use rehome_profiles::Profile;
use tokio::sync::{mpsc, watch};

use super::cloud::{SentCloud, TrustingHosts, UnaskedHosts, WordlessHosts};
use super::planted::Planted;
use super::planted_cluster::BadCluster;
use super::seat::{Seat, Tally};
use crate::ports::SimPorts;
use crate::world::World;

/// The migration's name, which is the namespace's and the set's too.
pub const NAME: &str = "refdb";

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `rehome apply`.
    Apply,
    /// `rehome rollback --discard-writes`.
    RollBack,
    /// `rehome rollback --keep-writes`.
    KeepWrites,
}

/// How one process ended.
pub enum End {
    /// The engine let the run go.
    Outcome(Box<Outcome>),
    /// The process was killed.
    Killed,
    /// Nothing was begun: the cluster, the cloud or another driver was in the way.
    NotNow(String),
    /// The run is being taken back: only a rollback goes on.
    BeingUndone,
    /// The volumes go back with their writes: only that rollback goes on.
    BeingReturned,
    /// Nothing was written to the new side: discarding loses nothing.
    NotOpened,
    /// The legacy side serves already.
    BackAlready,
    /// The writes cannot be taken back, for these reasons.
    CannotKeep(String),
    /// There is nothing to roll back.
    NoRun,
    /// The facts of the plan have changed; whether a run of it is recorded.
    FactsChanged { recorded: bool, what: String },
    /// The checks refuse to make a plan.
    Findings(String),
}

/// Where runs take place.
pub struct Stage {
    /// The world.
    pub world: World,
    /// What drivers share.
    pub tally: Arc<Tally>,
    /// The bug that is planted, if one is.
    pub planted: Option<Planted>,
    /// For those whose calls all succeed.
    calm: Arc<Tally>,
    /// How far machines' clocks are apart.
    clocks_apart_ms: u64,
    migration: Arc<Migration>,
    profile: &'static dyn Profile,
}

impl Stage {
    /// A stage for the reference migration in a world.
    pub fn new(
        world: World,
        tally: Arc<Tally>,
        migration: &Arc<Migration>,
        planted: Option<Planted>,
        clocks_apart_ms: u64,
    ) -> Option<Self> {
        let profile = rehome_profiles::find(&migration.spec.application.profile)?;
        let calm = Tally::new(&world, false);
        Some(Self { world, tally, planted, calm, clocks_apart_ms, migration: Arc::clone(migration), profile })
    }

    /// The ports as a driver in this seat has them.
    fn ports(&self, seat: &Arc<Seat>) -> Ports {
        let sim = SimPorts::behind(&self.world, Arc::clone(seat) as Arc<_>);
        let cloud = Arc::new(SentCloud {
            inner: sim.cloud(),
            world: self.world.clone(),
            planted: self.planted,
            imagined: Mutex::default(),
        });
        let kube = match self.planted {
            Some(planted) => kube::Client::new(BadCluster::new(sim.clone(), planted), "default"),
            None => sim.kube(),
        };
        let hosts: Arc<dyn Hosts> = match self.planted {
            Some(Planted::ServesTheOldOriginals) => Arc::new(TrustingHosts(sim.hosts())),
            Some(Planted::ResumesAfterTheCapture) => Arc::new(UnaskedHosts(sim.hosts())),
            Some(Planted::LeavesNoWord) => Arc::new(WordlessHosts(sim.hosts())),
            _ => sim.hosts(),
        };
        Ports { cloud, hosts, pods: sim.pods(), kube }
    }

    /// Runs one command in a process of its own, until it ends or is killed: by a call, or by `fate`.
    pub async fn process_in(
        &self,
        seat: &Arc<Seat>,
        wish: Wish,
        given: Option<&Plan>,
        stop: watch::Receiver<bool>,
        fate: impl Future<Output = ()>,
    ) -> End {
        let end = self.until_death(seat, seat.seated(self.run(seat, wish, given, stop)), fate).await;
        for event in seat.heard() {
            self.tell(&seat.name, &event);
        }
        end
    }

    async fn until_death(
        &self,
        seat: &Arc<Seat>,
        running: impl Future<Output = End>,
        fate: impl Future<Output = ()>,
    ) -> End {
        tokio::select! {
            biased;
            end = running => return end,
            () = seat.killed() => {}
            () = fate => seat.kill(),
        }
        self.tally.note(|| format!("{} is dead", seat.name));
        End::Killed
    }

    async fn run(&self, seat: &Arc<Seat>, wish: Wish, given: Option<&Plan>, stop: watch::Receiver<bool>) -> End {
        let ports = self.ports(seat);
        let command = match wish {
            Wish::RollBack => Command::RollbackDiscardWrites,
            Wish::KeepWrites => Command::RollbackKeepWrites,
            Wish::Apply => match self.plan_to_apply(&ports, given).await {
                Ok(plan) => Command::Apply(Box::new(plan)),
                Err(end) => return end,
            },
        };
        let (events, received) = mpsc::unbounded_channel();
        let clock = Clock::starting_at(self.machines_clock(&seat.name));
        let driver = Driver { ports, clock, holder: seat.name.clone(), events, stop, shown: None };
        if self.tally.is_told() {
            seat.listen(received);
        }
        let driven = driver.drive(NAME, NAME, self.profile, command).await;
        match driven {
            Ok(outcome) => End::Outcome(Box::new(outcome)),
            Err(EngineError::BeingUndone { .. }) => End::BeingUndone,
            Err(EngineError::BeingReturned { .. }) => End::BeingReturned,
            Err(EngineError::NotOpened { .. }) => End::NotOpened,
            Err(EngineError::RolledBackAlready { .. }) => End::BackAlready,
            Err(error @ EngineError::CannotKeepWrites { .. }) => End::CannotKeep(error.to_string()),
            Err(EngineError::NoRun { .. }) => End::NoRun,
            Err(error) => End::NotNow(error.to_string()),
        }
    }

    /// What the clock of the machine shows on which this process runs: of a person's processes one is on a machine that is
    /// right, the next on one that is ahead, the next on one that is behind.
    fn machines_clock(&self, process: &str) -> u64 {
        let now = self.world.ec2().now();
        let number: u64 = process.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        match number % 3 {
            1 => now,
            2 => now.saturating_sub(self.clocks_apart_ms),
            _ => now + self.clocks_apart_ms,
        }
    }

    /// What `rehome apply` does before it drives: the recorded plan, the given one if its facts hold, or a new one
    /// (crates/cli/src/commands/apply.rs).
    async fn plan_to_apply(&self, ports: &Ports, given: Option<&Plan>) -> Result<Plan, End> {
        let not_now = |error: &dyn std::fmt::Display| End::NotNow(error.to_string());
        let recorded = rehome_engine::status(ports.kube.clone(), NAME, NAME).await.map_err(|error| not_now(&error))?;
        let (plan, begun, recorded, cut_over) = match (recorded, given) {
            (Some((record, plan)), _) if record.header.phase == Phase::Completed => return Ok(plan),
            (Some((record, plan)), _) if !record.header.phase.is_back() => {
                (plan, record.steps.into_keys().collect(), true, record.header.phase != Phase::Preparing)
            }
            (_, Some(given)) => (given.clone(), BTreeSet::new(), false, false),
            (_, None) => return self.plan(ports).await,
        };
        if self.planted == Some(Planted::ComparesNoFacts) {
            return Ok(plan);
        }
        let members: Vec<_> = plan.members.iter().map(|member| member.instance.clone()).collect();
        let through = self.through(ports);
        let members = cut_over.then_some(members.as_slice());
        let survey = rehome_survey::survey_of_facts(&through, &self.migration, self.profile, members).await;
        let survey = survey.map_err(|error| not_now(&error))?;
        let differences = rehome_planner::differences(&plan, &survey, &begun);
        let mut what: Vec<String> = differences
            .iter()
            .map(|d| format!("{}: planned {:?}, now {:?}", d.fact.path, d.fact.value, d.now))
            .collect();
        what.extend(
            rehome_planner::unplanned(&plan, &survey).iter().map(|instance| format!("{instance}: not planned")),
        );
        if what.is_empty() {
            return Ok(plan);
        }
        Err(End::FactsChanged { recorded, what: what.join("; ") })
    }

    fn through<'a>(&self, ports: &'a Ports) -> rehome_survey::Ports<'a> {
        rehome_survey::Ports {
            cloud: ports.cloud.as_ref(),
            hosts: ports.hosts.as_ref(),
            kube: &ports.kube,
            now_ms: self.world.ec2().now(),
        }
    }

    /// Survey, checks, plan.
    async fn plan(&self, ports: &Ports) -> Result<Plan, End> {
        let survey = rehome_survey::survey(&self.through(ports), &self.migration, self.profile).await;
        let mut survey = survey.map_err(|error| End::NotNow(error.to_string()))?;
        if let Some(planted) = self.planted {
            planted.misread(&mut survey);
        }
        let findings = rehome_lint::lint(&self.migration, &survey, self.profile);
        let mut plan = rehome_planner::plan(&self.migration, &survey, self.profile, findings)
            .map_err(|error| End::Findings(format!("{error:?}")))?;
        if let Some(planted) = self.planted {
            planted.change(&mut plan);
        }
        Ok(plan)
    }

    /// The plan of a person who looks before anything goes wrong.
    pub async fn first_plan(&self) -> Result<Plan, End> {
        let seat = Seat::new(&self.calm, "planner".to_owned());
        self.plan(&self.ports(&seat)).await
    }

    /// The recorded run, by somebody whose calls all succeed.
    pub async fn recorded(&self) -> Result<Option<(RunRecord, Plan)>, StoreError> {
        let seat = Seat::new(&self.calm, "observer".to_owned());
        let sim = SimPorts::behind(&self.world, seat);
        rehome_engine::status(sim.kube(), NAME, NAME).await
    }

    /// The run that is recorded, as its header says.
    pub fn last_run(&self) -> Option<String> {
        let key = crate::kubernetes::Key::new("configmaps", NAME, &rehome_model::names::record(NAME));
        let header = self.world.with(|state, _| state.cluster.get(&key).cloned())?;
        header["metadata"]["labels"][rehome_model::labels::RUN].as_str().map(str::to_owned)
    }

    /// The phase of the recorded run, by the same.
    pub async fn phase(&self) -> Result<Option<Phase>, StoreError> {
        let seat = Seat::new(&self.calm, "observer".to_owned());
        let kube = rehome_engine::Kube::new(SimPorts::behind(&self.world, seat).kube());
        let header = rehome_engine::RecordStore::new(kube, NAME, NAME).load_header().await?;
        Ok(header.map(|header| header.phase))
    }

    fn tell(&self, who: &str, event: &Event) {
        let text = match &event.kind {
            EventKind::RunStarted { run, resumed, .. } => {
                format!("takes up run {run}{}", if *resumed { " again" } else { "" })
            }
            EventKind::PhaseChanged { phase } => format!("phase {phase:?}"),
            EventKind::StepFailed { step, error, .. } => format!("step {step} failed: {error}"),
            EventKind::StepRetried { step, error, .. } => format!("step {step} is tried again: {error}"),
            EventKind::Note { text } => text.clone(),
            EventKind::RunEnded { phase } => format!("lets the run go, {phase:?}"),
            EventKind::StepStarted { .. } | EventKind::StepWaiting { .. } | EventKind::StepEnded { .. } => return,
        };
        self.tally.note_at(event.at_ms, || format!("{who}: {text}"));
    }
}
