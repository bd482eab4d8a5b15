//! Disks in memory, for simulations: what is on the device and what is still in a machine's memory are told apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use serde::{Deserialize, Serialize};

use super::content::Content;
use super::port::{Busy, Capture, DiskError, DiskSource, Disks};

/// A mount of a volume somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedBy {
    /// The instance that has it mounted.
    pub instance: String,
    /// When, in ms since 1970.
    pub at_ms: u64,
    /// Whether it cannot write.
    #[serde(default)]
    pub read_only: bool,
}

/// A volume's bytes: what is on the device, and what is still in the memory of the machine that mounted it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// On the device.
    pub content: Content,
    /// Written by the machine, not synced: a snapshot does not see it, a clean unmount writes it out, a crash loses it.
    pub unsynced: BTreeMap<String, Option<Vec<u8>>>,
    /// Who has it mounted. Never more than one that can write, unless something is badly wrong.
    pub mounted: Vec<MountedBy>,
    /// The instances that see the device, and its name there.
    pub attached: BTreeMap<String, String>,
}

/// All disks, in memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MemoryDisks {
    volumes: BTreeMap<VolumeId, Disk>,
    snapshots: BTreeMap<SnapshotId, Content>,
    /// What must never happen and did: two writers on a volume, a blank device formatted, a mount of a device that is
    /// not there.
    pub violations: Vec<String>,
    /// Bytes that machines wrote to each volume: what a copy, as opposed to a volume that changed hands, would show.
    pub written: BTreeMap<VolumeId, u64>,
}

impl MemoryDisks {
    /// A volume's disk.
    pub fn volume(&self, id: &VolumeId) -> Option<&Disk> {
        self.volumes.get(id)
    }

    /// A snapshot's content.
    pub fn snapshot(&self, id: &SnapshotId) -> Option<&Content> {
        self.snapshots.get(id)
    }

    /// Gives a volume its content: for setting a scene up.
    pub fn fill(&mut self, id: &VolumeId, content: Content) {
        self.volumes.entry(id.clone()).or_default().content = content;
    }

    /// Whether something has the volume mounted.
    pub fn is_mounted(&self, id: &VolumeId) -> bool {
        self.volumes.get(id).is_some_and(|disk| !disk.mounted.is_empty())
    }

    /// Mounts a volume for writing. A second writer is recorded as a violation (invariant I1).
    pub fn mount(&mut self, id: &VolumeId, instance: &str, at_ms: u64) {
        self.mount_as(id, MountedBy { instance: instance.to_owned(), at_ms, read_only: false });
    }

    /// Mounts a volume for reading.
    pub fn mount_read_only(&mut self, id: &VolumeId, instance: &str, at_ms: u64) {
        self.mount_as(id, MountedBy { instance: instance.to_owned(), at_ms, read_only: true });
    }

    fn mount_as(&mut self, id: &VolumeId, mount: MountedBy) {
        let Some(disk) = self.volumes.get_mut(id) else {
            self.violations.push(format!("I1: {} mounted {id}, which does not exist", mount.instance));
            return;
        };
        if disk.mounted.iter().any(|known| known.instance == mount.instance) {
            return;
        }
        if !disk.attached.contains_key(&mount.instance) {
            self.violations.push(format!("I1: {} mounted {id}, which is not attached there", mount.instance));
        }
        if !mount.read_only
            && let Some(other) = disk.mounted.iter().find(|known| !known.read_only)
        {
            self.violations.push(format!("I1: {id} mounted by {} while {} has it", mount.instance, other.instance));
        }
        disk.mounted.push(mount);
    }

    /// Unmounts cleanly: what was in memory is written out.
    pub fn unmount(&mut self, id: &VolumeId, instance: &str) {
        let Some(disk) = self.volumes.get_mut(id) else { return };
        if disk.mounted.iter().any(|mount| mount.instance == instance) {
            disk.write_out();
            disk.mounted.retain(|mount| mount.instance != instance);
        }
    }

    /// The machine died: what was in memory is gone.
    pub fn crash(&mut self, id: &VolumeId, instance: &str) {
        if let Some(disk) = self.volumes.get_mut(id) {
            disk.unsynced.clear();
            disk.mounted.retain(|mount| mount.instance != instance);
        }
    }

    /// Formats a blank device, as a CSI driver does: recorded as a violation, because rehome adopts data and never
    /// blank volumes (invariant I5).
    pub fn format(&mut self, id: &VolumeId, fs_type: &str) {
        if let Some(disk) = self.volumes.get_mut(id) {
            self.violations.push(format!("I5: blank volume {id} was formatted for a pod"));
            disk.content.fs_type = Some(fs_type.to_owned());
        }
    }

    /// Writes a file through whoever has the volume mounted; it is on the device only after `sync` or `unmount`.
    pub fn write(&mut self, id: &VolumeId, path: &str, bytes: Vec<u8>) {
        if let Some(disk) = self.volumes.get_mut(id) {
            *self.written.entry(id.clone()).or_default() += bytes.len() as u64;
            disk.unsynced.insert(path.to_owned(), Some(bytes));
        }
    }

    /// Removes a file; as with `write`, on the device only after `sync` or `unmount`.
    pub fn remove(&mut self, id: &VolumeId, path: &str) {
        if let Some(disk) = self.volumes.get_mut(id) {
            disk.unsynced.insert(path.to_owned(), None);
        }
    }

    /// Writes memory out to the device.
    pub fn sync(&mut self, id: &VolumeId) {
        if let Some(disk) = self.volumes.get_mut(id) {
            disk.write_out();
        }
    }

    /// Whether a file is there, as the machine that mounted it sees it.
    pub fn holds(&self, id: &VolumeId, path: &str) -> bool {
        self.volumes.get(id).is_some_and(|disk| match disk.unsynced.get(path) {
            Some(written) => written.is_some(),
            None => disk.content.files.contains_key(path),
        })
    }

    /// Reads a file as the machine that mounted it sees it.
    pub fn read(&self, id: &VolumeId, path: &str) -> Option<Vec<u8>> {
        let disk = self.volumes.get(id)?;
        match disk.unsynced.get(path) {
            Some(written) => written.clone(),
            None => disk.content.files.get(path).map(|bytes| bytes.to_vec()),
        }
    }
}

impl Disk {
    fn write_out(&mut self) {
        if self.unsynced.is_empty() {
            return;
        }
        let files = Arc::make_mut(&mut self.content.files);
        for (path, bytes) in std::mem::take(&mut self.unsynced) {
            match bytes {
                Some(bytes) => files.insert(path, Arc::from(bytes)),
                None => files.remove(&path),
            };
        }
    }
}

fn missing(operation: &'static str, subject: &impl ToString) -> DiskError {
    DiskError { operation, subject: subject.to_string(), reason: "it has no disk".to_owned() }
}

impl Disks for MemoryDisks {
    fn create(&mut self, volume: &VolumeId, _size_gib: u32, source: DiskSource<'_>) -> Result<(), DiskError> {
        let content = match source {
            DiskSource::Blank => Content::default(),
            DiskSource::Snapshot(id) => self.snapshots.get(id).cloned().ok_or_else(|| missing("create", id))?,
            DiskSource::Volume(id) => {
                self.volumes.get(id).map(|disk| disk.content.clone()).ok_or_else(|| missing("create", id))?
            }
        };
        self.volumes.insert(volume.clone(), Disk { content, ..Disk::default() });
        Ok(())
    }

    fn resize(&mut self, volume: &VolumeId, _size_gib: u32) -> Result<(), DiskError> {
        self.volumes.contains_key(volume).then_some(()).ok_or_else(|| missing("resize", volume))
    }

    fn delete_volume(&mut self, volume: &VolumeId) {
        self.volumes.remove(volume);
    }

    fn capture(&mut self, captures: &[Capture]) -> Result<(), DiskError> {
        for Capture { volume, snapshot } in captures {
            let disk = self.volumes.get(volume).ok_or_else(|| missing("capture", volume))?;
            self.snapshots.insert(snapshot.clone(), disk.content.clone());
        }
        Ok(())
    }

    fn copy_snapshot(&mut self, from: &SnapshotId, to: &SnapshotId) -> Result<(), DiskError> {
        let content = self.snapshots.get(from).cloned().ok_or_else(|| missing("copy", from))?;
        self.snapshots.insert(to.clone(), content);
        Ok(())
    }

    fn delete_snapshot(&mut self, snapshot: &SnapshotId) {
        self.snapshots.remove(snapshot);
    }

    fn changed_bytes(&self, snapshot: &SnapshotId, since: Option<&SnapshotId>) -> u64 {
        let before = since.and_then(|id| self.snapshots.get(id));
        self.snapshots.get(snapshot).map_or(0, |content| content.changed_bytes(before))
    }

    fn attach(&mut self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Result<(), DiskError> {
        let disk = self.volumes.get_mut(volume).ok_or_else(|| missing("attach", volume))?;
        disk.attached.insert(instance.to_string(), device.to_owned());
        Ok(())
    }

    fn detach(&mut self, volume: &VolumeId, instance: &InstanceId, force: bool) -> Result<(), Busy> {
        if force {
            self.crash(volume, instance.as_str());
        }
        let Some(disk) = self.volumes.get_mut(volume) else { return Ok(()) };
        if disk.mounted.iter().any(|mount| mount.instance == instance.as_str()) {
            return Err(Busy);
        }
        disk.attached.remove(instance.as_str());
        Ok(())
    }

    fn stop_machine(&mut self, instance: &InstanceId, clean: bool) {
        let mounted = |disk: &Disk| disk.mounted.iter().any(|mount| mount.instance == instance.as_str());
        let volumes: Vec<VolumeId> =
            self.volumes.iter().filter(|(_, disk)| mounted(disk)).map(|(id, _)| id.clone()).collect();
        for volume in volumes {
            if clean {
                self.unmount(&volume, instance.as_str());
            } else {
                self.crash(&volume, instance.as_str());
            }
        }
    }
}
