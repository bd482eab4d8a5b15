//! Every checker bites: a planted bug for each invariant, and the checker that must catch it.

use std::sync::{Arc, Mutex};

use crate::common::{End, Stage};
use crate::opened;
use rehome_ec2_emulator::api::{Action as Ec2, CopySnapshot, Reply, TagSpecification};
use rehome_engine::Command;
use rehome_model::cloud::Tags;
use rehome_model::ids::{RoleName, SnapshotId, StepId};
use rehome_model::labels;
use rehome_model::plan::{Action, Input, Plan, Undo};
use rehome_model::record::Phase;
use rehome_ports::{Cloud, CreateSnapshots};
use rehome_sim::{Call, Gate, Ruling, Scene, SimPorts, World, checks};
use serde_json::json;

/// The plan with steps that do nothing: they remove a ConfigMap that is not there.
fn no_op(plan: &mut Plan, prefix: &str) {
    for step in plan.steps.iter_mut().filter(|step| step.id.as_str().starts_with(prefix)) {
        step.action = Action::RemoveGate { config_map: "nothing-there".to_owned() };
        step.undo = Undo::Nothing("planted".to_owned());
    }
}

fn has(found: &[String], invariant: &str) -> bool {
    found.iter().any(|line| line.starts_with(invariant))
}

#[tokio::test(start_paused = true)]
async fn i1_a_member_that_runs_beside_its_pod_is_seen() {
    let stage = Stage::new(Scene::new(3, 21));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    stage.world.let_services_go();
    stage.ports.cloud().start_instance(&plan.members[0].instance).await.expect("it starts");
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert!(has(&checks::violations(&stage.world), "I1"));
}

#[tokio::test(start_paused = true)]
async fn without_its_fence_a_plan_releases_nothing() {
    let stage = Stage::new(Scene::new(3, 21));
    let mut plan = stage.plan().await;
    for step in ["stop-service", "unmount", "stop-instance", "legacy-fenced", "inspect-disk"] {
        no_op(&mut plan, step);
    }
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack);
    assert!(outcome.failure.is_some_and(|why| why.contains("is running, not stopped")));
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn i1_a_volume_mounted_twice_is_seen() {
    let stage = Stage::new(Scene::new(3, 21));
    stage.world.ec2().with(|inner, now| {
        let volume = inner.core.volumes.keys().find(|id| inner.disks.is_mounted(id)).cloned().expect("a mounted one");
        inner.disks.mount(&volume, "i-another", now);
    });
    assert!(has(&checks::violations(&stage.world), "I1"));
}

#[tokio::test(start_paused = true)]
async fn i2_a_capture_before_the_stop_loses_writes() {
    let stage = Stage::new(Scene::new(3, 22));
    let mut plan = stage.plan().await;
    // The final snapshot is taken while the members serve, and they stop after it.
    let before_stop = vec![StepId::from("legacy-whole")];
    for step in &mut plan.steps {
        if step.id.as_str().starts_with("final-snapshot") {
            step.after.clone_from(&before_stop);
        }
        if step.id.as_str().starts_with("stop-service") {
            let member = step.member.clone().expect("of a member");
            step.after = vec![StepId(format!("await-final-snapshot:{member}"))];
        }
        if step.id.as_str().starts_with("stop-instance") {
            let member = step.member.clone().expect("of a member");
            step.after = vec![StepId(format!("unmount:{member}"))];
        }
    }
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert!(has(&checks::lost_writes(&stage.world), "I2"));
}

#[tokio::test(start_paused = true)]
async fn i3_an_original_that_is_written_after_its_capture_is_seen() {
    let stage = Stage::new(Scene::new(3, 23));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert!(checks::originals_changed(&stage.world).is_empty());
    let volume = plan.members[0].volumes[0].legacy_volume.clone();
    stage.world.ec2().with(|inner, _| {
        inner.disks.write(&volume, "late", vec![1]);
        inner.disks.sync(&volume);
    });
    assert!(has(&checks::originals_changed(&stage.world), "I3"));
}

#[tokio::test(start_paused = true)]
async fn i4_two_swapped_slots_are_refused_by_the_engine_and_undone() {
    let stage = Stage::new(Scene::new(3, 24));
    let mut plan = stage.plan().await;
    let volume_of = |member: &str| Input::Output {
        step: StepId(format!("create-volume:{member}:data")),
        output: "volume".to_owned(),
    };
    for step in &mut plan.steps {
        if let Action::ReleaseVolume { member, volume, .. } = &mut step.action {
            match member.as_str() {
                "refdb-0" => *volume = volume_of("refdb-1"),
                "refdb-1" => *volume = volume_of("refdb-0"),
                _ => {}
            }
        }
        if step.id.as_str().starts_with("release-volume") {
            step.after.extend(["refdb-0", "refdb-1"].map(|m| StepId(format!("create-volume:{m}:data"))));
        }
    }
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack);
    assert!(outcome.failure.is_some_and(|why| why.contains("it is in us-east-1") || why.contains("was not made from")));
    assert_eq!(checks::legacy_serving(&stage.world), 3);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn i4_a_volume_behind_two_persistentvolumes_is_seen() {
    let stage = Stage::new(Scene::new(3, 24));
    let spec = json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}, "capacity": {"storage": "1Gi"}});
    for name in ["one", "two"] {
        stage.world.add_object("persistentvolumes", "", name, json!({"metadata": {}, "spec": spec}));
    }
    assert!(has(&checks::violations(&stage.world), "I4"));
}

#[tokio::test(start_paused = true)]
async fn i4_a_slot_whose_volume_is_gone_is_seen() {
    let stage = Stage::new(Scene::new(2, 25));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    let volume = opened::data_of(&stage, "refdb-1");
    stage.world.ec2().with(|inner, _| drop(inner.core.volumes.remove(&volume)));
    let found = checks::violations(&stage.world);
    assert!(found.iter().any(|line| line.starts_with("I4") && line.ends_with("holds None")), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn i5_a_set_scaled_up_without_parked_claims_starts_blank() {
    let stage = Stage::new(Scene::new(3, 25));
    stage.scale(3).await;
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert!(has(&checks::violations(&stage.world), "I5"));
}

#[tokio::test(start_paused = true)]
async fn i6_an_adopted_volume_that_is_not_retained_is_seen() {
    let stage = Stage::new(Scene::new(3, 26));
    let volume = json!({
        "metadata": {"labels": {labels::MIGRATION: "refdb"}},
        "spec": {
            "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}, "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Delete",
        },
    });
    stage.world.add_object("persistentvolumes", "", "adopted", volume);
    assert!(has(&checks::violations(&stage.world), "I6"));
}

#[tokio::test(start_paused = true)]
async fn i7_and_i8_a_snapshot_without_its_tags_and_one_made_twice_are_seen() {
    let stage = Stage::new(Scene::new(3, 27));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let tagged = |tags| CreateSnapshots {
        instance: plan.members[0].instance.clone(),
        exclude: Vec::new(),
        include_root: false,
        description: String::new(),
        tags,
    };
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let of_run: rehome_model::cloud::Tags =
        [labels::RUN, labels::STEP].map(|key| (key.to_owned(), "x".to_owned())).into();
    let mut of_member = of_run.clone();
    of_member.insert(labels::MEMBER.to_owned(), "refdb-0".to_owned());
    stage.world.ec2().create_snapshots(&tagged(of_member)).await.expect("taken");
    assert!(has(&checks::duplicates(&stage.world, 2, 1), "I8"));
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    stage.world.ec2().create_snapshots(&tagged(of_run)).await.expect("taken");
    assert!(has(&checks::duplicates(&stage.world, 2, 1), "I7"));
}

#[tokio::test(start_paused = true)]
async fn i8_without_the_look_by_tag_a_lost_reply_makes_two() {
    // The guard itself: with the tag lookup the fault tests find no duplicate; here the step's own tag is forgotten.
    let stage = Stage::new(Scene::new(1, 28));
    let plan = stage.plan().await;
    let Action::SnapshotInstance { volumes, .. } =
        &plan.step(&StepId::from("base-snapshot:refdb-0")).expect("a step").action
    else {
        panic!("not a snapshot")
    };
    assert_eq!(volumes.keys().collect::<Vec<_>>(), vec![&RoleName::from("data")]);
    let mut twice = plan.clone();
    let mut again = twice.step(&StepId::from("base-snapshot:refdb-0")).expect("a step").clone();
    again.id = StepId::from("base-snapshot-again:refdb-0");
    again.after.push(StepId::from("base-snapshot:refdb-0"));
    twice.steps.push(again);
    twice.steps.retain(|step| step.id.as_str() != "sweep");
    assert_eq!(stage.apply(&twice).await.outcome().phase, Phase::Completed);
    assert!(has(&checks::duplicates(&stage.world, 2, 1), "I8"));
}

#[tokio::test(start_paused = true)]
async fn i10_a_driver_whose_lease_was_taken_starts_nothing_more() {
    let stage = Stage::new(Scene::new(3, 30));
    let plan = stage.plan().await;
    let thief = async {
        tokio::time::sleep(std::time::Duration::from_secs(8)).await;
        let kube = rehome_engine::Kube::new(stage.ports.kube());
        let path = "/apis/coordination.k8s.io/v1/namespaces/refdb/leases/rehome-run-refdb";
        let patch = json!({"spec": {"holderIdentity": "thief"}});
        kube.merge_patch(path, &patch).await.expect("taken");
        tokio::time::sleep(rehome_engine::LEASE).await;
        stage.control.disarm();
        tokio::time::sleep(std::time::Duration::from_secs(300)).await;
        stage.control.names()
    };
    let (end, acts) = tokio::join!(stage.apply(&plan), thief);
    match end {
        End::Outcome(outcome) => assert!(outcome.interrupted, "{:?}", outcome.phase),
        End::Refused(error) => panic!("{error}"),
        End::Killed => panic!("killed"),
    }
    assert_eq!(acts, Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn rollback_without_a_run_is_refused_and_changes_nothing() {
    let stage = Stage::new(Scene::new(3, 31));
    match stage.drive(Command::RollbackDiscardWrites).await {
        End::Refused(error) => assert!(error.to_string().contains("no run of migration refdb")),
        End::Outcome(_) | End::Killed => panic!("there was nothing to roll back"),
    }
    assert_eq!(stage.control.names(), Vec::<&str>::new());
}

/// Somebody who copies every snapshot of the run with all its tags when the first volume is made from one.
struct Copier {
    world: World,
    copies: Mutex<Option<Vec<SnapshotId>>>,
}

impl Gate for Copier {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let mut copies = self.copies.lock().expect("whole");
        if call.name == "CreateVolume" && copies.is_none() {
            *copies = Some(self.world.ec2().with(|inner, now| {
                let region = inner.core.config.region.clone();
                let all: Vec<(SnapshotId, Tags)> =
                    inner.core.snapshots.iter().map(|(id, record)| (id.clone(), record.tags.clone())).collect();
                all.into_iter()
                    .filter_map(|(id, tags)| {
                        let tag_specifications = vec![TagSpecification::new("snapshot", tags)];
                        let request = CopySnapshot { tag_specifications, ..CopySnapshot::of(&region, id) };
                        match inner.call(now, &Ec2::CopySnapshot(request)) {
                            Ok(Reply::SnapshotId(copy)) => Some(copy),
                            _ => None,
                        }
                    })
                    .collect()
            }));
        }
        (0, Ruling::Go)
    }
}

#[tokio::test(start_paused = true)]
async fn i7_a_copy_of_a_snapshot_with_all_its_tags_is_its_makers() {
    let mut stage = Stage::new(Scene::new(2, 31));
    let plan = stage.plan().await;
    let copier = Arc::new(Copier { world: stage.world.clone(), copies: Mutex::default() });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&copier) as Arc<_>);
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let copies = copier.copies.lock().expect("whole").clone().expect("made");
    assert!(copies.len() >= 3, "both base ones, and a final one: {copies:?}");
    let there = async || {
        // What was just deleted may be shown for a while.
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let filter = rehome_ports::SnapshotFilter::Ids(copies.clone());
        stage.world.ec2().describe_snapshots(&filter).await.map_or(0, |found| found.len())
    };
    assert_eq!(there().await, copies.len(), "after the sweep");
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert_eq!(there().await, copies.len(), "after the rollback");
}
