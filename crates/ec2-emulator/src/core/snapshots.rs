//! Snapshots: describe, create, delete.

use rehome_model::cloud::{InstanceState, SnapshotState, Tags, VolumeState};
use rehome_model::ids::{SnapshotId, VolumeId};

use crate::api::{ApiError, CreateSnapshot, CreateSnapshots, DescribeSnapshots, Reply, Snapshot};
use crate::disks::{Capture, Disks};

use super::catalog::volume_type;
use super::filter::{Filtered, passes};
use super::handle::Call;
use super::ids::Kind;
use super::page;
use super::schedule::Event;
use super::state::{Core, SnapshotRecord, VolumeRecord};
use super::tags::{check_tags, tags_for};
use super::timing::Millis;
use super::volumes::internal;

/// Volumes that one CreateSnapshots may leave out (EC2 API reference).
const MOST_EXCLUDED: usize = 40;

impl Core {
    /// A snapshot that a call may use: known, and not so new that EC2 does not find it yet.
    pub(crate) fn snapshot(&self, now: Millis, id: &SnapshotId) -> Result<&SnapshotRecord, ApiError> {
        Kind::Snapshot.check(id.as_str())?;
        let truth = self.snapshots.get(id);
        let shown = self.snapshot_views.show(now, id.as_str(), truth).is_some();
        truth.filter(|_| shown).ok_or_else(|| ApiError::snapshots_not_found(&[id.as_str()]))
    }

    pub(crate) fn describe_snapshots(&self, call: &Call, by: &DescribeSnapshots) -> Result<Reply, ApiError> {
        for id in &by.ids {
            Kind::Snapshot.check(id)?;
        }
        let show = |id: &str| {
            let id = SnapshotId::from(id);
            self.snapshot_views.show(call.now, id.as_str(), self.snapshots.get(&id)).map(|record| (id.clone(), record))
        };
        let missing: Vec<&str> = by.ids.iter().map(String::as_str).filter(|id| show(id).is_none()).collect();
        if !missing.is_empty() {
            return Err(ApiError::snapshots_not_found(&missing));
        }
        // All snapshots here are the account's own.
        let own =
            by.owners.is_empty() || by.owners.iter().any(|owner| owner == "self" || *owner == self.config.account);
        let wanted = self.snapshot_views.with(self.snapshots.keys().map(SnapshotId::as_str));
        let mut items = Vec::new();
        for id in wanted {
            if own
                && (by.ids.is_empty() || by.ids.iter().any(|named| named == id))
                && let Some((id, record)) = show(id)
                && passes(&Shown(&id, record, &self.config.account), &by.filters)?
            {
                items.push((id.to_string(), self.show_snapshot(call.now, &id, record)));
            }
        }
        call.permit()?;
        page::cut(items, &by.page, !by.ids.is_empty(), page::ec2("snapshotIds")).map(Reply::Snapshots)
    }

    fn show_snapshot(&self, now: Millis, id: &SnapshotId, record: &SnapshotRecord) -> Snapshot {
        Snapshot {
            id: id.clone(),
            volume: record.volume.clone(),
            state: record.state,
            state_message: record.state_message.clone(),
            progress_percent: progress(now, record),
            volume_size_gib: record.volume_size_gib,
            started_at: record.started_at,
            completed_at: (record.state == SnapshotState::Completed).then_some(record.completes_at),
            description: record.description.clone(),
            owner: self.config.account.clone(),
            encrypted: record.encrypted,
            kms_key_id: record.kms_key_id.clone(),
            full_snapshot_size_bytes: record.full_bytes,
            tags: record.tags.clone(),
        }
    }

    /// One volume. EC2 has no token for it: called twice, it captures twice.
    pub(crate) fn create_snapshot(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        request: &CreateSnapshot,
    ) -> Result<Reply, ApiError> {
        let record = self.volume(call.now, &request.volume_id)?;
        let tags = tags_for(&request.tag_specifications, "snapshot", &["snapshot"])?;
        call.permit()?;
        self.check_capture(call.now, &request.volume_id, record)?;
        let captured = vec![(request.volume_id.clone(), tags)];
        let mut made = self.capture(call, disks, captured, &request.description)?;
        made.pop().map(Reply::Snapshot).ok_or_else(|| ApiError::internal("An internal error has occurred"))
    }

    /// All volumes of the instance at this one instant. No token exists for it either.
    pub(crate) fn create_snapshots(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        request: &CreateSnapshots,
    ) -> Result<Reply, ApiError> {
        let id = &request.instance_id;
        let instance = self.instance(call.now, id)?;
        let excluded = &request.exclude_data_volume_ids;
        for volume in excluded {
            Kind::Volume.check(volume.as_str())?;
        }
        if excluded.len() > MOST_EXCLUDED {
            return Err(ApiError::parameter(format!(
                "The request can exclude at most {MOST_EXCLUDED} data volumes, and has {}.",
                excluded.len()
            )));
        }
        let given = tags_for(&request.tag_specifications, "snapshot", &["snapshot"])?;
        let is_root = |device: &str| device == instance.root_device;
        let root = instance.block_devices.iter().find(|device| is_root(&device.device)).map(|device| &device.volume);
        if let Some(wrong) = excluded.iter().find(|volume| Some(*volume) == root) {
            return Err(ApiError::parameter(format!(
                "Volume '{wrong}' is the root volume of instance '{id}': use ExcludeBootVolume."
            )));
        }
        let attached = |volume: &&VolumeId| instance.block_devices.iter().any(|device| device.volume == **volume);
        if let Some(wrong) = excluded.iter().find(|volume| !attached(volume)) {
            return Err(ApiError::parameter(format!("Volume '{wrong}' is not attached to instance '{id}'.")));
        }
        call.permit()?;
        if matches!(instance.state, InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated) {
            return Err(ApiError::new(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in the 'running' or 'stopped' state."),
            ));
        }
        let mut captured = Vec::new();
        for device in &instance.block_devices {
            if (request.exclude_boot_volume && is_root(&device.device)) || excluded.contains(&device.volume) {
                continue;
            }
            let volume = &device.volume;
            let record = self.volumes.get(volume).ok_or_else(|| ApiError::volumes_not_found(&[volume.as_str()]))?;
            self.check_capture(call.now, volume, record)?;
            let mut tags = if request.copy_tags_from_volume { record.tags.clone() } else { Tags::new() };
            tags.retain(|key, _| !key.starts_with("aws:"));
            tags.extend(given.clone());
            check_tags(&tags)?;
            captured.push((volume.clone(), tags));
        }
        if captured.is_empty() {
            return Err(ApiError::parameter(format!("The instance '{id}' has no volumes to snapshot.")));
        }
        self.capture(call, disks, captured, &request.description).map(Reply::SnapshotSet)
    }

    /// The one instant.
    fn capture(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        captured: Vec<(VolumeId, Tags)>,
        description: &str,
    ) -> Result<Vec<Snapshot>, ApiError> {
        let mut captures = Vec::new();
        for (volume, _) in &captured {
            let snapshot = SnapshotId(self.fresh_id(Kind::Snapshot.prefix()));
            captures.push(Capture { volume: volume.clone(), snapshot });
        }
        disks.capture(&captures).map_err(|error| internal(&error))?;
        let mut made = Vec::new();
        for (Capture { volume, snapshot: id }, (_, tags)) in captures.into_iter().zip(captured) {
            let since = self.lineage(&volume);
            let changed = disks.changed_bytes(&id, since.as_ref());
            let full_bytes = disks.changed_bytes(&id, None);
            let timing = &self.config.timing;
            let takes = timing.snapshot_ms + changed / timing.snapshot_bytes_per_ms.max(1);
            let completes_at = self.due(call, takes, id.as_str());
            self.counters.snapshot_bytes += changed;
            self.changing_snapshot(call.now, &id);
            let Some(record) = self.volumes.get_mut(&volume) else { continue };
            record.last_snapshot_at = Some(call.now);
            record.latest_snapshot = Some(id.clone());
            record.pending_snapshots.retain(|until| *until > call.now);
            record.pending_snapshots.push(completes_at);
            let snapshot = SnapshotRecord {
                volume,
                state: SnapshotState::Pending,
                state_message: None,
                started_at: call.now,
                completes_at,
                fails: call.fails_later,
                volume_size_gib: record.spec.size_gib,
                description: description.to_owned(),
                encrypted: record.spec.encrypted,
                kms_key_id: record.spec.kms_key_id.clone(),
                full_bytes,
                tags,
            };
            made.push(self.show_snapshot(call.now, &id, &snapshot));
            self.snapshots.insert(id.clone(), snapshot);
            self.schedule.plan(completes_at, Event::SnapshotDone(id));
        }
        Ok(made)
    }

    /// What a new snapshot of the volume is incremental to: the newest snapshot of it that still exists, else what it was
    /// made from.
    fn lineage(&self, volume: &VolumeId) -> Option<SnapshotId> {
        let of_volume = self.snapshots.iter().filter(|(_, found)| found.volume == *volume);
        let newest = of_volume.max_by_key(|(id, found)| (found.started_at, *id)).map(|(id, _)| id.clone());
        newest.or_else(|| {
            let source = self.volumes.get(volume)?.snapshot.clone()?;
            self.snapshots.contains_key(&source).then_some(source)
        })
    }

    fn check_capture(&self, now: Millis, id: &VolumeId, record: &VolumeRecord) -> Result<(), ApiError> {
        if !matches!(record.state, VolumeState::Available | VolumeState::InUse) {
            return Err(ApiError::incorrect_state(format!("Volume '{id}' is not 'available' or 'in-use'.")));
        }
        // Deleted ones count until they would have been over, failed ones until they are deleted.
        let failed = |found: &&SnapshotRecord| found.volume == *id && found.state == SnapshotState::Error;
        let pending = record.pending_snapshots.iter().filter(|until| **until > now).count()
            + self.snapshots.values().filter(failed).count();
        let one = volume_type(&record.spec.volume_type).is_some_and(|limits| limits.one_pending_snapshot);
        let most = if one { 1 } else { self.config.limits.pending_snapshots_per_volume };
        if pending >= most {
            return Err(ApiError::new(
                "ConcurrentSnapshotLimitExceeded",
                format!("Maximum allowed in-progress snapshots for a single volume exceeded for volume '{id}'."),
            ));
        }
        let interval = self.config.timing.snapshot_interval_ms;
        if record.last_snapshot_at.is_some_and(|at| now < at + interval) {
            return Err(ApiError::new(
                "SnapshotCreationPerVolumeRateExceeded",
                format!("The maximum per volume CreateSnapshot request rate has been exceeded for volume '{id}'."),
            ));
        }
        Ok(())
    }

    pub(crate) fn delete_snapshot(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        id: &SnapshotId,
    ) -> Result<Reply, ApiError> {
        self.snapshot(call.now, id)?;
        call.permit()?;
        self.changing_snapshot(call.now, id);
        self.snapshots.remove(id);
        disks.delete_snapshot(id);
        Ok(Reply::Done)
    }
}

/// EC2's progress is not linear and sticks at 99.
fn progress(now: Millis, record: &SnapshotRecord) -> u8 {
    if record.state == SnapshotState::Completed {
        return 100;
    }
    let whole = record.completes_at.saturating_sub(record.started_at).max(1);
    let left = record.completes_at.saturating_sub(now).min(whole);
    // Fast at first, then slower and slower: one minus the square of what is left.
    let left_permille = left * 1_000 / whole;
    (100 - left_permille * left_permille / 10_000).min(99) as u8
}

/// A snapshot as filters see it.
struct Shown<'a>(&'a SnapshotId, &'a SnapshotRecord, &'a str);

impl Filtered for Shown<'_> {
    fn tags(&self) -> &Tags {
        &self.1.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let Self(id, record, account) = self;
        Some(match name {
            "snapshot-id" => vec![id.to_string()],
            "volume-id" => vec![record.volume.to_string()],
            "volume-size" => vec![record.volume_size_gib.to_string()],
            "status" => vec![snapshot_state(record.state).to_owned()],
            "description" => vec![record.description.clone()],
            "encrypted" => vec![record.encrypted.to_string()],
            "owner-id" => vec![(*account).to_owned()],
            _ => return None,
        })
    }
}

/// EC2's spelling.
pub(crate) fn snapshot_state(state: SnapshotState) -> &'static str {
    match state {
        SnapshotState::Pending => "pending",
        SnapshotState::Completed => "completed",
        SnapshotState::Error => "error",
        SnapshotState::Recoverable => "recoverable",
        SnapshotState::Recovering => "recovering",
    }
}
