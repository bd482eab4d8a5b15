//! A migration that is completed, with writes on the new side, and the way back that keeps them.

use std::time::Duration;

use rehome_engine::{Command, Kube};
use rehome_model::ids::VolumeId;
use rehome_model::plan::Plan;
use rehome_model::record::Phase;
use rehome_sim::Scene;
use serde_json::json;

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

/// Somebody deletes an object of the cluster.
pub async fn delete_object(stage: &Stage, path: &str) {
    let kube = Kube::new(stage.ports.kube());
    let object = kube.get(path).await.expect("answered").expect("it is there");
    kube.delete(path, object["metadata"]["uid"].as_str().expect("a uid")).await.expect("deleted");
}

/// The path of a slot's claim.
pub fn claim_path(ordinal: u32) -> String {
    format!("/api/v1/namespaces/refdb/persistentvolumeclaims/data-refdb-{ordinal}")
}

/// Somebody makes a claim of the set that is bound to a volume of their own; answers that volume.
pub async fn bind_elsewhere(stage: &Stage, ordinal: u32) -> VolumeId {
    let volume = VolumeId::from(format!("vol-0000000000000e{ordinal:03}").as_str());
    bind_to(stage, ordinal, &volume).await;
    volume
}

/// The same of a volume that is there.
pub async fn bind_to(stage: &Stage, ordinal: u32, volume: &VolumeId) {
    let (name, disk) = (format!("data-refdb-{ordinal}"), format!("pvc-{ordinal}"));
    let zone = stage.world.ec2().with(|inner, _| inner.core.volumes.get(volume).map(|found| found.zone.clone()));
    let mut spec = json!({
        "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": volume, "fsType": "xfs"},
        "capacity": {"storage": "100Gi"}, "claimRef": {"namespace": "refdb", "name": name},
    });
    if let Some(zone) = zone {
        let expression = json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]});
        spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}});
    }
    stage.world.add_object("persistentvolumes", "", &disk, json!({"metadata": {}, "spec": spec}));
    let spec = json!({"volumeName": disk, "resources": {"requests": {"storage": "100Gi"}}});
    stage.world.add_object("persistentvolumeclaims", "refdb", &name, json!({"metadata": {}, "spec": spec}));
    tokio::time::sleep(Duration::from_secs(120)).await;
    let claim = Kube::new(stage.ports.kube()).get(&claim_path(ordinal)).await.expect("answered").expect("the claim");
    assert_eq!(claim["status"]["phase"], "Bound");
}
