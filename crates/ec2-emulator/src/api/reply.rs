//! What the core answers.

use rehome_model::ids::SnapshotId;
use serde::{Deserialize, Serialize};

use super::objects::{
    Attachment, AutoScalingActivity, AutoScalingGroupDescription, AutoScalingInstance, AvailabilityZone,
    CallerIdentity, Instance, InstanceAttribute, InstanceStateChange, InstanceStatus, InstanceType, Region, Snapshot,
    TagDescription, Volume, VolumeModification, VolumeStatus,
};

/// One page of a describe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paged<T> {
    /// The items, in the order of ids.
    pub items: Vec<T>,
    /// Where the next page begins; none on the last one.
    pub next_token: Option<String>,
}

/// A reply; which one belongs to which action says [`super::Action`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named after what they hold")]
pub enum Reply {
    CallerIdentity(CallerIdentity),
    Instances(Paged<Instance>),
    InstanceStatuses(Paged<InstanceStatus>),
    InstanceTypes(Paged<InstanceType>),
    InstanceAttribute(rehome_model::ids::InstanceId, InstanceAttribute),
    InstanceStateChanges(Vec<InstanceStateChange>),
    Volumes(Paged<Volume>),
    Volume(Volume),
    CopiedVolumes(Vec<Volume>),
    VolumeStatuses(Paged<VolumeStatus>),
    VolumeModifications(Paged<VolumeModification>),
    VolumeModification(VolumeModification),
    Attachment(Attachment),
    Snapshots(Paged<Snapshot>),
    Snapshot(Snapshot),
    /// CreateSnapshots: items carry `state` on the wire where others say `status`.
    SnapshotSet(Vec<Snapshot>),
    /// CopySnapshot.
    SnapshotId(SnapshotId),
    AvailabilityZones(Vec<AvailabilityZone>),
    Regions(Vec<Region>),
    Tags(Paged<TagDescription>),
    EncryptionByDefault(bool),
    DefaultKey(String),
    AutoScalingInstances(Paged<AutoScalingInstance>),
    AutoScalingGroups(Paged<AutoScalingGroupDescription>),
    AutoScalingActivities(Vec<AutoScalingActivity>),
    /// `<return>true</return>`, or an empty result.
    Done,
}
