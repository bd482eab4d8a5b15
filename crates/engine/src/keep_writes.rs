//! `rollback --keep-writes`: what is seen before it, its plan, and how it is carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use rehome_model::format::{self, Format};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::plan::{Plan, Purpose, Step, outputs};
use rehome_model::record::{KeepWrites, Phase, RunRecord, StepState};
use rehome_model::task::PodTask;
use rehome_planner::{DiskClaim, DiskSeen, ReturnSeen, SetSeen, is_keep_writes_step};
use rehome_ports::{CloudError, PodScript, VolumeFilter};
use rehome_profiles::Profile;
use serde_json::Value;

use crate::driver::{Ports, same_account};
use crate::error::StepError;
use crate::kubernetes::{Kube, KubeError, ebs_volume, paths, text};
use crate::limits::{SCRIPTS_AT_ONCE, VIEW_SCRIPT_S};
use crate::permissions;
use crate::refused::EngineError;
use crate::schedule::{self, Ending};
use crate::shared::Shared;

/// The recorded run with its return beside it, as one plan: the run's own steps stay as they are, for their outputs.
pub(crate) async fn take_up(
    ports: &Ports,
    profile: &dyn Profile,
    (mut record, plan): (RunRecord, Plan),
    now_ms: u64,
) -> Result<(RunRecord, Plan), EngineError> {
    let run = record.header.run.clone();
    let choice = match (record.header.phase, record.header.keep_writes.take()) {
        (Phase::Returning | Phase::Returned, Some(begun)) => begun,
        (Phase::Finalizing | Phase::Finalized, _) => return Err(EngineError::Finalized { run }),
        (Phase::Undoing | Phase::Stuck, _) => return Err(EngineError::BeingUndone { run }),
        (Phase::RolledBack, _) => return Err(EngineError::RolledBackAlready { run }),
        _ if !rehome_planner::opened(&plan, &record) => return Err(EngineError::NotOpened { run }),
        _ => {
            let seen = look(ports, profile, &plan, &record).await?;
            rehome_planner::prepare(&plan, &record, &seen, profile, now_ms).map_err(|obstacles| {
                EngineError::CannotKeepWrites { run, obstacles: obstacles.iter().map(ToString::to_string).collect() }
            })?
        }
    };
    let returning = rehome_planner::keep_writes(&plan, &record, &choice);
    record.header.keep_writes = Some(choice);
    let mut steps = plan.steps;
    steps.extend(returning.steps);
    Ok((record, Plan { purpose: Purpose::RollbackKeepWrites, steps, groups: Vec::new(), ..plan }))
}

/// The return of a recorded run as a plan, for a person to review. The engine computes the same when it begins.
pub async fn keep_writes_plan(
    ports: &Ports,
    profile: &dyn Profile,
    plan: &Plan,
    record: &RunRecord,
    now_ms: u64,
) -> Result<Plan, EngineError> {
    // First: in another account all of it would be in the way.
    same_account(ports, plan).await?;
    let (record, merged) = take_up(ports, profile, (record.clone(), plan.clone()), now_ms).await?;
    let done = |step: &Step| record.steps.get(&step.id).is_some_and(|line| line.state == StepState::Done);
    let choice = record.header.keep_writes.clone().unwrap_or(KeepWrites { at_ms: now_ms, devices: BTreeMap::new() });
    let whole = rehome_planner::keep_writes(plan, &record, &choice);
    let left = merged.steps.into_iter().filter(|step| is_keep_writes_step(&step.id) && !done(step)).collect();
    Ok(Plan { steps: left, ..whole })
}

/// Carries it out, or what is left of it. From its first word on neither `apply` nor a rollback that discards writes
/// takes the run up: the one would start pods beside the legacy side, the other delete the volumes.
pub(crate) async fn carry_out(shared: &Arc<Shared>) -> Result<Ending, StepError> {
    const REASON: &str = "rolled back by the user, new writes kept";
    if shared.phase() == Phase::Returned {
        return Ok(Ending::Done);
    }
    shared
        .change_header(|header| {
            header.phase = Phase::Returning;
            header.reason = Some(REASON.to_owned());
            // An older rehome does not know this phase: it must refuse the record by its version.
            header.format = Format::current(format::RUN);
        })
        .await?;
    Ok(schedule::run_plan(shared).await)
}

async fn look(
    ports: &Ports,
    profile: &dyn Profile,
    plan: &Plan,
    record: &RunRecord,
) -> Result<ReturnSeen, EngineError> {
    let unseen = |error: CloudError| EngineError::Unseen(error.to_string());
    let cloud = ports.cloud.as_ref();
    let ids: Vec<InstanceId> = plan.members.iter().map(|member| member.instance.clone()).collect();
    let legacy = plan.members.iter().flat_map(|member| &member.volumes).map(|volume| volume.legacy_volume.clone());
    let made = record.steps.values().filter_map(|step| step.outputs.get(outputs::VOLUME));
    let volumes: BTreeSet<VolumeId> = legacy.chain(made.map(|id| VolumeId::from(id.as_str()))).collect();
    let filter = VolumeFilter::Ids(volumes.into_iter().collect());
    let mut seen = ReturnSeen::default();
    for instance in cloud.describe_instances_alone(&ids).await.map_err(unseen)? {
        seen.instances.insert(instance.id.clone(), instance);
    }
    for volume in cloud.describe_volumes(&filter).await.map_err(unseen)? {
        seen.volumes.insert(volume.id.clone(), volume);
    }
    seen.denied.extend(permissions::denied_return(cloud, plan, record, &seen).await.map_err(unseen)?);
    let kube = Kube::new(ports.kube.clone());
    disks(&kube, &plan.namespace, &mut seen).await.map_err(|error| EngineError::Unseen(error.to_string()))?;
    let sets: BTreeSet<&String> = plan.members.iter().filter_map(|member| member.slot.set.as_ref()).collect();
    for name in sets {
        let found = kube.get(&paths::set(&plan.namespace, name)).await;
        if let Some(set) = found.map_err(|error| EngineError::Unseen(error.to_string()))? {
            seen.sets.insert(name.clone(), read_set(&set));
        }
    }
    let text = profile.pod_script(&PodTask::View, &plan.settings);
    let script = &PodScript { task: PodTask::View, text, limit_s: VIEW_SCRIPT_S };
    let views = stream::iter(&plan.members).map(async |member| {
        let (Some(pod), Some(container)) = (&member.slot.pod, &member.slot.container) else { return None };
        // A pod that does not answer is no obstacle: a new side that is down is a reason to go back.
        let output = ports.pods.run(&plan.namespace, pod, container, script).await.ok()?;
        let view = Some(output).filter(|output| output.exit_code == 0);
        Some((pod.clone(), profile.read_pod_view(&view?.stdout).ok()?))
    });
    // Of those whose node is dead each takes its whole limit.
    let views = views.buffer_unordered(SCRIPTS_AT_ONCE).filter_map(async |seen| seen);
    seen.views = views.collect().await;
    Ok(seen)
}

/// The claims of the namespace and all PersistentVolumes. The claims first: one that is bound meanwhile names a
/// PersistentVolume that the second list has.
async fn disks(kube: &Kube, namespace: &str, seen: &mut ReturnSeen) -> Result<(), KubeError> {
    let name = |object: &Value| text(object, "/metadata/name").to_owned();
    for claim in kube.list(&paths::claims(namespace)).await? {
        let bound = matches!(text(&claim, "/status/phase"), "Bound" | "Lost");
        let names = text(&claim, "/spec/volumeName").to_owned();
        seen.claims.insert(name(&claim), DiskClaim { bound, names });
    }
    for disk in kube.list(paths::VOLUMES).await? {
        let claim = format!("{}/{}", text(&disk, "/spec/claimRef/namespace"), text(&disk, "/spec/claimRef/name"));
        seen.disks.insert(name(&disk), DiskSeen { volume: ebs_volume(&disk), claim });
    }
    Ok(())
}

fn read_set(set: &Value) -> SetSeen {
    let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let containers = set.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let image = |container: &Value| {
        Some((container["name"].as_str()?.to_owned(), container["image"].as_str().unwrap_or_default().to_owned()))
    };
    SetSeen {
        replicas: number("/spec/replicas").unwrap_or(1).max(number("/status/replicas").unwrap_or(0)),
        first_ordinal: number("/spec/ordinals/start").unwrap_or(0),
        images: containers.into_iter().flatten().filter_map(image).collect(),
    }
}
