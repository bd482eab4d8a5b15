//! A simulated world with a plan for it, for the tests of commands.

use std::collections::BTreeMap;

use rehome_engine::{Outcome, Ports};
use rehome_model::format::{Format, RUN};
use rehome_model::ids::RunId;
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
use rehome_model::record::{Phase, RunHeader, RunRecord};
use rehome_profiles::Profile;
use rehome_sim::{Control, Scene, SimPorts, World};

use super::look;
use crate::input;

pub struct Staged {
    pub world: World,
    pub ports: Ports,
    pub migration: Migration,
    pub profile: &'static dyn Profile,
    pub plan: Plan,
}

pub async fn staged(members: u32) -> Staged {
    let world = Scene::new(members, 1).begin();
    let sim = SimPorts::new(&world, &Control::new());
    let ports = Ports { cloud: sim.cloud(), hosts: sim.hosts(), pods: sim.pods(), kube: sim.kube() };
    let migration = input::parse(&rehome_sim::migration_yaml()).unwrap();
    let profile = input::profile(&migration.spec.application.profile).unwrap();
    let (_, _, plan) = look::make_plan(&ports, &migration, profile, world.ec2().now()).await.unwrap();
    Staged { world, ports, migration, profile, plan }
}

/// A drive that ended so, and why if something failed.
pub fn ended(phase: Phase, failure: Option<&str>) -> Outcome {
    let header = RunHeader {
        format: Format::current(RUN),
        run: RunId::from("r-1"),
        migration: "m".to_owned(),
        plan_hash: String::new(),
        generation: 1,
        phase,
        reason: None,
        started_at_ms: 0,
        cutover_at_ms: None,
        opened_at_ms: None,
        finalize: None,
        keep_writes: None,
    };
    let (failure, record) = (failure.map(str::to_owned), RunRecord { header, steps: BTreeMap::new() });
    Outcome { phase, interrupted: false, failure, record }
}
