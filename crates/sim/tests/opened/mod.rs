//! A migration that is completed, with writes on the new side, and the way back that keeps them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use rehome_engine::Command;
use rehome_model::ids::VolumeId;
use rehome_model::plan::Plan;
use rehome_model::record::Phase;
use rehome_sim::Scene;

use crate::common::{End, Stage};

pub async fn completed(scene: Scene) -> (Stage, Plan) {
    let stage = Stage::new(scene);
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    // Clients write to the new side.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(stage.world.ledger().by_pods.len() > 100);
    (stage, plan)
}

pub async fn keep(stage: &Stage) -> End {
    stage.drive(Command::RollbackKeepWrites).await
}

pub fn refusal(end: End) -> String {
    match end {
        End::Refused(error) => error.to_string(),
        End::Outcome(outcome) => panic!("not refused: {:?}", outcome.phase),
        End::Killed => panic!("killed"),
    }
}

/// The volume that a pod writes to.
pub fn data_of(stage: &Stage, pod: &str) -> VolumeId {
    let landed = stage.world.landed().into_iter().find(|landed| landed.pod == pod).expect("it runs");
    VolumeId::from(landed.volume.as_str())
}

/// Changes a file on a volume.
pub fn change_text(stage: &Stage, volume: &VolumeId, path: &str, change: impl FnOnce(&str) -> String) {
    stage.world.ec2().with(|inner, _| {
        let text = String::from_utf8(inner.disks.read(volume, path).expect("it is there")).expect("text");
        let changed = change(&text);
        assert_ne!(changed, text);
        inner.disks.write(volume, path, changed.into_bytes());
        inner.disks.sync(volume);
    });
}
