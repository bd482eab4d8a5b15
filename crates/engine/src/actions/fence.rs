//! The legacy side is down, and stays down: no pod may meet a live original, and what moves must be the last that was written.

use std::collections::BTreeMap;

use rehome_model::cloud::{Instance, InstanceState};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::plan::{Action, LAUNCHED_AT, Purpose, SnapshotPhase, Step};
use rehome_model::record::StepState;
use rehome_model::task::{HostTask, IS_BUSY};

use tokio::time::Instant;

use super::{hosts, instances};
use crate::context::{Outputs, SCRIPT_FAILED, StepContext};
use crate::error::StepError;
use crate::limits::FORGOTTEN;

/// Before the stop that makes it certain: nobody has started the member again since its volumes were captured. What it
/// acknowledged since is on no volume that moves (I2); while the instance could not be stopped, somebody may have. The
/// unmount once more tells: it does nothing where nothing is mounted, and fails where the service runs.
pub(super) async fn still_captured(context: &StepContext, instance: &InstanceId) -> Result<(), StepError> {
    let found = instances::describe(context, instance).await?;
    if found.state == InstanceState::Stopped && was_started(context, &found) {
        return Err(served(instance));
    }
    if found.state != InstanceState::Running {
        return Ok(());
    }
    let of_member = context.plan().members.iter().filter(|member| member.instance == *instance);
    let mount_points =
        of_member.flat_map(|member| member.volumes.iter().map(|volume| volume.mount_path.clone())).collect();
    match hosts::task(context, instance, &HostTask::Unmount { mount_points }).await {
        // At once: a service that is stopped meanwhile would hide that it ran.
        Err(error) if error.code == SCRIPT_FAILED && error.message.contains(IS_BUSY) => Err(StepError::failed(
            "ServedAfterCapture",
            format!("the member on {instance} runs again, after its volumes were captured: {}", error.message),
        )),
        done => done.map(|_| ()),
    }?;
    if was_started(context, &found) { note_harmless(context, &found).await } else { Ok(()) }
}

/// All legacy members are stopped, and their volumes are attached to nothing else: no pod can meet a live original. A driver that
/// takes up a run before the opening looks again: while nobody drove, somebody may have brought the legacy side back into
/// service. What it acknowledged is on no volume that moves.
pub(super) async fn fenced(
    context: &StepContext,
    legacy: &BTreeMap<InstanceId, Vec<VolumeId>>,
) -> Result<Outputs, StepError> {
    let ids: Vec<InstanceId> = legacy.keys().cloned().collect();
    let began = Instant::now();
    context
        .wait(async || {
            let found = context.cloud().instances(&ids).await?;
            for instance in found.iter().filter(|found| was_started(context, found)) {
                stop_again(context, instance).await?;
            }
            let running: Vec<String> = legacy
                .keys()
                .filter(|id| match found.iter().find(|found| found.id == **id) {
                    Some(found) => !is_down(found),
                    None => began.elapsed() < FORGOTTEN,
                })
                .map(ToString::to_string)
                .collect();
            Ok(if running.is_empty() { Ok(()) } else { Err(format!("not stopped: {}", running.join(", "))) })
        })
        .await?;
    let volumes: Vec<VolumeId> = legacy.values().flatten().cloned().collect();
    for volume in context.cloud().volumes(&volumes).await? {
        for attachment in &volume.attachments {
            let owner = legacy.get(&attachment.instance);
            if !owner.is_some_and(|volumes| volumes.contains(&volume.id)) {
                return Err(StepError::failed(
                    "LegacyVolumeMoved",
                    format!("legacy volume {} is attached to {}", volume.id, attachment.instance),
                ));
            }
        }
    }
    Ok(Outputs::new())
}

/// The same of one instance, right before the pod of its member may start. Between the fence and that look lie hours where a
/// snapshot takes long, and somebody may have lost patience.
pub(super) async fn stays_stopped(context: &StepContext, instance: &InstanceId) -> Result<(), StepError> {
    let began = Instant::now();
    context
        .wait(async || {
            let found = context.cloud().instances(std::slice::from_ref(instance)).await?;
            let Some(found) = found.first() else {
                let gone = began.elapsed() >= FORGOTTEN;
                return Ok(if gone { Ok(()) } else { Err(format!("{instance} is not shown")) });
            };
            if was_started(context, found) {
                stop_again(context, found).await?;
            }
            Ok(if is_down(found) { Ok(()) } else { Err(format!("{instance} is {}, not stopped", found.state)) })
        })
        .await
}

/// Whether a machine runs no more. One that somebody terminated after its capture is nothing to wait for: forward is the only
/// way left on which its member serves again.
fn is_down(found: &Instance) -> bool {
    matches!(found.state, InstanceState::Stopped | InstanceState::Terminated)
}

/// Whether the run has captured an instance's volumes for the last time.
pub(super) fn is_captured(context: &StepContext, instance: &InstanceId) -> bool {
    capture(context, instance)
        .and_then(|step| context.shared.step_record(&step.id))
        .is_some_and(|record| record.state == StepState::Done)
}

/// The step that captured an instance last.
fn capture<'a>(context: &'a StepContext, of: &InstanceId) -> Option<&'a Step> {
    let captures = |action: &Action| match action {
        Action::SnapshotInstance { instance, phase, .. } => instance == of && *phase == SnapshotPhase::Final,
        _ => false,
    };
    context.plan().steps.iter().find(|step| captures(&step.action))
}

/// Whether somebody has started the instance since its volumes were captured, as far as the record tells.
fn was_started(context: &StepContext, found: &Instance) -> bool {
    if context.plan().purpose != Purpose::Apply || context.undo {
        return false;
    }
    let known = capture(context, &found.id).and_then(|step| context.shared.output(&step.id, LAUNCHED_AT));
    matches!((known, found.launched_at_s), (Some(known), Some(now)) if known != now.to_string())
}

/// Writes down that the instance's last start was no service's: once stopped, it does not count as one that may have served.
async fn note_harmless(context: &StepContext, found: &Instance) -> Result<(), StepError> {
    let Some(step) = capture(context, &found.id) else { return Ok(()) };
    let (Some(mut record), Some(at)) = (context.shared.step_record(&step.id), found.launched_at_s) else {
        return Ok(());
    };
    record.outputs.insert(LAUNCHED_AT.to_owned(), at.to_string());
    context.shared.save_step(step, record).await
}

fn served(instance: &InstanceId) -> StepError {
    let message =
        format!("{instance} was started and stopped again after its volumes were captured: it may have served");
    StepError::failed("ServedAfterCapture", message)
}

/// An instance that was started since: stopped again where its service never ran. EC2 has neither a token for StartInstances
/// nor a protection from it: that of an earlier rollback's driver that stood still may arrive at any time. Where the service
/// may have run the run fails, and is taken back if it is not opened yet.
async fn stop_again(context: &StepContext, found: &Instance) -> Result<(), StepError> {
    let id = &found.id;
    if found.state == InstanceState::Stopped {
        return Err(served(id));
    }
    still_captured(context, id).await?;
    context.note(format!("{id} was started after this run had stopped it; it is stopped once more"));
    instances::stop(context, id).await.map(|_| ())
}

/// Sees the legacy instances stopped still, and stops again what runs: nothing of the old side should be up beside the new one.
/// One whose service runs is not touched: that is for a person to decide, or for the undo.
pub(super) async fn keep_stopped(context: &StepContext) -> Result<(), StepError> {
    let ids: Vec<InstanceId> = context.plan().members.iter().map(|member| member.instance.clone()).collect();
    // One that is terminated and forgotten nobody starts.
    let found = context.cloud().instances(&ids).await?;
    let up = found.iter().filter(|found| matches!(found.state, InstanceState::Pending | InstanceState::Running));
    for instance in up {
        stop_again(context, instance).await?;
    }
    Ok(())
}
