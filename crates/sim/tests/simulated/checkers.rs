//! Every checker bites: a planted bug for each invariant, and the checker that must catch it.

use std::sync::{Arc, Mutex};

use crate::common::{End, Stage};
use rehome_ec2_emulator::api::{Action as Ec2, CopySnapshot, Reply, TagSpecification};
use rehome_engine::Command;
use rehome_model::cloud::{InstanceState, Tags};
use rehome_model::ids::{InstanceId, RoleName, SnapshotId, StepId};
use rehome_model::labels;
use rehome_model::plan::{Action, Input, Plan, Undo};
use rehome_model::record::Phase;
use rehome_ports::{Cloud, CreateSnapshots};
use rehome_sim::{Call, Gate, Mishap, Port, Ruling, Scene, SimPorts, World, checks};
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
async fn i9_facts_that_changed_since_the_plan_are_named() {
    let stage = Stage::new(Scene::new(3, 29));
    let plan = stage.plan().await;
    let begun = std::collections::BTreeSet::new();
    assert!(rehome_planner::differences(&plan, &stage.survey().await, &begun).is_empty());
    stage.world.ec2().with(|inner, _| {
        let record = inner.core.volumes.get_mut(&plan.members[1].volumes[0].legacy_volume).expect("it is there");
        record.spec.size_gib += 1;
        inner.core.instances.get_mut(&plan.members[2].instance).expect("it is there").state = InstanceState::Stopped;
    });
    let found = rehome_planner::differences(&plan, &stage.survey().await, &begun);
    let paths: Vec<&str> = found.iter().map(|difference| difference.fact.path.as_str()).collect();
    assert!(paths.contains(&"member/refdb-1/volume/data"), "{paths:?}");
    assert!(paths.contains(&"member/refdb-2/instance-state"), "{paths:?}");
    assert!(found.iter().all(|difference| difference.unasked.is_none() || difference.now.is_none()), "{found:?}");
}

/// A host that nobody reaches.
struct NotReached(InstanceId);

impl Gate for NotReached {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let asked = call.port == Port::Hosts && call.subject == self.0.as_str();
        (0, if asked { Ruling::Wrong(Mishap::NoReply) } else { Ruling::Go })
    }
}

#[tokio::test(start_paused = true)]
async fn i9_a_host_that_could_not_be_asked_is_not_taken_for_one_that_changed() {
    let mut stage = Stage::new(Scene::new(3, 30));
    let plan = stage.plan().await;
    let away = plan.members[1].instance.clone();
    stage.ports = SimPorts::behind(&stage.world, Arc::new(NotReached(away)));
    let found = rehome_planner::differences(&plan, &stage.survey().await, &std::collections::BTreeSet::new());
    let paths: Vec<&str> = found.iter().map(|difference| difference.fact.path.as_str()).collect();
    assert_eq!(paths, ["member/refdb-1/identity", "member/refdb-1/directories"]);
    let unasked = |why: &Option<String>| why.as_ref().is_some_and(|why| why.contains("NoReply"));
    assert!(found.iter().all(|difference| difference.now.is_none() && unasked(&difference.unasked)), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn i9_a_commit_log_that_was_moved_since_the_plan_is_named() {
    let stage = Stage::new(Scene::new(2, 33));
    let plan = stage.plan().await;
    stage.world.keep_elsewhere("hints", "/var/spool/refdb");
    assert_eq!(differences(&stage, &plan).await, [], "no write is in there alone");
    stage.world.keep_elsewhere("commitlog", "/var/log/refdb");
    let found = differences(&stage, &plan).await;
    assert_eq!(found.len(), 2, "{found:?}");
    let now = found[0].1.as_deref().unwrap_or_default();
    assert!(found[0].0 == "member/refdb-0/directories" && now.contains("commitlog /var/log/refdb on /"), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn i9_a_pod_template_that_was_changed_since_the_plan_is_named_until_the_pods_start() {
    let stage = Stage::new(Scene::new(2, 33));
    let mut plan = stage.plan().await;
    assert_eq!(differences(&stage, &plan).await, []);
    stage.world.change_objects("statefulsets", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("refdb:1.0.1");
        set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = json!("Delete");
        set["spec"]["replicas"] = json!(0);
    });
    let paths = |found: &[(String, Option<String>)]| found.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    let found = differences(&stage, &plan).await;
    assert_eq!(paths(&found), ["set/refdb/refdb/retention", "set/refdb/refdb/template"]);
    assert_eq!(found[0].1.as_deref(), Some("whenDeleted Retain, whenScaled Delete"));
    let begun = ["scale-set:refdb".into()].into();
    assert_eq!(rehome_planner::differences(&plan, &stage.survey().await, &begun), []);
    // A plan of an older rehome relies on neither.
    plan.facts.retain(|fact| !fact.path.ends_with("/template") && !fact.path.ends_with("/retention"));
    assert_eq!(differences(&stage, &plan).await, []);
}

/// What differs from a plan: path and what is seen now.
async fn differences(stage: &Stage, plan: &Plan) -> Vec<(String, Option<String>)> {
    let begun = std::collections::BTreeSet::new();
    let found = rehome_planner::differences(plan, &stage.survey().await, &begun);
    assert!(found.iter().all(|difference| difference.unasked.is_none()), "{found:?}");
    found.into_iter().map(|difference| (difference.fact.path, difference.now)).collect()
}

fn told(path: &str, now: &str) -> Vec<(String, Option<String>)> {
    vec![(path.to_owned(), Some(now.to_owned()))]
}

#[tokio::test(start_paused = true)]
async fn i9_a_slot_that_was_taken_since_the_plan_is_named() {
    const CLAIM: &str = "/api/v1/namespaces/refdb/persistentvolumeclaims/data-refdb-0";
    let stage = Stage::new(Scene::new(2, 32));
    let plan = stage.plan().await;
    let volume = plan.members[0].volumes[0].claim.volume_name.clone();
    let claim = |name: &str| {
        json!({"metadata": {}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": name,
        }})
    };
    // Somebody else's, of other names.
    stage.world.add_object("persistentvolumeclaims", "refdb", "other", claim("pv-other"));
    stage.world.add_object("persistentvolumes", "", "pv-other", json!({"metadata": {}, "spec": {}}));
    assert_eq!(differences(&stage, &plan).await, []);
    // Parked, as an earlier run leaves it.
    stage.world.add_object("persistentvolumeclaims", "refdb", "data-refdb-0", claim(&volume));
    assert_eq!(differences(&stage, &plan).await, []);
    let kube = rehome_engine::Kube::new(stage.ports.kube());
    for (status, name, now) in [("Bound", volume.as_str(), None), ("Pending", "pv-elsewhere", Some("pv-elsewhere"))] {
        let patch = json!({"status": {"phase": status}});
        if let Some(elsewhere) = now {
            let found = kube.get(CLAIM).await.expect("answered").expect("a claim");
            let uid = found["metadata"]["uid"].as_str().expect("a uid");
            kube.delete(CLAIM, uid).await.expect("deleted");
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            stage.world.add_object("persistentvolumeclaims", "refdb", "data-refdb-0", claim(elsewhere));
        }
        kube.merge_patch(CLAIM, &patch).await.expect("patched");
        assert_eq!(differences(&stage, &plan).await, told("claim/refdb/data-refdb-0", &format!("{status} on {name}")));
    }
}

#[tokio::test(start_paused = true)]
async fn i9_a_volume_of_our_name_and_a_set_that_was_made_anew_are_named() {
    const SET: &str = "/apis/apps/v1/namespaces/refdb/statefulsets/refdb";
    let stage = Stage::new(Scene::new(2, 33));
    let plan = stage.plan().await;
    let volume = plan.members[1].volumes[0].claim.volume_name.clone();
    stage.world.add_object("persistentvolumes", "", &volume, json!({"metadata": {}, "spec": {}}));
    assert_eq!(differences(&stage, &plan).await, told(&format!("persistentvolume/{volume}"), "present"));
    let stage = Stage::new(Scene::new(2, 33));
    let kube = rehome_engine::Kube::new(stage.ports.kube());
    let mut set = kube.get(SET).await.expect("answered").expect("the set");
    kube.delete(SET, set["metadata"]["uid"].as_str().expect("a uid")).await.expect("deleted");
    set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] = json!("io2");
    set["spec"]["ordinals"] = json!({"start": 1});
    set["metadata"] = json!({});
    stage.world.add_object("statefulsets", "refdb", "refdb", set);
    let found = differences(&stage, &plan).await;
    let of_set: Vec<&str> = found.iter().filter_map(|(path, _)| path.strip_prefix("set/refdb/refdb/")).collect();
    assert_eq!(of_set, ["uid", "templates", "first-ordinal"], "{found:?}");
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
