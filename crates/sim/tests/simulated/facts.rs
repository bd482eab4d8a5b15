//! I9: what a plan relies on, and what is named when it is so no more.

use std::sync::Arc;

use crate::common::Stage;
use rehome_model::cloud::InstanceState;
use rehome_model::ids::InstanceId;
use rehome_model::plan::Plan;
use rehome_sim::{Call, Gate, Mishap, Port, Ruling, Scene, SimPorts};
use serde_json::json;

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
