//! The legacy instances: protection, stop, start.

use std::collections::BTreeMap;

use rehome_model::cloud::{Instance, InstanceState, StateReason, Tags};
use rehome_model::ids::InstanceId;
use rehome_model::labels;
use rehome_model::plan::{LEFT, STOP_PROTECTION_WAS, TERMINATION_PROTECTION_WAS};
use rehome_ports::{CloudError, InstanceProtection, ResourceId};
use tokio::time::Instant;

use super::fence;
use crate::cloud::Pace;
use crate::context::{Outputs, StepContext};
use crate::error::{StepError, StepErrorKind};
use crate::limits::SETTLE;

/// Auto Scaling's word for a member it leaves alone.
pub(super) const STANDBY: &str = "Standby";
const IN_SERVICE: &str = "InService";

/// An instance, without its Auto Scaling membership.
pub(super) async fn describe(context: &StepContext, instance: &InstanceId) -> Result<Instance, StepError> {
    let found = context.cloud().instances(std::slice::from_ref(instance)).await?;
    found.into_iter().next().ok_or_else(|| not_shown(instance))
}

pub(super) fn not_shown(instance: &InstanceId) -> StepError {
    CloudError::new("DescribeInstances", "InvalidInstanceID.NotFound", format!("{instance} is not shown")).into()
}

/// Nothing but the user takes this instance or its volumes away.
pub(super) async fn protect(
    context: &StepContext,
    instance: &InstanceId,
    delete_on_termination: &BTreeMap<String, bool>,
    group: Option<&str>,
) -> Result<Outputs, StepError> {
    hold(context, instance).await?;
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
    // Nothing of it is this run's any more: taken out of Standby, a stopped instance is terminated by its group.
    if let Some(other) = held_by_another(context, &describe(context, instance).await?) {
        let left = format!("{instance} is in the hands of run {other}: its protections are left as they are");
        context.note(left.clone());
        return Ok(Outputs::from([(LEFT.to_owned(), left)]));
    }
    set_standby(context, instance, group, false).await?;
    if group.is_none() {
        set_delete_on_termination(context, instance, delete_on_termination).await?;
    }
    // What the user had on stays on. Older records do not tell; their rollback has always switched it off.
    if protection_was(context).as_deref() != Some("on") {
        switch_off_protection(context, instance).await?;
    }
    let_go(context, instance).await?;
    Ok(Outputs::new())
}

/// The run that an instance is in the hands of, if it is another one than this.
pub(super) fn held_by_another<'a>(context: &StepContext, found: &'a Instance) -> Option<&'a str> {
    let holder = found.tags.get(labels::HELD_BY).map(String::as_str).unwrap_or_default();
    (!holder.is_empty() && holder != context.run().as_str()).then_some(holder)
}

/// Why a run may do nothing to it.
pub(super) fn not_ours(instance: &InstanceId, other: &str) -> StepError {
    StepError::failed(
        "HeldByAnother",
        format!(
            "{instance} is in the hands of run {other}, which may be another cluster's: roll that one back, or, if it no longer \
             exists and no pod runs on its volumes, empty the tag: aws ec2 create-tags --resources {instance} --tags Key={},Value=",
            labels::HELD_BY
        ),
    )
}

/// Takes an instance into this run's hands. Two runs that begin at the same time both do: whose tag stays is looked at once more
/// before the first stop.
pub(super) async fn hold(context: &StepContext, instance: &InstanceId) -> Result<(), StepError> {
    let run = context.run().to_string();
    let found = describe(context, instance).await?;
    if let Some(other) = held_by_another(context, &found) {
        // An earlier run of this record may have let go so lately that it is not shown yet.
        let error = not_ours(instance, other);
        return Err(StepError::again(error.code, error.message));
    }
    if found.tags.get(labels::HELD_BY) != Some(&run) {
        tag_holder(context, instance, run).await?;
    }
    Ok(())
}

/// Lets the next run have it. Whatever is shown: this run's own tag may be too young for that. Where it is refused for good,
/// somebody who plans again is told; what brings production back does not end for it.
pub(super) async fn let_go(context: &StepContext, instance: &InstanceId) -> Result<(), StepError> {
    match tag_holder(context, instance, String::new()).await {
        Err(error) if error.kind == StepErrorKind::Failed => {
            context.note(format!(
                "{instance} may keep its tag {}, which could not be emptied ({error}): until somebody does, the next plan takes it \
                 for another run's (RH0124)",
                labels::HELD_BY
            ));
            Ok(())
        }
        done => done,
    }
}

async fn tag_holder(context: &StepContext, instance: &InstanceId, run: String) -> Result<(), StepError> {
    let tags = Tags::from([(labels::HELD_BY.to_owned(), run)]);
    context.cloud().tag(&ResourceId::Instance(instance.clone()), &tags).await
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
    let_go(context, instance).await?;
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

/// Puts a member of a group into Standby, or back into service, and sees it there.
pub(super) async fn set_standby(
    context: &StepContext,
    instance: &InstanceId,
    group: Option<&str>,
    standby: bool,
) -> Result<(), StepError> {
    let Some(group) = group else { return Ok(()) };
    let wanted = if standby { STANDBY } else { IN_SERVICE };
    let look = async || -> Result<Option<String>, StepError> {
        let found = context.cloud().instances_in_groups(std::slice::from_ref(instance)).await?;
        let found = found.into_iter().next().ok_or_else(|| not_shown(instance))?;
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

/// Stops an instance by a clean shutdown. A stop protection is lifted for it: the user's own, or that of a rollback.
pub(super) async fn stop(context: &StepContext, instance: &InstanceId) -> Result<Outputs, StepError> {
    match describe(context, instance).await?.state {
        InstanceState::Stopped | InstanceState::Stopping => {}
        InstanceState::Terminated | InstanceState::ShuttingDown => return terminated(context, instance),
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
    let ended = context
        .wait_at(Pace { kind: Some("stop-instance"), ..Pace::QUICK }, async || {
            let state = describe(context, instance).await?.state;
            let ended = matches!(state, InstanceState::Terminated | InstanceState::ShuttingDown);
            let down = ended || state == InstanceState::Stopped;
            Ok(if down { Ok(ended) } else { Err(format!("{instance} is {state}")) })
        })
        .await?;
    if ended { terminated(context, instance) } else { Ok(Outputs::new()) }
}

/// Of an instance that was to stop. Once its volumes were captured it is down for good, and forward is the only way on which its
/// member serves again: no undo could start it.
fn terminated(context: &StepContext, instance: &InstanceId) -> Result<Outputs, StepError> {
    if !fence::is_captured(context, instance) {
        return Err(StepError::failed("Terminated", format!("{instance} is terminated")));
    }
    context.note(format!("{instance} was terminated, after its volumes were captured: its member has no way back"));
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

/// An error for one that never starts again.
fn not_terminated(instance: &InstanceId, state: InstanceState) -> Result<(), StepError> {
    if matches!(state, InstanceState::Terminated | InstanceState::ShuttingDown) {
        let why = format!("{instance} is terminated: it never starts again, and its member cannot come back on it");
        return Err(StepError::failed("Terminated", why));
    }
    Ok(())
}

/// Starts an instance, for good: a StopInstances of a driver that stood still may arrive after it, and has no token that
/// would tell EC2 so. Stop protection is that token (invariant I10). It stays on, since nobody knows when such a driver
/// wakes. Where it is refused for good the instance is started all the same: that such a stop arrives is rare, and
/// production is down for certain as long as the instance is.
pub(super) async fn start(context: &StepContext, instance: &InstanceId) -> Result<Outputs, StepError> {
    // Whoever empties the tag lets this go on.
    let of_nobody_else = async || {
        let found = describe(context, instance).await?;
        Ok(match held_by_another(context, &found) {
            Some(other) => Err(not_ours(instance, other).message),
            None => Ok(()),
        })
    };
    context.wait(of_nobody_else).await?;
    match protect_from_stop(context, instance).await {
        Err(error) if error.kind == StepErrorKind::Failed => context.note(format!(
            "{instance} is started without stop protection, which was refused ({error}): a stop that a driver which stood \
             still sends late is not kept off. If it stops again, start it by hand"
        )),
        Err(error) => {
            // EC2 answers IncorrectInstanceState for one that is terminated, as for one that is between two states.
            not_terminated(instance, describe(context, instance).await?.state)?;
            return Err(error);
        }
        Ok(()) => {}
    }
    let mut sent: Option<Instant> = None;
    let mut last = String::new();
    let pace = Pace { kind: Some("start-instance"), ..Pace::QUICK };
    context
        .wait_at(pace, async || {
            let Instance { state, state_reason, .. } = describe(context, instance).await?;
            not_terminated(instance, state)?;
            if state == InstanceState::Stopped && sent.is_some() {
                last = state_reason.as_ref().map(fell_back).unwrap_or_default();
            }
            // One that falls back to stopped (no capacity, a volume whose key is gone) is started again, once its last start
            // must show; to the deadline, whatever the reason: production has nothing better to wait for, and a permission or a
            // key that is given meanwhile lets the next one pass.
            if state == InstanceState::Stopped && sent.is_none_or(|at| at.elapsed() >= SETTLE) {
                context.may_act()?;
                context.cloud().start_instance(instance).await?;
                sent = Some(Instant::now());
            }
            Ok(if state == InstanceState::Running { Ok(()) } else { Err(format!("{instance} is {state}{last}")) })
        })
        .await?;
    Ok(Outputs::new())
}

/// What is said of a start from which an instance fell back; nothing where somebody stopped it.
fn fell_back(reason: &StateReason) -> String {
    if reason.is_a_stop() {
        return String::new();
    }
    // EC2 says no more of a key that it could not get a grant on for the caller (EC2 user guide, "Troubleshoot instance launch
    // issues": "Client.InternalError: Client error on launch").
    let mend = match reason.code.as_str() {
        "Client.InternalError" => {
            ": the caller needs kms:CreateGrant on the key of its volumes (`rehome iam` prints it), and the key must be enabled"
        }
        _ => "",
    };
    format!("; its last start ended with {}{mend}", reason.message)
}
