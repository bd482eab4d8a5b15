//! The legacy instances: protection, stop, start, and the proof that all are stopped.

use std::collections::BTreeMap;

use rehome_model::cloud::{Instance, InstanceState};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::plan::{STOP_PROTECTION_WAS, TERMINATION_PROTECTION_WAS};
use rehome_model::task::HostTask;
use rehome_ports::{CloudError, ErrorClass, InstanceProtection};
use tokio::time::Instant;

use super::hosts;
use crate::cloud::Pace;
use crate::context::{Outputs, SCRIPT_FAILED, StepContext};
use crate::error::StepError;
use crate::limits::SETTLE;

/// Auto Scaling's word for a member it leaves alone.
const STANDBY: &str = "Standby";
const IN_SERVICE: &str = "InService";

/// An instance, without its Auto Scaling membership.
pub(super) async fn describe(context: &StepContext, instance: &InstanceId) -> Result<Instance, StepError> {
    let found = context.cloud().instances(std::slice::from_ref(instance)).await?;
    found.into_iter().next().ok_or_else(|| not_shown(instance))
}

fn not_shown(instance: &InstanceId) -> StepError {
    CloudError::new("DescribeInstances", "InvalidInstanceID.NotFound", format!("{instance} is not shown")).into()
}

/// Nothing but the user takes this instance or its volumes away.
pub(super) async fn protect(
    context: &StepContext,
    instance: &InstanceId,
    delete_on_termination: &BTreeMap<String, bool>,
    group: Option<&str>,
) -> Result<Outputs, StepError> {
    let off: BTreeMap<String, bool> = delete_on_termination.keys().map(|device| (device.clone(), false)).collect();
    let protected = context.cloud().is_protected(instance, InstanceProtection::Termination).await?;
    if protection_was(context).is_none() {
        // Before the act: afterwards nobody can tell whether it was the user's own protection.
        context.record_output(TERMINATION_PROTECTION_WAS, if protected { "on" } else { "off" }).await?;
    }
    if !protected {
        context.may_act()?;
        context.cloud().protect_instance(instance, InstanceProtection::Termination, true).await?;
    }
    set_delete_on_termination(context, instance, &off).await?;
    set_standby(context, instance, group, true).await?;
    Ok(Outputs::new())
}

/// Whether the instance was protected before `protect`, as the step's record says.
fn protection_was(context: &StepContext) -> Option<String> {
    context.record().and_then(|record| record.outputs.get(TERMINATION_PROTECTION_WAS).cloned())
}

/// Puts back what `protect` changed. But for one thing: the volumes of a member that a group takes back into its care
/// stay off DeleteOnTermination. A StopInstances of a driver that stood still may arrive after all is put back; the group
/// then replaces the stopped member, and its original would go with it (I3).
pub(super) async fn unprotect(
    context: &StepContext,
    instance: &InstanceId,
    delete_on_termination: &BTreeMap<String, bool>,
    group: Option<&str>,
) -> Result<Outputs, StepError> {
    set_standby(context, instance, group, false).await?;
    if group.is_none() {
        set_delete_on_termination(context, instance, delete_on_termination).await?;
    }
    // What the user had on stays on. Older records do not tell; their rollback has always switched it off.
    if protection_was(context).as_deref() != Some("on") {
        switch_off_protection(context, instance).await?;
    }
    Ok(Outputs::new())
}

/// Lifts what a member that came back needs no more. DeleteOnTermination stays off: its volume is the only one with all
/// writes.
pub(super) async fn give_back(
    context: &StepContext,
    instance: &InstanceId,
    group: Option<&str>,
    protected: bool,
) -> Result<Outputs, StepError> {
    set_standby(context, instance, group, false).await?;
    if !protected {
        switch_off_protection(context, instance).await?;
    }
    Ok(Outputs::new())
}

/// Lets the instance be terminated again.
pub(super) async fn switch_off_protection(context: &StepContext, instance: &InstanceId) -> Result<(), StepError> {
    if context.cloud().is_protected(instance, InstanceProtection::Termination).await? {
        context.may_act()?;
        context.cloud().protect_instance(instance, InstanceProtection::Termination, false).await?;
    }
    Ok(())
}

/// Sets DeleteOnTermination by device, and sees it set.
pub(super) async fn set_delete_on_termination(
    context: &StepContext,
    instance: &InstanceId,
    wanted: &BTreeMap<String, bool>,
) -> Result<(), StepError> {
    let differs = |found: &Instance| {
        found
            .block_devices
            .iter()
            .any(|device| wanted.get(&device.device).is_some_and(|wanted| *wanted != device.delete_on_termination))
    };
    if differs(&describe(context, instance).await?) {
        context.may_act()?;
        context.cloud().set_delete_on_termination(instance, wanted).await?;
    }
    context
        .wait(async || {
            let found = describe(context, instance).await?;
            Ok(if differs(&found) { Err(format!("DeleteOnTermination of {instance} changes")) } else { Ok(()) })
        })
        .await
}

async fn set_standby(
    context: &StepContext,
    instance: &InstanceId,
    group: Option<&str>,
    standby: bool,
) -> Result<(), StepError> {
    let Some(group) = group else { return Ok(()) };
    let wanted = if standby { STANDBY } else { IN_SERVICE };
    let look = async || -> Result<Option<String>, StepError> {
        let found = context.cloud().instance_in_group(instance).await?.ok_or_else(|| not_shown(instance))?;
        Ok(found.auto_scaling.map(|member| member.lifecycle_state))
    };
    if look().await?.as_deref() != Some(wanted) {
        context.may_act()?;
        context.cloud().set_standby(group, instance, standby).await?;
    }
    context
        .wait(async || {
            let now = look().await?.unwrap_or_default();
            Ok(if now == wanted { Ok(()) } else { Err(format!("{instance} is {now} in Auto Scaling group {group}")) })
        })
        .await
}

/// Before the stop that makes it certain: nobody has started the member again since its volumes were captured. What it
/// acknowledged since is on no volume that moves (I2); while the instance could not be stopped, somebody may have. The
/// unmount once more tells: it does nothing where nothing is mounted, and fails where the service runs.
pub(super) async fn still_captured(context: &StepContext, instance: &InstanceId) -> Result<(), StepError> {
    if describe(context, instance).await?.state != InstanceState::Running {
        return Ok(());
    }
    let of_member = context.plan().members.iter().filter(|member| member.instance == *instance);
    let mount_points =
        of_member.flat_map(|member| member.volumes.iter().map(|volume| volume.mount_path.clone())).collect();
    match hosts::task(context, instance, &HostTask::Unmount { mount_points }).await {
        // At once: a service that is stopped meanwhile would hide that it ran.
        Err(error) if error.code == SCRIPT_FAILED => Err(StepError::failed(
            "ServedAfterCapture",
            format!("the member on {instance} runs again, after its volumes were captured: {}", error.message),
        )),
        done => done.map(|_| ()),
    }
}

/// Stops an instance by a clean shutdown. A stop protection is lifted for it: the user's own, or that of a rollback.
pub(super) async fn stop(context: &StepContext, instance: &InstanceId) -> Result<Outputs, StepError> {
    match describe(context, instance).await?.state {
        InstanceState::Stopped | InstanceState::Stopping => {}
        InstanceState::Terminated | InstanceState::ShuttingDown => {
            return Err(StepError::failed("Terminated", format!("{instance} is terminated")));
        }
        InstanceState::Pending | InstanceState::Running => {
            match context.cloud().stop_instance(instance).await {
                // Protected, maybe in this very moment by a rollback's driver that stood still: lifted, and once more.
                Err(error) if error.code == "OperationNotPermitted" => {
                    if context.cloud().is_protected(instance, InstanceProtection::Stop).await? {
                        // Before the act: afterwards nobody can tell. That of an earlier rollback counts as the user's: on is safe.
                        if context.record().is_some() {
                            context.record_output(STOP_PROTECTION_WAS, "on").await?;
                        }
                        // It may be this driver that stood still: its own clock would not tell.
                        context.confirm_lease().await?;
                        context.cloud().protect_instance(instance, InstanceProtection::Stop, false).await?;
                    }
                    return Err(StepError::again(&error.code, error.message));
                }
                stopped => stopped?,
            }
        }
    }
    context
        .wait_at(Pace { kind: Some("stop-instance"), ..Pace::QUICK }, async || {
            let state = describe(context, instance).await?.state;
            Ok(if state == InstanceState::Stopped { Ok(()) } else { Err(format!("{instance} is {state:?}")) })
        })
        .await?;
    Ok(Outputs::new())
}

/// Keeps the instance from being stopped.
pub(super) async fn protect_from_stop(context: &StepContext, instance: &InstanceId) -> Result<(), StepError> {
    if !context.cloud().is_protected(instance, InstanceProtection::Stop).await? {
        context.may_act()?;
        context.cloud().protect_instance(instance, InstanceProtection::Stop, true).await?;
    }
    Ok(())
}

/// Starts an instance, for good: a StopInstances of a driver that stood still may arrive after it, and has no token that
/// would tell EC2 so. Stop protection is that token (invariant I10). It stays on, since nobody knows when such a driver
/// wakes.
pub(super) async fn start(context: &StepContext, instance: &InstanceId) -> Result<Outputs, StepError> {
    protect_from_stop(context, instance).await?;
    let mut sent: Option<Instant> = None;
    let pace = Pace { kind: Some("start-instance"), ..Pace::QUICK };
    context
        .wait_at(pace, async || {
            let state = describe(context, instance).await?.state;
            // One that falls back to stopped (no capacity, a volume whose key is gone) is started again, once its last start
            // must show.
            if state == InstanceState::Stopped && sent.is_none_or(|at| at.elapsed() >= SETTLE) {
                context.may_act()?;
                context.cloud().start_instance(instance).await?;
                sent = Some(Instant::now());
            }
            Ok(if state == InstanceState::Running { Ok(()) } else { Err(format!("{instance} is {state:?}")) })
        })
        .await?;
    Ok(Outputs::new())
}

/// All legacy members are stopped, and their volumes are attached to nothing else: no pod can meet a live original.
pub(super) async fn fenced(
    context: &StepContext,
    instances: &BTreeMap<InstanceId, Vec<VolumeId>>,
) -> Result<Outputs, StepError> {
    let ids: Vec<InstanceId> = instances.keys().cloned().collect();
    context
        .wait(async || {
            let found = context.cloud().instances(&ids).await?;
            let running: Vec<String> = instances
                .keys()
                .filter(|id| !found.iter().any(|i| i.id == **id && i.state == InstanceState::Stopped))
                .map(ToString::to_string)
                .collect();
            Ok(if running.is_empty() { Ok(()) } else { Err(format!("not stopped: {}", running.join(", "))) })
        })
        .await?;
    let volumes: Vec<VolumeId> = instances.values().flatten().cloned().collect();
    for volume in context.cloud().volumes(&volumes).await? {
        for attachment in &volume.attachments {
            let owner = instances.get(&attachment.instance);
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

/// Sees the legacy instances stopped still, and stops again what runs. EC2 has neither a token for StartInstances nor a
/// protection from it: that of an earlier rollback's driver that stood still may arrive when this run has stopped them
/// all. Its service is masked and serves nothing; but nothing of the old side should be up beside the new one.
pub(super) async fn keep_stopped(context: &StepContext) -> Result<(), StepError> {
    let ids: Vec<InstanceId> = context.plan().members.iter().map(|member| member.instance.clone()).collect();
    let found = match context.cloud().instances(&ids).await {
        Ok(found) => found,
        // One of them is terminated and forgotten. Nobody starts it, and of the others EC2 tells nothing in this answer.
        Err(error) if error.class() == ErrorClass::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let up = found.iter().filter(|found| matches!(found.state, InstanceState::Pending | InstanceState::Running));
    for instance in up {
        context.note(format!("{} was started after this run had stopped it; it is stopped once more", instance.id));
        stop(context, &instance.id).await?;
    }
    Ok(())
}
