//! Volumes and their attachments.

use rehome_model::cloud::{
    Attachment, AttachmentState, InstanceBlockDevice, InstanceState, SnapshotState, Volume, VolumeState,
};
use rehome_model::ids::{InstanceId, VolumeId};

use super::action::{Filter, Reply, VolumeRequest};
use super::error::ApiError;
use super::handle::any_matches;
use super::state::{Core, Token, VolumeRecord};
use super::timing::Millis;
use crate::disks::{Content, MemoryDisks};

impl Core {
    pub(crate) fn volume(&self, id: &VolumeId) -> Result<&VolumeRecord, ApiError> {
        self.volumes.get(id).ok_or_else(|| ApiError::volume_not_found(id.as_str()))
    }

    fn volume_mut(&mut self, id: &VolumeId) -> Result<&mut VolumeRecord, ApiError> {
        self.volumes.get_mut(id).ok_or_else(|| ApiError::volume_not_found(id.as_str()))
    }

    pub(crate) fn advance_volumes(&mut self, now: Millis, disks: &mut MemoryDisks) {
        let mut burned = Vec::new();
        let mut detached = Vec::new();
        for (id, record) in &mut self.volumes {
            if record.due.is_some_and(|due| due <= now) {
                record.due = None;
                if record.fails {
                    record.state = VolumeState::Error;
                    burned.push(id.clone());
                } else if record.state == VolumeState::Creating {
                    record.state = VolumeState::Available;
                }
            }
            if record.attachment_due.is_some_and(|due| due <= now) {
                let mut waits = false;
                for attachment in &mut record.attachments {
                    match attachment.state {
                        AttachmentState::Attaching => attachment.state = AttachmentState::Attached,
                        AttachmentState::Detaching | AttachmentState::Busy if disks.is_mounted(id) => {
                            // As on EC2: a mounted volume stays busy until it is unmounted.
                            attachment.state = AttachmentState::Busy;
                            waits = true;
                        }
                        AttachmentState::Detaching | AttachmentState::Busy => {
                            detached.push((id.clone(), attachment.instance.clone()));
                            attachment.state = AttachmentState::Detached;
                        }
                        AttachmentState::Attached | AttachmentState::Detached => {}
                    }
                }
                record.attachments.retain(|attachment| attachment.state != AttachmentState::Detached);
                if record.attachments.is_empty() && record.state == VolumeState::InUse {
                    record.state = VolumeState::Available;
                }
                if !waits {
                    record.attachment_due = None;
                }
            }
        }
        for (volume, instance) in detached {
            if let Some(record) = self.instances.get_mut(&instance) {
                record.block_devices.retain(|device| device.volume != volume);
            }
        }
        let until = now + self.config.limits.burned_token_ms;
        for token in self.tokens.values_mut().filter(|token| burned.contains(&token.volume)) {
            token.burned_until = Some(until);
        }
    }

    /// What happens to a volume when its instance is terminated.
    pub(crate) fn release_terminated(&mut self, now: Millis, instance: &InstanceId, id: &VolumeId, delete: bool) {
        if let Some(record) = self.volumes.get_mut(id) {
            record.attachments.retain(|attachment| attachment.instance != *instance);
            if record.attachments.is_empty() {
                record.state = if delete { VolumeState::Deleted } else { VolumeState::Available };
                record.due = None;
                record.visible_at = record.visible_at.min(now);
            }
        }
    }

    pub(crate) fn describe_volumes(
        &self,
        now: Millis,
        ids: &[VolumeId],
        filters: &[Filter],
    ) -> Result<Reply, ApiError> {
        let visible = |record: &VolumeRecord| record.visible_at <= now && record.state != VolumeState::Deleted;
        for id in ids {
            if !self.volumes.get(id).is_some_and(visible) {
                return Err(ApiError::volume_not_found(id.as_str()));
            }
        }
        let mut found = Vec::new();
        for (id, record) in self.volumes.iter().filter(|(_, record)| visible(record)) {
            let mut all = ids.is_empty() || ids.contains(id);
            for filter in filters {
                all &= any_matches(&filter.values, &volume_values(id, record, &filter.name)?);
            }
            if all {
                found.push(show(id, record));
            }
        }
        Ok(Reply::Volumes(found))
    }

    pub(crate) fn create_volume(
        &mut self,
        now: Millis,
        disks: &mut MemoryDisks,
        request: &VolumeRequest,
    ) -> Result<Reply, ApiError> {
        if let Some(token) = request.token.as_ref().and_then(|token| self.tokens.get(token)) {
            let burned = token.burned_until.is_some_and(|until| now < until);
            if burned || token.request != *request {
                return Err(ApiError::new(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
                ));
            }
            if token.burned_until.is_none() {
                let id = token.volume.clone();
                return Ok(Reply::Volumes(vec![show(&id, self.volume(&id)?)]));
            }
        }
        self.check_new_volume(request)?;
        let id = VolumeId(self.id("vol"));
        let mut spec = request.spec.clone();
        let mut content = Content::default();
        if let Some(snapshot) = &request.snapshot {
            content = disks.snapshot(snapshot).cloned().unwrap_or_default();
            if let Some(record) = self.snapshots.get(snapshot) {
                spec.encrypted |= record.encrypted;
                spec.kms_key_id = spec.kms_key_id.or_else(|| record.kms_key_id.clone());
            }
        }
        disks.create(&id, content);
        let record = VolumeRecord {
            state: VolumeState::Creating,
            due: Some(now + self.config.timing.create_volume_ms),
            fails: spec.kms_key_id.as_ref().is_some_and(|key| self.config.bad_keys.contains(key)),
            zone: request.zone.clone(),
            spec,
            multi_attach: request.multi_attach,
            snapshot: request.snapshot.clone(),
            attachments: Vec::new(),
            attachment_due: None,
            created_at: now,
            visible_at: now + self.config.timing.visibility_ms,
            last_snapshot_at: None,
            latest_snapshot: None,
            tags: request.tags.clone(),
        };
        let shown = show(&id, &record);
        self.volumes.insert(id.clone(), record);
        if let Some(token) = &request.token {
            let entry = Token { request: request.clone(), volume: id, burned_until: None };
            self.tokens.insert(token.clone(), entry);
        }
        Ok(Reply::Volumes(vec![shown]))
    }

    fn check_new_volume(&self, request: &VolumeRequest) -> Result<(), ApiError> {
        if !self.config.zones.contains(&request.zone) {
            return Err(ApiError::new("InvalidZone.NotFound", format!("The zone '{}' does not exist.", request.zone)));
        }
        let spec = &request.spec;
        if let Some(iops) = spec.iops {
            let maximum = match spec.volume_type.as_str() {
                "gp3" => Some(80_000),
                "io2" => Some(256_000),
                "io1" => Some(64_000),
                _ => None,
            };
            if let Some(maximum) = maximum.filter(|maximum| iops > *maximum) {
                return Err(ApiError::parameter(format!("Volume iops of {iops} is too high; maximum is {maximum}.")));
            }
        }
        let alive = self.volumes.values().filter(|record| record.state != VolumeState::Deleted).count();
        if alive >= self.config.limits.volumes {
            return Err(ApiError::new("VolumeLimitExceeded", "You have exceeded your maximum number of volumes."));
        }
        let Some(id) = &request.snapshot else { return Ok(()) };
        let snapshot = self.snapshots.get(id).ok_or_else(|| ApiError::snapshot_not_found(id.as_str()))?;
        if snapshot.state != SnapshotState::Completed {
            return Err(ApiError::incorrect_state(format!("Snapshot '{id}' is not 'completed'.")));
        }
        if spec.size_gib < snapshot.volume_size_gib {
            return Err(ApiError::parameter(format!(
                "The specified volume size of {} GiB is smaller than the snapshot '{id}', expect size >= {} GiB.",
                spec.size_gib, snapshot.volume_size_gib
            )));
        }
        Ok(())
    }

    pub(crate) fn delete_volume(&mut self, disks: &mut MemoryDisks, id: &VolumeId) -> Result<Reply, ApiError> {
        let record = self.volume_mut(id)?;
        if let Some(attachment) = record.attachments.first() {
            return Err(ApiError::new(
                "VolumeInUse",
                format!("Volume {id} is currently attached to {}", attachment.instance),
            ));
        }
        if record.state == VolumeState::Deleted {
            return Err(ApiError::volume_not_found(id.as_str()));
        }
        record.state = VolumeState::Deleted;
        disks.remove_volume(id);
        Ok(Reply::Done)
    }

    pub(crate) fn attach_volume(
        &mut self,
        now: Millis,
        id: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Reply, ApiError> {
        let limit = self.config.limits.attachments_per_instance;
        let due = now + self.config.timing.attach_ms;
        let to = self.instance(instance)?.clone();
        let record = self.volume_mut(id)?;
        if let Some(attachment) = record.attachments.first()
            && !record.multi_attach
        {
            let held = &attachment.instance;
            return Err(ApiError::new("VolumeInUse", format!("{id} is already attached to an instance ({held})")));
        }
        if !matches!(record.state, VolumeState::Available | VolumeState::InUse) {
            return Err(ApiError::incorrect_state(format!("{id} is not 'available'.")));
        }
        if record.zone != to.zone {
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
        if to.block_devices.len() >= limit {
            return Err(ApiError::new(
                "AttachmentLimitExceeded",
                format!("The instance '{instance}' has reached its limit of {limit} attached volumes"),
            ));
        }
        record.state = VolumeState::InUse;
        record.attachment_due = Some(due);
        record.attachments.push(Attachment {
            instance: instance.clone(),
            device: device.to_owned(),
            state: AttachmentState::Attaching,
        });
        let listed =
            InstanceBlockDevice { device: device.to_owned(), volume: id.clone(), delete_on_termination: false };
        self.instance_mut(instance)?.block_devices.push(listed);
        Ok(Reply::Done)
    }

    pub(crate) fn detach_volume(
        &mut self,
        now: Millis,
        disks: &MemoryDisks,
        id: &VolumeId,
        instance: Option<&InstanceId>,
    ) -> Result<Reply, ApiError> {
        let due = now + self.config.timing.detach_ms;
        let mounted = disks.is_mounted(id);
        let record = self.volume_mut(id)?;
        if record.attachments.is_empty() {
            return Err(ApiError::incorrect_state(format!("Volume '{id}' is in the 'available' state.")));
        }
        let attachment =
            record.attachments.iter_mut().find(|found| instance.is_none_or(|instance| found.instance == *instance));
        let Some(attachment) = attachment else {
            return Err(ApiError::new(
                "InvalidAttachment.NotFound",
                format!("The volume '{id}' is not attached to that instance"),
            ));
        };
        attachment.state = if mounted { AttachmentState::Busy } else { AttachmentState::Detaching };
        record.attachment_due = Some(due);
        Ok(Reply::Done)
    }
}

pub(crate) fn show(id: &VolumeId, record: &VolumeRecord) -> Volume {
    Volume {
        id: id.clone(),
        state: record.state,
        zone: record.zone.clone(),
        spec: record.spec.clone(),
        multi_attach: record.multi_attach,
        snapshot: record.snapshot.clone(),
        attachments: record.attachments.clone(),
        created_at_ms: record.created_at,
        tags: record.tags.clone(),
    }
}

fn volume_values(id: &VolumeId, record: &VolumeRecord, name: &str) -> Result<Vec<String>, ApiError> {
    if let Some(key) = name.strip_prefix("tag:") {
        return Ok(record.tags.get(key).cloned().into_iter().collect());
    }
    let state = |state: VolumeState| serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned));
    Ok(match name {
        "volume-id" => vec![id.to_string()],
        "availability-zone" => vec![record.zone.to_string()],
        "snapshot-id" => record.snapshot.iter().map(ToString::to_string).collect(),
        "status" => state(record.state).into_iter().collect(),
        "tag-key" => record.tags.keys().cloned().collect(),
        "attachment.instance-id" => record.attachments.iter().map(|a| a.instance.to_string()).collect(),
        other => return Err(ApiError::parameter(format!("The filter '{other}' is invalid"))),
    })
}
