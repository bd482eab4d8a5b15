//! The cloud: EC2, EBS and Auto Scaling in rehome's own terms.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use rehome_model::cloud::{
    Attachment, AutoScalingGroup, CallerIdentity, Instance, InstanceType, Snapshot, Tags, Volume, VolumeSpec,
};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};
use rehome_model::labels;

use crate::error::CloudError;

/// How long one call may take, from its sending to the end of its reply. After that there is none, and its effect may have
/// happened as late as that.
pub const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Which instances to describe. Terminated instances are shown while EC2 shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceFilter {
    /// By id. Ids that EC2 does not show (yet, or any more) are left out of the answer: no error.
    Ids(Vec<InstanceId>),
    /// By tags, all of which must match.
    Tags(Tags),
    /// Members of an Auto Scaling group.
    AutoScalingGroup(String),
}

/// Which volumes to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeFilter {
    /// By id. Ids that EC2 does not show (yet, or any more) are left out of the answer: no error.
    Ids(Vec<VolumeId>),
    /// By tags, all of which must match.
    Tags(Tags),
}

/// Which of the account's own snapshots to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotFilter {
    /// By id. Ids that EC2 does not show are left out of the answer: no error.
    Ids(Vec<SnapshotId>),
    /// By tags, all of which must match.
    Tags(Tags),
}

/// CreateSnapshots of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSnapshots {
    /// The instance.
    pub instance: InstanceId,
    /// Attached data volumes to leave out; the root volume is always left out unless `include_root`.
    pub exclude: Vec<VolumeId>,
    /// Whether the root volume is captured too.
    pub include_root: bool,
    /// Description.
    pub description: String,
    /// Tags set with the creation, on every snapshot.
    pub tags: Tags,
}

/// CreateVolume from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVolume {
    /// The snapshot; must be completed.
    pub snapshot: SnapshotId,
    /// The zone.
    pub zone: Zone,
    /// Type, size, performance. The key is taken from the snapshot.
    pub spec: VolumeSpec,
    /// Tags set with the creation.
    pub tags: Tags,
    /// Client token, at most 64 characters.
    pub token: String,
}

/// What a run will ask of the cloud, as far as permissions are asked about beforehand. Where things are alike one stands
/// for all: dry runs are throttled as the calls themselves are, out of the same buckets (EC2 developer guide, "Request
/// throttling").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intended {
    /// The instances that will be stopped and started. One call asks for many.
    pub instances: Vec<InstanceId>,
    /// How one of them will be captured, with the tags that its snapshots will get.
    pub capture: CreateSnapshots,
    /// Volumes of that instance that move, one of a kind.
    pub originals: Vec<Volume>,
    /// The tags that a volume made in place of one will get.
    pub volume_tags: Tags,
    /// The operations that are asked about (`AttachVolume`); all that a run performs if there is no list.
    pub only: Option<&'static [&'static str]>,
}

impl Intended {
    /// Whether an operation is asked about.
    pub fn asks(&self, operation: &str) -> bool {
        self.only.is_none_or(|only| only.contains(&operation))
    }

    /// Tags that a rollback gives an original.
    pub fn original_tags(&self) -> Tags {
        labels::ON_ORIGINALS.map(|key| (key.to_owned(), "dry-run".to_owned())).into()
    }

    /// Tags that a run gives the instances.
    pub fn instance_tags(&self) -> Tags {
        labels::ON_INSTANCES.map(|key| (key.to_owned(), "dry-run".to_owned())).into()
    }

    /// A device of the instance that will be captured on which a volume is that moves.
    pub fn device(&self) -> Option<&str> {
        let attachments = self.originals.iter().flat_map(|original| &original.attachments);
        let here = |attachment: &&Attachment| attachment.instance == self.capture.instance;
        attachments.into_iter().find(here).map(|attachment| attachment.device.as_str())
    }
}

/// A protection of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceProtection {
    /// DisableApiTermination.
    Termination,
    /// DisableApiStop.
    Stop,
}

/// Anything that can be tagged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the ids say it")]
pub enum ResourceId {
    Instance(InstanceId),
    Volume(VolumeId),
    Snapshot(SnapshotId),
}

/// The cloud.
///
/// All methods: an error of class `Retry` says nothing of the effect. Describes are eventually consistent: right after
/// a change they may show the older state or nothing, for seconds (EC2 "Eventual consistency"); a negative describe by
/// tag right after a create proves nothing. Implementations page, and batch where EC2 allows it; they do not retry
/// anything but throttled or failed *reads*.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Who calls, and where.
    async fn caller(&self) -> Result<CallerIdentity, CloudError>;

    /// Instances, with their volumes and their Auto Scaling membership, in the order of ids.
    async fn describe_instances(&self, filter: &InstanceFilter) -> Result<Vec<Instance>, CloudError>;

    /// Instances by id as `describe_instances` shows them, but for their Auto Scaling membership, which may be left out:
    /// it costs a call for every fifty instances.
    async fn describe_instances_alone(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, CloudError>;

    /// What instance types allow; unknown ones are left out.
    async fn describe_instance_types(&self, names: &[String]) -> Result<Vec<InstanceType>, CloudError>;

    /// Volumes in the order of ids. Deleted ones are gone or `Deleted`.
    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, CloudError>;

    /// The key under which EC2 makes volumes that nobody asked to be encrypted, as EC2 names it: a key's ARN, or `alias/aws/ebs`.
    /// None where the account does not encrypt by default in this region. It says nothing of what is encrypted under another key.
    async fn default_key(&self) -> Result<Option<String>, CloudError>;

    /// Own snapshots in the order of ids.
    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, CloudError>;

    /// One snapshot per captured volume, all at one instant, tagged. **Not idempotent, no token**: after an error of
    /// class `Retry` look for the tags (and wait out staleness) before a second call.
    async fn create_snapshots(&self, request: &CreateSnapshots) -> Result<Vec<Snapshot>, CloudError>;

    /// A volume from a snapshot. Idempotent by token: the same token and parameters answer the same volume. The volume
    /// may yet fail (`Error`, or it vanishes) after this answered; then its token is burned.
    async fn create_volume(&self, request: &CreateVolume) -> Result<Volume, CloudError>;

    /// Deletes a volume. A volume that is gone is `Ok`. `VolumeInUse` while attached.
    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), CloudError>;

    /// Deletes a snapshot. A snapshot that is gone is `Ok`.
    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), CloudError>;

    /// Attaches a volume. Attached there already is `Ok`; attached elsewhere is `VolumeInUse`.
    async fn attach_volume(&self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Result<(), CloudError>;

    /// Begins to detach a volume. Detached already is `Ok`. Never forced.
    async fn detach_volume(&self, volume: &VolumeId, instance: &InstanceId) -> Result<(), CloudError>;

    /// Begins to stop instances, by a clean shutdown. Stopped or stopping already is `Ok`. If one is refused, none is
    /// stopped.
    async fn stop_instances(&self, instances: &[InstanceId]) -> Result<(), CloudError>;

    /// `stop_instances` of one.
    async fn stop_instance(&self, instance: &InstanceId) -> Result<(), CloudError> {
        self.stop_instances(std::slice::from_ref(instance)).await
    }

    /// Begins to start an instance. Running or pending already is `Ok`; `IncorrectInstanceState` while it is stopping.
    async fn start_instance(&self, instance: &InstanceId) -> Result<(), CloudError>;

    /// Switches a protection. Idempotent.
    async fn protect_instance(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
        on: bool,
    ) -> Result<(), CloudError>;

    /// Whether a protection is on.
    async fn is_protected(&self, instance: &InstanceId, protection: InstanceProtection) -> Result<bool, CloudError>;

    /// Sets DeleteOnTermination by device name. Idempotent.
    async fn set_delete_on_termination(
        &self,
        instance: &InstanceId,
        devices: &BTreeMap<String, bool>,
    ) -> Result<(), CloudError>;

    /// Takes an instance out of its Auto Scaling group's care (EnterStandby, desired capacity lowered) or gives it back
    /// (ExitStandby). Already so is `Ok`. `ValidationError` where fewer than MinSize would be left. The change takes time: see the instance's lifecycle state.
    async fn set_standby(&self, group: &str, instance: &InstanceId, standby: bool) -> Result<(), CloudError>;

    /// Auto Scaling groups by name, in the order of their names. Those that there are not are left out of the answer: no
    /// error. No name asks nothing.
    async fn describe_auto_scaling_groups(&self, names: &[String]) -> Result<Vec<AutoScalingGroup>, CloudError>;

    /// Adds or overwrites the same tags on up to 1,000 resources. Idempotent. If one is refused, none is tagged.
    async fn tag_all(&self, resources: &[ResourceId], tags: &Tags) -> Result<(), CloudError>;

    /// `tag_all` of one.
    async fn tag(&self, resource: &ResourceId, tags: &Tags) -> Result<(), CloudError> {
        self.tag_all(std::slice::from_ref(resource), tags).await
    }

    /// Of the actions that a run performs, those the caller is denied by dry runs of what is intended
    /// (`ec2:CreateSnapshots`, ...). A dry run proves permission, not success. `ec2:DeleteVolume` and `ec2:DeleteSnapshot`
    /// can only be asked of what no run made: their denial may be as it should be.
    async fn denied_actions(&self, intended: &Intended) -> Result<Vec<String>, CloudError>;
}
