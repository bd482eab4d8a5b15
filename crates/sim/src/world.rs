//! The world: one lock over hosts, cluster and database, beside EC2's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rehome_ec2_emulator::disks::MemoryDisks;
use rehome_ec2_emulator::face::{Emulator, Inner};
use rehome_model::cloud::InstanceState;
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::task::HostTask;

use crate::database::{OWNER, ReferenceDatabase, Side};
use crate::kubernetes::Cluster;
use crate::machines::Nodes;

/// Stands for a line in fstab that names the file system by its UUID.
pub(crate) const UUID: &str = "UUID";

/// What a legacy host shows of its data file system, and how well it can be asked.
#[derive(Clone, Debug)]
pub struct HostShape {
    /// Processes of others that use its volumes.
    pub holders: Vec<String>,
    /// Options of the line in fstab for an instance store beside its volumes, if it has one.
    pub ephemeral: Option<String>,
    /// What its XFS file systems use.
    pub xfs_features: Vec<String>,
    /// lsblk's TYPE of the device.
    pub kind: String,
    /// Whether the device has a partition table.
    pub partitioned: bool,
    /// Whether it is an instance store.
    pub instance_store: bool,
    /// Share of free bytes.
    pub free_percent: u64,
    /// Owner of the files.
    pub uid: u32,
    /// Owner of the mount point itself, if it is another.
    pub top_uid: Option<u32>,
    /// Mode of the mount point, if the survey asks for it.
    pub top_mode: Option<u32>,
    /// The directory of the file system that is mounted, if it is not all of it.
    pub part: Option<String>,
    /// A second place where the file system is mounted.
    pub mounted_also: Option<String>,
    /// The control group of the application's process; none if no process of it is found.
    pub control_group: Option<String>,
    /// First field of the line in fstab; none for no line. `UUID` stands for the file system's own.
    pub fstab: Option<String>,
    /// Whether anything is found out of where the service keeps what.
    pub tells_directories: bool,
    /// Where the service keeps what, by purpose, where it is not the usual place; none where that cannot be found out.
    pub directories: BTreeMap<String, Option<String>>,
    /// Other mount points of the host.
    pub other_mounts: Vec<String>,
    /// Whether the files below the mount point have several owners.
    pub mixed_owners: bool,
    /// Whether scripts reach it.
    pub reachable: bool,
    /// Whether the application answers.
    pub answers: bool,
    /// What the application asks clients for.
    pub passwords: &'static str,
    /// Whether another supervisor than systemd runs the application.
    pub supervised: bool,
    /// Whether its configuration lets the application start once only.
    pub starts_once: bool,
    /// The address by which the others know it, if not its own.
    pub known_as: Option<String>,
    /// Whether the application says that it lets no clients in.
    pub closed: bool,
    /// Schema versions that its member sees.
    pub schema_versions: usize,
}

impl Default for HostShape {
    fn default() -> Self {
        Self {
            holders: Vec::new(),
            xfs_features: vec!["crc".to_owned(), "bigtime".to_owned()],
            ephemeral: None,
            kind: "disk".to_owned(),
            partitioned: false,
            instance_store: false,
            free_percent: 50,
            uid: 999,
            top_uid: None,
            top_mode: Some(0o755),
            part: None,
            mounted_also: None,
            control_group: Some("/system.slice/refdb.service".to_owned()),
            fstab: Some(UUID.to_owned()),
            tells_directories: true,
            directories: BTreeMap::new(),
            other_mounts: Vec::new(),
            mixed_owners: false,
            reachable: true,
            answers: true,
            passwords: "none",
            supervised: false,
            starts_once: false,
            known_as: None,
            closed: false,
            schema_versions: 1,
        }
    }
}

/// A member that runs in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after what they are")]
pub struct Landed {
    pub pod: String,
    pub address: String,
    pub claim: String,
    pub volume: String,
    pub member: String,
    pub identity: String,
    pub open: bool,
}

/// A legacy host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub shape: HostShape,
    pub address: String,
    /// Mount point, volume and device of each data file system in fstab. Which volume it is was seen at the last mount.
    pub file_systems: Vec<(String, VolumeId, String)>,
    /// The volumes that the host had in the beginning.
    pub originals: Vec<VolumeId>,
    pub masked: bool,
    /// Whether a drop-in with an assertion keeps the service from starting.
    pub held: bool,
    /// Whether the machine was up when last looked at.
    pub up: bool,
    /// Whether the service hangs when it is asked to stop.
    pub hangs: bool,
    /// Until when a script that changes something runs.
    pub busy_until: u64,
    /// Runs that were taken back here: their scripts that go forward come too late.
    pub taken_back: BTreeSet<String>,
}

/// The world's step: no part sees another's doing earlier than this.
const TICK_MS: u64 = 250;

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    /// Up to when everything has happened.
    pub at: u64,
    pub hosts: BTreeMap<InstanceId, Host>,
    pub cluster: Cluster,
    pub database: ReferenceDatabase,
    /// Node name -> instance.
    pub nodes: BTreeMap<String, InstanceId>,
    /// Pod -> when its readiness probe passes.
    pub ready: BTreeMap<String, u64>,
    /// Scripts whose callers gave up and that take effect later: when, where, what.
    pub late: Vec<(u64, InstanceId, HostTask)>,
    /// When the agent of which host does not answer: from, until.
    pub agents_gone: Vec<(InstanceId, u64, u64)>,
    /// The program that answers in pods.
    pub pod_program: &'static str,
    /// How long a script in a pod takes at least, in ms.
    pub exec_ms: u64,
    /// When the root disk of which host is full: from, until.
    pub disks_full: Vec<(InstanceId, u64, u64)>,
    /// When which host reboots: from, until.
    pub reboots: Vec<(InstanceId, u64, u64)>,
    /// Instances that a driver is starting, and since when: one that stands still meanwhile starts them later, whatever
    /// has happened by then.
    pub starting: BTreeMap<InstanceId, u64>,
    /// When the apiserver does not answer: from, until.
    pub apiserver_away: Vec<(u64, u64)>,
}

impl State {
    /// The word that a run was taken back on a host: left by the scripts that do so, read by those that go forward.
    pub(crate) fn note_direction(&mut self, instance: &InstanceId, task: &HostTask, run: &str) -> Result<(), String> {
        let Some(host) = self.hosts.get_mut(instance).filter(|host| host.up) else { return Ok(()) };
        match task {
            HostTask::Flush | HostTask::StopService | HostTask::Unmount { .. } if host.taken_back.contains(run) => {
                Err(format!("run {run} was taken back here: this script comes too late"))
            }
            HostTask::Mount { .. } | HostTask::TakeBack { .. } | HostTask::StartService => {
                host.taken_back.insert(run.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A script whose caller gave up takes effect at a time, and holds its host's lock until then.
    pub(crate) fn goes_on(&mut self, at: u64, instance: &InstanceId, task: &HostTask) {
        self.late.push((at, instance.clone(), task.clone()));
        if let Some(host) = self.hosts.get_mut(instance) {
            // The world moves in ticks: it takes effect at the first one after `at`.
            host.busy_until = host.busy_until.max(at + TICK_MS);
        }
    }

    /// When the lock of a host's scripts is free.
    pub(crate) fn free_at(&self, instance: &InstanceId) -> u64 {
        self.hosts.get(instance).map_or(0, |host| host.busy_until)
    }

    pub(crate) fn agent_is_gone(&self, instance: &InstanceId, now: u64) -> bool {
        is_within(&self.agents_gone, instance, now)
    }

    pub(crate) fn disk_is_full(&self, instance: &InstanceId, now: u64) -> bool {
        is_within(&self.disks_full, instance, now)
    }

    pub(crate) fn apiserver_is_away(&self, now: u64) -> bool {
        self.apiserver_away.iter().any(|(from, until)| (*from..*until).contains(&now))
    }
}

fn is_within(windows: &[(InstanceId, u64, u64)], instance: &InstanceId, now: u64) -> bool {
    windows.iter().any(|(of, from, until)| of == instance && (*from..*until).contains(&now))
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

    /// The set's pods and claims, for showing them: pod, its address, claim, volume.
    pub fn landed(&self) -> Vec<Landed> {
        self.with(|state, _| {
            let string = |object: &serde_json::Value, pointer: &str| {
                object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
            };
            let claims = state.cluster.all("persistentvolumeclaims");
            let volumes = state.cluster.all("persistentvolumes");
            let mut landed = Vec::new();
            for pod in state.cluster.all("pods") {
                let name = string(&pod, "/metadata/name");
                let Some(process) = state.database.processes.get(&name) else { continue };
                let claim_name = string(&pod, "/spec/volumes/0/persistentVolumeClaim/claimName");
                let claim = claims.iter().find(|claim| string(claim, "/metadata/name") == claim_name);
                let volume_name = claim.map(|claim| string(claim, "/spec/volumeName")).unwrap_or_default();
                let volume = volumes.iter().find(|volume| string(volume, "/metadata/name") == volume_name);
                landed.push(Landed {
                    pod: name,
                    address: process.address.clone(),
                    claim: claim_name,
                    volume: volume.map(|volume| string(volume, "/spec/csi/volumeHandle")).unwrap_or_default(),
                    member: volume.map(|v| string(v, "/metadata/labels/rehome.dev~1member")).unwrap_or_default(),
                    identity: process.identity.id.clone(),
                    open: process.open,
                });
            }
            landed
        })
    }

    /// The client's ledger.
    pub fn ledger(&self) -> crate::database::Ledger {
        self.with(|state, _| state.database.ledger.clone())
    }

    /// Calls to the cluster so far, by verb and kind.
    pub fn cluster_calls(&self) -> BTreeMap<String, u64> {
        self.with(|state, _| {
            let calls = state.cluster.calls.iter();
            calls.map(|((verb, plural), count)| (format!("{verb} {plural}"), *count)).collect()
        })
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

    /// Catches up with `now` in steps, so that what each part does meets the others at its own time. Steps in which
    /// nothing can happen are left out.
    fn advance(&self, state: &mut State, now: u64) {
        let last = state.at + now.saturating_sub(state.at) / TICK_MS * TICK_MS;
        loop {
            let due = self.next_due(state);
            let next = (state.at + due.saturating_sub(state.at).div_ceil(TICK_MS) * TICK_MS).max(state.at + TICK_MS);
            if next > last {
                break;
            }
            state.at = next;
            // First what clients did until now, with the processes as they were.
            self.ec2.with_at(next, |inner, at| state.database.advance(at, &mut inner.disks));
            self.run_hosts(state, next);
            self.run_late(state, next);
            let State { cluster, database, nodes, ready, .. } = state;
            let mut machines = Nodes { ec2: &self.ec2, database, instances: nodes, ready };
            cluster.advance(next, &mut machines);
        }
        if state.at < last {
            state.at = last;
            self.ec2.with_at(last, |inner, at| state.database.advance(at, &mut inner.disks));
        }
    }

    /// When something may happen next that is not done by a caller.
    fn next_due(&self, state: &State) -> u64 {
        let ec2 = self.ec2.with_at(state.at, |inner, _| inner.core.next_change()).unwrap_or(u64::MAX);
        let late = state.late.iter().map(|(at, _, _)| *at).min().unwrap_or(u64::MAX);
        let reboots = state.reboots.iter().flat_map(|(_, from, until)| [*from, *until]);
        let reboot = reboots.filter(|at| *at > state.at).min().unwrap_or(u64::MAX);
        ec2.min(late).min(reboot).min(state.cluster.next_due()).min(state.database.next_due())
    }

    /// Scripts that went on after their callers gave up.
    fn run_late(&self, state: &mut State, now: u64) {
        if state.late.is_empty() {
            return;
        }
        let (due, later) = std::mem::take(&mut state.late).into_iter().partition(|(at, _, _)| *at <= now);
        state.late = later;
        let due: Vec<(u64, InstanceId, HostTask)> = due;
        for (_, instance, task) in due {
            // Nobody reads the answer.
            let _ = crate::host_tasks::host_task(self, state, now, &instance, &task);
        }
    }

    /// Hosts follow their instances: a stop shuts the service down cleanly, a start mounts what fstab says and starts
    /// the service unless something keeps it down.
    fn run_hosts(&self, state: &mut State, now: u64) {
        let State { hosts, database, reboots, .. } = state;
        self.ec2.with_at(now, |inner, _| {
            for (id, host) in hosts {
                let instance = inner.core.instances.get(id).map(|record| record.state);
                let up = instance == Some(InstanceState::Running) && !is_within(reboots, id, now);
                if host.up && !up {
                    database.stop(&mut inner.disks, id.as_str());
                    for (_, volume, _) in &host.file_systems {
                        inner.disks.unmount(volume, id.as_str());
                    }
                } else if !host.up && up {
                    host.mount(inner, now, id);
                    if !host.is_kept_down() {
                        // systemd would try again; what keeps the service from starting is seen by whoever asks it.
                        let _ = host.start(database, &mut inner.disks, now, id);
                    }
                }
                host.up = up;
            }
        });
    }
}

impl Host {
    /// Whether nothing starts the service.
    pub(crate) fn is_kept_down(&self) -> bool {
        self.masked || self.held
    }

    /// Mounts what fstab says: the attached volume whose file system has the UUID of the line. Of two with the same UUID
    /// either may be mounted, which no host should be left to choose.
    pub(crate) fn mount(&mut self, inner: &mut Inner, now: u64, id: &InstanceId) {
        let by_uuid = self.shape.fstab.as_deref() == Some(UUID);
        let uuid = |disks: &MemoryDisks, volume: &VolumeId| disks.volume(volume).and_then(|d| d.content.uuid.clone());
        for (_, volume, _) in &mut self.file_systems {
            let wanted = uuid(&inner.disks, volume);
            if by_uuid && wanted.is_some() {
                let attached = inner.core.instances.get(id).map(|record| record.block_devices.clone());
                let attached = attached.unwrap_or_default().into_iter().map(|device| device.volume);
                let same: Vec<VolumeId> = attached.filter(|found| uuid(&inner.disks, found) == wanted).collect();
                match same.as_slice() {
                    // The device is not there: the mount fails.
                    [] => continue,
                    [only] => volume.clone_from(only),
                    [first, ..] => {
                        let two = format!("I1: {id} sees {} volumes with one UUID, and mounts {first}", same.len());
                        inner.disks.violations.push(two);
                        volume.clone_from(first);
                    }
                }
            }
            inner.disks.mount(volume, id.as_str(), now);
        }
    }

    /// Starts the service; says why it does not start.
    pub(crate) fn start(
        &self,
        database: &mut ReferenceDatabase,
        disks: &mut MemoryDisks,
        now: u64,
        id: &InstanceId,
    ) -> Result<(), String> {
        if database.processes.contains_key(id.as_str()) {
            return Ok(());
        }
        let own = format!("{0}:{0}", self.shape.uid);
        for (point, volume, _) in &self.file_systems {
            let mounted =
                disks.volume(volume).is_some_and(|disk| disk.mounted.iter().any(|m| m.instance == id.as_str()));
            if !mounted {
                return Err(format!("{point} is not mounted"));
            }
            if disks.read(volume, OWNER).is_some_and(|owner| owner != own.as_bytes()) {
                return Err(format!("{point}: permission denied"));
            }
        }
        let volumes: Vec<VolumeId> = self.file_systems.iter().map(|(_, volume, _)| volume.clone()).collect();
        if volumes.is_empty() {
            return Ok(());
        }
        database.start(now, disks, id.as_str(), Side::Legacy, &volumes, &self.address, true)
    }
}
