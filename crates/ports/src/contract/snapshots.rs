//! Snapshots.

use std::collections::BTreeSet;

use rehome_model::cloud::{Snapshot, SnapshotState, Tags};
use rehome_model::ids::{SnapshotId, VolumeId};

use super::check::{Checked, Under, capture, holds, only, same, tags, unique};
use crate::cloud::SnapshotFilter;

fn captured_volumes(made: &[Snapshot]) -> BTreeSet<VolumeId> {
    made.iter().map(|snapshot| snapshot.volume.clone()).collect()
}

pub(super) async fn unknown_ids(under: Under<'_>) -> Checked {
    let (_, there) = under.completed_snapshot().await?;
    let filter = SnapshotFilter::Ids(vec![SnapshotId::from("snap-00000000000000001"), there.id.clone()]);
    same("the answer", &only(under.cloud.describe_snapshots(&filter).await?)?.id, &there.id)
}

pub(super) async fn no_ids(under: Under<'_>) -> Checked {
    under.completed_snapshot().await?;
    same("the answer", &under.cloud.describe_snapshots(&SnapshotFilter::Ids(Vec::new())).await?, &Vec::new())
}

pub(super) async fn captured(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    let data = under.world.volume(&instance, "/dev/xvdf", 3).await;
    let log = under.world.volume(&instance, "/dev/xvdg", 2).await;
    let made = under.cloud.create_snapshots(&capture(&instance, "base")).await?;
    same("the volumes", &captured_volumes(&made), &BTreeSet::from([data.clone(), log]))?;
    same("their number", &made.len(), &2)?;
    let instants: BTreeSet<u64> = made.iter().map(|snapshot| snapshot.started_at_ms).collect();
    same("the number of instants", &instants.len(), &1)?;
    let of_data = made.iter().find(|snapshot| snapshot.volume == data);
    same("the size", &of_data.map(|snapshot| snapshot.volume_size_gib), &Some(3))?;
    let wanted = tags(&[("step", "base")]);
    holds(made.iter().all(|snapshot| snapshot.tags == wanted), || format!("{made:?}"))?;
    under.world.settle().await;
    let found = under.cloud.describe_snapshots(&SnapshotFilter::Ids(made.into_iter().map(|s| s.id).collect())).await?;
    holds(found.len() == 2 && found.iter().all(|snapshot| snapshot.tags == wanted), || format!("{found:?}"))
}

pub(super) async fn chosen(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    let data = under.world.volume(&instance, "/dev/xvdf", 1).await;
    let log = under.world.volume(&instance, "/dev/xvdg", 1).await;
    let described = under.instance(&instance).await?;
    let root = described.block_devices.iter().find(|device| Some(&device.device) == described.root_device.as_ref());
    let root = root.map(|device| device.volume.clone()).into_iter();
    let mut request = capture(&instance, "chosen");
    request.include_root = true;
    request.exclude = vec![log];
    let made = under.cloud.create_snapshots(&request).await?;
    same("the volumes", &captured_volumes(&made), &root.chain([data]).collect())
}

pub(super) async fn twice(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.world.volume(&instance, "/dev/xvdf", 1).await;
    let request = capture(&instance, &unique("twice", &instance));
    let first = only(under.cloud.create_snapshots(&request).await?)?;
    under.world.settle().await;
    let second = only(under.cloud.create_snapshots(&request).await?)?;
    under.world.settle().await;
    let found = under.cloud.describe_snapshots(&SnapshotFilter::Tags(request.tags)).await?;
    let mut both = vec![first.id, second.id];
    both.sort();
    same("what the tags find", &found.into_iter().map(|snapshot| snapshot.id).collect(), &both)
}

pub(super) async fn completes(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.world.volume(&instance, "/dev/xvdf", 1).await;
    let made = only(under.cloud.create_snapshots(&capture(&instance, "completes")).await?)?;
    same("the state at first", &made.state, &SnapshotState::Pending)?;
    under.world.settle().await;
    let shown = under.snapshot(&made.id).await?;
    same("the end", &(shown.state, shown.progress_percent), &(SnapshotState::Completed, 100))?;
    same("the instant", &shown.started_at_ms, &made.started_at_ms)
}

pub(super) async fn by_tags(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.world.volume(&instance, "/dev/xvdf", 1).await;
    let run = unique("r", &instance);
    let mut request = capture(&instance, "one");
    request.tags = tags(&[("run", &run), ("step", "one")]);
    let made = only(under.cloud.create_snapshots(&request).await?)?;
    under.world.settle().await;
    request.tags = tags(&[("run", &run), ("step", "two")]);
    under.cloud.create_snapshots(&request).await?;
    under.world.settle().await;
    let found = under.cloud.describe_snapshots(&SnapshotFilter::Tags(tags(&[("run", &run), ("step", "one")]))).await?;
    same("the match", &only(found)?.id, &made.id)
}

pub(super) async fn delete_twice(under: Under<'_>) -> Checked {
    let (_, snapshot) = under.completed_snapshot().await?;
    under.cloud.delete_snapshot(&snapshot.id).await?;
    under.world.settle().await;
    under.cloud.delete_snapshot(&snapshot.id).await?;
    let shown = under.cloud.describe_snapshots(&SnapshotFilter::Ids(vec![snapshot.id])).await?;
    same("what is left", &shown, &Vec::new())
}
