//! A rollback that keeps writes is refused beforehand, with every reason, where it could lose one.

use std::time::Duration;

use crate::common::{End, Stage};
use crate::opened::{bind_elsewhere, change_text, claim_path, completed, data_of, delete_object, keep, refusal};
use rehome_engine::Command;
use rehome_model::cloud::{InstanceState, VolumeState};
use rehome_model::labels;
use rehome_model::record::Phase;
use rehome_ports::Cloud;
use rehome_sim::{Kill, Scene, checks};
use serde_json::json;

const SET: &str = "/apis/apps/v1/namespaces/refdb/statefulsets/refdb";

/// Asserts that nothing was changed and the new side serves.
async fn refused(stage: &Stage, members: usize, reasons: &[&str]) {
    stage.control.disarm();
    let error = refusal(keep(stage).await);
    for reason in reasons {
        assert!(error.contains(reason), "{reason:?} is not said: {error}");
    }
    assert_eq!(stage.control.names(), Vec::<&str>::new(), "a refusal changes nothing");
    assert_eq!(checks::pods_running(&stage.world), members);
}

/// Changes the volume that a member's pod writes to.
fn change_adopted(stage: &Stage, change: impl FnOnce(&mut rehome_ec2_emulator::core::VolumeRecord)) {
    stage.world.ec2().with(|inner, _| {
        let mut all = inner.core.volumes.values_mut();
        let of_member = |v: &&mut rehome_ec2_emulator::core::VolumeRecord| {
            v.tags.get(labels::STEP).is_some_and(|step| step == "create-volume:refdb-0:data")
        };
        change(all.find(of_member).expect("the volume of refdb-0"));
    });
}

#[tokio::test(start_paused = true)]
async fn before_the_opening_there_is_nothing_to_keep() {
    let stage = Stage::new(Scene::new(2, 78));
    assert!(refusal(keep(&stage).await).contains("no run of migration refdb"));
    let plan = stage.plan().await;
    stage.control.arm(60, Kill::Before);
    assert!(matches!(stage.apply(&plan).await, End::Killed));
    tokio::time::sleep(rehome_engine::LEASE).await;
    stage.control.disarm();
    let error = refusal(keep(&stage).await);
    assert!(error.contains("--discard-writes` loses nothing"), "{error}");
    assert_eq!(stage.control.names(), Vec::<&str>::new());
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert!(refusal(keep(&stage).await).contains("rolled back already"));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_discards_is_not_turned_into_one_that_keeps() {
    let (stage, _) = completed(Scene::new(2, 79)).await;
    stage.control.arm(10, Kill::Before);
    assert!(matches!(stage.drive(Command::RollbackDiscardWrites).await, End::Killed));
    stage.control.disarm();
    tokio::time::sleep(rehome_engine::LEASE).await;
    let error = refusal(keep(&stage).await);
    assert!(error.contains("--discard-writes"), "{error}");
    assert_eq!(stage.control.names(), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn after_a_finalize_it_is_refused() {
    let (stage, _) = completed(Scene::new(2, 80)).await;
    let at_ms = stage.world.ec2().now();
    let choice = rehome_model::record::FinalizeChoice { at_ms, keep_until_ms: at_ms + 1, release_legacy: false };
    assert_eq!(stage.drive(Command::Finalize(choice)).await.outcome().phase, Phase::Finalized);
    refused(&stage, 2, &["is finalized"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_in_another_zone_or_for_several_writers_or_gone_is_refused() {
    let (stage, _) = completed(Scene::new(2, 81)).await;
    change_adopted(&stage, |volume| volume.zone = "us-east-1z".into());
    refused(&stage, 2, &["is in us-east-1z", "EBS attaches within a zone only"]).await;

    let (stage, _) = completed(Scene::new(2, 81)).await;
    change_adopted(&stage, |volume| volume.multi_attach = true);
    refused(&stage, 2, &["attached to several instances"]).await;

    let (stage, _) = completed(Scene::new(2, 81)).await;
    change_adopted(&stage, |volume| volume.state = VolumeState::Error);
    refused(&stage, 2, &["is error"]).await;

    let (stage, _) = completed(Scene::new(2, 81)).await;
    stage.world.ec2().with(|inner, _| {
        let made = |v: &rehome_ec2_emulator::core::VolumeRecord| {
            v.tags.get(labels::STEP).is_some_and(|step| step == "create-volume:refdb-0:data")
        };
        let id = inner.core.volumes.iter().find(|(_, v)| made(v)).map(|(id, _)| id.clone()).expect("there");
        inner.core.volumes.remove(&id);
    });
    refused(&stage, 2, &["does not exist any more"]).await;
}

#[tokio::test(start_paused = true)]
async fn legacy_instances_that_are_gone_or_run_or_lost_their_volume_are_refused() {
    let (stage, plan) = completed(Scene::new(2, 82)).await;
    let (first, second) = (&plan.members[0].instance, &plan.members[1].instance);
    stage.world.ec2().with(|inner, _| {
        inner.core.instances.remove(first);
        inner
            .core
            .instances
            .get_mut(second)
            .expect("there")
            .block_devices
            .retain(|device| device.device != "/dev/xvdf");
    });
    refused(&stage, 2, &[&format!("its instance {first} does not exist"), "no device is known for its successor"])
        .await;

    let (stage, plan) = completed(Scene::new(2, 82)).await;
    stage.world.ec2().with(|inner, _| {
        let record = inner.core.instances.get_mut(&plan.members[0].instance).expect("there");
        record.state = InstanceState::Terminated;
    });
    refused(&stage, 2, &["is terminated"]).await;

    // Its service is masked, so that it meets nobody; but it may have the old volume mounted.
    let (stage, plan) = completed(Scene::new(2, 82)).await;
    stage.world.ec2().start_instance(&plan.members[0].instance).await.expect("started");
    tokio::time::sleep(Duration::from_secs(60)).await;
    refused(&stage, 2, &["is running, not stopped"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_image_of_another_version_or_a_set_that_is_gone_is_refused() {
    let (stage, _) = completed(Scene::new(2, 83)).await;
    let kube = rehome_engine::Kube::new(stage.ports.kube());
    for image in ["refdb:1.1", "refdb:latest", "refdb"] {
        let mut set = kube.get(SET).await.expect("answered").expect("the set");
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        kube.replace(SET, &set).await.expect("changed");
        refused(&stage, 2, &[&format!("its image is {image:?}, the legacy side runs 1.0")]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_were_added_since_are_refused() {
    let (stage, _) = completed(Scene::new(2, 84)).await;
    stage.scale(3).await;
    stage.control.disarm();
    let error = refusal(keep(&stage).await);
    assert!(error.contains("it has 3 pods, 2 were moved"), "{error}");
    assert_eq!(stage.control.names(), Vec::<&str>::new());
}

/// The set is down, and one of its claims is deleted.
async fn without_a_claim(seed: u64) -> (Stage, rehome_model::ids::VolumeId) {
    let (stage, _) = completed(Scene::new(2, seed)).await;
    let adopted = data_of(&stage, "refdb-1");
    stage.scale(0).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    delete_object(&stage, &claim_path(1)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    (stage, adopted)
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_was_replaced_since_the_opening_is_refused() {
    let (stage, adopted) = without_a_claim(98).await;
    let made = bind_elsewhere(&stage, 1).await;
    let is =
        format!("member refdb-1, role data: claim data-refdb-1 is bound to {made} (PersistentVolume pvc-1), not to");
    refused(&stage, 0, &[&is, &format!("is not on {adopted}"), "stay on the new side"]).await;
    // That it is taken away again does not bring back what was written to it.
    delete_object(&stage, &claim_path(1)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let was = format!("claim data-refdb-1 is bound to nothing now, and was to {made} (PersistentVolume pvc-1)");
    refused(&stage, 0, &[&was, &format!("not to {adopted}")]).await;
    // Nor is it known when what it is bound to is gone altogether.
    let (stage, _) = completed(Scene::new(2, 98)).await;
    stage.world.change_objects("persistentvolumeclaims", |claim| {
        if claim["metadata"]["name"] == "data-refdb-1" {
            claim["spec"]["volumeName"] = json!("pvc-1");
        }
    });
    refused(&stage, 2, &["is bound to PersistentVolume pvc-1, which does not exist any more, not to"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_only_deleted_has_left_its_volume_as_it_was() {
    let (stage, _) = without_a_claim(99).await;
    let outcome = keep(&stage).await.outcome();
    assert_eq!(outcome.phase, Phase::Returned, "{:?}", outcome.failure);
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_added_and_scaled_away_is_refused() {
    let (stage, _) = completed(Scene::new(2, 100)).await;
    stage.scale(0).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    // One that no pod ever ran on holds nothing.
    let spec = json!({"resources": {"requests": {"storage": "100Gi"}}});
    stage.world.add_object("persistentvolumeclaims", "refdb", "data-refdb-3", json!({"metadata": {}, "spec": spec}));
    bind_elsewhere(&stage, 2).await;
    stage.control.disarm();
    let error = refusal(keep(&stage).await);
    assert!(error.contains("claim data-refdb-2: it belongs to a member that was not moved"), "{error}");
    assert!(error.contains("decommission it, then delete the claim"), "{error}");
    assert!(!error.contains("data-refdb-3"), "{error}");
    assert_eq!(stage.control.names(), Vec::<&str>::new());
    delete_object(&stage, &claim_path(2)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
}

#[tokio::test(start_paused = true)]
async fn what_pods_say_of_a_stranger_or_another_version_is_refused() {
    let (stage, _) = completed(Scene::new(2, 93)).await;
    change_text(&stage, &data_of(&stage, "refdb-0"), "peers.json", |text| {
        text.replacen('{', r#"{"stranger":"10.9.9.9","#, 1)
    });
    refused(&stage, 2, &["sees member stranger at 10.9.9.9, which was not moved"]).await;

    let (stage, _) = completed(Scene::new(2, 93)).await;
    let newer = |text: &str| text.replace(r#""version":"1.0""#, r#""version":"1.1""#);
    change_text(&stage, &data_of(&stage, "refdb-1"), "identity.json", newer);
    stage.scale(0).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    stage.scale(2).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    refused(&stage, 2, &["pod refdb-1 runs 1.1, the legacy side 1.0"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_left_or_became_another_since_is_refused() {
    let (stage, plan) = completed(Scene::new(3, 93)).await;
    let (id, left) = (&plan.members[2].identity.id, "pod refdb-0 does not know it any more");
    // One that is only down comes back as it was.
    stage.scale(2).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(
        !matches!(stage.keep_writes_plan(&plan, &recorded(&stage).await).await, Err(error) if error.to_string().contains(left))
    );
    change_text(&stage, &data_of(&stage, "refdb-0"), "peers.json", |text| {
        let mut peers: serde_json::Value = serde_json::from_str(text).expect("peers");
        peers.as_object_mut().expect("by id").remove(id);
        peers.to_string()
    });
    refused(&stage, 2, &["member refdb-2: ", left, "removed or decommissioned", "stay on the new side"]).await;

    let (stage, _) = completed(Scene::new(2, 93)).await;
    let moved = |text: &str| text.replace(r#""tokens":""#, r#""tokens":"7,"#);
    change_text(&stage, &data_of(&stage, "refdb-1"), "identity.json", moved);
    stage.scale(0).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    stage.scale(2).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    refused(&stage, 2, &["member refdb-1: its pod is not the member that was moved: tokens"]).await;
}

/// The record as it stands.
async fn recorded(stage: &Stage) -> rehome_model::record::RunRecord {
    let recorded = rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await;
    recorded.expect("the cluster answers").expect("a run is recorded").0
}

#[tokio::test(start_paused = true)]
async fn what_the_survey_did_not_learn_of_the_hosts_is_refused() {
    for (source, reason) in [
        (None, "has no line for /var/lib/refdb"),
        (Some("/dev/xvdg"), "does not carry that name"),
        (Some("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123"), "does not carry that name"),
        (Some("/dev/nvme1n1"), "does not carry that name"),
    ] {
        let mut scene = Scene::new(2, 85);
        scene.host.fstab = source.map(str::to_owned);
        let (stage, _) = completed(scene).await;
        refused(&stage, 2, &[reason]).await;
    }
    let mut scene = Scene::new(2, 85);
    scene.host.mixed_owners = true;
    let (stage, _) = completed(scene).await;
    refused(&stage, 2, &["have several owners"]).await;

    // A plan of an older rehome does not say.
    let stage = Stage::new(Scene::new(2, 85));
    let mut plan = stage.plan().await;
    for volume in plan.members.iter_mut().flat_map(|member| &mut member.volumes) {
        volume.on_host = None;
    }
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    refused(&stage, 2, &["does not say how its host mounts it"]).await;
}

/// The caller is denied these from now on, and nothing else.
fn deny(stage: &Stage, actions: &[&str]) {
    let denied = actions.iter().map(|action| (*action).to_owned()).collect();
    stage.world.ec2().with(|inner, _| inner.core.config.denied = denied);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_may_not_do_is_told_at_once_while_the_new_side_serves() {
    let (stage, _) = completed(Scene::new(2, 97)).await;
    let needed = [
        "AttachVolume",
        "DetachVolume",
        "StartInstances",
        "CreateTags",
        "ModifyInstanceAttribute",
        "DescribeInstanceAttribute",
    ];
    deny(&stage, &needed);
    change_adopted(&stage, |volume| volume.multi_attach = true);
    let mut reasons = needed.map(|action| format!("permission ec2:{action}")).to_vec();
    reasons.push("attached to several instances".to_owned());
    let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
    refused(&stage, 2, &reasons).await;
    // What the return does not do is not asked about.
    change_adopted(&stage, |volume| volume.multi_attach = false);
    deny(&stage, &["StopInstances", "CreateSnapshots", "CreateVolume", "DeleteSnapshot", "DeleteVolume"]);
    let dry_runs = stage.world.ec2().with(|inner, _| inner.core.dry_runs.clone());
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    let of = |action: &str| stage.world.ec2().with(|inner, _| inner.core.dry_runs.get(action).copied());
    for action in ["DeleteVolume", "CreateSnapshots"] {
        assert_eq!(of(action), dry_runs.get(action).copied(), "{action}");
    }
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}
