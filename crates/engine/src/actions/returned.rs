//! Volumes that come back from the new side, and the originals that give way to them (invariants I1, I2, I3).

use rehome_model::cloud::{AttachmentState, InstanceState, Tags, Volume, VolumeState};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::labels;
use rehome_ports::{ErrorClass, ResourceId};
use tokio::time::Instant;

use super::instances;
use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::limits::NOT_FOUND_GRACE;

async fn look(context: &StepContext, volume: &VolumeId) -> Result<Option<Volume>, StepError> {
    let found = context.cloud().volumes(std::slice::from_ref(volume)).await?;
    Ok(found.into_iter().find(|found| !matches!(found.state, VolumeState::Deleted | VolumeState::Deleting)))
}

/// Sees every volume attached to nothing. The pods are gone; their nodes let go of the volumes by themselves, and only
/// after they have unmounted them: a detach from here could come in between.
pub(super) async fn detached(context: &StepContext, volumes: &[VolumeId]) -> Result<Outputs, StepError> {
    let started = Instant::now();
    context
        .wait(async || {
            let found = context.cloud().volumes(volumes).await?;
            for id in volumes {
                let Some(volume) = found.iter().find(|volume| volume.id == *id) else {
                    if started.elapsed() > NOT_FOUND_GRACE {
                        return Err(gone(id));
                    }
                    return Ok(Err(format!("{id} is not shown")));
                };
                if let Some(attachment) = volume.attachments.first() {
                    return Ok(Err(format!("{id} is {:?} to {}", attachment.state, attachment.instance)));
                }
                if volume.state != VolumeState::Available {
                    return Ok(Err(format!("{id} is {:?}", volume.state)));
                }
            }
            Ok(Ok(()))
        })
        .await?;
    Ok(Outputs::new())
}

fn gone(id: &VolumeId) -> StepError {
    StepError::failed("InvalidVolume.NotFound", format!("{id} is gone, and what was written to it since the opening"))
}

/// Takes the original off its stopped instance. It says where it was before it is detached; nothing deletes it.
pub(super) async fn keep(
    context: &StepContext,
    instance: &InstanceId,
    volume: &VolumeId,
    tags: &Tags,
) -> Result<Outputs, StepError> {
    context
        .wait(async || {
            let state = instances::describe(context, instance).await?.state;
            Ok(match state {
                InstanceState::Stopped => Ok(()),
                // What runs may have the volume mounted; and a stop of our own could arrive after the start below.
                _ => Err(format!("{instance} is {state}; it must be stopped before {volume} is taken off it")),
            })
        })
        .await?;
    match look(context, volume).await? {
        None => context.note(format!("{volume} is gone already; there is nothing to keep")),
        Some(found) if tags.iter().any(|(key, value)| found.tags.get(key) != Some(value)) => {
            context.may_act()?;
            context.cloud().tag(&ResourceId::Volume(volume.clone()), tags).await?;
        }
        Some(_) => {}
    }
    context
        .wait(async || {
            let Some(found) = look(context, volume).await? else { return Ok(Ok(())) };
            let Some(attachment) = found.attachments.iter().find(|attachment| attachment.instance == *instance) else {
                return Ok(Ok(()));
            };
            if matches!(attachment.state, AttachmentState::Attached | AttachmentState::Attaching) {
                context.may_act()?;
                context.cloud().detach_volume(volume, instance).await?;
            }
            Ok(Err(format!("{volume} is {:?} to {instance}", attachment.state)))
        })
        .await?;
    Ok(Outputs::new())
}

/// Gives a volume to the instance of its member, at the device of the one it replaces.
pub(super) async fn attach(
    context: &StepContext,
    volume: &VolumeId,
    instance: &InstanceId,
    device: &str,
) -> Result<Outputs, StepError> {
    let found = look(context, volume).await?.ok_or_else(|| gone(volume))?;
    // First: an undo, and `gc`, look for what the run made by the step that made it.
    let step = context.step.id.as_str();
    if found.tags.get(labels::STEP).map(String::as_str) != Some(step) {
        let tags = Tags::from([(labels::STEP.to_owned(), step.to_owned())]);
        context.may_act()?;
        context.cloud().tag(&ResourceId::Volume(volume.clone()), &tags).await?;
    }
    context
        .wait(async || {
            let found = look(context, volume).await?.ok_or_else(|| gone(volume))?;
            match found.attachments.as_slice() {
                [] => {
                    context.may_act()?;
                    match context.cloud().attach_volume(volume, instance, device).await? {
                        Ok(()) => Ok(Err(format!("{volume} is being attached to {instance}"))),
                        Err(error) if error.class() == ErrorClass::Wait => Ok(Err(error.message)),
                        // EC2 gives a device name free some time after it shows the detach.
                        Err(error) if error.message.contains("already in use") => Ok(Err(error.message)),
                        Err(error) => Err(error.into()),
                    }
                }
                [only] if only.instance == *instance && only.device != device => Err(StepError::failed(
                    "WrongDevice",
                    format!("{volume} is attached to {instance} as {}, not as {device}", only.device),
                )),
                [only] if only.instance == *instance && only.state == AttachmentState::Attached => Ok(Ok(())),
                [only, ..] => Ok(Err(format!("{volume} is {:?} to {}", only.state, only.instance))),
            }
        })
        .await?;
    let off = [(device.to_owned(), false)].into();
    instances::set_delete_on_termination(context, instance, &off).await?;
    Ok(Outputs::from([("attached".to_owned(), format!("{volume} {instance} {device}"))]))
}
