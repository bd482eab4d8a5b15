//! Volumes.

use rehome_model::cloud::{Instance, Snapshot, Tags, VolumeSpec, VolumeState};
use rehome_model::ids::VolumeId;

use super::check::{Checked, Under, capture, fails, holds, only, same, tags, unique};
use crate::cloud::{CreateVolume, VolumeFilter};
use crate::error::ErrorClass;

/// For how many calls a new snapshot may not be found yet.
const UNSEEN_CALLS: u32 = 20;

/// A request for an 8 GiB gp3 volume beside the instance (gp3 has at most 500 operations a second per GiB).
pub(super) fn from(instance: &Instance, snapshot: &Snapshot, name: &str) -> CreateVolume {
    CreateVolume {
        snapshot: snapshot.id.clone(),
        zone: instance.zone.clone(),
        spec: VolumeSpec {
            volume_type: "gp3".to_owned(),
            size_gib: 8,
            iops: Some(4000),
            throughput_mib_s: Some(250),
            encrypted: false,
            kms_key_id: None,
        },
        tags: tags(&[("step", name)]),
        token: unique(name, &snapshot.id),
    }
}

pub(super) async fn unknown_ids(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    let there = under.world.volume(&instance, "/dev/xvdf", 1).await;
    let filter = VolumeFilter::Ids(vec![VolumeId::from("vol-00000000000000001"), there.clone()]);
    same("the answer", &only(under.cloud.describe_volumes(&filter).await?)?.id, &there)
}

pub(super) async fn default_key(under: Under<'_>) -> Checked {
    let (instance, snapshot) = under.completed_snapshot().await?;
    same("the key", &under.cloud.default_key().await?, &None)?;
    under.world.set_denied("GetEbsEncryptionByDefault", true).await;
    let denied = under.cloud.default_key().await;
    under.world.set_denied("GetEbsEncryptionByDefault", false).await;
    under.world.set_encrypting(true).await;
    let key = under.cloud.default_key().await;
    let made = under.cloud.create_volume(&from(&instance, &snapshot, "encrypted")).await;
    under.world.set_encrypting(false).await;
    same("the class", &fails("UnauthorizedOperation", denied)?.class(), &ErrorClass::Stop)?;
    same("the key that AWS manages", &key?.as_deref(), &Some("alias/aws/ebs"))?;
    holds(made?.spec.encrypted, || "a volume of an unencrypted snapshot is not encrypted".to_owned())
}

pub(super) async fn no_ids(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.world.volume(&instance, "/dev/xvdf", 1).await;
    same("the answer", &under.cloud.describe_volumes(&VolumeFilter::Ids(Vec::new())).await?, &Vec::new())
}

pub(super) async fn in_order(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    let mut ids = Vec::new();
    for device in ["/dev/xvdf", "/dev/xvdg", "/dev/xvdh"] {
        ids.push(under.world.volume(&instance, device, 1).await);
    }
    ids.sort();
    let asked = VolumeFilter::Ids(ids.iter().rev().cloned().collect());
    let found = under.cloud.describe_volumes(&asked).await?;
    same("the order", &found.into_iter().map(|volume| volume.id).collect(), &ids)
}

pub(super) async fn made(under: Under<'_>) -> Checked {
    let (instance, snapshot) = under.completed_snapshot().await?;
    let request = from(&instance, &snapshot, "made");
    let answered = under.cloud.create_volume(&request).await?;
    same("the answered tags", &answered.tags, &request.tags)?;
    under.world.settle().await;
    let volume = under.volume(&answered.id).await?;
    same("the state", &volume.state, &VolumeState::Available)?;
    same("the spec", &volume.spec, &request.spec)?;
    same("the zone", &volume.zone, &instance.zone)?;
    same("the snapshot", &volume.snapshot, &Some(snapshot.id))?;
    same("the tags", &volume.tags, &request.tags)?;
    same("the attachments", &volume.attachments, &Vec::new())?;
    holds(!volume.multi_attach && volume.created_at_ms >= snapshot.started_at_ms, || format!("{volume:?}"))
}

pub(super) async fn same_token(under: Under<'_>) -> Checked {
    let (instance, snapshot) = under.completed_snapshot().await?;
    let request = from(&instance, &snapshot, "same-token");
    let first = under.cloud.create_volume(&request).await?.id;
    same("the second answer", &under.cloud.create_volume(&request).await?.id, &first)?;
    under.world.settle().await;
    same("the third answer", &under.cloud.create_volume(&request).await?.id, &first)
}

pub(super) async fn token_mismatch(under: Under<'_>) -> Checked {
    let (instance, snapshot) = under.completed_snapshot().await?;
    let request = from(&instance, &snapshot, "mismatch");
    under.cloud.create_volume(&request).await?;
    let mut other = request;
    other.spec.size_gib += 1;
    let error = fails("IdempotentParameterMismatch", under.cloud.create_volume(&other).await)?;
    same("the class", &error.class(), &ErrorClass::Decide)
}

pub(super) async fn pending_snapshot(under: Under<'_>) -> Checked {
    let id = under.world.instance(&Tags::new()).await;
    under.world.volume(&id, "/dev/xvdf", 1).await;
    let instance = under.instance(&id).await?;
    let snapshot = only(under.cloud.create_snapshots(&capture(&id, "pending")).await?)?;
    let request = from(&instance, &snapshot, "pending");
    let mut refused = under.cloud.create_volume(&request).await;
    for _ in 0..UNSEEN_CALLS {
        if refused.as_ref().is_err_and(|error| error.class() == ErrorClass::NotFound) {
            refused = under.cloud.create_volume(&request).await;
        }
    }
    same("the class", &fails("IncorrectState", refused)?.class(), &ErrorClass::Wait)?;
    under.world.settle().await;
    under.cloud.create_volume(&request).await.map(|_| ()).map_err(Into::into)
}

pub(super) async fn by_tags(under: Under<'_>) -> Checked {
    let (instance, snapshot) = under.completed_snapshot().await?;
    let run = unique("r", &snapshot.id);
    let mut wanted = from(&instance, &snapshot, "by-tags-1");
    wanted.tags = tags(&[("run", &run), ("role", "data")]);
    let mut other = from(&instance, &snapshot, "by-tags-2");
    other.tags = tags(&[("run", &run), ("role", "commitlog")]);
    let made = under.cloud.create_volume(&wanted).await?;
    under.cloud.create_volume(&other).await?;
    under.world.settle().await;
    let found = under.cloud.describe_volumes(&VolumeFilter::Tags(wanted.tags)).await?;
    same("the match", &only(found)?.id, &made.id)
}

pub(super) async fn delete_twice(under: Under<'_>) -> Checked {
    let (instance, snapshot) = under.completed_snapshot().await?;
    let volume = under.cloud.create_volume(&from(&instance, &snapshot, "delete")).await?.id;
    under.world.settle().await;
    under.cloud.delete_volume(&volume).await?;
    under.world.settle().await;
    under.cloud.delete_volume(&volume).await?;
    under.cloud.delete_volume(&VolumeId::from("vol-00000000000000001")).await?;
    let shown = under.cloud.describe_volumes(&VolumeFilter::Ids(vec![volume])).await?;
    holds(shown.iter().all(|volume| volume.state == VolumeState::Deleted), || format!("{shown:?}"))
}

pub(super) async fn delete_attached(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    let volume = under.world.volume(&instance, "/dev/xvdf", 1).await;
    let error = fails("VolumeInUse", under.cloud.delete_volume(&volume).await)?;
    same("the class", &error.class(), &ErrorClass::Wait)?;
    same("the state", &under.volume(&volume).await?.state, &VolumeState::InUse)
}
