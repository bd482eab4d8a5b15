//! Volumes: describe, create, delete.

use rehome_model::cloud::{AttachmentState, SnapshotState, Tags, VolumeState};
use rehome_model::ids::{VolumeId, Zone};

use crate::api::{ApiError, Attachment, CreateVolume, DescribeById, InitializationType, Reply, Volume};
use crate::disks::{DiskError, DiskSource, Disks};

use super::filter::{Filtered, passes};
use super::handle::Call;
use super::ids::Kind;
use super::page;
use super::schedule::Event;
use super::spec::{Asked, resolve};
use super::state::{Core, Hydration, VolumeRecord};
use super::tags::tags_for;
use super::timing::Millis;
use super::views::Memory;

const GIB: u64 = 1 << 30;

impl Core {
    /// A volume that a call may work on: known, and not so new that EC2 does not find it yet.
    pub(crate) fn volume(&self, now: Millis, id: &VolumeId) -> Result<&VolumeRecord, ApiError> {
        Kind::Volume.check(id.as_str())?;
        let truth = self.volumes.get(id);
        let shown = self.volume_views.show(now, id.as_str(), truth).is_some();
        truth.filter(|_| shown).ok_or_else(|| ApiError::volumes_not_found(&[id.as_str()]))
    }

    /// What describes show of the volumes that pass the filters, by id.
    pub(crate) fn shown_volumes(
        &self,
        call: &Call,
        by: &DescribeById,
    ) -> Result<Vec<(VolumeId, &VolumeRecord)>, ApiError> {
        for id in &by.ids {
            Kind::Volume.check(id)?;
        }
        let show = |id: &str| {
            let id = VolumeId::from(id);
            self.volume_views.show(call.now, id.as_str(), self.volumes.get(&id)).map(|record| (id.clone(), record))
        };
        let missing: Vec<&str> = by.ids.iter().map(String::as_str).filter(|id| show(id).is_none()).collect();
        if !missing.is_empty() {
            return Err(ApiError::volumes_not_found(&missing));
        }
        let wanted = self.volume_views.with(self.volumes.keys().map(VolumeId::as_str));
        let mut found = Vec::new();
        for id in wanted {
            if (by.ids.is_empty() || by.ids.iter().any(|named| named == id))
                && let Some((id, record)) = show(id)
                && passes(&Shown(&id, record), &by.filters)?
            {
                found.push((id, record));
            }
        }
        Ok(found)
    }

    pub(crate) fn describe_volumes(&self, call: &Call, by: &DescribeById) -> Result<Reply, ApiError> {
        let items = self.shown_volumes(call, by)?;
        let items = items.into_iter().map(|(id, record)| (id.to_string(), self.show_volume(&id, record))).collect();
        call.permit()?;
        page::cut(items, &by.page, !by.ids.is_empty(), page::ec2("volumeIds")).map(Reply::Volumes)
    }

    pub(crate) fn show_volume(&self, id: &VolumeId, record: &VolumeRecord) -> Volume {
        Volume {
            id: id.clone(),
            state: record.state,
            zone: record.zone.clone(),
            zone_id: self.zone_id(&record.zone),
            spec: record.spec.clone(),
            multi_attach: record.multi_attach,
            snapshot: record.snapshot.clone(),
            source_volume: record.source_volume.clone(),
            volume_initialization_rate: record.initialization_rate,
            created_at: record.created_at,
            attachments: record.attachments.iter().map(|found| self.show_attachment(id, found)).collect(),
            tags: record.tags.clone(),
        }
    }

    pub(crate) fn show_attachment(&self, id: &VolumeId, found: &super::state::AttachmentRecord) -> Attachment {
        let devices = self.instances.get(&found.instance).map(|record| record.block_devices.as_slice());
        let listed = devices.unwrap_or_default().iter().find(|device| device.volume == *id);
        Attachment {
            volume: id.clone(),
            instance: found.instance.clone(),
            device: found.device.clone(),
            state: found.state,
            attached_at: found.attached_at,
            delete_on_termination: listed.is_some_and(|device| device.delete_on_termination),
        }
    }

    pub(crate) fn create_volume(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        request: &CreateVolume,
    ) -> Result<Reply, ApiError> {
        let zone = self.zone_of(request)?;
        let mut record = self.new_volume(call, request, zone)?;
        record.tags = tags_for(&request.tag_specifications, "volume", &["volume"])?;
        call.permit()?;
        // As on EC2, limits come before tokens: at its limit an account cannot even learn what a token made.
        self.check_room(&record)?;
        if let Some(made) = self.replay(call, request.client_token.as_ref(), request)? {
            let id = VolumeId::from(made.first().map(String::as_str).unwrap_or_default());
            let record = self.volumes.get(&id).ok_or_else(|| ApiError::volumes_not_found(&[id.as_str()]))?;
            return Ok(Reply::Volume(self.show_volume(&id, record)));
        }
        self.check_source(request, &record)?;
        let id = VolumeId(self.fresh_id(Kind::Volume.prefix()));
        let source = request.snapshot_id.as_ref().map_or(DiskSource::Blank, DiskSource::Snapshot);
        disks.create(&id, record.spec.size_gib, source).map_err(|error| internal(&error))?;
        let shown = self.add_new_volume(call, id.clone(), record);
        self.keep_token(call, request.client_token.as_ref(), request, vec![id.to_string()]);
        Ok(Reply::Volume(shown))
    }

    /// The volume a request asks for; nothing is made yet.
    pub(crate) fn new_volume(&self, call: &Call, request: &CreateVolume, zone: Zone) -> Result<VolumeRecord, ApiError> {
        let snapshot = request.snapshot_id.as_ref().map(|id| self.snapshot(call.now, id).map(|found| (id, found)));
        let snapshot = snapshot.transpose()?;
        let asked = Asked {
            volume_type: request.volume_type.as_deref(),
            size: request.size,
            iops: request.iops,
            throughput: request.throughput,
            multi_attach: request.multi_attach_enabled,
        };
        let mut spec = resolve(&asked, snapshot.map(|(_, found)| i64::from(found.volume_size_gib)))?;
        if request.kms_key_id.is_some() && request.encrypted != Some(true) {
            return Err(ApiError::new(
                "InvalidParameterDependency",
                "The parameter KmsKeyId requires the parameter Encrypted to be set.",
            ));
        }
        spec.encrypted = request.encrypted == Some(true) || self.config.encrypts_by_default;
        spec.kms_key_id.clone_from(&request.kms_key_id);
        let mut hydration = None;
        if let Some((id, found)) = snapshot {
            if spec.size_gib < found.volume_size_gib {
                return Err(ApiError::parameter(format!(
                    "Volume of {}GiB is smaller than snapshot '{id}', expect size >= {}GiB",
                    spec.size_gib, found.volume_size_gib
                )));
            }
            // Encryption is inherited and cannot be taken off.
            if found.encrypted {
                if request.encrypted == Some(false) {
                    return Err(ApiError::parameter(format!(
                        "Encrypted flag cannot be set to false since snapshot {id} is encrypted."
                    )));
                }
                spec.encrypted = true;
                spec.kms_key_id = spec.kms_key_id.or_else(|| found.kms_key_id.clone());
            }
            hydration = Some(self.hydration(call, found.full_bytes, request.volume_initialization_rate)?);
        } else if request.volume_initialization_rate.is_some() {
            return Err(ApiError::combination(
                "The parameter VolumeInitializationRate is only supported for volumes created from snapshots.",
            ));
        }
        if spec.encrypted && spec.kms_key_id.is_none() {
            spec.kms_key_id = Some(self.default_key());
        }
        let fails = call.fails_later || spec.kms_key_id.as_ref().is_some_and(|key| self.config.bad_keys.contains(key));
        Ok(VolumeRecord {
            state: VolumeState::Creating,
            due: None,
            fails,
            zone,
            spec,
            multi_attach: request.multi_attach_enabled,
            snapshot: request.snapshot_id.clone(),
            source_volume: None,
            initialization_rate: request.volume_initialization_rate.map(|rate| rate as u32),
            hydration,
            attachments: Vec::new(),
            created_at: call.now,
            last_snapshot_at: None,
            latest_snapshot: None,
            pending_snapshots: Vec::new(),
            modification: None,
            modification_due: None,
            modified_at: Vec::new(),
            tags: Tags::new(),
        })
    }

    pub(crate) fn show_encryption_by_default(&self, call: &Call) -> Result<Reply, ApiError> {
        call.permit()?;
        Ok(Reply::EncryptionByDefault(self.config.encrypts_by_default))
    }

    /// The one that AWS manages is told by its alias.
    pub(crate) fn show_default_key(&self, call: &Call) -> Result<Reply, ApiError> {
        call.permit()?;
        Ok(Reply::DefaultKey(self.config.default_key.clone().unwrap_or_else(|| "alias/aws/ebs".to_owned())))
    }

    pub(crate) fn default_key(&self) -> String {
        let own = self.config.default_key.clone();
        own.unwrap_or_else(|| self.managed_key())
    }

    fn managed_key(&self) -> String {
        format!("arn:aws:kms:{}:{}:key/alias-aws-ebs", self.config.region, self.config.account)
    }

    fn hydration(&self, call: &Call, bytes: u64, rate: Option<i64>) -> Result<Hydration, ApiError> {
        let Some(rate) = rate else {
            let until = call.now + bytes / self.config.timing.hydration_bytes_per_ms.max(1);
            return Ok(Hydration { kind: InitializationType::Default, from: call.now, until });
        };
        if !(100..=300).contains(&rate) {
            return Err(ApiError::parameter(format!(
                "Value ({rate}) for parameter volumeInitializationRate is invalid. Expected a value from 100 to 300."
            )));
        }
        let bought: u64 = self
            .volumes
            .values()
            .filter(|record| record.hydration.as_ref().is_some_and(|hydration| hydration.until > call.now))
            .filter_map(|record| record.initialization_rate.map(u64::from))
            .sum();
        if bought + rate as u64 > self.config.limits.initialization_rate {
            return Err(ApiError::new(
                "VolumeInitializationRateLimitExceeded",
                "You have exceeded your maximum cumulative volume initialization rate.",
            ));
        }
        let until = call.now + bytes * 1_000 / (rate as u64 * 1024 * 1024);
        Ok(Hydration { kind: InitializationType::ProvisionedRate, from: call.now, until })
    }

    /// The account's limits.
    pub(crate) fn check_room(&self, new: &VolumeRecord) -> Result<(), ApiError> {
        let limits = &self.config.limits;
        if self.volumes.len() >= limits.volumes {
            return Err(ApiError::new(
                "VolumeLimitExceeded",
                format!("You have exceeded your maximum number of volumes, {}.", limits.volumes),
            ));
        }
        let same = self.volumes.values().filter(|record| record.spec.volume_type == new.spec.volume_type);
        let used: u64 = same.map(|record| u64::from(record.spec.size_gib)).sum();
        if used + u64::from(new.spec.size_gib) > limits.storage_gib_per_type {
            return Err(ApiError::new(
                "VolumeLimitExceeded",
                format!(
                    "You have exceeded your maximum {} storage limit of {} GiB.",
                    new.spec.volume_type, limits.storage_gib_per_type
                ),
            ));
        }
        Ok(())
    }

    fn check_source(&self, request: &CreateVolume, _new: &VolumeRecord) -> Result<(), ApiError> {
        let Some(id) = &request.snapshot_id else { return Ok(()) };
        match self.snapshots.get(id).map(|found| found.state) {
            Some(SnapshotState::Completed) => Ok(()),
            _ => Err(ApiError::incorrect_state(format!("Snapshot '{id}' is not 'completed'."))),
        }
    }

    /// Puts a new volume there, `creating`.
    pub(crate) fn add_new_volume(&mut self, call: &Call, id: VolumeId, mut record: VolumeRecord) -> Volume {
        let due = self.due(call, self.config.timing.create_volume_ms, id.as_str());
        record.due = Some(due);
        self.counters.adopted_bytes += record.hydration.as_ref().map_or(0, |_| self.source_bytes(&record));
        let shown = self.show_volume(&id, &record);
        self.changing_volume(call.now, &id);
        self.volumes.insert(id.clone(), record);
        self.schedule.plan(due, Event::VolumeReady(id));
        shown
    }

    fn source_bytes(&self, record: &VolumeRecord) -> u64 {
        let snapshot = record.snapshot.as_ref().and_then(|id| self.snapshots.get(id));
        snapshot.map_or(u64::from(record.spec.size_gib) * GIB, |found| found.full_bytes)
    }

    pub(crate) fn delete_volume(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        id: &VolumeId,
    ) -> Result<Reply, ApiError> {
        let record = self.volume(call.now, id)?;
        call.permit()?;
        if let Some(attachment) = record.attachments.first() {
            return Err(ApiError::new(
                "VolumeInUse",
                format!("Volume {id} is currently attached to {}", attachment.instance),
            ));
        }
        if !matches!(record.state, VolumeState::Available | VolumeState::Error) {
            return Err(ApiError::incorrect_state(format!("Volume '{id}' is not in the 'available' state.")));
        }
        self.remove_volume(call.now, id, disks);
        Ok(Reply::Done)
    }

    /// A volume goes; describes show it `deleting` for a while.
    pub(crate) fn remove_volume(&mut self, now: Millis, id: &VolumeId, disks: &mut dyn Disks) {
        self.changing_volume(now, id);
        let Some(mut record) = self.volumes.remove(id) else { return };
        record.state = VolumeState::Deleting;
        record.attachments.clear();
        let until = now + self.config.timing.delete_volume_ms + self.config.consistency.lag_ms;
        if until > now {
            let memory = Memory { shown_until: until, kept_until: until };
            self.volume_views.remember(id.as_str(), Some(record), now, memory);
        }
        disks.delete_volume(id);
        self.burn_tokens(now, id.as_str());
    }
}

pub(crate) fn internal(error: &DiskError) -> ApiError {
    ApiError::internal(format!("An internal error has occurred: {error}"))
}

/// A volume as filters see it.
struct Shown<'a>(&'a VolumeId, &'a VolumeRecord);

impl Filtered for Shown<'_> {
    fn tags(&self) -> &Tags {
        &self.1.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let Self(id, record) = self;
        let attachments =
            |field: fn(&super::state::AttachmentRecord) -> String| record.attachments.iter().map(field).collect();
        Some(match name {
            "volume-id" => vec![id.to_string()],
            "availability-zone" => vec![record.zone.to_string()],
            "snapshot-id" => record.snapshot.iter().map(ToString::to_string).collect(),
            "status" => vec![volume_state(record.state).to_owned()],
            "size" | "volume-size" => vec![record.spec.size_gib.to_string()],
            "volume-type" => vec![record.spec.volume_type.clone()],
            "encrypted" => vec![record.spec.encrypted.to_string()],
            "multi-attach-enabled" => vec![record.multi_attach.to_string()],
            "attachment.instance-id" => attachments(|found| found.instance.to_string()),
            "attachment.device" => attachments(|found| found.device.clone()),
            "attachment.status" => attachments(|found| attachment_state(found.state).to_owned()),
            _ => return None,
        })
    }
}

/// EC2's spelling.
pub(crate) fn volume_state(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Creating => "creating",
        VolumeState::Available => "available",
        VolumeState::InUse => "in-use",
        VolumeState::Deleting => "deleting",
        VolumeState::Deleted => "deleted",
        VolumeState::Error => "error",
    }
}

/// EC2's spelling.
pub(crate) fn attachment_state(state: AttachmentState) -> &'static str {
    match state {
        AttachmentState::Attaching => "attaching",
        AttachmentState::Attached => "attached",
        AttachmentState::Detaching => "detaching",
        AttachmentState::Detached => "detached",
        AttachmentState::Busy => "busy",
    }
}
