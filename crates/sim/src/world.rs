//! The world: one lock over hosts, cluster and database, beside EC2's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rehome_ec2_emulator::face::Emulator;
use rehome_model::cloud::InstanceState;
use rehome_model::ids::{InstanceId, VolumeId};

use crate::database::{ReferenceDatabase, Side};
use crate::kubernetes::Cluster;
use crate::machines::Nodes;

/// A legacy host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub address: String,
    /// Mount point, volume and device of each data file system in fstab.
    pub file_systems: Vec<(String, VolumeId, String)>,
    pub masked: bool,
    /// Whether the machine was up when last looked at.
    pub up: bool,
    /// Whether the service hangs when it is asked to stop.
    pub hangs: bool,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub hosts: BTreeMap<InstanceId, Host>,
    pub cluster: Cluster,
    pub database: ReferenceDatabase,
    /// Node name -> instance.
    pub nodes: BTreeMap<String, InstanceId>,
    /// Pod -> whether it may be open, by the environment it was started with.
    pub ready: BTreeMap<String, u64>,
}

/// A simulated world. Clones are the same world.
#[derive(Clone)]
pub struct World {
    pub(crate) ec2: Emulator,
    pub(crate) state: Arc<Mutex<State>>,
}

impl World {
    pub(crate) fn new(ec2: Emulator, state: State) -> Self {
        Self { ec2, state: Arc::new(Mutex::new(state)) }
    }

    /// EC2, for looking into it.
    pub fn ec2(&self) -> &Emulator {
        &self.ec2
    }

    /// Makes the service of the n-th legacy host hang when it is asked to stop.
    pub fn let_service_hang(&self, n: usize) {
        self.with(|state, _| {
            let mut hosts: Vec<_> = state.hosts.values_mut().collect();
            hosts.sort_by(|left, right| left.address.cmp(&right.address));
            if let Some(host) = hosts.get_mut(n) {
                host.hangs = true;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks into the world, brought up to the present.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.lock();
        let now = self.ec2.now();
        self.advance(&mut state, now);
        look(&mut state, now)
    }

    fn advance(&self, state: &mut State, now: u64) {
        self.run_hosts(state, now);
        let State { cluster, database, nodes, ready, .. } = state;
        let mut machines = Nodes { ec2: &self.ec2, database, instances: nodes, ready };
        cluster.advance(now, &mut machines);
        self.ec2.with(|inner, now| state.database.advance(now, &mut inner.disks));
    }

    /// Hosts follow their instances: a stop shuts the service down cleanly, a start mounts what fstab says and starts
    /// the service unless it is masked.
    fn run_hosts(&self, state: &mut State, now: u64) {
        let State { hosts, database, .. } = state;
        self.ec2.with(|inner, _| {
            for (id, host) in hosts {
                let instance = inner.core.instances.get(id).map(|record| record.state);
                let up = instance == Some(InstanceState::Running);
                if host.up && !up {
                    database.stop(&mut inner.disks, id.as_str());
                    for (_, volume, _) in &host.file_systems {
                        inner.disks.unmount(volume, id.as_str());
                    }
                } else if !host.up && up {
                    for (_, volume, _) in &host.file_systems {
                        inner.disks.mount(volume, id.as_str(), now);
                    }
                    if !host.masked {
                        host.start(database, &mut inner.disks, now, id);
                    }
                }
                host.up = up;
            }
        });
    }
}

impl Host {
    pub(crate) fn start(
        &self,
        database: &mut ReferenceDatabase,
        disks: &mut rehome_ec2_emulator::disks::MemoryDisks,
        now: u64,
        id: &InstanceId,
    ) {
        if database.processes.contains_key(id.as_str()) {
            return;
        }
        if let Some((_, volume, _)) = self.file_systems.first() {
            // systemd would try again for ever; the start fails only if the disk holds no member, which is recorded.
            let _ = database.start(now, disks, id.as_str(), Side::Legacy, volume, &self.address, true);
        }
    }
}
