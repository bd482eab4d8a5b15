//! How tests drive rehome in a simulated world: survey, plan, engine, on paused time.

use std::collections::BTreeSet;
use std::sync::Arc;

use rehome_engine::{Clock, Command, Driver, EngineError, Outcome, Ports, Shown};
use rehome_model::event::Event;
use rehome_model::ids::StepId;
use rehome_model::labels;
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
use rehome_model::record::{RunRecord, StepState};
use rehome_model::survey::Survey;
use rehome_ports::Hosts;
use rehome_profiles::Profile;
use rehome_sim::{Control, Scene, SimPorts, World};
use tokio::sync::{mpsc, watch};

/// A world, its ports, and what is at them.
pub struct Stage {
    pub world: World,
    pub control: Arc<Control>,
    pub ports: SimPorts,
    pub migration: Migration,
    /// A real cluster instead of the simulated one.
    pub kube: Option<kube::Client>,
    /// Other hosts instead of the simulated ones.
    pub hosts: Option<Arc<dyn Hosts>>,
    /// How far the clock is ahead of the machine on which the next driver runs.
    pub clock_ahead_ms: std::cell::Cell<u64>,
    /// How long that machine has run, its sleep included, if it tells.
    pub since_boot: Option<fn() -> std::time::Duration>,
    /// Becomes true when somebody presses Ctrl-C.
    pub stop: Option<watch::Receiver<bool>>,
    /// The run that somebody agreed to, as it was shown.
    pub shown: Option<Shown>,
    drivers: std::cell::Cell<u32>,
}

/// How a drive ended.
pub enum End {
    Outcome(Box<Outcome>),
    Killed,
    Refused(EngineError),
}

impl End {
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Outcome(outcome) => *outcome,
            Self::Killed => panic!("the driver was killed"),
            Self::Refused(error) => panic!("refused: {error}"),
        }
    }
}

impl Stage {
    pub fn new(scene: Scene) -> Self {
        let world = scene.begin();
        let control = Control::new();
        let ports = SimPorts::new(&world, &control);
        let migration = serde_saphyr::from_str(&rehome_sim::migration_yaml()).expect("the migration is valid");
        let (clock_ahead_ms, drivers) = Default::default();
        let (kube, hosts, since_boot, stop, shown) = (None, None, None, None, None);
        Self { world, control, ports, migration, kube, hosts, clock_ahead_ms, since_boot, stop, shown, drivers }
    }

    fn kube(&self) -> kube::Client {
        self.kube.clone().unwrap_or_else(|| self.ports.kube())
    }

    pub fn profile(&self) -> &'static dyn Profile {
        rehome_profiles::find(&self.migration.spec.application.profile).expect("a known profile")
    }

    pub async fn survey(&self) -> Survey {
        let (cloud, kube) = (self.ports.cloud(), self.kube());
        let hosts = self.hosts.clone().unwrap_or_else(|| self.ports.hosts());
        let ports = rehome_survey::Ports {
            cloud: cloud.as_ref(),
            hosts: hosts.as_ref(),
            kube: &kube,
            now_ms: self.world.ec2().now(),
        };
        rehome_survey::survey(&ports, &self.migration, self.profile()).await.expect("a survey")
    }

    pub async fn plan(&self) -> Plan {
        let survey = self.survey().await;
        rehome_planner::plan(&self.migration, &survey, self.profile(), Vec::new()).expect("a plan")
    }

    /// Drives a command with a new driver, as a new process would.
    pub async fn drive(&self, command: Command) -> End {
        self.drive_with_events(command).await.0
    }

    pub async fn drive_with_events(&self, command: Command) -> (End, Vec<Event>) {
        self.drive_at(&self.ports, command).await
    }

    /// The same, by a driver that stands behind other ports.
    pub async fn drive_at(&self, ports: &SimPorts, command: Command) -> (End, Vec<Event>) {
        self.drivers.set(self.drivers.get() + 1);
        let (events, mut received) = mpsc::unbounded_channel();
        let (_keep, never) = watch::channel(false);
        let stop = self.stop.clone().unwrap_or(never);
        let clock = Clock::starting_at(self.world.ec2().now() + self.clock_ahead_ms.get());
        let driver = Driver {
            ports: Ports {
                cloud: ports.cloud(),
                hosts: self.hosts.clone().unwrap_or_else(|| ports.hosts()),
                pods: ports.pods(),
                kube: self.kube.clone().unwrap_or_else(|| ports.kube()),
            },
            clock: self.since_boot.map_or(clock, |since_boot| clock.with_sleep(since_boot)),
            holder: format!("driver-{}", self.drivers.get()),
            events,
            stop,
            shown: self.shown.clone(),
        };
        let end = tokio::select! {
            driven = driver.drive("refdb", "refdb", self.profile(), command) => match driven {
                Ok(outcome) => End::Outcome(Box::new(outcome)),
                Err(error) => End::Refused(error),
            },
            () = self.control.killed() => End::Killed,
        };
        drop(driver);
        let mut all = Vec::new();
        while let Ok(event) = received.try_recv() {
            all.push(event);
        }
        (end, all)
    }

    pub async fn apply(&self, plan: &Plan) -> End {
        self.drive(Command::Apply(Box::new(plan.clone()))).await
    }

    /// The plan that `rehome rollback --keep-writes` shows.
    pub async fn keep_writes_plan(&self, plan: &Plan, record: &RunRecord) -> Result<Plan, EngineError> {
        let (cloud, hosts, pods) = (self.ports.cloud(), self.ports.hosts(), self.ports.pods());
        let ports = Ports { cloud, hosts, pods, kube: self.kube() };
        rehome_engine::keep_writes_plan(&ports, self.profile(), plan, record, self.world.ec2().now()).await
    }

    /// Scales the set by hand, as somebody with kubectl would.
    pub async fn scale(&self, replicas: u32) {
        let kube = rehome_engine::Kube::new(self.ports.kube());
        let path = "/apis/apps/v1/namespaces/refdb/statefulsets/refdb/scale";
        let scale = serde_json::json!({"metadata": {"name": "refdb"}, "spec": {"replicas": replicas}});
        kube.replace(path, &scale).await.expect("the set can be scaled");
    }
}

/// Whatever stands in the world or in the record of a step, the steps that it is built on stand in the record as done, or as
/// taken back since: what a run made is deleted after all else.
pub async fn told_before_acted(stage: &Stage, what: &str) {
    let recorded = rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await;
    let Ok(Some((record, plan))) = recorded else { return };
    let done = |id: &StepId| record.steps.get(id).is_some_and(|line| line.state == StepState::Done);
    let told = record.steps.keys().filter(|id| done(id)).cloned();
    let made: BTreeSet<StepId> = stage.world.ec2().with(|inner, _| {
        let volumes = inner.core.volumes.values().map(|volume| &volume.tags);
        let tags = volumes.chain(inner.core.snapshots.values().map(|snapshot| &snapshot.tags));
        tags.filter_map(|tags| tags.get(labels::STEP)).map(|step| StepId(step.clone())).collect()
    });
    for id in told.chain(made) {
        for before in plan.step(&id).map(|step| step.after.as_slice()).unwrap_or_default() {
            let taken_back = record.steps.get(before).is_some_and(|line| line.state == StepState::Undone);
            assert!(
                done(before) || taken_back,
                "{what}: {id} acted or was told done, and {before} not: {:?}",
                record.steps.get(before)
            );
        }
    }
}
