//! Attachments.

use rehome_model::cloud::{AttachmentState, Tags, VolumeState};
use rehome_model::ids::{InstanceId, VolumeId};

use super::check::{Checked, Under, fails, holds, only, same};
use super::volumes::from;
use crate::error::ErrorClass;

/// A volume that is attached to nothing, beside an instance.
async fn free_volume(under: Under<'_>, name: &str) -> Checked<(InstanceId, VolumeId)> {
    let (instance, snapshot) = under.completed_snapshot().await?;
    let volume = under.cloud.create_volume(&from(&instance, &snapshot, name)).await?.id;
    under.world.settle().await;
    Ok((instance.id, volume))
}

pub(super) async fn attached(under: Under<'_>) -> Checked {
    let (instance, volume) = free_volume(under, "attach").await?;
    under.cloud.attach_volume(&volume, &instance, "/dev/xvdp").await?;
    under.world.settle().await;
    let found = under.volume(&volume).await?;
    same("the volume's state", &found.state, &VolumeState::InUse)?;
    let attachment = only(found.attachments)?;
    let seen = (&attachment.instance, attachment.device.as_str(), attachment.state);
    same("the attachment", &seen, &(&instance, "/dev/xvdp", AttachmentState::Attached))?;
    let listed = under.instance(&instance).await?.block_devices;
    holds(listed.iter().any(|device| device.volume == volume && device.device == "/dev/xvdp"), || format!("{listed:?}"))
}

pub(super) async fn attach_twice(under: Under<'_>) -> Checked {
    let (instance, volume) = free_volume(under, "attach-twice").await?;
    under.cloud.attach_volume(&volume, &instance, "/dev/xvdp").await?;
    under.world.settle().await;
    under.cloud.attach_volume(&volume, &instance, "/dev/xvdp").await?;
    only(under.volume(&volume).await?.attachments).map(|_| ())
}

pub(super) async fn attach_elsewhere(under: Under<'_>) -> Checked {
    let (instance, volume) = free_volume(under, "elsewhere").await?;
    under.cloud.attach_volume(&volume, &instance, "/dev/xvdp").await?;
    under.world.settle().await;
    let other = under.world.instance(&Tags::new()).await;
    let error = fails("VolumeInUse", under.cloud.attach_volume(&volume, &other, "/dev/xvdp").await)?;
    same("the class", &error.class(), &ErrorClass::Wait)?;
    same("the holder", &only(under.volume(&volume).await?.attachments)?.instance, &instance)
}

pub(super) async fn detached(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    let volume = under.world.volume(&instance, "/dev/xvdf", 1).await;
    under.cloud.detach_volume(&volume, &instance).await?;
    under.world.settle().await;
    let found = under.volume(&volume).await?;
    same("the state", &found.state, &VolumeState::Available)?;
    same("the attachments", &found.attachments, &Vec::new())?;
    let listed = under.instance(&instance).await?.block_devices;
    holds(listed.iter().all(|device| device.volume != volume), || format!("{listed:?}"))
}

pub(super) async fn detach_twice(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    let volume = under.world.volume(&instance, "/dev/xvdf", 1).await;
    under.cloud.detach_volume(&volume, &instance).await?;
    under.cloud.detach_volume(&volume, &instance).await?;
    under.world.settle().await;
    under.cloud.detach_volume(&volume, &instance).await.map_err(Into::into)
}

pub(super) async fn never_forced(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    let volume = under.world.volume(&instance, "/dev/xvdf", 1).await;
    under.world.set_mounted(&volume, &instance, true).await;
    under.cloud.detach_volume(&volume, &instance).await?;
    under.world.settle().await;
    same("the state while mounted", &only(under.volume(&volume).await?.attachments)?.state, &AttachmentState::Busy)?;
    under.world.set_mounted(&volume, &instance, false).await;
    under.world.settle().await;
    same("the attachments once unmounted", &under.volume(&volume).await?.attachments, &Vec::new())
}
