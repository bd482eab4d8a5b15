//! Attach and detach.

use rehome_model::cloud::{AttachmentState, InstanceBlockDevice, InstanceState, VolumeState};
use rehome_model::ids::{InstanceId, VolumeId};

use crate::api::{ApiError, AttachVolume, DetachVolume, Reply};

use super::catalog::instance_type;
use super::handle::Call;
use super::schedule::Event;
use super::state::{AttachmentRecord, Core, InstanceRecord, VolumeRecord};

/// Instances a Multi-Attach volume may be attached to (EBS user guide).
const MULTI_ATTACH_LIMIT: usize = 16;

impl Core {
    pub(crate) fn attach_volume(&mut self, call: &Call, request: &AttachVolume) -> Result<Reply, ApiError> {
        let AttachVolume { volume_id: id, instance_id: instance, device } = request;
        let volume = self.volume(call.now, id)?;
        let to = self.instance(call.now, instance)?;
        if !is_device_name(device) {
            return Err(ApiError::parameter(format!(
                "Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name."
            )));
        }
        call.permit()?;
        check_volume(id, volume, instance)?;
        self.check_place(id, volume, instance, to, device)?;
        let due = self.due(call, self.config.timing.attach_ms, id.as_str());
        self.changing_volume(call.now, id);
        self.changing_instance(call.now, instance);
        let attachment = AttachmentRecord {
            instance: instance.clone(),
            device: device.clone(),
            state: AttachmentState::Attaching,
            attached_at: call.now,
            due: Some(due),
        };
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.state = VolumeState::InUse;
            volume.attachments.push(attachment.clone());
        }
        if let Some(to) = self.instances.get_mut(instance) {
            to.block_devices.push(InstanceBlockDevice {
                device: device.clone(),
                volume: id.clone(),
                delete_on_termination: false,
            });
        }
        self.schedule.plan(due, Event::AttachmentDue(id.clone(), instance.clone()));
        Ok(Reply::Attachment(self.show_attachment(id, &attachment)))
    }

    fn check_place(
        &self,
        id: &VolumeId,
        volume: &VolumeRecord,
        instance: &InstanceId,
        to: &InstanceRecord,
        device: &str,
    ) -> Result<(), ApiError> {
        if volume.zone != to.zone {
            return Err(ApiError::new(
                "InvalidVolume.ZoneMismatch",
                format!("The volume '{id}' is not in the same availability zone as instance '{instance}'"),
            ));
        }
        if !matches!(to.state, InstanceState::Running | InstanceState::Stopped) {
            return Err(ApiError::incorrect_state(format!("Instance '{instance}' is not 'running'.")));
        }
        if to.block_devices.iter().any(|used| used.device == device) {
            return Err(ApiError::parameter(format!(
                "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
            )));
        }
        let of_type = instance_type(&to.instance_type).map_or(usize::MAX, |found| found.attachment_limit as usize);
        let limit = of_type.min(self.config.limits.attachments_per_instance);
        if to.block_devices.len() >= limit {
            return Err(ApiError::new(
                "AttachmentLimitExceeded",
                format!("The instance '{instance}' has reached its limit of {limit} attached volumes"),
            ));
        }
        Ok(())
    }

    pub(crate) fn detach_volume(&mut self, call: &Call, request: &DetachVolume) -> Result<Reply, ApiError> {
        let id = &request.volume_id;
        let volume = self.volume(call.now, id)?;
        if let Some(instance) = &request.instance_id {
            self.instance(call.now, instance)?;
        }
        call.permit()?;
        if volume.attachments.is_empty() {
            return Err(ApiError::incorrect_state(format!(
                "Volume '{id}' is in the '{}' state.",
                super::volumes::volume_state(volume.state)
            )));
        }
        if request.instance_id.is_none() && volume.attachments.len() > 1 {
            return Err(ApiError::combination(format!(
                "Volume '{id}' is attached to more than one instance: the request must contain the parameter instanceId"
            )));
        }
        let wanted = |found: &&AttachmentRecord| {
            request.instance_id.as_ref().is_none_or(|instance| found.instance == *instance)
                && request.device.as_ref().is_none_or(|device| found.device == *device)
        };
        let Some(attachment) = volume.attachments.iter().find(wanted).cloned() else {
            let place = request.instance_id.as_ref().map_or_else(String::new, |instance| format!(" to '{instance}'"));
            let device = request.device.as_ref().map_or_else(String::new, |device| format!(" as {device}"));
            return Err(ApiError::new(
                "InvalidAttachment.NotFound",
                format!("Volume '{id}' is not attached{place}{device}."),
            ));
        };
        self.check_not_root(&attachment)?;
        let begun = matches!(attachment.state, AttachmentState::Detaching | AttachmentState::Busy);
        if !begun || request.force {
            self.begin_detach(call, id, &attachment.instance, request.force);
        }
        let volume = self.volumes.get(id).map(|volume| volume.attachments.as_slice()).unwrap_or_default();
        let now = volume.iter().find(|found| found.instance == attachment.instance).unwrap_or(&attachment);
        Ok(Reply::Attachment(self.show_attachment(id, now)))
    }

    fn check_not_root(&self, attachment: &AttachmentRecord) -> Result<(), ApiError> {
        let AttachmentRecord { instance, device, .. } = attachment;
        let up = |record: &InstanceRecord| record.state != InstanceState::Stopped && record.root_device == *device;
        if self.instances.get(instance).is_some_and(up) {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!("Unable to detach root volume '{device}' from instance '{instance}'"),
            ));
        }
        Ok(())
    }

    fn begin_detach(&mut self, call: &Call, id: &VolumeId, instance: &InstanceId, force: bool) {
        let due = self.due(call, self.config.timing.detach_ms, id.as_str());
        self.changing_volume(call.now, id);
        self.changing_instance(call.now, instance);
        self.busy.remove(&(id.clone(), instance.clone()));
        self.set_attachment(id, instance, AttachmentState::Detaching, Some(due));
        let event = if force {
            Event::ForcedDetachDue(id.clone(), instance.clone())
        } else {
            Event::AttachmentDue(id.clone(), instance.clone())
        };
        self.schedule.plan(due, event);
    }
}

fn check_volume(id: &VolumeId, volume: &VolumeRecord, instance: &InstanceId) -> Result<(), ApiError> {
    let held = !volume.attachments.is_empty();
    let here = volume.attachments.iter().any(|found| found.instance == *instance);
    if here || (held && !volume.multi_attach) {
        return Err(ApiError::new("VolumeInUse", format!("{id} is already attached to an instance")));
    }
    if volume.attachments.len() >= MULTI_ATTACH_LIMIT {
        return Err(ApiError::new(
            "AttachmentLimitExceeded",
            format!("The volume '{id}' has reached its limit of {MULTI_ATTACH_LIMIT} attachments"),
        ));
    }
    if !matches!(volume.state, VolumeState::Available | VolumeState::InUse) {
        return Err(ApiError::incorrect_state(format!("{id} is not 'available'.")));
    }
    Ok(())
}

/// `/dev/sd[a-z][a-z]?[1-15]?` and `/dev/xvd[a-z][a-z]?` (EC2 user guide, "Device names for volumes"); the part after the
/// prefix is letters, then digits.
fn is_device_name(device: &str) -> bool {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let Some(rest) = name.strip_prefix("xvd").or_else(|| name.strip_prefix("sd")) else { return false };
    let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
    let digits = &rest[letters..];
    (1..=2).contains(&letters) && digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit())
}
