//! The trait between the core and whatever holds the bytes.

use rehome_model::cloud::Tags;
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};
use thiserror::Error;

/// What a new volume begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskSource<'a> {
    /// Zeros.
    Blank,
    /// The content of a snapshot.
    Snapshot(&'a SnapshotId),
    /// The content another volume's device has at this instant.
    Volume(&'a VolumeId),
}

/// One volume of a capture and the snapshot it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Volume.
    pub volume: VolumeId,
    /// Snapshot.
    pub snapshot: SnapshotId,
}

/// An instance, as far as something that runs it must know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct Machine {
    pub id: InstanceId,
    pub zone: Zone,
    pub private_ip: String,
    pub instance_type: String,
    pub tags: Tags,
}

/// The backing store or the machine's host failed. EC2 answers `InternalError`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{operation} of {subject}: {reason}")]
pub struct DiskError {
    /// What was tried.
    pub operation: &'static str,
    /// On what.
    pub subject: String,
    /// Why it failed.
    pub reason: String,
}

/// A device that is mounted cannot be taken away.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the device is in use by a mounted file system")]
pub struct Busy;

/// Holds the bytes of volumes and snapshots, and runs instances.
///
/// All methods are called with the core's lock held and should return soon. Each is idempotent: the core may ask again
/// for what it asked already (after a restart from a saved state).
pub trait Disks {
    /// Makes the disk of a volume.
    fn create(&mut self, volume: &VolumeId, size_gib: u32, source: DiskSource<'_>) -> Result<(), DiskError>;

    /// Makes a disk larger.
    fn resize(&mut self, volume: &VolumeId, size_gib: u32) -> Result<(), DiskError>;

    /// Removes the disk of a volume.
    fn delete_volume(&mut self, volume: &VolumeId);

    /// Captures what is on all these devices **at one instant**: of writes A then B, each synced before the next, by one
    /// machine, no capture holds B without A. What was not synced is not captured.
    fn capture(&mut self, captures: &[Capture]) -> Result<(), DiskError>;

    /// Makes a snapshot's content that of another.
    fn copy_snapshot(&mut self, from: &SnapshotId, to: &SnapshotId) -> Result<(), DiskError>;

    /// Removes the content of a snapshot.
    fn delete_snapshot(&mut self, snapshot: &SnapshotId);

    /// Bytes in blocks (512 KiB) that differ between a snapshot and an older one of its lineage, or that were ever
    /// written if there is none.
    fn changed_bytes(&self, snapshot: &SnapshotId, since: Option<&SnapshotId>) -> u64;

    /// Shows the device to the machine. An error leaves the attachment `attaching`; the core asks again.
    fn attach(&mut self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Result<(), DiskError>;

    /// Takes the device away; `force` takes it from under a mounted file system.
    fn detach(&mut self, volume: &VolumeId, instance: &InstanceId, force: bool) -> Result<(), Busy>;

    /// Begins to start a machine; the first time it is made.
    fn start_machine(&mut self, _machine: &Machine) -> Result<(), DiskError> {
        Ok(())
    }

    /// Begins to stop a machine: `clean` lets it shut down by itself, which writes out and unmounts everything.
    fn stop_machine(&mut self, instance: &InstanceId, clean: bool);

    /// Whether a machine that was told to stop is down.
    fn is_down(&self, _instance: &InstanceId) -> bool {
        true
    }

    /// Removes a machine that was terminated.
    fn remove_machine(&mut self, _instance: &InstanceId) {}
}
