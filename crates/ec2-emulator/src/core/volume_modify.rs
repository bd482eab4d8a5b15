//! ModifyVolume and DescribeVolumesModifications.

use rehome_model::cloud::{VolumeSpec, VolumeState};
use rehome_model::ids::VolumeId;

use crate::api::{ApiError, DescribeById, ModificationState, ModifyVolume, Reply, VolumeModification};
use crate::disks::Disks;

use super::filter::any_matches;
use super::handle::Call;
use super::page;
use super::schedule::Event;
use super::spec::{Asked, resolve};
use super::state::{Core, VolumeRecord};
use super::timing::Millis;

const DAY_MS: u64 = 24 * 3_600_000;

impl Core {
    pub(crate) fn modify_volume(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        request: &ModifyVolume,
    ) -> Result<Reply, ApiError> {
        let id = &request.volume_id;
        let record = self.volume(call.now, id)?;
        let target = target(record, request)?;
        call.permit()?;
        self.check_modifiable(call.now, id, record)?;
        let modification = VolumeModification {
            volume: id.clone(),
            state: ModificationState::Modifying,
            original: record.spec.clone(),
            original_multi_attach: record.multi_attach,
            target_multi_attach: request.multi_attach_enabled.unwrap_or(record.multi_attach),
            target: target.clone(),
            progress: 0,
            started_at: call.now,
            ended_at: None,
        };
        disks.resize(id, target.size_gib).map_err(|error| super::volumes::internal(&error))?;
        let due = self.due(call, self.config.timing.modify_ms, id.as_str());
        self.changing_volume(call.now, id);
        if let Some(record) = self.volumes.get_mut(id) {
            record.modification = Some(modification.clone());
            record.modification_due = Some(due);
            record.modified_at.retain(|at| at + DAY_MS > call.now);
            record.modified_at.push(call.now);
        }
        self.schedule.plan(due, Event::ModificationDue(id.clone()));
        Ok(Reply::VolumeModification(modification))
    }

    fn check_modifiable(&self, now: Millis, id: &VolumeId, record: &VolumeRecord) -> Result<(), ApiError> {
        if !matches!(record.state, VolumeState::Available | VolumeState::InUse) {
            return Err(ApiError::incorrect_state(format!("Volume '{id}' is not 'available' or 'in-use'.")));
        }
        let running = record.modification.as_ref().map(|found| found.state);
        if matches!(running, Some(ModificationState::Modifying | ModificationState::Optimizing)) {
            return Err(ApiError::new(
                "IncorrectModificationState",
                format!("Cannot modify volume {id}: its previous modification is not completed."),
            ));
        }
        let lately = record.modified_at.iter().filter(|at| **at + DAY_MS > now).count();
        if lately >= self.config.limits.modifications_per_day {
            return Err(ApiError::new(
                "VolumeModificationRateExceeded",
                format!(
                    "You've reached the maximum modification rate per volume limit. Wait at least 24 hours between \
                     the first of {} modifications and the next one of EBS volume {id}.",
                    self.config.limits.modifications_per_day
                ),
            ));
        }
        Ok(())
    }

    /// `modifying` is over: the new size and rates are there; `optimizing` is over: all done.
    pub(crate) fn modification_due(&mut self, at: Millis, id: &VolumeId, _disks: &mut dyn Disks) {
        if self.volumes.get(id).is_none_or(|record| record.modification_due != Some(at)) {
            return;
        }
        self.changing_volume(at, id);
        let optimized = at + self.config.timing.optimize_ms;
        let Some(record) = self.volumes.get_mut(id) else { return };
        let Some(modification) = &mut record.modification else { return };
        if modification.state == ModificationState::Modifying {
            modification.state = ModificationState::Optimizing;
            record.spec = modification.target.clone();
            record.multi_attach = modification.target_multi_attach;
            record.modification_due = Some(optimized);
            self.schedule.plan(optimized, Event::ModificationDue(id.clone()));
        } else {
            modification.state = ModificationState::Completed;
            modification.progress = 100;
            modification.ended_at = Some(at);
            record.modification_due = None;
        }
    }

    pub(crate) fn describe_volumes_modifications(&self, call: &Call, by: &DescribeById) -> Result<Reply, ApiError> {
        let plain = DescribeById { filters: Vec::new(), ..by.clone() };
        let mut items = Vec::new();
        for (id, record) in self.shown_volumes(call, &plain)? {
            let Some(found) = &record.modification else {
                if by.ids.is_empty() {
                    continue;
                }
                return Err(ApiError::new(
                    "InvalidVolumeModification.NotFound",
                    format!("Modification for volume '{id}' does not exist."),
                ));
            };
            let mut shown = found.clone();
            if shown.state == ModificationState::Optimizing {
                let whole = self.config.timing.optimize_ms.max(1);
                let begun = record.modification_due.unwrap_or(call.now).saturating_sub(whole);
                shown.progress = (call.now.saturating_sub(begun) * 100 / whole).min(99) as u8;
            }
            let mut all = true;
            for filter in &by.filters {
                let value = match filter.name.as_str() {
                    "volume-id" => id.to_string(),
                    "modification-state" => modification_state(shown.state).to_owned(),
                    other => return Err(ApiError::parameter(format!("The filter '{other}' is invalid"))),
                };
                all &= any_matches(&filter.values, &[value]);
            }
            if all {
                items.push((id.to_string(), shown));
            }
        }
        call.permit()?;
        page::cut(items, &by.page, !by.ids.is_empty(), page::ec2("volumeIds")).map(Reply::VolumeModifications)
    }
}

fn target(record: &VolumeRecord, request: &ModifyVolume) -> Result<VolumeSpec, ApiError> {
    let old = &record.spec;
    let new_type = request.volume_type.as_deref().unwrap_or(&old.volume_type);
    let same_type = new_type == old.volume_type;
    let settable = new_type != "gp2";
    let keep = |value: Option<u32>| value.filter(|_| same_type && settable).map(i64::from);
    let asked = Asked {
        volume_type: Some(new_type),
        size: request.size,
        iops: request.iops.or(keep(old.iops)),
        throughput: request.throughput.or(keep(old.throughput_mib_s)),
        multi_attach: request.multi_attach_enabled.unwrap_or(record.multi_attach),
    };
    let target = resolve(&asked, Some(i64::from(old.size_gib)))?;
    if target.size_gib < old.size_gib {
        return Err(ApiError::parameter(format!(
            "New size cannot be smaller than existing size ({} GiB)",
            old.size_gib
        )));
    }
    Ok(VolumeSpec { encrypted: old.encrypted, kms_key_id: old.kms_key_id.clone(), ..target })
}

/// EC2's spelling.
fn modification_state(state: ModificationState) -> &'static str {
    match state {
        ModificationState::Modifying => "modifying",
        ModificationState::Optimizing => "optimizing",
        ModificationState::Completed => "completed",
        ModificationState::Failed => "failed",
    }
}
