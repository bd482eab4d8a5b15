//! What is behind the volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use rehome_model::ids::{SnapshotId, VolumeId};
use serde::{Deserialize, Serialize};

/// Files by path. Shared, so that a snapshot costs nothing.
pub type Files = Arc<BTreeMap<String, Vec<u8>>>;

/// What a block device holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// File system or other signature (`xfs`, `ext4`, `LVM2_member`); none for a blank device.
    pub fs_type: Option<String>,
    /// Whether it has a partition table.
    pub partitioned: bool,
    /// The files.
    pub files: Files,
}

impl Content {
    /// A file system with files.
    pub fn with_files(fs_type: &str, files: BTreeMap<String, Vec<u8>>) -> Self {
        Self { fs_type: Some(fs_type.to_owned()), partitioned: false, files: Arc::new(files) }
    }

    /// A digest of all that is on the device.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.fs_type.as_deref().unwrap_or("blank").as_bytes());
        for (path, bytes) in self.files.iter() {
            hasher.update(path.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// A mount of a volume somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedBy {
    /// The instance that has it mounted.
    pub instance: String,
    /// When, in ms since 1970.
    pub at_ms: u64,
}

/// A volume's bytes: what is on the device, and what is still in the memory of the machine that mounted it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// On the device.
    pub content: Content,
    /// Written by the machine, not synced: a snapshot does not see it, a clean unmount writes it out, a crash loses it.
    pub unsynced: BTreeMap<String, Option<Vec<u8>>>,
    /// Who has it mounted for writing. Never more than one, unless something is badly wrong.
    pub mounted: Vec<MountedBy>,
}

/// All disks, in memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MemoryDisks {
    volumes: BTreeMap<VolumeId, Disk>,
    snapshots: BTreeMap<SnapshotId, Content>,
    /// What must never happen and did: two writers on a volume, a blank device formatted.
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

    /// Puts a volume there, made from a snapshot, or with given content, or blank.
    pub(crate) fn create(&mut self, id: &VolumeId, content: Content) {
        self.volumes.insert(id.clone(), Disk { content, ..Disk::default() });
    }

    pub(crate) fn capture(&mut self, volume: &VolumeId, snapshot: &SnapshotId) {
        let content = self.volumes.get(volume).map(|disk| disk.content.clone()).unwrap_or_default();
        self.snapshots.insert(snapshot.clone(), content);
    }

    pub(crate) fn remove_volume(&mut self, id: &VolumeId) {
        self.volumes.remove(id);
    }

    pub(crate) fn remove_snapshot(&mut self, id: &SnapshotId) {
        self.snapshots.remove(id);
    }

    /// Whether something has the volume mounted.
    pub fn is_mounted(&self, id: &VolumeId) -> bool {
        self.volumes.get(id).is_some_and(|disk| !disk.mounted.is_empty())
    }

    /// Mounts a volume for writing. A second writer is recorded as a violation (invariant I1).
    pub fn mount(&mut self, id: &VolumeId, instance: &str, at_ms: u64) {
        let Some(disk) = self.volumes.get_mut(id) else { return };
        if disk.mounted.iter().any(|mount| mount.instance == instance) {
            return;
        }
        if let Some(other) = disk.mounted.first() {
            self.violations.push(format!("I1: {id} mounted by {instance} while {} has it", other.instance));
        }
        disk.mounted.push(MountedBy { instance: instance.to_owned(), at_ms });
    }

    /// Unmounts cleanly: what was in memory is written out.
    pub fn unmount(&mut self, id: &VolumeId, instance: &str) {
        self.sync(id);
        if let Some(disk) = self.volumes.get_mut(id) {
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

    /// Writes memory out to the device.
    pub fn sync(&mut self, id: &VolumeId) {
        let Some(disk) = self.volumes.get_mut(id) else { return };
        if disk.unsynced.is_empty() {
            return;
        }
        let files = Arc::make_mut(&mut disk.content.files);
        for (path, bytes) in std::mem::take(&mut disk.unsynced) {
            match bytes {
                Some(bytes) => files.insert(path, bytes),
                None => files.remove(&path),
            };
        }
    }

    /// Reads a file as the machine that mounted it sees it.
    pub fn read(&self, id: &VolumeId, path: &str) -> Option<Vec<u8>> {
        let disk = self.volumes.get(id)?;
        match disk.unsynced.get(path) {
            Some(written) => written.clone(),
            None => disk.content.files.get(path).cloned(),
        }
    }

    /// Bytes that differ between a volume and a snapshot of its lineage.
    pub(crate) fn changed_bytes(&self, volume: &VolumeId, since: Option<&SnapshotId>) -> u64 {
        let Some(disk) = self.volumes.get(volume) else { return 0 };
        let before = since.and_then(|snapshot| self.snapshots.get(snapshot));
        disk.content
            .files
            .iter()
            .filter(|(path, bytes)| before.and_then(|content| content.files.get(*path)) != Some(bytes))
            .map(|(_, bytes)| bytes.len() as u64)
            .sum()
    }
}
