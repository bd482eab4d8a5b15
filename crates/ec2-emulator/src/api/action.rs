//! The actions.

use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use serde::{Deserialize, Serialize};

use super::requests::{
    AttachVolume, CopySnapshot, CopyVolumes, CreateSnapshot, CreateSnapshots, CreateVolume, DescribeAutoScaling,
    DescribeById, DescribeInstanceTypes, DescribeSnapshots, DescribeTags, DetachVolume, InstanceAttributeName,
    ModifyInstanceAttribute, ModifyVolume, ProcessesRequest, RunInstances, StandbyRequest, StopInstances, TagsRequest,
};

/// The names of all actions that the emulator answers, SSM's too.
pub const ACTIONS: [&str; 40] = [
    "GetCallerIdentity",
    "DescribeInstances",
    "DescribeInstanceStatus",
    "DescribeInstanceTypes",
    "DescribeInstanceAttribute",
    "DescribeVolumes",
    "DescribeVolumeStatus",
    "DescribeVolumesModifications",
    "DescribeSnapshots",
    "DescribeAvailabilityZones",
    "DescribeRegions",
    "DescribeTags",
    "GetEbsEncryptionByDefault",
    "GetEbsDefaultKmsKeyId",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
    "ModifyInstanceAttribute",
    "CreateVolume",
    "CopyVolumes",
    "DeleteVolume",
    "AttachVolume",
    "DetachVolume",
    "ModifyVolume",
    "CreateSnapshot",
    "CreateSnapshots",
    "DeleteSnapshot",
    "CopySnapshot",
    "CreateTags",
    "DeleteTags",
    "DescribeAutoScalingInstances",
    "DescribeAutoScalingGroups",
    "EnterStandby",
    "ExitStandby",
    "SuspendProcesses",
    "ResumeProcesses",
    "SendCommand",
    "GetCommandInvocation",
    "DescribeInstanceInformation",
];

/// An action of EC2, Auto Scaling or STS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// STS; answers `Reply::CallerIdentity`.
    GetCallerIdentity,
    /// Answers `Reply::Instances`.
    DescribeInstances(DescribeById),
    /// Answers `Reply::InstanceStatuses`.
    DescribeInstanceStatus(DescribeById),
    /// Answers `Reply::InstanceTypes`.
    DescribeInstanceTypes(DescribeInstanceTypes),
    /// Answers `Reply::InstanceAttribute`.
    DescribeInstanceAttribute {
        /// Instance.
        instance_id: InstanceId,
        /// Attribute.
        attribute: InstanceAttributeName,
    },
    /// Answers `Reply::Volumes`.
    DescribeVolumes(DescribeById),
    /// Answers `Reply::VolumeStatuses`.
    DescribeVolumeStatus(DescribeById),
    /// Answers `Reply::VolumeModifications`.
    DescribeVolumesModifications(DescribeById),
    /// Answers `Reply::Snapshots`.
    DescribeSnapshots(DescribeSnapshots),
    /// Answers `Reply::AvailabilityZones`.
    DescribeAvailabilityZones(DescribeById),
    /// Answers `Reply::Regions`.
    DescribeRegions(DescribeById),
    /// Answers `Reply::Tags`.
    DescribeTags(DescribeTags),
    /// Answers `Reply::EncryptionByDefault`.
    GetEbsEncryptionByDefault,
    /// Answers `Reply::DefaultKey`.
    GetEbsDefaultKmsKeyId,
    /// Answers `Reply::Instances`.
    RunInstances(RunInstances),
    /// Answers `Reply::InstanceStateChanges`.
    StartInstances(Vec<InstanceId>),
    /// Answers `Reply::InstanceStateChanges`.
    StopInstances(StopInstances),
    /// Answers `Reply::InstanceStateChanges`.
    TerminateInstances(Vec<InstanceId>),
    /// Answers `Reply::Done`.
    ModifyInstanceAttribute(ModifyInstanceAttribute),
    /// Answers `Reply::Volume`.
    CreateVolume(CreateVolume),
    /// Answers `Reply::CopiedVolumes`.
    CopyVolumes(CopyVolumes),
    /// Answers `Reply::Done`.
    DeleteVolume(VolumeId),
    /// Answers `Reply::Attachment`.
    AttachVolume(AttachVolume),
    /// Answers `Reply::Attachment`.
    DetachVolume(DetachVolume),
    /// Answers `Reply::VolumeModification`.
    ModifyVolume(ModifyVolume),
    /// Answers `Reply::Snapshot`.
    CreateSnapshot(CreateSnapshot),
    /// Answers `Reply::SnapshotSet`.
    CreateSnapshots(CreateSnapshots),
    /// Answers `Reply::Done`.
    DeleteSnapshot(SnapshotId),
    /// Answers `Reply::SnapshotId`.
    CopySnapshot(CopySnapshot),
    /// Answers `Reply::Done`.
    CreateTags(TagsRequest),
    /// Answers `Reply::Done`.
    DeleteTags(TagsRequest),
    /// Auto Scaling; answers `Reply::AutoScalingInstances`.
    DescribeAutoScalingInstances(DescribeAutoScaling),
    /// Auto Scaling; answers `Reply::AutoScalingGroups`.
    DescribeAutoScalingGroups(DescribeAutoScaling),
    /// Auto Scaling; answers `Reply::AutoScalingActivities`.
    EnterStandby(StandbyRequest),
    /// Auto Scaling; answers `Reply::AutoScalingActivities`.
    ExitStandby(StandbyRequest),
    /// Auto Scaling; answers `Reply::Done`.
    SuspendProcesses(ProcessesRequest),
    /// Auto Scaling; answers `Reply::Done`.
    ResumeProcesses(ProcessesRequest),
}

impl Action {
    /// EC2's name of the action.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::DescribeInstances(_) => "DescribeInstances",
            Self::DescribeInstanceStatus(_) => "DescribeInstanceStatus",
            Self::DescribeInstanceTypes(_) => "DescribeInstanceTypes",
            Self::DescribeInstanceAttribute { .. } => "DescribeInstanceAttribute",
            Self::DescribeVolumes(_) => "DescribeVolumes",
            Self::DescribeVolumeStatus(_) => "DescribeVolumeStatus",
            Self::DescribeVolumesModifications(_) => "DescribeVolumesModifications",
            Self::DescribeSnapshots(_) => "DescribeSnapshots",
            Self::DescribeAvailabilityZones(_) => "DescribeAvailabilityZones",
            Self::DescribeRegions(_) => "DescribeRegions",
            Self::DescribeTags(_) => "DescribeTags",
            Self::GetEbsEncryptionByDefault => "GetEbsEncryptionByDefault",
            Self::GetEbsDefaultKmsKeyId => "GetEbsDefaultKmsKeyId",
            Self::RunInstances(_) => "RunInstances",
            Self::StartInstances(_) => "StartInstances",
            Self::StopInstances(_) => "StopInstances",
            Self::TerminateInstances(_) => "TerminateInstances",
            Self::ModifyInstanceAttribute(_) => "ModifyInstanceAttribute",
            Self::CreateVolume(_) => "CreateVolume",
            Self::CopyVolumes(_) => "CopyVolumes",
            Self::DeleteVolume(_) => "DeleteVolume",
            Self::AttachVolume(_) => "AttachVolume",
            Self::DetachVolume(_) => "DetachVolume",
            Self::ModifyVolume(_) => "ModifyVolume",
            Self::CreateSnapshot(_) => "CreateSnapshot",
            Self::CreateSnapshots(_) => "CreateSnapshots",
            Self::DeleteSnapshot(_) => "DeleteSnapshot",
            Self::CopySnapshot(_) => "CopySnapshot",
            Self::CreateTags(_) => "CreateTags",
            Self::DeleteTags(_) => "DeleteTags",
            Self::DescribeAutoScalingInstances(_) => "DescribeAutoScalingInstances",
            Self::DescribeAutoScalingGroups(_) => "DescribeAutoScalingGroups",
            Self::EnterStandby(_) => "EnterStandby",
            Self::ExitStandby(_) => "ExitStandby",
            Self::SuspendProcesses(_) => "SuspendProcesses",
            Self::ResumeProcesses(_) => "ResumeProcesses",
        }
    }

    /// Whether it only looks.
    pub fn is_read(&self) -> bool {
        self.name().starts_with("Describe") || self.name().starts_with("Get")
    }

    /// The ids of what it names: instances, volumes, snapshots.
    pub fn resources(&self) -> Vec<&str> {
        fn texts<'a>(ids: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
            ids.into_iter().map(String::as_str).collect()
        }
        match self {
            Self::DescribeInstances(by)
            | Self::DescribeInstanceStatus(by)
            | Self::DescribeVolumes(by)
            | Self::DescribeVolumeStatus(by)
            | Self::DescribeVolumesModifications(by) => {
                let filtered = by.filters.iter().filter(|filter| filter.name.ends_with("-id"));
                texts(by.ids.iter().chain(filtered.flat_map(|filter| &filter.values)))
            }
            Self::DescribeSnapshots(by) => {
                let filtered = by.filters.iter().filter(|filter| filter.name.ends_with("-id"));
                texts(by.ids.iter().chain(filtered.flat_map(|filter| &filter.values)))
            }
            Self::DescribeInstanceAttribute { instance_id, .. } => vec![instance_id.as_str()],
            Self::StartInstances(ids) | Self::TerminateInstances(ids) => ids.iter().map(InstanceId::as_str).collect(),
            Self::StopInstances(request) => request.instance_ids.iter().map(InstanceId::as_str).collect(),
            Self::ModifyInstanceAttribute(request) => vec![request.instance_id.as_str()],
            Self::CreateVolume(request) => request.snapshot_id.iter().map(SnapshotId::as_str).collect(),
            Self::CopyVolumes(request) => vec![request.source_volume_id.as_str()],
            Self::DeleteVolume(id) => vec![id.as_str()],
            Self::AttachVolume(request) => vec![request.volume_id.as_str(), request.instance_id.as_str()],
            Self::DetachVolume(request) => {
                let from = request.instance_id.iter().map(InstanceId::as_str);
                std::iter::once(request.volume_id.as_str()).chain(from).collect()
            }
            Self::ModifyVolume(request) => vec![request.volume_id.as_str()],
            Self::CreateSnapshot(request) => vec![request.volume_id.as_str()],
            Self::CreateSnapshots(request) => vec![request.instance_id.as_str()],
            Self::DeleteSnapshot(id) => vec![id.as_str()],
            Self::CopySnapshot(request) => vec![request.source_snapshot_id.as_str()],
            Self::CreateTags(request) | Self::DeleteTags(request) => texts(&request.resources),
            Self::DescribeAutoScalingInstances(by) => texts(&by.names),
            Self::EnterStandby(request) | Self::ExitStandby(request) => {
                request.instance_ids.iter().map(InstanceId::as_str).collect()
            }
            Self::GetCallerIdentity
            | Self::DescribeInstanceTypes(_)
            | Self::DescribeAvailabilityZones(_)
            | Self::DescribeRegions(_)
            | Self::DescribeTags(_)
            | Self::GetEbsEncryptionByDefault
            | Self::GetEbsDefaultKmsKeyId
            | Self::RunInstances(_)
            | Self::DescribeAutoScalingGroups(_)
            | Self::SuspendProcesses(_)
            | Self::ResumeProcesses(_) => Vec::new(),
        }
    }

    /// The service it belongs to.
    pub fn service(&self) -> Service {
        match self {
            Self::GetCallerIdentity => Service::Sts,
            Self::DescribeAutoScalingInstances(_)
            | Self::DescribeAutoScalingGroups(_)
            | Self::EnterStandby(_)
            | Self::ExitStandby(_)
            | Self::SuspendProcesses(_)
            | Self::ResumeProcesses(_) => Service::AutoScaling,
            _ => Service::Ec2,
        }
    }
}

/// A service: each has its own endpoint and its own codes for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS' own names")]
pub enum Service {
    Ec2,
    AutoScaling,
    Sts,
    /// Its actions are the core's own, `SsmAction`: they are about scripts, not about the account.
    Ssm,
}
