//! A simulated world with a plan for it, for the tests of commands.

use rehome_engine::Ports;
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
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
