//! What a legacy instance shows of itself, read-only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::answer::MemberView;
use crate::ids::VolumeId;

/// The value of a setting that could not be found out.
pub const UNKNOWN: &str = "?";

/// One legacy instance, seen from inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Operating system, from os-release's PRETTY_NAME.
    pub os: String,
    /// Its block devices, also those that hold nothing of the application.
    pub block_devices: Vec<HostBlockDevice>,
    /// Its mounts of real block devices and of networks, and whatever else is mounted below a volume that moves.
    pub mounts: Vec<Mount>,
    /// The application's service unit.
    pub service: ServiceReport,
    /// The lines of fstab. None in surveys of an older rehome.
    #[serde(default)]
    pub fstab: Vec<FstabEntry>,
    /// The directories that the application is configured to keep its files in. None in surveys of an older rehome.
    #[serde(default)]
    pub directories: Vec<StateDirectory>,
    /// Settings of the application that a pod must have too, and that nothing but its configuration says: who may come in, what
    /// is encrypted. Those that are not set are left out; [`UNKNOWN`] is what could not be found out.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// What lets the application start once and never again, and where it is configured. None in surveys of an older rehome.
    #[serde(default)]
    pub starts_once: Vec<String>,
    /// Processes of others that have something open on the volumes that move, as `pid name path`. None in surveys of an older
    /// rehome.
    #[serde(default)]
    pub holders: Vec<String>,
    /// What the XFS file systems of the volumes that move use, by mount point: an older kernel may not know all of it. None of
    /// other file systems, where the host has no `xfs_info`, and in surveys of an older rehome.
    #[serde(default)]
    pub xfs_features: BTreeMap<String, Vec<String>>,
    /// The mount points of the volumes that move, and of what lies right below each one path for each owner.
    pub data_paths: Vec<DataPath>,
    /// What the application says of itself and its peers; none if it does not answer, or if it is too long to come with all
    /// this (then `view_error` is none too) and has not been asked for yet.
    pub view: Option<MemberView>,
    /// Why `view` is none.
    pub view_error: Option<String>,
}

/// A block device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostBlockDevice {
    /// Kernel path, `/dev/nvme1n1`.
    pub path: String,
    /// The EBS volume behind it: from the NVMe serial number or the attachment's device name.
    pub volume: Option<VolumeId>,
    /// lsblk's TYPE: `disk`, `part`, `lvm`, `raid0`, `crypt`, `loop`.
    pub kind: String,
    /// lsblk's parent device, for partitions and stacked devices.
    pub parent: Option<String>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// File system or other signature: `xfs`, `ext4`, `LVM2_member`, `linux_raid_member`, `crypto_LUKS`.
    pub fs_type: Option<String>,
    /// File system label.
    pub label: Option<String>,
    /// File system UUID.
    pub uuid: Option<String>,
    /// Whether it has a partition table.
    pub partitioned: bool,
    /// Whether it is an instance store (NVMe model "Amazon EC2 NVMe Instance Storage"): lost at a stop.
    pub instance_store: bool,
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The device.
    pub source: String,
    /// The directory of the file system that is mounted, if it is not all of it: a bind mount, or a subvolume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Where it is mounted.
    pub target: String,
    /// File system type.
    pub fs_type: String,
    /// Mount options.
    pub options: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Free bytes.
    pub available_bytes: u64,
}

/// A line of fstab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FstabEntry {
    /// Its first field: `UUID=...`, `LABEL=...`, `/dev/xvdf`.
    pub source: String,
    /// The mount point.
    pub target: String,
    /// Its options. Empty in surveys of an older rehome.
    #[serde(default)]
    pub options: String,
}

/// A directory that the application is configured to keep files in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDirectory {
    /// What for, in the application's words: `data`, `commitlog`, `hints`.
    pub purpose: String,
    /// What would be lost with it.
    pub holds: Holds,
    /// Where it is, links followed; none if that could not be found out.
    pub path: Option<String>,
    /// The mount point that it lies on; none if that could not be found out.
    pub mount_point: Option<String>,
}

/// What a directory of the application holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// Writes that are nowhere else on this member.
    Writes,
    /// Copies of writes for others, who have not had them yet.
    Deliveries,
    /// Nothing that the application does not make anew.
    Nothing,
}

/// A mount point in which the application keeps data, or a file or directory right below one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPath {
    /// The file or directory.
    pub path: String,
    /// The mount point it lies under.
    pub mount_point: String,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Permission bits, with setuid, setgid and sticky; of mount points only. None in surveys of an older rehome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// The application's service on the host (systemd's ActiveState, UnitFileState, Restart).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Unit name, `cassandra.service`.
    pub unit: String,
    /// `active`, `inactive`, `failed`, ...
    pub active: String,
    /// `enabled`, `disabled`, `masked`, ...
    pub enabled: String,
    /// systemd's Restart= setting.
    pub restart: String,
    /// The application's processes, whoever started them. None in surveys of an older rehome.
    #[serde(default)]
    pub processes: Option<Vec<HostProcess>>,
}

/// A process of the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProcess {
    /// Its id.
    pub pid: u32,
    /// Its control group, of systemd's own hierarchy: `/system.slice/cassandra.service`.
    pub control_group: String,
}
