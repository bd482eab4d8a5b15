//! What the cloud shows of itself, in EC2's terms and our types.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, SnapshotId, VolumeId, Zone};

/// A tag set.
pub type Tags = BTreeMap<String, String>;

/// State of an instance (EC2 InstanceStateName).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "EC2's own words")]
pub enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

/// Why an instance is in its state (EC2 StateReason).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    /// `Client.UserInitiatedShutdown`, `Client.InternalError`, `Server.InsufficientInstanceCapacity`, ...
    pub code: String,
    /// EC2's words, which begin with the code.
    pub message: String,
}

impl StateReason {
    /// Whether the instance was stopped: by somebody, on the host itself, or by EC2.
    pub fn is_a_stop(&self) -> bool {
        matches!(
            self.code.as_str(),
            "Client.UserInitiatedShutdown"
                | "Client.InstanceInitiatedShutdown"
                | "Server.ScheduledStop"
                | "Server.SpotInstanceShutdown"
        )
    }
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// Why, where EC2 tells: of one that was stopped, or fell back from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<StateReason>,
    /// Its zone.
    pub zone: Zone,
    /// Its type, `m5.large`.
    pub instance_type: String,
    /// When it was last started, in seconds since 1970: a stop does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched_at_s: Option<u64>,
    /// Its private address; a stopped instance keeps it.
    pub private_ip: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// The device name of its root volume.
    pub root_device: Option<String>,
    /// What its root is on: `ebs` or `instance-store`. Not told by surveys of older builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_device_type: Option<String>,
    /// EC2's InstanceLifecycle: `spot`, `scheduled`, `capacity-block`; none if it is On-Demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<String>,
    /// Its attached volumes.
    pub block_devices: Vec<InstanceBlockDevice>,
    /// Its Auto Scaling group, if it is in one.
    pub auto_scaling: Option<AutoScalingMembership>,
}

/// A volume as an instance lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceBlockDevice {
    /// Device name as given at the attach: `/dev/xvdf`. On Nitro the kernel calls it otherwise.
    pub device: String,
    /// The volume.
    pub volume: VolumeId,
    /// Whether terminating the instance deletes the volume.
    pub delete_on_termination: bool,
}

/// An instance's place in an Auto Scaling group. A group terminates members that it finds stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingMembership {
    /// The group's name.
    pub group: String,
    /// `InService`, `Standby`, ...
    pub lifecycle_state: String,
}

/// An Auto Scaling group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingGroup {
    /// Its name.
    pub name: String,
    /// Members that it must keep in service: MinSize.
    pub min_size: u32,
    /// Members that it means to have in service: DesiredCapacity.
    pub desired_capacity: u32,
    /// Processes that somebody suspended: `Terminate`, `ReplaceUnhealthy`, ...
    pub suspended: Vec<String>,
    /// The zones that it keeps its members in. None in surveys of an older rehome.
    #[serde(default)]
    pub zones: Vec<Zone>,
    /// What sends its members traffic: target groups (by ARN), Classic load balancers (by name), other traffic sources. A
    /// member that goes into Standby is taken out of all of them. None in surveys of an older rehome.
    #[serde(default)]
    pub load_balancers: Vec<String>,
}

impl AutoScalingGroup {
    /// Whether it neither replaces nor terminates a member that it finds stopped, and finds none. A member that is marked as unhealthy
    /// while only the others are suspended stays so when it runs again, and is replaced once they are resumed (EC2 Auto Scaling
    /// user guide, "Suspend and resume processes").
    pub fn is_suspended(&self) -> bool {
        Self::LEFT_ALONE.iter().all(|process| self.has_suspended(process))
    }

    /// The processes that must be suspended for a group to leave stopped members alone, for good.
    pub const LEFT_ALONE: [&str; 3] = ["Terminate", "ReplaceUnhealthy", "HealthCheck"];

    /// Whether a member that goes into Standby, or comes back, may make it launch another one where there are fewer and then
    /// terminate one where there are more. (EC2 Auto Scaling user guide, "Temporarily remove instances"; it launches first, so
    /// that a suspended `Launch` stops it too.)
    pub fn may_rebalance(&self) -> bool {
        self.is_in_several_zones() && !self.has_suspended("AZRebalance") && !self.has_suspended("Launch")
    }

    /// Whether it keeps its members in more than one zone.
    pub fn is_in_several_zones(&self) -> bool {
        self.zones.len() > 1
    }

    fn has_suspended(&self, process: &str) -> bool {
        self.suspended.iter().any(|found| found == process)
    }
}

/// Whether EC2 encrypts new volumes that nobody asked to be encrypted, and are made of nothing encrypted (EBS user guide, "Enable
/// Amazon EBS encryption by default").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultEncryption {
    /// It does not.
    Off,
    /// It does, with this key: an ARN, or `alias/aws/ebs`.
    On(String),
    /// EC2 does not tell the caller, and why.
    Unknown(String),
}

/// State of a volume (EC2 VolumeState).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "EC2's own words")]
pub enum VolumeState {
    Creating,
    Available,
    InUse,
    Deleting,
    Deleted,
    Error,
}

impl fmt::Display for VolumeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::InUse => "in-use",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Error => "error",
        })
    }
}

/// State of an attachment (EC2 VolumeAttachmentState). None at all means detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "EC2's own words")]
pub enum AttachmentState {
    Attaching,
    Attached,
    Detaching,
    Detached,
    Busy,
}

/// Where a volume is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The instance.
    pub instance: InstanceId,
    /// The device name.
    pub device: String,
    /// Its state.
    pub state: AttachmentState,
}

/// The performance a volume is bought with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// `gp3`, `io2`, ...
    pub volume_type: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// Provisioned operations a second, where the type has them.
    pub iops: Option<u32>,
    /// Provisioned throughput in MiB/s, gp3 only.
    pub throughput_mib_s: Option<u32>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key it is encrypted with.
    pub kms_key_id: Option<String>,
}

/// An EBS volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// Its state.
    pub state: VolumeState,
    /// Its zone.
    pub zone: Zone,
    /// Type, size, performance, encryption.
    pub spec: VolumeSpec,
    /// Whether it may be attached to several instances (io1, io2).
    pub multi_attach: bool,
    /// The snapshot it was made from.
    pub snapshot: Option<SnapshotId>,
    /// Where it is attached.
    pub attachments: Vec<Attachment>,
    /// When it was created, in ms since 1970.
    pub created_at_ms: u64,
    /// Its tags.
    pub tags: Tags,
}

/// State of a snapshot (EC2 SnapshotState).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "EC2's own words")]
pub enum SnapshotState {
    Pending,
    Completed,
    Error,
    Recoverable,
    Recovering,
}

/// An EBS snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// The volume it captured.
    pub volume: VolumeId,
    /// Its state.
    pub state: SnapshotState,
    /// EC2's progress in percent. Not linear; sticks at 99.
    pub progress_percent: u8,
    /// Size of the captured volume in GiB.
    pub volume_size_gib: u32,
    /// The instant it captured, in ms since 1970. The same for all snapshots of one CreateSnapshots call.
    pub started_at_ms: u64,
    /// Its tags.
    pub tags: Tags,
}

/// What EC2 names as the volume of a copied snapshot ("an arbitrary volume ID": CopySnapshot, EC2 API reference).
const VOLUME_OF_COPIES: &str = "vol-ffffffff";

impl Snapshot {
    /// Whether CopySnapshot made it. rehome copies none, whatever the tags say: they are copied too, if asked for.
    pub fn is_copy(&self) -> bool {
        self.volume.as_str() == VOLUME_OF_COPIES
    }
}

/// What an instance type allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// `m5.large`.
    pub name: String,
    /// Whether volumes appear as NVMe devices.
    pub nitro: bool,
    /// Largest number of attached volumes, where EC2 says it.
    pub attachment_limit: Option<u32>,
}

/// Who calls, and where (STS GetCallerIdentity, and the client's region).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerIdentity {
    /// The account.
    pub account: String,
    /// The caller's ARN.
    pub arn: String,
    /// The region the calls go to.
    pub region: String,
}
