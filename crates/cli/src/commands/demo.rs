//! `rehome demo`: the main job on the embedded cloud and cluster, in virtual time.

use std::cell::Cell;
use std::sync::Arc;

use anyhow::Result;
use rehome_engine::{Clock, Command, Driver, Outcome, Ports};
use rehome_model::event::EventKind;
use rehome_model::format;
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
use rehome_model::record::Phase;
use rehome_profiles::Profile;
use rehome_sim::{Control, Kill, Scene, SimPorts, World, checks};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::look;
use crate::args::{Demo, Format};
use crate::exit::{Exit, problem};
use crate::output::show;
use crate::{input, output};

/// How often the demo starts anew after it was killed. Once is enough if nothing is wrong.
const RESTARTS: u32 = 3;
/// The result, as a program reads it.
#[derive(Serialize)]
struct Outcomes {
    members: usize,
    adopted: usize,
    killed: u32,
    downtime_ms: u64,
    whole_ms: u64,
    volumes_gib: u32,
    bytes_written_to_new_volumes_before_opening: u64,
    ec2_calls: u64,
    kubernetes_calls: u64,
    rows_acknowledged: usize,
    rows_lost: usize,
    violations: Vec<String>,
    landed: Vec<String>,
}

struct Stage<'a> {
    world: World,
    control: Arc<Control>,
    ports: Ports,
    migration: Migration,
    profile: &'static dyn Profile,
    args: &'a Demo,
    /// Bytes written to new volumes when the opening began.
    written: Cell<u64>,
    began_ms: u64,
}

/// Carries out the demo.
pub async fn demo(args: &Demo) -> Result<Exit> {
    let world = Scene::new(args.members, args.seed).begin();
    let control = Control::new();
    let sim = SimPorts::new(&world, &control);
    let ports = Ports { cloud: sim.cloud(), hosts: sim.hosts(), pods: sim.pods(), kube: sim.kube() };
    let migration =
        input::parse(&rehome_sim::migration_yaml()).map_err(|error| problem(Exit::Failed, error, "this is a bug"))?;
    let profile = input::profile(&migration.spec.application.profile)?;
    let began_ms = world.ec2().now();
    let stage = Stage { world, control, ports, migration, profile, args, written: Cell::new(0), began_ms };
    let (survey, findings, plan) = look::make_plan(&stage.ports, &stage.migration, profile, began_ms).await?;
    stage.say(&format!("{}{}\n{}\n", output::survey(&survey), output::findings(&findings), output::plan(&plan)))?;
    let (outcome, killed) = stage.apply(&plan).await?;
    let result = stage.result(&plan, &outcome, killed);
    let good = outcome.phase == Phase::Completed
        && result.adopted == plan.members.len()
        && result.violations.is_empty()
        && result.rows_lost == 0;
    match args.output {
        Format::Text => show!("{}", screen(&result))?,
        Format::Json => show!("{}", output::json(format::DEMO, &result)?)?,
    }
    if good {
        return Ok(Exit::Ok);
    }
    let why = outcome.failure.unwrap_or_else(|| result.violations.join("; "));
    Err(problem(Exit::Failed, format!("the demo did not end well: {why}"), "this is a bug: please report the seed"))
}

impl Stage<'_> {
    fn say(&self, text: &str) -> Result<()> {
        if self.args.output == Format::Text { show!("{text}") } else { Ok(()) }
    }

    /// Applies until the run is over; a killed driver is followed by a new one.
    async fn apply(&self, plan: &Plan) -> Result<(Outcome, u32)> {
        if let Some(call) = self.args.kill_at {
            // Odd calls die before they are sent, even ones after their effect.
            self.control.arm(call, if call % 2 == 1 { Kill::Before } else { Kill::After });
        }
        for killed in 0..=RESTARTS {
            if let Some(outcome) = self.drive(plan, killed).await? {
                if let (Some(call), 0) = (self.args.kill_at, killed) {
                    self.say(&format!(
                        "            call {call} was never reached: this run makes {}\n",
                        self.control.mutations()
                    ))?;
                }
                return Ok((outcome, killed));
            }
            let last = self.control.names().last().copied().unwrap_or_default();
            self.control.disarm();
            self.say(&format!(
                "            killed at call {} ({last}); a new process takes over\n",
                self.args.kill_at.unwrap_or(0)
            ))?;
        }
        Err(problem(Exit::Failed, "the run did not converge", "this is a bug: please report the seed"))
    }

    /// One driver's life; none if it was killed.
    async fn drive(&self, plan: &Plan, number: u32) -> Result<Option<Outcome>> {
        let (events, mut received) = mpsc::unbounded_channel();
        let (_keep, stop) = watch::channel(false);
        let driver = Driver {
            ports: self.ports.clone(),
            clock: Clock::starting_at(self.world.ec2().now()),
            holder: format!("demo-{number}"),
            events,
            stop,
            shown: None,
        };
        let names = (&self.migration.spec.target.namespace, &self.migration.metadata.name);
        let command = Command::Apply(Box::new(plan.clone()));
        let driven = async {
            let outcome = tokio::select! {
                outcome = driver.drive(names.0, names.1, self.profile, command) => Some(outcome),
                () = self.control.killed() => None,
            };
            drop(driver);
            outcome
        };
        let shown = async {
            while let Some(event) = received.recv().await {
                if matches!(&event.kind, EventKind::StepStarted { step, .. } if step.as_str() == "open") {
                    self.written.set(self.written_to_new_volumes());
                }
                if let Some(line) = output::event(&event, self.began_ms) {
                    self.say(&format!("{line}\n"))?;
                }
            }
            anyhow::Ok(())
        };
        let (outcome, shown) = tokio::join!(driven, shown);
        shown?;
        outcome
            .transpose()
            .map_err(|error| problem(Exit::Failed, error.to_string(), "this is a bug: please report the seed"))
    }

    fn written_to_new_volumes(&self) -> u64 {
        self.world.ec2().with(|inner, _| {
            let new =
                |id: &rehome_model::ids::VolumeId| inner.core.volumes.get(id).is_some_and(|v| v.snapshot.is_some());
            inner.disks.written.iter().filter(|(id, _)| new(id)).map(|(_, bytes)| bytes).sum()
        })
    }

    fn result(&self, plan: &Plan, outcome: &Outcome, killed: u32) -> Outcomes {
        let landed = self.world.landed();
        let adopted = plan.members.iter().filter(|member| {
            let pod = landed.iter().find(|landed| Some(&landed.pod) == member.slot.pod.as_ref());
            pod.is_some_and(|pod| pod.identity == member.identity.id && pod.open && pod.member == member.name.as_str())
        });
        let mut violations = checks::violations(&self.world);
        violations.extend(checks::originals_changed(&self.world));
        violations.extend(checks::duplicates(&self.world, 2, 1));
        let header = &outcome.record.header;
        let cutover = header.cutover_at_ms.unwrap_or_default();
        Outcomes {
            members: plan.members.len(),
            adopted: adopted.count(),
            killed,
            downtime_ms: header.opened_at_ms.unwrap_or(cutover).saturating_sub(cutover),
            whole_ms: self.world.ec2().now() - self.began_ms,
            volumes_gib: plan.members.iter().flat_map(|m| &m.volumes).map(|v| v.spec.size_gib).sum(),
            bytes_written_to_new_volumes_before_opening: self.written.get(),
            ec2_calls: self.world.ec2().with(|inner, _| inner.core.calls.values().sum()),
            kubernetes_calls: self.world.cluster_calls().values().sum(),
            rows_acknowledged: self.world.ledger().acknowledged.len(),
            rows_lost: checks::lost_writes(&self.world).len(),
            violations,
            landed: landed
                .iter()
                .map(|l| format!("{:<10} {:<16} {:<16} {}  {}", l.member, l.pod, l.claim, l.volume, l.address))
                .collect(),
        }
    }
}

fn screen(result: &Outcomes) -> String {
    let seconds = |ms: u64| output::duration(ms / 1000);
    let mut lines =
        vec![String::new(), "member     pod              claim            volume                 address".to_owned()];
    lines.extend(result.landed.iter().cloned());
    lines.push(String::new());
    lines.push(format!(
        "downtime          {} (virtual time), whole run {}",
        seconds(result.downtime_ms),
        seconds(result.whole_ms)
    ));
    lines.push(format!(
        "data              {} GiB changed hands; {} bytes were written to the new volumes before the opening",
        result.volumes_gib, result.bytes_written_to_new_volumes_before_opening
    ));
    lines.push(format!("calls             {} to EC2, {} to Kubernetes", result.ec2_calls, result.kubernetes_calls));
    lines.push(format!(
        "client            {} rows acknowledged meanwhile, {} lost",
        result.rows_acknowledged, result.rows_lost
    ));
    if result.killed > 0 {
        lines.push(format!("killed            {} time, and taken up again", result.killed));
    }
    for violation in &result.violations {
        lines.push(format!("VIOLATION         {violation}"));
    }
    lines.push(format!("{} of {} members adopted", result.adopted, result.members));
    lines.join("\n") + "\n"
}
