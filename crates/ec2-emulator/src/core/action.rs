//! EC2's actions and replies, in its own terms.

use std::collections::BTreeMap;

use rehome_model::cloud::{CallerIdentity, Instance, InstanceType, Snapshot, Tags, Volume, VolumeSpec};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};
use serde::{Deserialize, Serialize};

use super::throttle::Family;

/// A describe filter: values are alternatives; `*` and `?` match as in EC2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// `tag:Name`, `volume-id`, `attachment.instance-id`, ...
    pub name: String,
    /// Values.
    pub values: Vec<String>,
}

impl Filter {
    /// A filter with one value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), values: vec![value.into()] }
    }
}

/// CreateVolume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct VolumeRequest {
    pub zone: Zone,
    pub snapshot: Option<SnapshotId>,
    pub spec: VolumeSpec,
    pub multi_attach: bool,
    pub tags: Tags,
    pub token: Option<String>,
}

/// CreateSnapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct SnapshotRequest {
    pub instance: InstanceId,
    pub exclude_boot_volume: bool,
    pub exclude_data_volumes: Vec<VolumeId>,
    pub description: String,
    pub tags: Tags,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own actions and parameters")]
pub enum Action {
    GetCallerIdentity,
    DescribeInstances { ids: Vec<InstanceId>, filters: Vec<Filter> },
    DescribeInstanceTypes { names: Vec<String> },
    DescribeVolumes { ids: Vec<VolumeId>, filters: Vec<Filter> },
    DescribeSnapshots { ids: Vec<SnapshotId>, filters: Vec<Filter> },
    DescribeTerminationProtection { instance: InstanceId },
    DescribeStopProtection { instance: InstanceId },
    DescribeAutoScalingGroup { group: String },
    CreateVolume(VolumeRequest),
    DeleteVolume { volume: VolumeId },
    AttachVolume { volume: VolumeId, instance: InstanceId, device: String },
    DetachVolume { volume: VolumeId, instance: Option<InstanceId> },
    CreateSnapshots(SnapshotRequest),
    DeleteSnapshot { snapshot: SnapshotId },
    StartInstances { instance: InstanceId },
    StopInstances { instance: InstanceId },
    TerminateInstances { instance: InstanceId },
    SetTerminationProtection { instance: InstanceId, on: bool },
    SetStopProtection { instance: InstanceId, on: bool },
    SetDeleteOnTermination { instance: InstanceId, devices: BTreeMap<String, bool> },
    CreateTags { resource: String, tags: Tags },
    EnterStandby { group: String, instance: InstanceId },
    ExitStandby { group: String, instance: InstanceId },
}

impl Action {
    /// EC2's name of the action.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::DescribeInstances { .. } => "DescribeInstances",
            Self::DescribeInstanceTypes { .. } => "DescribeInstanceTypes",
            Self::DescribeVolumes { .. } => "DescribeVolumes",
            Self::DescribeSnapshots { .. } => "DescribeSnapshots",
            Self::DescribeTerminationProtection { .. } | Self::DescribeStopProtection { .. } => {
                "DescribeInstanceAttribute"
            }
            Self::DescribeAutoScalingGroup { .. } => "DescribeAutoScalingGroups",
            Self::CreateVolume(_) => "CreateVolume",
            Self::DeleteVolume { .. } => "DeleteVolume",
            Self::AttachVolume { .. } => "AttachVolume",
            Self::DetachVolume { .. } => "DetachVolume",
            Self::CreateSnapshots(_) => "CreateSnapshots",
            Self::DeleteSnapshot { .. } => "DeleteSnapshot",
            Self::StartInstances { .. } => "StartInstances",
            Self::StopInstances { .. } => "StopInstances",
            Self::TerminateInstances { .. } => "TerminateInstances",
            Self::SetTerminationProtection { .. }
            | Self::SetStopProtection { .. }
            | Self::SetDeleteOnTermination { .. } => "ModifyInstanceAttribute",
            Self::CreateTags { .. } => "CreateTags",
            Self::EnterStandby { .. } => "EnterStandby",
            Self::ExitStandby { .. } => "ExitStandby",
        }
    }

    /// Whether it only looks.
    pub fn is_read(&self) -> bool {
        self.name().starts_with("Describe") || self.name().starts_with("Get")
    }

    /// The bucket it is counted in.
    pub fn family(&self) -> Family {
        match self {
            Self::CreateSnapshots(_) => Family::CreateSnapshots,
            Self::CreateVolume(_) => Family::CreateVolume,
            Self::DeleteVolume { .. } => Family::DeleteVolume,
            Self::DeleteSnapshot { .. } => Family::DeleteSnapshot,
            Self::CreateTags { .. } => Family::Tags,
            Self::StartInstances { .. } => Family::StartInstances,
            Self::TerminateInstances { .. } => Family::TerminateInstances,
            read if read.is_read() => Family::Describe,
            _ => Family::Mutate,
        }
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named after what they hold")]
pub enum Reply {
    Caller(CallerIdentity),
    Instances(Vec<Instance>),
    InstanceTypes(Vec<InstanceType>),
    Volumes(Vec<Volume>),
    Snapshots(Vec<Snapshot>),
    Flag(bool),
    Names(Vec<String>),
    Done,
}
