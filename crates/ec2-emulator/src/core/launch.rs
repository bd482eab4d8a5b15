//! RunInstances.

use rehome_model::cloud::{AttachmentState, InstanceBlockDevice, InstanceState, VolumeState};
use rehome_model::ids::{InstanceId, VolumeId, Zone};

use crate::api::{ApiError, CreateVolume, NewBlockDevice, Paged, Reply, RunInstances};
use crate::disks::{DiskSource, Disks};

use super::catalog::instance_type;
use super::handle::Call;
use super::ids::Kind;
use super::power::machine;
use super::schedule::Event;
use super::state::{AttachmentRecord, Core, InstanceRecord, VolumeRecord};
use super::tags::tags_for;
use super::volumes::internal;

/// Where images of this emulator have their root.
pub(crate) const ROOT_DEVICE: &str = "/dev/xvda";
/// Size of a root volume in GiB where the request says nothing.
const ROOT_GIB: i64 = 8;
/// EC2's type where the request says nothing.
const DEFAULT_TYPE: &str = "m1.small";

impl Core {
    pub(crate) fn run_instances(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        request: &RunInstances,
    ) -> Result<Reply, ApiError> {
        let zone = request.availability_zone.clone().or_else(|| self.config.zones.first().cloned());
        let zone = zone.ok_or_else(|| ApiError::missing("AvailabilityZone"))?;
        self.check_launch(request, &zone)?;
        let tags = tags_for(&request.tag_specifications, "instance", &["instance", "volume", "network-interface"])?;
        let volume_tags =
            tags_for(&request.tag_specifications, "volume", &["instance", "volume", "network-interface"])?;
        let mut volumes = Vec::new();
        for device in with_root(&request.block_device_mappings) {
            let asked = CreateVolume {
                snapshot_id: device.snapshot_id.clone(),
                size: device.volume_size,
                volume_type: device.volume_type.clone(),
                iops: device.iops,
                throughput: device.throughput,
                encrypted: device.encrypted,
                kms_key_id: device.kms_key_id.clone(),
                ..CreateVolume::default()
            };
            let mut record = self.new_volume(call, &asked, zone.clone())?;
            record.tags.clone_from(&volume_tags);
            volumes.push((device, record));
        }
        call.permit()?;
        if let Some(made) = self.replay(call, request.client_token.as_ref(), request)? {
            let known = made.iter().filter_map(|id| {
                let id = InstanceId::from(id.as_str());
                self.instances.get(&id).map(|record| self.show_instance(call.now, &id, record))
            });
            return Ok(Reply::Instances(Paged { items: known.collect(), next_token: None }));
        }
        for (_, record) in &volumes {
            self.check_room(record)?;
        }
        let reservation = self.fresh_id("r");
        let mut made = Vec::new();
        for _ in 0..request.max_count {
            let id = InstanceId(self.fresh_id(Kind::Instance.prefix()));
            let record = InstanceRecord {
                state: InstanceState::Pending,
                due: None,
                state_transition_reason: String::new(),
                state_reason: None,
                start_fails: false,
                reservation: reservation.clone(),
                image_id: request.image_id.clone(),
                zone: zone.clone(),
                instance_type: request.instance_type.clone().unwrap_or_else(|| DEFAULT_TYPE.to_owned()),
                private_ip: request.private_ip_address.clone().unwrap_or_else(|| self.free_address()),
                root_device: ROOT_DEVICE.to_owned(),
                instance_store_root: false,
                lifecycle: None,
                launched_at: call.now,
                client_token: request.client_token.clone(),
                tags: tags.clone(),
                block_devices: Vec::new(),
                termination_protection: request.disable_api_termination,
                stop_protection: request.disable_api_stop,
            };
            self.launch(call, disks, id.clone(), record, &volumes)?;
            made.push(id);
        }
        self.keep_token(call, request.client_token.as_ref(), request, made.iter().map(ToString::to_string).collect());
        let items =
            made.iter().filter_map(|id| self.instances.get(id).map(|record| self.show_instance(call.now, id, record)));
        Ok(Reply::Instances(Paged { items: items.collect(), next_token: None }))
    }

    fn check_launch(&self, request: &RunInstances, zone: &Zone) -> Result<(), ApiError> {
        if request.image_id.is_empty() {
            return Err(ApiError::missing("ImageId"));
        }
        if !request.image_id.starts_with("ami-") {
            return Err(ApiError::new("InvalidAMIID.Malformed", format!("Invalid id: \"{}\"", request.image_id)));
        }
        if !self.config.zones.contains(zone) {
            return Err(ApiError::parameter(format!("Invalid availability zone: [{zone}]")));
        }
        if request.min_count < 1 || request.max_count < request.min_count {
            return Err(ApiError::parameter(format!(
                "Invalid value '{}' for min count. Must be at least 1 and at most max count.",
                request.min_count
            )));
        }
        if let Some(name) = &request.instance_type
            && instance_type(name).is_none()
        {
            return Err(ApiError::parameter(format!("Invalid value '{name}' for InstanceType.")));
        }
        if let Some(address) = &request.private_ip_address {
            // A stopped instance keeps its address: nothing else gets it.
            let used =
                |record: &&InstanceRecord| record.private_ip == *address && record.state != InstanceState::Terminated;
            if request.max_count > 1 || self.instances.values().any(|record| used(&record)) {
                return Err(ApiError::new("InvalidIPAddress.InUse", format!("Address {address} is in use.")));
            }
        }
        let mut names: Vec<&str> = request.block_device_mappings.iter().map(|d| d.device_name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(ApiError::new("InvalidBlockDeviceMapping", "A device name is mapped more than once."));
        }
        Ok(())
    }

    /// An address that no instance has, stopped ones included.
    pub(crate) fn free_address(&mut self) -> String {
        loop {
            let count = self.made.entry("address".to_owned()).or_default();
            *count += 1;
            let address = format!("10.128.{}.{}", *count / 200, *count % 200 + 10);
            if self.instances.values().all(|record| record.private_ip != address) {
                return address;
            }
        }
    }

    /// Puts an instance there, `pending`, with its volumes attached.
    pub(crate) fn launch(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        id: InstanceId,
        mut record: InstanceRecord,
        volumes: &[(NewBlockDevice, VolumeRecord)],
    ) -> Result<(), ApiError> {
        let due = self.due(call, self.config.timing.start_ms, id.as_str());
        record.due = Some(due);
        for (device, volume) in volumes {
            let volume_id = VolumeId(self.fresh_id(Kind::Volume.prefix()));
            let source = volume.snapshot.as_ref().map_or(DiskSource::Blank, DiskSource::Snapshot);
            disks.create(&volume_id, volume.spec.size_gib, source).map_err(|error| internal(&error))?;
            disks.attach(&volume_id, &id, &device.device_name).map_err(|error| internal(&error))?;
            let attached = VolumeRecord {
                state: VolumeState::InUse,
                attachments: vec![AttachmentRecord {
                    instance: id.clone(),
                    device: device.device_name.clone(),
                    state: AttachmentState::Attached,
                    attached_at: call.now,
                    due: None,
                }],
                ..volume.clone()
            };
            self.changing_volume(call.now, &volume_id);
            self.volumes.insert(volume_id.clone(), attached);
            record.block_devices.push(InstanceBlockDevice {
                device: device.device_name.clone(),
                volume: volume_id,
                delete_on_termination: device.delete_on_termination.unwrap_or(true),
            });
        }
        disks.start_machine(&machine(&id, &record)).map_err(|error| internal(&error))?;
        self.changing_instance(call.now, &id);
        self.instances.insert(id.clone(), record);
        self.schedule.plan(due, Event::InstanceDue(id));
        Ok(())
    }
}

/// The mapped devices, and the image's root if it is not among them.
fn with_root(mapped: &[NewBlockDevice]) -> Vec<NewBlockDevice> {
    let mut devices = mapped.to_vec();
    match devices.iter_mut().find(|device| device.device_name == ROOT_DEVICE) {
        Some(root) if root.snapshot_id.is_none() && root.volume_size.is_none() => root.volume_size = Some(ROOT_GIB),
        Some(_) => {}
        None => devices.insert(
            0,
            NewBlockDevice {
                device_name: ROOT_DEVICE.to_owned(),
                volume_size: Some(ROOT_GIB),
                volume_type: Some("gp3".to_owned()),
                ..NewBlockDevice::default()
            },
        ),
    }
    devices
}
