//! What scripts do on a simulated host.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rehome_model::host::{
    DataPath, FstabEntry, Holds, HostBlockDevice, HostProcess, HostReport, Mount, ServiceReport, StateDirectory,
};
use rehome_model::ids::InstanceId;
use rehome_model::task::{HostAnswer, HostTask, IS_BUSY};

use crate::database::{IDENTITY, OWNER};
use crate::scene::LOG_PATH;
use crate::world::{State, UUID, World};

/// What a script does on a simulated host. `Err(None)`: the host is down.
pub(crate) fn host_task(
    world: &World,
    state: &mut State,
    now: u64,
    id: &InstanceId,
    task: &HostTask,
) -> Result<HostAnswer, Option<String>> {
    let State { hosts, database, .. } = state;
    let host = hosts.get_mut(id).filter(|host| host.up && host.shape.reachable).ok_or(None)?;
    world.ec2.with(|inner, _| {
        let disks = &mut inner.disks;
        let volumes: Vec<_> = host.file_systems.iter().map(|(_, volume, _)| volume.clone()).collect();
        match task {
            HostTask::Survey => {
                let view = database.view(now, disks, id.as_str()).map(|mut view| {
                    view.schema_versions = (1..=host.shape.schema_versions).map(|n| n.to_string()).collect();
                    view
                });
                let view = view.filter(|_| host.shape.answers).map(|mut view| {
                    view.clients_open &= !host.shape.closed;
                    if let Some(address) = &host.shape.known_as {
                        view.address.clone_from(address);
                    }
                    view
                });
                Ok(HostAnswer::Report(Box::new(report(inner, host, id, view))))
            }
            HostTask::View { part } => {
                let view = database.view(now, disks, id.as_str()).ok_or(Some("the member is not up".to_owned()))?;
                Ok(in_one(*part, &serde_json::to_vec(&view).map_err(|error| Some(error.to_string()))?))
            }
            HostTask::Flush => {
                database.flush(disks, id.as_str());
                for volume in &volumes {
                    disks.sync(volume);
                }
                Ok(HostAnswer::Done)
            }
            HostTask::StopService => {
                (host.masked, host.held) = (true, true);
                database.stop(disks, id.as_str());
                Ok(HostAnswer::Done)
            }
            HostTask::ReadIdentity { part } => {
                let bytes = volumes.first().and_then(|volume| disks.read(volume, IDENTITY));
                Ok(in_one(*part, &bytes.ok_or(Some(format!("no {IDENTITY} on the disk")))?))
            }
            HostTask::Unmount { .. } => {
                if database.processes.contains_key(id.as_str()) {
                    return Err(Some(format!("target {IS_BUSY}: the service runs")));
                }
                for volume in &volumes {
                    disks.unmount(volume, id.as_str());
                }
                Ok(HostAnswer::Done)
            }
            HostTask::Mount { .. } => {
                host.mount(inner, now, id);
                Ok(HostAnswer::Done)
            }
            HostTask::TakeBack { volumes } => {
                host.mount(inner, now, id);
                for wanted in volumes {
                    let here = host.file_systems.iter().find(|(point, _, _)| *point == wanted.mount_point);
                    let mounted = here.map(|(_, volume, _)| volume);
                    if mounted != Some(&wanted.volume) {
                        return Err(Some(format!("{} is {mounted:?}, not {}", wanted.mount_point, wanted.volume)));
                    }
                    let owner = format!("{}:{}", wanted.files.uid, wanted.files.gid);
                    inner.disks.write(&wanted.volume, OWNER, owner.into_bytes());
                    inner.disks.sync(&wanted.volume);
                }
                Ok(HostAnswer::Done)
            }
            HostTask::StartService => {
                (host.masked, host.held) = (false, false);
                host.start(database, disks, now, id).map(|()| HostAnswer::Done).map_err(Some)
            }
        }
    })
}

/// All in the first part.
fn in_one(part: u32, answer: &[u8]) -> HostAnswer {
    let text = STANDARD.encode(answer);
    let total_chars = text.len();
    HostAnswer::Part { text: if part == 0 { text } else { String::new() }, total_chars }
}

fn report(
    inner: &rehome_ec2_emulator::face::Inner,
    host: &crate::world::Host,
    id: &InstanceId,
    view: Option<rehome_model::answer::MemberView>,
) -> HostReport {
    const GIB: u64 = 1 << 30;
    let mut block_devices = Vec::new();
    let mut mounts = Vec::new();
    let mut data_paths = Vec::new();
    let mut fstab = Vec::new();
    for (target, volume, device) in &host.file_systems {
        let size_gib = inner.core.volumes.get(volume).map_or(0, |record| record.spec.size_gib);
        let content = inner.disks.volume(volume).map(|disk| disk.content.clone()).unwrap_or_default();
        if let Some(source) = &host.shape.fstab {
            let uuid = || format!("UUID={}", content.uuid.clone().unwrap_or_default());
            let source = if source == UUID { uuid() } else { source.clone() };
            fstab.push(FstabEntry { source, target: target.clone(), options: "defaults,nofail".to_owned() });
        }
        block_devices.push(HostBlockDevice {
            path: device.clone(),
            volume: Some(volume.clone()),
            kind: host.shape.kind.clone(),
            parent: None,
            size_bytes: u64::from(size_gib) * GIB,
            fs_type: content.fs_type.clone(),
            label: None,
            uuid: content.uuid.clone(),
            partitioned: host.shape.partitioned,
            instance_store: host.shape.instance_store,
        });
        if inner.disks.volume(volume).is_some_and(|disk| disk.mounted.iter().any(|m| m.instance == id.as_str())) {
            let mount = Mount {
                source: device.clone(),
                part: host.shape.part.clone(),
                target: target.clone(),
                fs_type: content.fs_type.unwrap_or_default(),
                options: "rw".to_owned(),
                size_bytes: u64::from(size_gib) * GIB,
                available_bytes: u64::from(size_gib) * GIB / 100 * host.shape.free_percent,
            };
            let also = host.shape.mounted_also.as_ref().map(|at| Mount { target: at.clone(), ..mount.clone() });
            mounts.push(mount);
            mounts.extend(also);
            let mut path = |path: String, id: u32| {
                let mode = if path == *target { host.shape.top_mode } else { None };
                data_paths.push(DataPath { path, mount_point: target.clone(), uid: id, gid: id, mode });
            };
            path(target.clone(), host.shape.top_uid.unwrap_or(host.shape.uid));
            path(format!("{target}/data"), host.shape.uid);
            if host.shape.mixed_owners {
                path(format!("{target}/backup"), host.shape.uid + 1);
            }
        }
    }
    for target in &host.shape.other_mounts {
        let (source, fs_type) = ("/dev/nvme0n1p1".to_owned(), "xfs".to_owned());
        let options = "rw".to_owned();
        let (part, target, size_bytes) = (None, target.clone(), GIB);
        mounts.push(Mount { source, part, target, fs_type, options, size_bytes, available_bytes: GIB });
    }
    if let Some(options) = &host.shape.ephemeral {
        let (line, device) = instance_store(options);
        fstab.push(line);
        block_devices.push(device);
    }
    let running = view.is_some();
    let xfs = mounts.iter().filter(|mount| mount.fs_type == "xfs");
    let xfs_features = xfs.map(|mount| (mount.target.clone(), host.shape.xfs_features.clone())).collect();
    HostReport {
        xfs_features,
        holders: host.shape.holders.clone(),
        os: "simulated".to_owned(),
        block_devices,
        service: ServiceReport {
            unit: "refdb.service".to_owned(),
            active: if running && !host.shape.supervised { "active" } else { "inactive" }.to_owned(),
            enabled: if host.masked { "masked" } else { "enabled" }.to_owned(),
            restart: "always".to_owned(),
            processes: Some(processes(host, running)),
        },
        directories: directories(host, &mounts),
        settings: [("passwords".to_owned(), host.shape.passwords.to_owned())].into(),
        starts_once: host
            .shape
            .starts_once
            .then(|| "refdb.conf line 3: replace=10.0.0.9".to_owned())
            .into_iter()
            .collect(),
        mounts,
        fstab,
        data_paths,
        view_error: (!running).then(|| "the member is not up".to_owned()),
        view,
    }
}

/// An instance store beside the volumes, and its line in fstab.
fn instance_store(options: &str) -> (FstabEntry, HostBlockDevice) {
    const UUID: &str = "e0e0";
    let (source, target) = (format!("UUID={UUID}"), "/mnt/ephemeral".to_owned());
    let device = HostBlockDevice {
        path: "/dev/nvme2n1".to_owned(),
        volume: None,
        kind: "disk".to_owned(),
        parent: None,
        size_bytes: 1 << 30,
        fs_type: Some("xfs".to_owned()),
        label: None,
        uuid: Some(UUID.to_owned()),
        partitioned: false,
        instance_store: true,
    };
    (FstabEntry { source, target, options: options.to_owned() }, device)
}

fn processes(host: &crate::world::Host, running: bool) -> Vec<HostProcess> {
    let found = host.shape.control_group.iter().filter(|_| running);
    found.map(|control_group| HostProcess { pid: 700, control_group: control_group.clone() }).collect()
}

/// Where the service keeps what: its log is on its own volume where it has one.
fn directories(host: &crate::world::Host, mounts: &[Mount]) -> Vec<StateDirectory> {
    let own_log = host.file_systems.iter().any(|(target, _, _)| target == LOG_PATH);
    let log = if own_log { LOG_PATH } else { "/var/lib/refdb/log" };
    let usual = [
        ("data", Holds::Writes, "/var/lib/refdb/data"),
        ("commitlog", Holds::Writes, log),
        ("hints", Holds::Deliveries, "/var/lib/refdb/hints"),
        ("caches", Holds::Nothing, "/var/cache/refdb"),
    ];
    let mut all: Vec<StateDirectory> = Vec::new();
    for (purpose, holds, path) in usual.into_iter().filter(|_| host.shape.tells_directories) {
        let path = host.shape.directories.get(purpose).cloned().unwrap_or_else(|| Some(path.to_owned()));
        // The root file system is not among the mounts shown.
        let inside =
            |at: &str, path: &str| path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let mount_point = path.as_ref().map(|path| {
            let around = mounts.iter().map(|mount| mount.target.as_str()).filter(|at| inside(at, path));
            around.max_by_key(|at| at.len()).unwrap_or("/").to_owned()
        });
        all.push(StateDirectory { purpose: purpose.to_owned(), holds, path, mount_point });
    }
    all
}
