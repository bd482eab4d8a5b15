//! Volumes that others made and that bear a run's tags, on each way back.

use std::time::Duration;

use crate::common::Stage;
use crate::opened::{completed, data_of};
use rehome_engine::Command;
use rehome_model::cloud::{Volume, VolumeState};
use rehome_model::event::{Event, EventKind};
use rehome_model::ids::{SnapshotId, VolumeId};
use rehome_model::record::Phase;
use rehome_ports::{Cloud, CreateVolume, VolumeFilter};
use rehome_sim::{Scene, checks};

async fn volume(stage: &Stage, id: &VolumeId) -> Option<Volume> {
    let found = stage.world.ec2().describe_volumes(&VolumeFilter::Ids(vec![id.clone()])).await.expect("described");
    found.into_iter().find(|volume| !matches!(volume.state, VolumeState::Deleting | VolumeState::Deleted))
}

/// A volume with all the tags of the one that a pod writes to.
async fn with_its_tags(stage: &Stage, pod: &str, token: &str) -> VolumeId {
    let adopted = volume(stage, &data_of(stage, pod)).await.expect("there");
    let request = CreateVolume {
        snapshot: adopted.snapshot.expect("from a snapshot"),
        zone: adopted.zone,
        spec: adopted.spec,
        tags: adopted.tags,
        token: token.to_owned(),
    };
    stage.world.ec2().create_volume(&request).await.expect("made").id
}

/// One that a backup tool restored of what it captured itself, and one that a lost reply made twice.
async fn restored_and_made_twice(stage: &Stage) -> (VolumeId, VolumeId) {
    let restored = with_its_tags(stage, "refdb-1", "restored").await;
    let twice = with_its_tags(stage, "refdb-1", "twice").await;
    stage.world.ec2().with(|inner, _| {
        let backup = SnapshotId::from("snap-0123456789abcdef0");
        inner.core.volumes.get_mut(&restored).expect("there").snapshot = Some(backup);
    });
    tokio::time::sleep(Duration::from_secs(120)).await;
    (restored, twice)
}

fn told(events: &[Event], of: &VolumeId) -> usize {
    let is = |event: &&Event| matches!(&event.kind, EventKind::Note { text } if text.starts_with(of.as_str()) && text.contains("it was left"));
    events.iter().filter(is).count()
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_discards_writes_deletes_what_the_run_made_and_not_what_bears_its_tags() {
    let (stage, _) = completed(Scene::new(2, 113)).await;
    let (restored, twice) = restored_and_made_twice(&stage).await;
    let (end, events) = stage.drive_with_events(Command::RollbackDiscardWrites).await;
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
    assert!(volume(&stage, &restored).await.is_some(), "the restored backup was deleted");
    assert!(volume(&stage, &twice).await.is_none());
    assert_eq!((told(&events, &restored), told(&events, &twice)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_sweep_leaves_what_somebody_restored_or_holds() {
    let (stage, _) = completed(Scene::new(2, 114)).await;
    let (restored, twice) = restored_and_made_twice(&stage).await;
    let held = with_its_tags(&stage, "refdb-1", "held").await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let zone = volume(&stage, &held).await.expect("made").zone;
    let node = stage.world.ec2().with(|inner, _| {
        let mut nodes = inner.core.instances.iter().filter(|(_, record)| record.private_ip.starts_with("10.0.9."));
        nodes.find(|(_, record)| record.zone == zone).map(|(id, _)| id.clone()).expect("a node")
    });
    stage.world.ec2().attach_volume(&held, &node, "/dev/xvdz").await.expect("attached");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (end, events) = stage.drive_with_events(Command::RollbackKeepWrites).await;
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::Returned, "{:?}", outcome.failure);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(volume(&stage, &restored).await.is_some(), "the restored backup was deleted");
    assert!(volume(&stage, &twice).await.is_none());
    assert!(volume(&stage, &held).await.is_some());
    assert_eq!(told(&events, &restored), 1);
}
