//! Survey, plan and apply of one large scene.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rehome_engine::{Clock, Command, Driver, Ports};
use rehome_model::event::EventKind;
use rehome_model::finding::Finding;
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
pub use rehome_model::survey::Survey;
use rehome_profiles::Profile;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::bound::{Bound, Delays, Move, least_calls, least_time};
use super::calls::Calls;
use crate::database::BOOT_MS;
use crate::gate::Port;
use crate::kubernetes::KubeTiming;
use crate::ports::{SCRIPT_MS, STOP_MS};
use crate::scene::EC2_LATENCY_MS;
use crate::{Scene, SimPorts, World, checks};

/// A scene that is to be moved, with everything counted.
pub struct Stage {
    world: World,
    calls: Arc<Calls>,
    ports: Ports,
    migration: Migration,
    profile: &'static dyn Profile,
}

/// From the first step of a kind that began to the last that ended, in ms since the apply began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first began.
    pub from_ms: u64,
    /// The last ended.
    pub until_ms: u64,
}

/// The run record as it lies in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Its objects.
    pub objects: usize,
    /// Bytes of the largest one, as JSON.
    pub largest_bytes: usize,
    /// Bytes of all.
    pub total_bytes: usize,
}

/// What one apply took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Members moved.
    pub members: usize,
    /// Virtual time of the whole apply.
    pub makespan_ms: u64,
    /// Virtual time from the first member that left service to the opening.
    pub downtime_ms: u64,
    /// The driver's calls to EC2 and Auto Scaling, by action.
    pub ec2: BTreeMap<String, u64>,
    /// Its calls to Kubernetes, by verb and kind.
    pub kubernetes: BTreeMap<String, u64>,
    /// The least time that EC2's limits and the delays allow.
    pub bound: Bound,
    /// The fewest calls to EC2.
    pub least_calls: u64,
    /// Its scripts on hosts and in pods, by task.
    pub scripts: BTreeMap<String, u64>,
    /// Its calls that EC2 refused because of their rate.
    pub throttled: u64,
    /// Steps by kind.
    pub spans: BTreeMap<String, Span>,
    /// The record.
    pub record: Record,
    /// Real time it took to simulate.
    pub wall_ms: u64,
}

impl Stage {
    /// Sets the scene: members with a data and a commit log volume each, EBS with exact delays, and a run that may use
    /// so much of the account's rates of calls.
    pub fn new(members: u32, api_share_percent: u8) -> Result<Self, String> {
        let mut scene = Scene::with_commitlogs(members, 1);
        scene.ec2.timing = scene.ec2.timing.exact();
        let world = scene.begin();
        let calls = Calls::new();
        let sim = SimPorts::behind(&world, Arc::clone(&calls) as Arc<_>);
        let ports = Ports { cloud: sim.cloud(), hosts: sim.hosts(), pods: sim.pods(), kube: sim.kube() };
        let mut migration: Migration =
            serde_saphyr::from_str(&crate::migration_yaml_with_commitlogs()).map_err(|error| error.to_string())?;
        let share = serde_json::from_value(api_share_percent.into()).map_err(|error| error.to_string())?;
        migration.spec.limits.api_share_percent = Some(share);
        let profile = rehome_profiles::find(&migration.spec.application.profile).ok_or("no such profile")?;
        Ok(Self { world, calls, ports, migration, profile })
    }

    /// Looks at everything.
    pub async fn survey(&self) -> Result<Survey, String> {
        let through = rehome_survey::Ports {
            cloud: self.ports.cloud.as_ref(),
            hosts: self.ports.hosts.as_ref(),
            kube: &self.ports.kube,
            now_ms: self.world.ec2().now(),
        };
        rehome_survey::survey(&through, &self.migration, self.profile).await.map_err(|error| error.to_string())
    }

    /// Checks.
    pub fn check(&self, survey: &Survey) -> Vec<Finding> {
        rehome_lint::lint(&self.migration, survey, self.profile)
    }

    /// Plans.
    pub fn plan(&self, survey: &Survey, findings: Vec<Finding>) -> Result<Plan, String> {
        rehome_planner::plan(&self.migration, survey, self.profile, findings).map_err(|error| format!("{error:?}"))
    }

    /// Applies the plan, and sees that everything is right at the end.
    pub async fn apply(&self, plan: &Plan) -> Result<Measured, String> {
        self.calls.clear();
        let (events, mut received) = mpsc::unbounded_channel();
        let (_keep, stop) = watch::channel(false);
        let began_ms = self.world.ec2().now();
        let wall = Instant::now();
        let driver = Driver {
            ports: self.ports.clone(),
            clock: Clock::starting_at(began_ms),
            holder: "bench".to_owned(),
            events,
            stop,
            shown: None,
        };
        let command = Command::Apply(Box::new(plan.clone()));
        let name = &self.migration.metadata.name;
        let driven = async {
            let outcome = driver.drive(&self.migration.spec.target.namespace, name, self.profile, command).await;
            drop(driver);
            outcome
        };
        let heard = async {
            let mut spans: BTreeMap<String, Span> = BTreeMap::new();
            let mut throttled = 0;
            while let Some(event) = received.recv().await {
                if matches!(&event.kind, EventKind::StepRetried { error, .. } if error.contains("RequestLimitExceeded"))
                {
                    throttled += 1;
                }
                let at_ms = event.at_ms.saturating_sub(began_ms);
                let (EventKind::StepStarted { step, .. } | EventKind::StepEnded { step, .. }) = &event.kind else {
                    continue;
                };
                let kind = step.as_str().split(':').next().unwrap_or_default().to_owned();
                let span = spans.entry(kind).or_insert(Span { from_ms: at_ms, until_ms: at_ms });
                span.until_ms = span.until_ms.max(at_ms);
            }
            (spans, throttled)
        };
        let (outcome, (spans, throttled)) = tokio::join!(driven, heard);
        let outcome = outcome.map_err(|error| error.to_string())?;
        if let Some(failure) = &outcome.failure {
            return Err(failure.clone());
        }
        let makespan_ms = self.world.ec2().now() - began_ms;
        let what = Move {
            members: plan.members.len() as u64,
            volumes: plan.members.first().map_or(0, |member| member.volumes.len()) as u64,
        };
        let header = &outcome.record.header;
        let (cutover, opened) = (header.cutover_at_ms.unwrap_or(0), header.opened_at_ms.unwrap_or(0));
        let measured = Measured {
            members: plan.members.len(),
            makespan_ms,
            downtime_ms: opened.saturating_sub(cutover),
            ec2: self.calls.of(Port::Cloud),
            kubernetes: self.calls.of(Port::Cluster),
            bound: least_time(what, self.delays()),
            least_calls: least_calls(what),
            scripts: self.calls.of(Port::Hosts).into_iter().chain(self.calls.of(Port::Pods)).collect(),
            throttled,
            spans,
            record: self.record(),
            wall_ms: u64::try_from(wall.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.see(plan)?;
        Ok(measured)
    }

    /// The delays of this world.
    pub fn delays(&self) -> Delays {
        let timing = self.world.ec2().with(|inner, _| inner.core.config.timing.clone());
        Delays {
            call_ms: EC2_LATENCY_MS,
            snapshot_ms: timing.snapshot_ms,
            create_volume_ms: timing.create_volume_ms,
            attach_ms: timing.attach_ms,
            stop_instance_ms: timing.stop_ms,
            script_ms: SCRIPT_MS,
            drain_ms: STOP_MS,
            pull_ms: KubeTiming::default().pull_ms,
            boot_ms: BOOT_MS,
        }
    }

    fn record(&self) -> Record {
        let sizes: Vec<usize> = self.world.with(|state, _| {
            let all = state.cluster.all("configmaps");
            all.iter().map(|object| object.to_string().len()).collect()
        });
        Record {
            objects: sizes.len(),
            largest_bytes: sizes.iter().max().copied().unwrap_or(0),
            total_bytes: sizes.iter().sum(),
        }
    }

    /// What went wrong, if something did: figures of such a move are none.
    fn see(&self, plan: &Plan) -> Result<(), String> {
        let mut wrong = checks::violations(&self.world);
        wrong.extend(checks::originals_changed(&self.world));
        wrong.extend(checks::lost_writes(&self.world));
        let volumes = plan.members.first().map_or(0, |member| member.volumes.len());
        wrong.extend(checks::duplicates(&self.world, 2 * volumes, volumes));
        let landed = self.world.landed();
        if landed.len() != plan.members.len() || landed.iter().any(|pod| !pod.open) {
            wrong.push(format!("{} of {} members landed", landed.len(), plan.members.len()));
        }
        wrong.first().map_or(Ok(()), |first| Err(format!("{} violations, the first: {first}", wrong.len())))
    }
}
