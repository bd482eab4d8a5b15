//! How the stories speak to EC2: calls that must succeed, calls that must be refused, and what describes show.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::needless_pass_by_value, reason = "a call made in the place of its use reads best")]

#[cfg(feature = "wire")]
pub mod server;

use std::collections::BTreeMap;

use rehome_ec2_emulator::api::{
    Action, ApiError, AttachVolume, CreateSnapshot, CreateSnapshots, CreateVolume, DescribeById, DescribeSnapshots,
    DetachVolume, Instance, Reply, Snapshot, StopInstances, TagSpecification, Volume,
};
use rehome_ec2_emulator::core::{Config, Consistency, Ec2, Timing};
use rehome_ec2_emulator::disks::Content;
use rehome_model::cloud::{AttachmentState, Tags};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};

pub const SECOND: u64 = 1_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
/// Well-formed ids of what never was.
pub const NO_VOLUME: &str = "vol-0123456789abcdef0";
pub const NO_SNAPSHOT: &str = "snap-0123456789abcdef0";
pub const NO_INSTANCE: &str = "i-0123456789abcdef0";

/// Real delays, exactly, and describes that are never late.
pub fn timed() -> Ec2 {
    Ec2::new(Config { timing: Timing::default().exact(), consistency: Consistency::strong(), ..Config::default() })
}

/// Everything at once: for rules that have nothing to do with time.
pub fn immediate() -> Ec2 {
    Ec2::new(Config::immediate())
}

pub fn zone(letter: &str) -> Zone {
    Zone(format!("us-east-1{letter}"))
}

pub fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn xfs(files: &[(&str, &str)]) -> Content {
    let files: BTreeMap<_, _> =
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    Content::with_files("xfs", files)
}

/// A member in zone a with one data volume at /dev/xvdf.
pub fn member_with_volume(ec2: &mut Ec2) -> (InstanceId, VolumeId) {
    let member = ec2.member(0, "db-0");
    let volume = ec2.volume(&member, "/dev/xvdf", 10, xfs(&[("data", "legacy")]));
    (member, volume)
}

pub fn done(ec2: &mut Ec2, action: Action) -> Reply {
    let name = action.name();
    ec2.call(&action).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Code and message of a refusal.
pub fn refused(ec2: &mut Ec2, action: Action) -> (String, String) {
    let name = action.name();
    match ec2.call(&action) {
        Err(ApiError { code, message, .. }) => (code, message),
        Ok(reply) => panic!("{name} is not refused: {reply:?}"),
    }
}

pub fn code(ec2: &mut Ec2, action: Action) -> String {
    refused(ec2, action).0
}

/// A gp3 volume of 10 GiB in a zone.
pub fn gp3(letter: &str) -> CreateVolume {
    CreateVolume {
        availability_zone: Some(zone(letter)),
        size: Some(10),
        volume_type: Some("gp3".to_owned()),
        ..CreateVolume::default()
    }
}

pub fn create(ec2: &mut Ec2, request: CreateVolume) -> Volume {
    match done(ec2, Action::CreateVolume(request)) {
        Reply::Volume(made) => made,
        other => panic!("{other:?}"),
    }
}

pub fn volumes(ec2: &mut Ec2, by: DescribeById) -> Vec<Volume> {
    match done(ec2, Action::DescribeVolumes(by)) {
        Reply::Volumes(page) => page.items,
        other => panic!("{other:?}"),
    }
}

pub fn volume(ec2: &mut Ec2, id: &VolumeId) -> Volume {
    volumes(ec2, DescribeById::ids([id])).remove(0)
}

pub fn attach(volume: &VolumeId, instance: &InstanceId, device: &str) -> Action {
    Action::AttachVolume(AttachVolume {
        volume_id: volume.clone(),
        instance_id: instance.clone(),
        device: device.to_owned(),
    })
}

pub fn detach(volume: &VolumeId) -> Action {
    Action::DetachVolume(DetachVolume::of(volume.clone()))
}

/// The state of the only attachment, if there is one.
pub fn attachment(ec2: &mut Ec2, id: &VolumeId) -> Option<AttachmentState> {
    volume(ec2, id).attachments.first().map(|found| found.state)
}

pub fn snapshot_of(volume: &VolumeId) -> Action {
    Action::CreateSnapshot(CreateSnapshot::of(volume.clone()))
}

pub fn snapshots_of(instance: &InstanceId) -> CreateSnapshots {
    CreateSnapshots { exclude_boot_volume: true, ..CreateSnapshots::of(instance.clone()) }
}

pub fn capture(ec2: &mut Ec2, request: CreateSnapshots) -> Vec<Snapshot> {
    match done(ec2, Action::CreateSnapshots(request)) {
        Reply::SnapshotSet(made) => made,
        other => panic!("{other:?}"),
    }
}

pub fn snapshots(ec2: &mut Ec2, by: DescribeSnapshots) -> Vec<Snapshot> {
    match done(ec2, Action::DescribeSnapshots(by)) {
        Reply::Snapshots(page) => page.items,
        other => panic!("{other:?}"),
    }
}

pub fn snapshot(ec2: &mut Ec2, id: &SnapshotId) -> Snapshot {
    snapshots(ec2, DescribeSnapshots { ids: vec![id.to_string()], ..DescribeSnapshots::default() }).remove(0)
}

/// A completed snapshot of a volume.
pub fn completed(ec2: &mut Ec2, volume: &VolumeId) -> SnapshotId {
    let made = match done(ec2, snapshot_of(volume)) {
        Reply::Snapshot(made) => made.id,
        other => panic!("{other:?}"),
    };
    ec2.pass(HOUR);
    made
}

pub fn instances(ec2: &mut Ec2, by: DescribeById) -> Vec<Instance> {
    match done(ec2, Action::DescribeInstances(by)) {
        Reply::Instances(page) => page.items,
        other => panic!("{other:?}"),
    }
}

pub fn instance(ec2: &mut Ec2, id: &InstanceId) -> Instance {
    instances(ec2, DescribeById::ids([id])).remove(0)
}

pub fn stop(id: &InstanceId) -> Action {
    Action::StopInstances(StopInstances { instance_ids: vec![id.clone()], ..StopInstances::default() })
}

pub fn start(id: &InstanceId) -> Action {
    Action::StartInstances(vec![id.clone()])
}

pub fn terminate(id: &InstanceId) -> Action {
    Action::TerminateInstances(vec![id.clone()])
}

pub fn tagged(kind: &str, pairs: &[(&str, &str)]) -> Vec<TagSpecification> {
    vec![TagSpecification::new(kind, tags(pairs))]
}
