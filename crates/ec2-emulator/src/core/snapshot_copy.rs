//! CopySnapshot, within the region.

use rehome_model::cloud::SnapshotState;
use rehome_model::ids::{SnapshotId, VolumeId};

use crate::api::{ApiError, CopySnapshot, Reply};
use crate::disks::Disks;

use super::handle::Call;
use super::ids::Kind;
use super::schedule::Event;
use super::state::{Core, SnapshotRecord};
use super::tags::tags_for;
use super::volumes::internal;

/// What EC2 shows as the volume of a copied snapshot.
const NO_VOLUME: &str = "vol-ffffffff";

impl Core {
    pub(crate) fn copy_snapshot(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        request: &CopySnapshot,
    ) -> Result<Reply, ApiError> {
        if request.source_region != self.config.region {
            return Err(ApiError::parameter(format!(
                "Value ({}) for parameter sourceRegion is invalid. This account has snapshots in {} only.",
                request.source_region, self.config.region
            )));
        }
        let source_id = &request.source_snapshot_id;
        let source = self.snapshot(call.now, source_id)?.clone();
        let tags = tags_for(&request.tag_specifications, "snapshot", &["snapshot"])?;
        if request.kms_key_id.is_some() && request.encrypted != Some(true) {
            return Err(ApiError::new(
                "InvalidParameterDependency",
                "The parameter KmsKeyId requires the parameter Encrypted to be set.",
            ));
        }
        call.permit()?;
        if source.state != SnapshotState::Completed {
            return Err(ApiError::incorrect_state(format!("Snapshot '{source_id}' is not 'completed'.")));
        }
        let id = SnapshotId(self.fresh_id(Kind::Snapshot.prefix()));
        disks.copy_snapshot(source_id, &id).map_err(|error| internal(&error))?;
        let encrypts = request.encrypted == Some(true) || self.config.encrypts_by_default;
        let named = request.kms_key_id.clone().or(source.kms_key_id);
        let kms_key_id = if encrypts { named.or_else(|| Some(self.default_key())) } else { named };
        let bad = kms_key_id.as_ref().is_some_and(|key| self.config.bad_keys.contains(key));
        // A copy under the same key needs no data; under another one all of it is written anew.
        let same_key = !encrypts || source.encrypted && request.kms_key_id.is_none();
        let bytes = if same_key { 0 } else { source.full_bytes };
        let takes = self.config.timing.snapshot_ms + bytes / self.config.timing.snapshot_bytes_per_ms.max(1);
        let completes_at = self.due(call, takes, id.as_str());
        let record = SnapshotRecord {
            volume: VolumeId::from(NO_VOLUME),
            state: SnapshotState::Pending,
            state_message: None,
            started_at: call.now,
            completes_at,
            fails: call.fails_later || bad,
            volume_size_gib: source.volume_size_gib,
            description: request.description.clone(),
            encrypted: source.encrypted || encrypts,
            kms_key_id,
            full_bytes: source.full_bytes,
            tags,
        };
        self.changing_snapshot(call.now, &id);
        self.snapshots.insert(id.clone(), record);
        self.schedule.plan(completes_at, Event::SnapshotDone(id.clone()));
        Ok(Reply::SnapshotId(id))
    }
}
