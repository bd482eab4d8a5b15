//! What was prepared for the cutover, and somebody changes before it begins.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::Stage;
use crate::gate::{a_member_is_flushed, applied, change_image, ungate_set};
use rehome_ec2_emulator::core::InstanceRecord;
use rehome_ec2_emulator::disks::Content;
use rehome_model::ids::InstanceId;
use rehome_model::labels;
use rehome_model::record::Phase;
use rehome_sim::{Scene, World, checks};
use serde_json::json;

fn change_claim(world: &World, change: fn(&mut serde_json::Value)) {
    world.change_objects("persistentvolumeclaims", |claim| {
        if claim["metadata"]["name"] == "data-refdb-1" {
            change(claim);
        }
    });
}

fn ungate_by_a_second_variable(world: &World) {
    world.change_objects("statefulsets", |set| {
        let variables = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().expect("variables");
        variables.push(json!({"name": "REFDB_CLIENTS", "value": "open"}));
    });
}

/// Somebody meets a disk that is nearly full while the base snapshots are under way.
fn grow_a_volume(world: &World) {
    world.ec2().with(|inner, _| {
        for volume in inner.core.volumes.values_mut() {
            volume.spec.size_gib += 1;
        }
    });
}

fn attach_another_volume(world: &World) {
    world.ec2().with(|inner, now| {
        let has_data = |(_, found): &(&InstanceId, &InstanceRecord)| found.block_devices.len() > 1;
        let Some((member, _)) = inner.core.instances.iter().find(has_data) else { return };
        let member = member.clone();
        let Some(spec) = inner.core.volumes.values().next().map(|volume| volume.spec.clone()) else { return };
        let content = Content::with_files("ext4", BTreeMap::new());
        inner.core.add_volume(&mut inner.disks, now, &member, "/dev/sdz", spec, content, false);
    });
}

/// A run of another cluster that began at the same time, and whose tag came last.
fn hold_by_another(world: &World) {
    world.ec2().with(|inner, _| {
        for record in inner.core.instances.values_mut() {
            record.tags.insert(labels::HELD_BY.to_owned(), "refdb-elsewhere".to_owned());
        }
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_prepared_for_the_cutover_ends_the_run_while_all_members_serve() {
    type Case = (fn(&World), &'static str);
    let cases: [Case; 10] = [
        (
            |world| {
                change_claim(world, |claim| {
                    claim["metadata"]["finalizers"] = json!([]);
                    claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                });
            },
            "claim data-refdb-1 is gone; it was parked before",
        ),
        (|world| change_claim(world, |claim| claim["status"]["phase"] = json!("Bound")), "is Bound, not parked"),
        (
            |world| change_claim(world, |claim| claim["metadata"]["labels"] = json!({})),
            "does not belong to this migration",
        ),
        (ungate_set, "does not take REFDB_CLIENTS from its key"),
        (ungate_by_a_second_variable, "does not take REFDB_CLIENTS from its key"),
        (change_image, "its pods would start unchecked"),
        (
            |world| world.deny("create persistentvolumes"),
            "the cluster would not take PersistentVolume rehome-data-refdb-0-",
        ),
        (grow_a_volume, "GiB since the plan was made"),
        (attach_another_volume, "was attached to i-"),
        (hold_by_another, "is in the hands of run refdb-elsewhere"),
    ];
    for (act, why) in cases {
        let (stage, outcome, _) = applied(&[(a_member_is_flushed, act)], None).await;
        assert_eq!(outcome.phase, Phase::RolledBack, "{why}");
        let failure = outcome.failure.expect("a reason");
        assert!(failure.starts_with("legacy-whole") && failure.contains(why), "{why}: {failure}");
        assert!(!outcome.record.steps.keys().any(|id| id.as_str().starts_with("stop-service")), "{why}");
        assert_eq!(checks::legacy_serving(&stage.world), 3, "{why}");
    }
}

/// As a run that was begun by a rehome that tagged nothing.
fn hold_nothing(world: &World) {
    world.ec2().with(|inner, _| {
        for record in inner.core.instances.values_mut() {
            record.tags.remove(labels::HELD_BY);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_run_that_holds_nothing_yet_takes_its_instances_before_it_stops_one() {
    let (stage, outcome, _) = applied(&[(a_member_is_flushed, hold_nothing)], None).await;
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    let run = outcome.record.header.run.to_string();
    let held = stage.world.ec2().with(|inner, _| {
        inner.core.instances.values().filter(|record| record.tags.get(labels::HELD_BY) == Some(&run)).count()
    });
    assert_eq!(held, 3);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_cannot_be_tried_does_not_hold_up_the_cutover() {
    let stage = Stage::new(Scene::new(3, 55));
    stage.world.install_effective_webhook("labels.example.com");
    let outcome = stage.apply(&stage.plan().await).await.outcome();
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_mends_before_the_downtime_keeps_the_run_going() {
    let stage = Stage::new(Scene::new(3, 55));
    let plan = stage.plan().await;
    let gated = std::cell::RefCell::new(json!(null));
    stage.world.change_objects("statefulsets", |set| {
        let env = &mut set["spec"]["template"]["spec"]["containers"][0]["env"][3];
        gated.replace(env.take());
        *env = json!({"name": "REFDB_CLIENTS", "value": "open"});
    });
    let mends = async {
        let looks = async || {
            let recorded = rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await.ok()??;
            recorded.0.steps.get(&"flush:refdb-2".into()).map(|_| ())
        };
        while looks().await.is_none() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(checks::legacy_serving(&stage.world), 3, "production waits for nobody");
        stage.world.change_objects("statefulsets", |set| {
            set["spec"]["template"]["spec"]["containers"][0]["env"][3] = gated.borrow().clone();
        });
    };
    let (end, ()) = futures::join!(stage.apply(&plan), mends);
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
}
