//! CopyVolumes: clones of one volume in its zone.

use rehome_model::cloud::VolumeState;
use rehome_model::ids::VolumeId;

use crate::api::{ApiError, CopyVolumes, CreateVolume, InitializationType, Reply};
use crate::disks::{DiskSource, Disks};

use super::handle::Call;
use super::ids::Kind;
use super::state::{Core, Hydration};
use super::tags::tags_for;
use super::volumes::internal;

/// Copies fill faster than volumes from snapshots: they read from the source's own zone.
const COPY_SPEED: u64 = 4;

impl Core {
    pub(crate) fn copy_volumes(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        request: &CopyVolumes,
    ) -> Result<Reply, ApiError> {
        let source_id = &request.source_volume_id;
        let source = self.volume(call.now, source_id)?.clone();
        let size = request.size.unwrap_or(i64::from(source.spec.size_gib));
        if size < i64::from(source.spec.size_gib) {
            return Err(ApiError::parameter(format!(
                "Volume of {size}GiB is smaller than volume '{source_id}', expect size >= {}GiB",
                source.spec.size_gib
            )));
        }
        let asked = CreateVolume {
            size: Some(size),
            volume_type: request.volume_type.clone(),
            iops: request.iops,
            throughput: request.throughput,
            multi_attach_enabled: request.multi_attach_enabled,
            encrypted: (source.spec.encrypted || request.encrypted).then_some(true),
            kms_key_id: request.kms_key_id.clone().or_else(|| source.spec.kms_key_id.clone()),
            ..CreateVolume::default()
        };
        let mut record = self.new_volume(call, &asked, source.zone.clone())?;
        record.source_volume = Some(source_id.clone());
        record.tags = tags_for(&request.tag_specifications, "volume", &["volume"])?;
        let bytes = u64::from(source.spec.size_gib) << 30;
        let rate = self.config.timing.hydration_bytes_per_ms.saturating_mul(COPY_SPEED).max(1);
        record.hydration =
            Some(Hydration { kind: InitializationType::VolumeCopy, from: call.now, until: call.now + bytes / rate });
        call.permit()?;
        self.check_room(&record)?;
        if let Some(made) = self.replay(call, request.client_token.as_ref(), request)? {
            let known = made.iter().filter_map(|id| {
                let id = VolumeId::from(id.as_str());
                self.volumes.get(&id).map(|record| self.show_volume(&id, record))
            });
            return Ok(Reply::CopiedVolumes(known.collect()));
        }
        if !matches!(source.state, VolumeState::Available | VolumeState::InUse) {
            return Err(ApiError::incorrect_state(format!("Volume '{source_id}' is not 'available' or 'in-use'.")));
        }
        if !source.spec.encrypted && !self.config.limits.copy_unencrypted {
            return Err(ApiError::new(
                "UnsupportedOperation",
                format!("Volume '{source_id}' is not encrypted. Only encrypted volumes can be copied."),
            ));
        }
        let copying = |record: &super::state::VolumeRecord| {
            record.source_volume.as_ref() == Some(source_id) && record.state == VolumeState::Creating
        };
        if self.volumes.values().any(copying) {
            return Err(ApiError::new(
                "ConcurrentCopyVolumeLimitExceeded",
                format!("Maximum allowed in-progress volume copies for '{source_id}' exceeded."),
            ));
        }
        let id = VolumeId(self.fresh_id(Kind::Volume.prefix()));
        disks.create(&id, record.spec.size_gib, DiskSource::Volume(source_id)).map_err(|error| internal(&error))?;
        let shown = self.add_new_volume(call, id.clone(), record);
        self.keep_token(call, request.client_token.as_ref(), request, vec![id.to_string()]);
        Ok(Reply::CopiedVolumes(vec![shown]))
    }
}
