//! Everything EC2 remembers.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::cloud::{
    Attachment, InstanceBlockDevice, InstanceState, SnapshotState, Tags, VolumeSpec, VolumeState,
};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};
use serde::{Deserialize, Serialize};

use super::action::VolumeRequest;
use super::throttle::Buckets;
use super::timing::{Limits, Millis, Timing};
use crate::disks::{Content, MemoryDisks};

/// How an emulator is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Ids are made from it.
    pub seed: u64,
    /// Account.
    pub account: String,
    /// Region.
    pub region: String,
    /// Its zones.
    pub zones: Vec<Zone>,
    /// Delays.
    pub timing: Timing,
    /// Limits.
    pub limits: Limits,
    /// Actions that are denied, for tests of missing permissions.
    pub denied: BTreeSet<String>,
    /// Keys that cannot be used: volumes under them fail after they were accepted.
    pub bad_keys: BTreeSet<String>,
}

impl Default for Config {
    fn default() -> Self {
        let region = "us-east-1".to_owned();
        Self {
            seed: 1,
            account: "123456789012".to_owned(),
            zones: ["a", "b", "c"].iter().map(|zone| Zone(format!("{region}{zone}"))).collect(),
            region,
            timing: Timing::default(),
            limits: Limits::default(),
            denied: BTreeSet::new(),
            bad_keys: BTreeSet::new(),
        }
    }
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct InstanceRecord {
    pub state: InstanceState,
    pub due: Option<Millis>,
    pub zone: Zone,
    pub instance_type: String,
    pub private_ip: String,
    pub root_device: String,
    pub tags: Tags,
    pub block_devices: Vec<InstanceBlockDevice>,
    pub termination_protection: bool,
    pub stop_protection: bool,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct VolumeRecord {
    pub state: VolumeState,
    pub due: Option<Millis>,
    /// Whether it will fail when due.
    pub fails: bool,
    pub zone: Zone,
    pub spec: VolumeSpec,
    pub multi_attach: bool,
    pub snapshot: Option<SnapshotId>,
    pub attachments: Vec<Attachment>,
    pub attachment_due: Option<Millis>,
    pub created_at: Millis,
    pub visible_at: Millis,
    pub last_snapshot_at: Option<Millis>,
    pub latest_snapshot: Option<SnapshotId>,
    pub tags: Tags,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "EC2's own attributes")]
pub struct SnapshotRecord {
    pub volume: VolumeId,
    pub state: SnapshotState,
    pub started_at: Millis,
    pub completes_at: Millis,
    pub visible_at: Millis,
    pub volume_size_gib: u32,
    pub encrypted: bool,
    pub kms_key_id: Option<String>,
    pub tags: Tags,
}

/// An Auto Scaling group: it terminates members that it finds stopped, unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingGroup {
    /// Member -> lifecycle state.
    pub members: BTreeMap<InstanceId, String>,
    /// Changes on their way: member -> (state, when).
    pub changing: BTreeMap<InstanceId, (String, Millis)>,
    /// Since when a member was seen stopped.
    pub unhealthy_since: BTreeMap<InstanceId, Millis>,
}

/// The core's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Core {
    /// Set-up.
    pub config: Config,
    pub(crate) next_id: u64,
    /// Instances.
    pub instances: BTreeMap<InstanceId, InstanceRecord>,
    /// Volumes.
    pub volumes: BTreeMap<VolumeId, VolumeRecord>,
    /// Snapshots.
    pub snapshots: BTreeMap<SnapshotId, SnapshotRecord>,
    /// Auto Scaling groups.
    pub groups: BTreeMap<String, AutoScalingGroup>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) buckets: Buckets,
    /// Calls by action.
    pub calls: BTreeMap<String, u64>,
}

/// What a client token stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    pub request: VolumeRequest,
    pub volume: VolumeId,
    pub burned_until: Option<Millis>,
}

impl Core {
    /// An empty account.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            next_id: 0,
            instances: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            groups: BTreeMap::new(),
            tokens: BTreeMap::new(),
            buckets: Buckets::default(),
            calls: BTreeMap::new(),
        }
    }

    /// A fresh id, `vol-0123456789abcdef0`.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        let digest = blake3::hash(format!("{}/{prefix}/{}", self.config.seed, self.next_id).as_bytes()).to_hex();
        format!("{prefix}-0{}", &digest[..16])
    }

    /// A running instance with a root volume, without the delays of RunInstances: for setting a scene up.
    pub fn add_instance(
        &mut self,
        disks: &mut MemoryDisks,
        now: Millis,
        zone: &Zone,
        private_ip: &str,
        instance_type: &str,
        tags: Tags,
    ) -> InstanceId {
        let id = InstanceId(self.id("i"));
        let record = InstanceRecord {
            state: InstanceState::Running,
            due: None,
            zone: zone.clone(),
            instance_type: instance_type.to_owned(),
            private_ip: private_ip.to_owned(),
            root_device: "/dev/xvda".to_owned(),
            tags,
            block_devices: Vec::new(),
            termination_protection: false,
            stop_protection: false,
        };
        self.instances.insert(id.clone(), record);
        let root = Content::with_files("ext4", BTreeMap::new());
        self.add_volume(disks, now, &id, "/dev/xvda", gp3(8), root, true);
        id
    }

    /// A volume with content, attached, without the delays of CreateVolume and AttachVolume: for setting a scene up.
    #[expect(clippy::too_many_arguments, reason = "a scene is set up in one line a volume")]
    pub fn add_volume(
        &mut self,
        disks: &mut MemoryDisks,
        now: Millis,
        instance: &InstanceId,
        device: &str,
        spec: VolumeSpec,
        content: Content,
        delete_on_termination: bool,
    ) -> VolumeId {
        let id = VolumeId(self.id("vol"));
        disks.create(&id, content);
        let zone = self.instances.get(instance).map_or_else(|| Zone::from(""), |record| record.zone.clone());
        let record = VolumeRecord {
            state: VolumeState::InUse,
            due: None,
            fails: false,
            zone,
            spec,
            multi_attach: false,
            snapshot: None,
            attachments: vec![Attachment {
                instance: instance.clone(),
                device: device.to_owned(),
                state: rehome_model::cloud::AttachmentState::Attached,
            }],
            attachment_due: None,
            created_at: now,
            visible_at: now,
            last_snapshot_at: None,
            latest_snapshot: None,
            tags: Tags::new(),
        };
        self.volumes.insert(id.clone(), record);
        if let Some(found) = self.instances.get_mut(instance) {
            let device = device.to_owned();
            found.block_devices.push(InstanceBlockDevice { device, volume: id.clone(), delete_on_termination });
        }
        id
    }
}

/// A gp3 volume with its baseline performance.
pub(crate) fn gp3(size_gib: u32) -> VolumeSpec {
    VolumeSpec {
        volume_type: "gp3".to_owned(),
        size_gib,
        iops: Some(3000),
        throughput_mib_s: Some(125),
        encrypted: false,
        kms_key_id: None,
    }
}
