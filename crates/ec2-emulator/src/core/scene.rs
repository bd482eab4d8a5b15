//! Setting a scene: instances and volumes that are simply there, without the calls and delays that made them.

use rehome_model::cloud::{AttachmentState, InstanceBlockDevice, InstanceState, Tags, VolumeSpec, VolumeState};
use rehome_model::ids::{InstanceId, VolumeId, Zone};

use crate::api::{Action, ApiError, Caller, CreateVolume, Reply};
use crate::disks::{Content, DiskSource, Disks, MemoryDisks};

use super::config::Config;
use super::handle::Call;
use super::ids::Kind;
use super::launch::ROOT_DEVICE;
use super::state::{AttachmentRecord, Core, InstanceRecord};
use super::timing::Millis;

impl Core {
    /// A running instance with a root volume.
    pub fn add_instance(
        &mut self,
        disks: &mut MemoryDisks,
        now: Millis,
        zone: &Zone,
        private_ip: &str,
        instance_type: &str,
        tags: Tags,
    ) -> InstanceId {
        let id = InstanceId(self.fresh_id(Kind::Instance.prefix()));
        let record = InstanceRecord {
            state: InstanceState::Running,
            due: None,
            state_transition_reason: String::new(),
            state_reason: None,
            start_fails: false,
            reservation: self.fresh_id("r"),
            image_id: "ami-0123456789abcdef0".to_owned(),
            zone: zone.clone(),
            instance_type: instance_type.to_owned(),
            private_ip: private_ip.to_owned(),
            root_device: ROOT_DEVICE.to_owned(),
            instance_store_root: false,
            lifecycle: None,
            launched_at: now,
            client_token: None,
            tags,
            block_devices: Vec::new(),
            termination_protection: false,
            stop_protection: false,
        };
        self.instances.insert(id.clone(), record);
        let root = Content::with_files("ext4", std::collections::BTreeMap::new());
        self.add_volume(disks, now, &id, ROOT_DEVICE, gp3(8), root, true);
        id
    }

    /// A volume with content, attached.
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
        let zone = self.instances.get(instance).map_or_else(|| Zone::from(""), |record| record.zone.clone());
        let id = self.add_free_volume(disks, now, &zone, spec, content);
        // A memory disk that was just made can be attached.
        let _ = disks.attach(&id, instance, device);
        if let Some(record) = self.volumes.get_mut(&id) {
            record.state = VolumeState::InUse;
            record.attachments.push(AttachmentRecord {
                instance: instance.clone(),
                device: device.to_owned(),
                state: AttachmentState::Attached,
                attached_at: now,
                due: None,
            });
        }
        if let Some(found) = self.instances.get_mut(instance) {
            let device = device.to_owned();
            found.block_devices.push(InstanceBlockDevice { device, volume: id.clone(), delete_on_termination });
        }
        id
    }

    /// A volume with content, attached nowhere.
    pub fn add_free_volume(
        &mut self,
        disks: &mut MemoryDisks,
        now: Millis,
        zone: &Zone,
        spec: VolumeSpec,
        content: Content,
    ) -> VolumeId {
        let id = VolumeId(self.fresh_id(Kind::Volume.prefix()));
        // Memory disks refuse no blank volume.
        let _ = disks.create(&id, spec.size_gib, DiskSource::Blank);
        disks.fill(&id, content);
        let call = Call::by_itself(now, "CreateVolume");
        let plain = CreateVolume {
            size: Some(i64::from(spec.size_gib.max(1))),
            volume_type: Some("gp3".to_owned()),
            ..CreateVolume::default()
        };
        if let Ok(mut record) = self.new_volume(&call, &plain, zone.clone()) {
            record.state = VolumeState::Available;
            record.spec = spec;
            self.volumes.insert(id.clone(), record);
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

/// An account with disks in memory and a clock that is moved by hand: for tests of the core and of what uses it.
#[derive(Clone, Debug)]
pub struct Ec2 {
    /// EC2.
    pub core: Core,
    /// The disks.
    pub disks: MemoryDisks,
    /// Now, in ms since 1970.
    pub now: Millis,
    /// Who calls.
    pub caller: Caller,
}

impl Ec2 {
    /// The first moment of an account: 2026-01-01T00:00:00Z, in ms since 1970.
    pub const EPOCH_MS: Millis = 1_767_225_600_000;

    /// An empty account.
    pub fn new(config: Config) -> Self {
        Self { core: Core::new(config), disks: MemoryDisks::default(), now: Self::EPOCH_MS, caller: Caller::default() }
    }

    /// A running instance in the n-th zone, with a root volume.
    pub fn member(&mut self, zone: usize, name: &str) -> InstanceId {
        let zones = &self.core.config.zones;
        let zone = zones[zone % zones.len()].clone();
        let address = format!("10.0.0.{}", self.core.instances.len() + 10);
        let tags = Tags::from([("Name".to_owned(), name.to_owned())]);
        self.core.add_instance(&mut self.disks, self.now, &zone, &address, "m5.large", tags)
    }

    /// A gp3 volume with content at a member, which does not delete it on termination.
    pub fn volume(&mut self, member: &InstanceId, device: &str, size_gib: u32, content: Content) -> VolumeId {
        self.core.add_volume(&mut self.disks, self.now, member, device, gp3(size_gib), content, false)
    }

    /// A call now.
    pub fn call(&mut self, action: &Action) -> Result<Reply, ApiError> {
        self.core.handle(self.now, &self.caller, &mut self.disks, action, false)
    }

    /// A dry run now.
    pub fn dry_run(&mut self, action: &Action) -> Result<Reply, ApiError> {
        self.core.handle(self.now, &self.caller, &mut self.disks, action, true)
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.core.advance(self.now, &mut self.disks);
    }
}
