//! What was prepared for the cutover, looked at once more right before it.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::cloud::{Instance, Volume};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::labels;
use rehome_model::plan::{Action, MemberPlan, Plan, SnapshotPhase};

use super::instances::{held_by_another, hold, not_ours};
use super::{claims, gate, groups, release, replicas};
use crate::context::StepContext;
use crate::error::{StepError, StepErrorKind};

/// Claims are parked and sets are closed, as this run has left them; their templates are those that were checked; the cluster takes
/// the volumes that come; the legacy volumes are those that were planned for; and no Auto Scaling group replaces what stops. Base snapshots take hours; what somebody deletes or deploys anew meanwhile would end
/// the run in the downtime, when each volume is released. Now it costs none, and whoever mends it in time keeps the base snapshots:
/// it is looked at again until the step's deadline.
pub(super) async fn still(context: &StepContext) -> Result<(), StepError> {
    look(context).await.map_err(|error| match error.kind {
        StepErrorKind::Failed => StepError::again(error.code, error.message),
        _ => error,
    })
}

async fn look(context: &StepContext) -> Result<(), StepError> {
    volumes_as_planned(context).await?;
    let members = &context.plan().members;
    let instances: Vec<InstanceId> = members.iter().map(|member| member.instance.clone()).collect();
    groups::let_go_still(context, &instances).await?;
    let all = members.iter().flat_map(|member| &member.volumes);
    futures::future::try_join_all(all.map(|volume| claims::still_parked(context, &volume.claim))).await?;
    release::would_be_admitted(context).await?;
    let sets: BTreeSet<&str> = members.iter().filter_map(|member| member.slot.set.as_deref()).collect();
    for set in sets {
        let found = gate::see_closed(context, set).await?;
        if let Some(found) = &found.set {
            replicas::see_not_more(context, set, found)?;
        }
    }
    Ok(())
}

/// What is attached to the members is what was planned for, in the same size: a volume that somebody has grown would be made
/// anew in its old size, which EC2 refuses, and one that came or went changes what a snapshot of the instance is of.
async fn volumes_as_planned(context: &StepContext) -> Result<(), StepError> {
    let plan = context.plan();
    let instances: Vec<InstanceId> = plan.members.iter().map(|member| member.instance.clone()).collect();
    let volumes: Vec<VolumeId> =
        plan.members.iter().flat_map(|member| &member.volumes).map(|volume| volume.legacy_volume.clone()).collect();
    let cloud = context.cloud();
    let (instances, volumes) = futures::try_join!(cloud.instances(&instances), cloud.volumes(&volumes))?;
    if let Some((found, other)) = instances.iter().find_map(|found| Some((found, held_by_another(context, found)?))) {
        return Err(not_ours(&found.id, other));
    }
    // A run that an older rehome has begun holds nothing yet.
    let free = instances.iter().filter(|found| found.tags.get(labels::HELD_BY).is_none_or(String::is_empty));
    let held = free.map(async |free| match hold(context, &free.id).await {
        Err(error) if error.kind == StepErrorKind::Failed => {
            context.note(format!("{} is not tagged as held by this run: {error}", free.id));
            Ok(())
        }
        held => held,
    });
    futures::future::try_join_all(held).await?;
    let changed = changes(plan, &instances, &volumes);
    if changed.is_empty() {
        return Ok(());
    }
    Err(StepError::failed(
        "VolumesChanged",
        format!("{} since the plan was made; put it right, or make a plan anew", changed.join(", ")),
    ))
}

/// What of the members' volumes is not as planned. What EC2 does not show just now is no change.
fn changes(plan: &Plan, instances: &[Instance], volumes: &[Volume]) -> Vec<String> {
    let excluded = excluded(plan);
    let mut changes = Vec::new();
    for member in &plan.members {
        if let Some(instance) = instances.iter().find(|found| found.id == member.instance) {
            changes.extend(came_and_went(
                member,
                excluded.get(&member.instance).copied().unwrap_or_default(),
                instance,
            ));
        }
        for planned in &member.volumes {
            let found = volumes.iter().find(|found| found.id == planned.legacy_volume);
            let Some(found) = found.filter(|found| found.spec.size_gib != planned.spec.size_gib) else { continue };
            changes.push(format!(
                "{} of {} went from {} to {} GiB",
                found.id, member.name, planned.spec.size_gib, found.spec.size_gib
            ));
        }
    }
    changes
}

/// Volumes that the final snapshot of an instance leaves out.
fn excluded(plan: &Plan) -> BTreeMap<&InstanceId, &[VolumeId]> {
    let mut all = BTreeMap::new();
    for step in &plan.steps {
        if let Action::SnapshotInstance { instance, excluded, phase: SnapshotPhase::Final, .. } = &step.action {
            all.insert(instance, excluded.as_slice());
        }
    }
    all
}

/// Data volumes that were attached to an instance, or detached.
fn came_and_went(member: &MemberPlan, excluded: &[VolumeId], found: &Instance) -> Vec<String> {
    let planned: BTreeSet<&VolumeId> =
        member.volumes.iter().map(|volume| &volume.legacy_volume).chain(excluded).collect();
    let is_root = |device: &str| found.root_device.as_deref() == Some(device);
    let attached: BTreeSet<&VolumeId> =
        found.block_devices.iter().filter(|device| !is_root(&device.device)).map(|device| &device.volume).collect();
    let came = attached.difference(&planned).map(|id| format!("{id} was attached to {}", found.id));
    came.chain(planned.difference(&attached).map(|id| format!("{id} was detached from {}", found.id))).collect()
}
