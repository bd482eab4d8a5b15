//! What EC2 shows of its objects. States and ids are the model's: they are EC2's own words there too.

use rehome_model::cloud::{AttachmentState, InstanceState, SnapshotState, StateReason, Tags, VolumeSpec, VolumeState};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};
use serde::{Deserialize, Serialize};

use crate::core::Millis;

/// A volume. Times are ms since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct Volume {
    pub id: VolumeId,
    pub state: VolumeState,
    pub zone: Zone,
    pub zone_id: String,
    pub spec: VolumeSpec,
    pub multi_attach: bool,
    pub snapshot: Option<SnapshotId>,
    /// The volume it was copied from (CopyVolumes).
    pub source_volume: Option<VolumeId>,
    pub volume_initialization_rate: Option<u32>,
    pub created_at: Millis,
    pub attachments: Vec<Attachment>,
    pub tags: Tags,
}

/// An attachment, of a volume's list and as AttachVolume and DetachVolume answer it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct Attachment {
    pub volume: VolumeId,
    pub instance: InstanceId,
    pub device: String,
    pub state: AttachmentState,
    pub attached_at: Millis,
    pub delete_on_termination: bool,
}

/// Why reads of a volume may be slow at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitializationType {
    /// `default`: blocks come from the snapshot when touched or when there is room.
    Default,
    /// `provisioned-rate`: at VolumeInitializationRate.
    ProvisionedRate,
    /// `volume-copy`: made by CopyVolumes.
    VolumeCopy,
}

impl InitializationType {
    /// EC2's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::ProvisionedRate => "provisioned-rate",
            Self::VolumeCopy => "volume-copy",
        }
    }
}

/// How far a volume is initialised, as DescribeVolumeStatus shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initialization {
    /// Type.
    pub kind: InitializationType,
    /// Percent.
    pub progress: u8,
    /// Seconds left; only for a provisioned rate.
    pub estimated_seconds: Option<u64>,
}

/// An item of DescribeVolumeStatus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// Volume.
    pub volume: VolumeId,
    /// Zone.
    pub zone: Zone,
    /// `ok`, `insufficient-data` (creating), `impaired` (error).
    pub status: String,
    /// The details: `io-enabled`, and `initialization-state` as `initializing` or `completed`.
    pub details: Vec<(String, String)>,
    /// None for a volume that needs no initialisation.
    pub initialization: Option<Initialization>,
}

/// State of a modification (EC2 VolumeModificationState).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "EC2's own words")]
pub enum ModificationState {
    Modifying,
    Optimizing,
    Completed,
    Failed,
}

/// A volume's latest modification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct VolumeModification {
    pub volume: VolumeId,
    pub state: ModificationState,
    pub original: VolumeSpec,
    pub original_multi_attach: bool,
    pub target: VolumeSpec,
    pub target_multi_attach: bool,
    pub progress: u8,
    pub started_at: Millis,
    pub ended_at: Option<Millis>,
}

/// A snapshot; also an item of CreateSnapshots' answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct Snapshot {
    pub id: SnapshotId,
    /// `vol-ffffffff` for a copied snapshot.
    pub volume: VolumeId,
    pub state: SnapshotState,
    /// Only describes show it.
    pub state_message: Option<String>,
    /// 0 to 100, not linear, sticks at 99; `progress_text` is EC2's form.
    pub progress_percent: u8,
    pub volume_size_gib: u32,
    pub started_at: Millis,
    pub completed_at: Option<Millis>,
    pub description: String,
    pub owner: String,
    pub encrypted: bool,
    pub kms_key_id: Option<String>,
    /// All blocks ever written, not the increment.
    pub full_snapshot_size_bytes: u64,
    pub tags: Tags,
}

impl Snapshot {
    /// Progress as EC2 writes it: `37%`.
    pub fn progress_text(&self) -> String {
        format!("{}%", self.progress_percent)
    }
}

/// An instance. Each is a reservation of its own or shares `reservation` with those it was launched with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct Instance {
    pub id: InstanceId,
    pub reservation: String,
    pub owner: String,
    pub image_id: String,
    pub state: InstanceState,
    pub state_transition_reason: String,
    pub state_reason: Option<StateReason>,
    pub zone: Zone,
    pub instance_type: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Kept while stopped; gone with termination.
    pub private_ip: Option<String>,
    pub private_dns_name: String,
    pub launched_at: Millis,
    pub root_device: String,
    /// `ebs` or `instance-store`.
    pub root_device_type: String,
    /// `spot`, `scheduled` or `capacity-block`; none of one that is On-Demand.
    pub lifecycle: Option<String>,
    pub block_devices: Vec<InstanceBlockDevice>,
    pub client_token: Option<String>,
    pub tags: Tags,
}

/// A volume as its instance lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct InstanceBlockDevice {
    pub device: String,
    pub volume: VolumeId,
    pub state: AttachmentState,
    pub attached_at: Millis,
    pub delete_on_termination: bool,
}

/// An item of the answers of StartInstances, StopInstances and TerminateInstances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct InstanceStateChange {
    pub instance: InstanceId,
    pub previous: InstanceState,
    pub current: InstanceState,
}

/// An item of DescribeInstanceStatus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct InstanceStatus {
    pub instance: InstanceId,
    pub zone: Zone,
    pub state: InstanceState,
    /// Instance and system status alike: `ok`, `initializing`, `not-applicable`.
    pub status: String,
}

/// An attribute of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub enum InstanceAttribute {
    InstanceType(String),
    DisableApiTermination(bool),
    DisableApiStop(bool),
    RootDeviceName(String),
    BlockDeviceMapping(Vec<InstanceBlockDevice>),
}

/// An instance type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct InstanceType {
    pub name: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// Nitro: volumes are NVMe devices, EbsInfo.NvmeSupport is `required`. Xen otherwise.
    pub nitro: bool,
    /// EbsInfo.MaximumEbsAttachments.
    pub attachment_limit: u32,
    /// EbsInfo.AttachmentLimitType: `shared` with network interfaces and instance store, or `dedicated` to EBS.
    pub attachment_limit_shared: bool,
    pub maximum_network_interfaces: u32,
    /// GB of NVMe instance store, 0 for none.
    pub instance_storage_gb: u64,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct AvailabilityZone {
    pub name: Zone,
    pub id: String,
    pub region: String,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct Region {
    pub name: String,
    pub endpoint: String,
}

/// A tag with what carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct TagDescription {
    pub resource_id: String,
    /// `instance`, `volume`, `snapshot`.
    pub resource_type: String,
    pub key: String,
    pub value: String,
}

/// A member of an Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Auto Scaling's own attributes")]
pub struct AutoScalingInstance {
    pub instance: InstanceId,
    pub group: String,
    pub zone: Zone,
    pub instance_type: String,
    pub lifecycle_state: String,
    /// `Healthy` or `Unhealthy`; DescribeAutoScalingInstances shows it in capitals.
    pub health_status: String,
    pub protected_from_scale_in: bool,
}

/// An Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Auto Scaling's own attributes")]
pub struct AutoScalingGroupDescription {
    pub name: String,
    pub arn: String,
    pub min_size: u32,
    pub max_size: u32,
    pub desired_capacity: u32,
    pub zones: Vec<Zone>,
    pub instances: Vec<AutoScalingInstance>,
    /// Process -> why.
    pub suspended_processes: Vec<(String, String)>,
    pub target_group_arns: Vec<String>,
    pub load_balancer_names: Vec<String>,
    pub created_at: Millis,
}

/// A scaling activity, as EnterStandby and ExitStandby answer it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Auto Scaling's own attributes")]
pub struct AutoScalingActivity {
    pub id: String,
    pub group: String,
    pub description: String,
    pub cause: String,
    pub started_at: Millis,
    pub status: String,
    pub progress: u8,
}

/// STS GetCallerIdentity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "STS' own attributes")]
pub struct CallerIdentity {
    pub account: String,
    pub arn: String,
    pub user_id: String,
}
