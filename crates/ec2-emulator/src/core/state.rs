//! Everything EC2 remembers.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::cloud::{
    AttachmentState, InstanceBlockDevice, InstanceState, SnapshotState, StateReason, Tags, VolumeSpec, VolumeState,
};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};
use serde::{Deserialize, Serialize};

use crate::api::{InitializationType, VolumeModification};

use super::commands::Commands;
use super::config::Config;
use super::counters::Counters;
use super::faults::Faults;
use super::schedule::Schedule;
use super::throttle::Buckets;
use super::timing::Millis;
use super::tokens::Token;
use super::views::{Memory, Views};

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct InstanceRecord {
    pub state: InstanceState,
    /// When the state changes by itself.
    pub due: Option<Millis>,
    pub state_transition_reason: String,
    #[serde(default)]
    pub state_reason: Option<StateReason>,
    /// Whether the start that is under way ends in `stopped`.
    #[serde(default)]
    pub start_fails: bool,
    pub reservation: String,
    pub image_id: String,
    pub zone: Zone,
    pub instance_type: String,
    /// Kept while stopped.
    pub private_ip: String,
    pub root_device: String,
    /// Whether the root is on an instance store.
    #[serde(default)]
    pub instance_store_root: bool,
    /// InstanceLifecycle; none of one that is On-Demand.
    #[serde(default)]
    pub lifecycle: Option<String>,
    pub launched_at: Millis,
    pub client_token: Option<String>,
    pub tags: Tags,
    pub block_devices: Vec<InstanceBlockDevice>,
    /// DisableApiTermination.
    pub termination_protection: bool,
    /// DisableApiStop.
    pub stop_protection: bool,
}

/// A volume's place at an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct AttachmentRecord {
    pub instance: InstanceId,
    pub device: String,
    pub state: AttachmentState,
    pub attached_at: Millis,
    /// When `attaching` or `detaching` is over.
    pub due: Option<Millis>,
}

/// How a volume fills with what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hydration {
    /// How.
    pub kind: InitializationType,
    /// When it began.
    pub from: Millis,
    /// When it is over.
    pub until: Millis,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct VolumeRecord {
    pub state: VolumeState,
    /// When `creating` is over.
    pub due: Option<Millis>,
    /// Whether it will fail then.
    pub fails: bool,
    pub zone: Zone,
    pub spec: VolumeSpec,
    pub multi_attach: bool,
    pub snapshot: Option<SnapshotId>,
    pub source_volume: Option<VolumeId>,
    pub initialization_rate: Option<u32>,
    pub hydration: Option<Hydration>,
    pub attachments: Vec<AttachmentRecord>,
    pub created_at: Millis,
    pub last_snapshot_at: Option<Millis>,
    /// The newest snapshot taken of it, even if that is deleted.
    pub latest_snapshot: Option<SnapshotId>,
    /// When its pending snapshots will be over, deleted ones too: they count until then.
    pub pending_snapshots: Vec<Millis>,
    pub modification: Option<VolumeModification>,
    /// When its modification goes on.
    pub modification_due: Option<Millis>,
    pub modified_at: Vec<Millis>,
    pub tags: Tags,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct SnapshotRecord {
    pub volume: VolumeId,
    pub state: SnapshotState,
    pub state_message: Option<String>,
    pub started_at: Millis,
    /// When `pending` is over.
    pub completes_at: Millis,
    /// Whether it will fail then.
    pub fails: bool,
    pub volume_size_gib: u32,
    pub description: String,
    pub encrypted: bool,
    pub kms_key_id: Option<String>,
    /// Bytes in all blocks ever written.
    pub full_bytes: u64,
    pub tags: Tags,
}

/// An Auto Scaling group: it terminates members that it finds stopped, unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingGroup {
    /// Member -> lifecycle state.
    pub members: BTreeMap<InstanceId, String>,
    /// Changes on their way: member -> (state, when).
    pub changing: BTreeMap<InstanceId, (String, Millis)>,
    /// Since when a member was seen not running.
    pub unhealthy_since: BTreeMap<InstanceId, Millis>,
    /// Members that were found so for too long; running again mends nothing.
    #[serde(default)]
    pub unhealthy: BTreeSet<InstanceId>,
    /// Suspended processes.
    pub suspended: BTreeSet<String>,
    /// Target groups that its members are in, by ARN. Their traffic is not emulated.
    #[serde(default)]
    pub target_group_arns: Vec<String>,
    /// Classic load balancers that its members are behind. Their traffic is not emulated.
    #[serde(default)]
    pub load_balancer_names: Vec<String>,
    /// MinSize: Standby that would go below it is refused.
    pub min_size: u32,
    /// When it was made.
    pub created_at: Millis,
}

/// The core's state. It serialises: a face may save it and take it up again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Core {
    /// Set-up.
    pub config: Config,
    /// Instances.
    pub instances: BTreeMap<InstanceId, InstanceRecord>,
    /// Volumes. Deleted ones are gone from here at once, whatever describes still show.
    pub volumes: BTreeMap<VolumeId, VolumeRecord>,
    /// Snapshots.
    pub snapshots: BTreeMap<SnapshotId, SnapshotRecord>,
    /// Auto Scaling groups.
    pub groups: BTreeMap<String, AutoScalingGroup>,
    /// Faults, by rule.
    #[serde(default)]
    pub faults: Faults,
    /// SSM's commands.
    #[serde(default)]
    pub commands: Commands,
    /// Calls by action, refused ones too.
    pub calls: BTreeMap<String, u64>,
    /// Those of them that were dry runs.
    #[serde(default)]
    pub dry_runs: BTreeMap<String, u64>,
    /// What else was counted.
    pub counters: Counters,
    pub(crate) now: Millis,
    /// What the present call changes shows so much later: a fault.
    #[serde(skip)]
    pub(crate) late_ms: u64,
    /// Ids made so far, by prefix.
    pub(crate) made: BTreeMap<String, u64>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) buckets: Buckets,
    pub(crate) schedule: Schedule,
    pub(crate) instance_views: Views<InstanceRecord>,
    pub(crate) volume_views: Views<VolumeRecord>,
    pub(crate) snapshot_views: Views<SnapshotRecord>,
    /// Detaches that wait for an unmount.
    pub(crate) busy: BTreeSet<(VolumeId, InstanceId)>,
    /// Instances that are due to be stopped or terminated, whose machines are not down yet.
    pub(crate) going_down: BTreeSet<InstanceId>,
}

impl Core {
    /// An empty account.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            instances: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            groups: BTreeMap::new(),
            faults: Faults::default(),
            commands: Commands::default(),
            calls: BTreeMap::new(),
            dry_runs: BTreeMap::new(),
            counters: Counters::default(),
            now: 0,
            late_ms: 0,
            made: BTreeMap::new(),
            tokens: BTreeMap::new(),
            buckets: Buckets::default(),
            schedule: Schedule::default(),
            instance_views: Views::default(),
            volume_views: Views::default(),
            snapshot_views: Views::default(),
            busy: BTreeSet::new(),
            going_down: BTreeSet::new(),
        }
    }

    /// Whether an instance runs, so that its SSM agent answers.
    pub fn is_online(&self, instance: &InstanceId) -> bool {
        self.instances.get(instance).is_some_and(|record| record.state == InstanceState::Running)
    }

    /// How long what was goes on to show, by object and change; and how long a stale describe may look back at it.
    pub(crate) fn memory(&self, now: Millis, id: &str) -> Option<Memory> {
        let most = self.config.consistency.lag_ms;
        let lag = if most > 0 { self.chance(&["lag", id], now) % (most + 1) } else { 0 };
        let back = self.faults.longest_stale_ms();
        let remembered = most > 0 || self.late_ms > 0 || back > 0;
        remembered.then(|| Memory { shown_until: now + lag.max(self.late_ms), kept_until: now + back })
    }

    /// To be called before an instance changes: describes go on to show what it was.
    pub(crate) fn changing_instance(&mut self, now: Millis, id: &InstanceId) {
        if let Some(memory) = self.memory(now, id.as_str()) {
            self.instance_views.remember(id.as_str(), self.instances.get(id).cloned(), now, memory);
        }
    }

    /// To be called before a volume changes.
    pub(crate) fn changing_volume(&mut self, now: Millis, id: &VolumeId) {
        if let Some(memory) = self.memory(now, id.as_str()) {
            self.volume_views.remember(id.as_str(), self.volumes.get(id).cloned(), now, memory);
        }
    }

    /// To be called before a snapshot changes.
    pub(crate) fn changing_snapshot(&mut self, now: Millis, id: &SnapshotId) {
        if let Some(memory) = self.memory(now, id.as_str()) {
            self.snapshot_views.remember(id.as_str(), self.snapshots.get(id).cloned(), now, memory);
        }
    }
}
