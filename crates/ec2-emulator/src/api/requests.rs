//! The actions' parameters.

use std::collections::BTreeMap;

use rehome_model::cloud::Tags;
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};
use serde::{Deserialize, Serialize};

/// Who calls: told apart by the access key, all of one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Caller {
    /// The access key id, or any name; deny lists and ARNs use it.
    pub name: String,
}

impl Caller {
    /// A caller by name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl Default for Caller {
    fn default() -> Self {
        Self::new("rehome")
    }
}

/// A describe filter: its values are alternatives, all filters must match; `*` and `?` are wildcards.
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

/// Which page of a describe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Items a page, where the caller limits them. Most actions want 5 or more, and none beside explicit ids.
    pub max_results: Option<u32>,
    /// The token of the page before.
    pub next_token: Option<String>,
}

/// A describe by ids, or filters, or both. For all actions that have nothing more: instances, instance statuses,
/// volumes, volume statuses, volume modifications, zones (ids are names), regions (ids are names).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeById {
    /// Ids or names; none means all.
    pub ids: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Page.
    pub page: Page,
    /// DescribeInstanceStatus IncludeAllInstances; others ignore it.
    pub include_all: bool,
}

impl DescribeById {
    /// By ids.
    pub fn ids<T: ToString>(ids: impl IntoIterator<Item = T>) -> Self {
        Self { ids: ids.into_iter().map(|id| id.to_string()).collect(), ..Self::default() }
    }

    /// By one filter.
    pub fn filter(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { filters: vec![Filter::new(name, value)], ..Self::default() }
    }
}

/// DescribeInstanceTypes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeInstanceTypes {
    /// Names; none means all the emulator knows.
    pub names: Vec<String>,
    /// Filters: `instance-type`, `hypervisor`.
    pub filters: Vec<Filter>,
    /// Page.
    pub page: Page,
}

/// DescribeSnapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeSnapshots {
    /// Ids; none means all.
    pub ids: Vec<String>,
    /// `self`, `amazon`, or account ids; none means all that the caller may see. There are no public snapshots here.
    pub owners: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// Page.
    pub page: Page,
}

/// DescribeTags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeTags {
    /// Filters: `key`, `value`, `resource-id`, `resource-type`, `tag:K`.
    pub filters: Vec<Filter>,
    /// Page.
    pub page: Page,
}

/// Tags set with a creation, by the type of what is created: `volume`, `snapshot`, `instance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct TagSpecification {
    pub resource_type: String,
    pub tags: Tags,
}

impl TagSpecification {
    /// Tags for one type of resource.
    pub fn new(resource_type: &str, tags: Tags) -> Self {
        Self { resource_type: resource_type.to_owned(), tags }
    }
}

/// CreateVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct CreateVolume {
    pub availability_zone: Option<Zone>,
    pub availability_zone_id: Option<String>,
    pub snapshot_id: Option<SnapshotId>,
    /// GiB; none takes the snapshot's.
    pub size: Option<i64>,
    /// None means gp2, as in EC2.
    pub volume_type: Option<String>,
    pub iops: Option<i64>,
    /// MiB/s, gp3 only.
    pub throughput: Option<i64>,
    pub encrypted: Option<bool>,
    pub kms_key_id: Option<String>,
    pub multi_attach_enabled: bool,
    /// MiB/s, 100 to 300: how fast a volume made from a snapshot hydrates.
    pub volume_initialization_rate: Option<i64>,
    pub tag_specifications: Vec<TagSpecification>,
    pub client_token: Option<String>,
}

/// CopyVolumes: a clone of one volume in its zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct CopyVolumes {
    pub source_volume_id: VolumeId,
    pub size: Option<i64>,
    /// None means gp2, whatever the source is.
    pub volume_type: Option<String>,
    pub iops: Option<i64>,
    pub throughput: Option<i64>,
    /// A copy of an encrypted volume is encrypted whatever this says.
    pub encrypted: bool,
    pub kms_key_id: Option<String>,
    pub multi_attach_enabled: bool,
    pub tag_specifications: Vec<TagSpecification>,
    pub client_token: Option<String>,
}

impl CopyVolumes {
    /// A copy with nothing else asked for.
    pub fn of(source_volume_id: VolumeId) -> Self {
        Self {
            source_volume_id,
            size: None,
            volume_type: None,
            iops: None,
            throughput: None,
            encrypted: false,
            kms_key_id: None,
            multi_attach_enabled: false,
            tag_specifications: Vec::new(),
            client_token: None,
        }
    }
}

/// AttachVolume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct AttachVolume {
    pub volume_id: VolumeId,
    pub instance_id: InstanceId,
    pub device: String,
}

/// DetachVolume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct DetachVolume {
    pub volume_id: VolumeId,
    /// Required for a volume that is attached more than once.
    pub instance_id: Option<InstanceId>,
    pub device: Option<String>,
    /// Takes the device away from under a mounted file system: what was not synced is lost.
    pub force: bool,
}

impl DetachVolume {
    /// From wherever it is, without force.
    pub fn of(volume_id: VolumeId) -> Self {
        Self { volume_id, instance_id: None, device: None, force: false }
    }
}

/// ModifyVolume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct ModifyVolume {
    pub volume_id: VolumeId,
    pub size: Option<i64>,
    pub volume_type: Option<String>,
    pub iops: Option<i64>,
    pub throughput: Option<i64>,
    pub multi_attach_enabled: Option<bool>,
}

impl ModifyVolume {
    /// A modification that asks for nothing yet.
    pub fn of(volume_id: VolumeId) -> Self {
        Self { volume_id, size: None, volume_type: None, iops: None, throughput: None, multi_attach_enabled: None }
    }
}

/// CreateSnapshot. EC2 has no client token for it: called twice it captures twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct CreateSnapshot {
    pub volume_id: VolumeId,
    pub description: String,
    pub tag_specifications: Vec<TagSpecification>,
}

impl CreateSnapshot {
    /// A snapshot without description and tags.
    pub fn of(volume_id: VolumeId) -> Self {
        Self { volume_id, description: String::new(), tag_specifications: Vec::new() }
    }
}

/// CreateSnapshots: all volumes of an instance at one instant. No client token either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct CreateSnapshots {
    pub instance_id: InstanceId,
    pub exclude_boot_volume: bool,
    /// At most 40.
    pub exclude_data_volume_ids: Vec<VolumeId>,
    pub description: String,
    pub tag_specifications: Vec<TagSpecification>,
    /// CopyTagsFromSource=volume.
    pub copy_tags_from_volume: bool,
}

impl CreateSnapshots {
    /// All volumes of an instance, without description and tags.
    pub fn of(instance_id: InstanceId) -> Self {
        Self {
            instance_id,
            exclude_boot_volume: false,
            exclude_data_volume_ids: Vec::new(),
            description: String::new(),
            tag_specifications: Vec::new(),
            copy_tags_from_volume: false,
        }
    }
}

/// CopySnapshot, into this region from this region or another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct CopySnapshot {
    pub source_region: String,
    pub source_snapshot_id: SnapshotId,
    pub description: String,
    pub encrypted: Option<bool>,
    pub kms_key_id: Option<String>,
    pub tag_specifications: Vec<TagSpecification>,
}

impl CopySnapshot {
    /// A copy with nothing else asked for.
    pub fn of(source_region: &str, source_snapshot_id: SnapshotId) -> Self {
        Self {
            source_region: source_region.to_owned(),
            source_snapshot_id,
            description: String::new(),
            encrypted: None,
            kms_key_id: None,
            tag_specifications: Vec::new(),
        }
    }
}

/// A volume that RunInstances makes and attaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct NewBlockDevice {
    pub device_name: String,
    pub snapshot_id: Option<SnapshotId>,
    pub volume_size: Option<i64>,
    pub volume_type: Option<String>,
    pub iops: Option<i64>,
    pub throughput: Option<i64>,
    pub encrypted: Option<bool>,
    pub kms_key_id: Option<String>,
    /// None means true, for every volume made at launch.
    pub delete_on_termination: Option<bool>,
}

/// RunInstances: as much of it as setting a legacy side up takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct RunInstances {
    pub image_id: String,
    pub instance_type: Option<String>,
    pub min_count: u32,
    pub max_count: u32,
    /// Placement.AvailabilityZone; none takes the first zone.
    pub availability_zone: Option<Zone>,
    pub private_ip_address: Option<String>,
    pub block_device_mappings: Vec<NewBlockDevice>,
    pub disable_api_termination: bool,
    pub disable_api_stop: bool,
    pub tag_specifications: Vec<TagSpecification>,
    pub client_token: Option<String>,
}

/// StopInstances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct StopInstances {
    pub instance_ids: Vec<InstanceId>,
    /// Without a clean shutdown: what was not synced is lost.
    pub force: bool,
    pub skip_os_shutdown: bool,
}

/// An attribute that DescribeInstanceAttribute can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub enum InstanceAttributeName {
    InstanceType,
    DisableApiTermination,
    DisableApiStop,
    RootDeviceName,
    BlockDeviceMapping,
}

impl InstanceAttributeName {
    /// From EC2's spelling, `disableApiStop`. None: the emulator does not know the attribute.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "instanceType" => Self::InstanceType,
            "disableApiTermination" => Self::DisableApiTermination,
            "disableApiStop" => Self::DisableApiStop,
            "rootDeviceName" => Self::RootDeviceName,
            "blockDeviceMapping" => Self::BlockDeviceMapping,
            _ => return None,
        })
    }
}

/// What ModifyInstanceAttribute changes: one attribute a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub enum InstanceChange {
    DisableApiTermination(bool),
    DisableApiStop(bool),
    /// Only while stopped.
    InstanceType(String),
    /// Device name -> DeleteOnTermination.
    DeleteOnTermination(BTreeMap<String, bool>),
}

/// ModifyInstanceAttribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct ModifyInstanceAttribute {
    pub instance_id: InstanceId,
    pub change: InstanceChange,
}

/// CreateTags (values are given) and DeleteTags (a value of `None` deletes the key whatever its value is).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own parameters")]
pub struct TagsRequest {
    pub resources: Vec<String>,
    /// DeleteTags without any tag deletes all of the resources' tags.
    pub tags: BTreeMap<String, Option<String>>,
}

/// DescribeAutoScalingInstances (by instance ids) and DescribeAutoScalingGroups (by names).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeAutoScaling {
    /// Instance ids or group names; none means all. Unknown ones are left out.
    pub names: Vec<String>,
    /// Page; MaxRecords here.
    pub page: Page,
}

/// EnterStandby and ExitStandby.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Auto Scaling's own parameters")]
pub struct StandbyRequest {
    pub auto_scaling_group_name: String,
    pub instance_ids: Vec<InstanceId>,
    /// EnterStandby only, and required there; without it the group launches a replacement.
    pub should_decrement_desired_capacity: bool,
}

/// SuspendProcesses and ResumeProcesses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Auto Scaling's own parameters")]
pub struct ProcessesRequest {
    pub auto_scaling_group_name: String,
    /// `Terminate`, `ReplaceUnhealthy`, ...; none means all.
    pub scaling_processes: Vec<String>,
}
