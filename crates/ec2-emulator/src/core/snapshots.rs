//! Snapshots.

use rehome_model::cloud::{Snapshot, SnapshotState, VolumeState};
use rehome_model::ids::{SnapshotId, VolumeId};

use super::action::{Filter, Reply, SnapshotRequest};
use super::error::ApiError;
use super::handle::any_matches;
use super::state::{Core, SnapshotRecord};
use super::timing::Millis;
use crate::disks::MemoryDisks;

impl Core {
    pub(crate) fn advance_snapshots(&mut self, now: Millis) {
        for record in self.snapshots.values_mut() {
            if record.state == SnapshotState::Pending && record.completes_at <= now {
                record.state = SnapshotState::Completed;
            }
        }
    }

    pub(crate) fn describe_snapshots(
        &self,
        now: Millis,
        ids: &[SnapshotId],
        filters: &[Filter],
    ) -> Result<Reply, ApiError> {
        for id in ids {
            if self.snapshots.get(id).is_none_or(|record| record.visible_at > now) {
                return Err(ApiError::snapshot_not_found(id.as_str()));
            }
        }
        let mut found = Vec::new();
        for (id, record) in self.snapshots.iter().filter(|(_, record)| record.visible_at <= now) {
            let mut all = ids.is_empty() || ids.contains(id);
            for filter in filters {
                all &= any_matches(&filter.values, &snapshot_values(id, record, &filter.name)?);
            }
            if all {
                found.push(show(now, id, record));
            }
        }
        Ok(Reply::Snapshots(found))
    }

    /// All volumes of the instance at this one instant. No token exists for it: called twice, it captures twice.
    pub(crate) fn create_snapshots(
        &mut self,
        now: Millis,
        disks: &mut MemoryDisks,
        request: &SnapshotRequest,
    ) -> Result<Reply, ApiError> {
        let instance = self.instance(&request.instance)?;
        let root = instance.root_device.clone();
        let captured: Vec<VolumeId> = instance
            .block_devices
            .iter()
            .filter(|device| !(request.exclude_boot_volume && device.device == root))
            .filter(|device| !request.exclude_data_volumes.contains(&device.volume))
            .map(|device| device.volume.clone())
            .collect();
        if captured.is_empty() {
            return Err(ApiError::parameter(format!("The instance '{}' has no volume to capture", request.instance)));
        }
        for volume in &captured {
            self.check_capture(now, volume)?;
        }
        let mut made = Vec::new();
        for volume in captured {
            let id = SnapshotId(self.id("snap"));
            let record = self.volume(&volume)?;
            let changed = disks.changed_bytes(&volume, record.latest_snapshot.as_ref());
            let timing = &self.config.timing;
            let takes = timing.snapshot_ms + changed / timing.snapshot_bytes_per_ms.max(1);
            let snapshot = SnapshotRecord {
                volume: volume.clone(),
                state: SnapshotState::Pending,
                started_at: now,
                completes_at: now + takes,
                visible_at: now + timing.visibility_ms,
                volume_size_gib: record.spec.size_gib,
                encrypted: record.spec.encrypted,
                kms_key_id: record.spec.kms_key_id.clone(),
                tags: request.tags.clone(),
            };
            disks.capture(&volume, &id);
            made.push(show(now, &id, &snapshot));
            self.snapshots.insert(id.clone(), snapshot);
            if let Some(record) = self.volumes.get_mut(&volume) {
                record.last_snapshot_at = Some(now);
                record.latest_snapshot = Some(id);
            }
        }
        Ok(Reply::Snapshots(made))
    }

    fn check_capture(&self, now: Millis, volume: &VolumeId) -> Result<(), ApiError> {
        let record = self.volume(volume)?;
        if !matches!(record.state, VolumeState::Available | VolumeState::InUse) {
            return Err(ApiError::incorrect_state(format!("Volume '{volume}' is not 'available' or 'in-use'.")));
        }
        let pending = self.snapshots.values().filter(|s| s.volume == *volume && s.state == SnapshotState::Pending);
        if pending.count() >= self.config.limits.pending_snapshots_per_volume {
            return Err(ApiError::new(
                "ConcurrentSnapshotLimitExceeded",
                format!("Maximum allowed in-progress snapshots for a single volume exceeded for '{volume}'."),
            ));
        }
        let interval = self.config.timing.snapshot_interval_ms;
        if record.last_snapshot_at.is_some_and(|at| now < at + interval) {
            return Err(ApiError::new(
                "SnapshotCreationPerVolumeRateExceeded",
                format!("The maximum per volume CreateSnapshot request rate has been exceeded for '{volume}'."),
            ));
        }
        Ok(())
    }

    pub(crate) fn delete_snapshot(&mut self, disks: &mut MemoryDisks, id: &SnapshotId) -> Result<Reply, ApiError> {
        if self.snapshots.remove(id).is_none() {
            return Err(ApiError::snapshot_not_found(id.as_str()));
        }
        disks.remove_snapshot(id);
        Ok(Reply::Done)
    }
}

/// EC2's progress is not linear and sticks at 99.
fn progress(now: Millis, record: &SnapshotRecord) -> u8 {
    if record.state == SnapshotState::Completed {
        return 100;
    }
    let whole = record.completes_at.saturating_sub(record.started_at).max(1);
    (now.saturating_sub(record.started_at) * 100 / whole).min(99) as u8
}

fn show(now: Millis, id: &SnapshotId, record: &SnapshotRecord) -> Snapshot {
    Snapshot {
        id: id.clone(),
        volume: record.volume.clone(),
        state: record.state,
        progress_percent: progress(now, record),
        volume_size_gib: record.volume_size_gib,
        started_at_ms: record.started_at,
        tags: record.tags.clone(),
    }
}

fn snapshot_values(id: &SnapshotId, record: &SnapshotRecord, name: &str) -> Result<Vec<String>, ApiError> {
    if let Some(key) = name.strip_prefix("tag:") {
        return Ok(record.tags.get(key).cloned().into_iter().collect());
    }
    Ok(match name {
        "snapshot-id" => vec![id.to_string()],
        "volume-id" => vec![record.volume.to_string()],
        "tag-key" => record.tags.keys().cloned().collect(),
        "status" => vec![if record.state == SnapshotState::Completed { "completed" } else { "pending" }.to_owned()],
        other => return Err(ApiError::parameter(format!("The filter '{other}' is invalid"))),
    })
}
