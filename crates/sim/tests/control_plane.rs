//! The engine against a real kube-apiserver, controller-manager and scheduler: what the simulated Kubernetes says of
//! parked claims, binding and the way back is true of the real one. There are no nodes: pods are created and stay
//! Pending. EC2 and the hosts are simulated.
//!
//! `cargo xtask control-plane` starts the control plane and runs this.

#[path = "simulated/common.rs"]
#[expect(dead_code, reason = "it uses a part")]
mod common;

use std::time::Duration;

use common::Stage;
use rehome_engine::{Command, Kube, paths};
use rehome_model::plan::Plan;
use rehome_model::record::Phase;
use rehome_sim::{Scene, migration_yaml};
use serde_json::{Value, json};

const NAMESPACE: &str = "/api/v1/namespaces/refdb";
/// How long the real controllers may take for anything that is waited for here.
const LIMIT: Duration = Duration::from_secs(60);

async fn client() -> kube::Client {
    let path = std::env::var("REHOME_CONTROL_PLANE").expect("REHOME_CONTROL_PLANE names a kubeconfig");
    let config = kube::config::Kubeconfig::read_from(path).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await;
    kube::Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
}

/// The scene's own objects, in the real cluster.
async fn set_up(kube: &Kube, scene: &Scene) {
    for (key, object) in &scene.objects {
        let (collection, version, kind) = match key.plural {
            "namespaces" => ("/api/v1/namespaces".to_owned(), "v1", "Namespace"),
            "storageclasses" => {
                ("/apis/storage.k8s.io/v1/storageclasses".to_owned(), "storage.k8s.io/v1", "StorageClass")
            }
            "services" => (format!("{NAMESPACE}/services"), "v1", "Service"),
            "statefulsets" => ("/apis/apps/v1/namespaces/refdb/statefulsets".to_owned(), "apps/v1", "StatefulSet"),
            _ => continue,
        };
        let mut object = object.clone();
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(key.name);
        if kind == "Service" {
            object["spec"]["selector"] = json!({"app": "refdb"});
        }
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        kube.create(&collection, &object).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

async fn items(kube: &Kube, collection: &str) -> Vec<Value> {
    let list = kube.get(collection).await.expect("it can be listed").expect("the collection exists");
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Claims as (name, phase, uid).
async fn claims(kube: &Kube) -> Vec<(String, String, String)> {
    let text =
        |claim: &Value, pointer: &str| claim.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let each = items(kube, &format!("{NAMESPACE}/persistentvolumeclaims")).await;
    each.iter()
        .map(|claim| (text(claim, "/metadata/name"), text(claim, "/status/phase"), text(claim, "/metadata/uid")))
        .collect()
}

async fn wait_until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let started = tokio::time::Instant::now();
    while !look().await {
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn scale(kube: &Kube, replicas: u32) {
    let path = "/apis/apps/v1/namespaces/refdb/statefulsets/refdb/scale";
    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": "refdb", "namespace": "refdb"}, "spec": {"replicas": replicas},
    });
    kube.replace(path, &scale).await.expect("the set can be scaled");
}

/// Up to the scaled set: without nodes no pod runs, and what waits for one is left out.
fn without_pods(mut plan: Plan) -> Plan {
    let end = plan.steps.iter().position(|step| step.id.as_str() == "pods-run").expect("a step of every plan");
    plan.steps.truncate(end);
    plan
}

fn only(plan: &Plan, prefix: &str) -> Plan {
    let mut plan = plan.clone();
    plan.steps.retain(|step| step.id.as_str().starts_with(prefix));
    plan
}

async fn pods(kube: &Kube) -> Vec<Value> {
    items(kube, &format!("{NAMESPACE}/pods")).await
}

#[tokio::test]
#[ignore = "needs a real control plane: cargo xtask control-plane"]
async fn parked_claims_hold_pods_are_adopted_one_by_one_and_are_parked_again() {
    let client = client().await;
    let kube = Kube::new(client.clone());
    let mut scene = Scene::new(3, 41);
    scene.ec2.timing = scene.ec2.timing.scaled(0.05);
    set_up(&kube, &scene).await;
    let mut stage = Stage::new(scene);
    stage.kube = Some(client);
    assert!(migration_yaml().contains("namespace: refdb"));
    let plan = without_pods(stage.plan().await);

    // Parked, and the set scaled up by somebody: pods are there, and none can start.
    let parked = stage.apply(&only(&plan, "park-claim")).await.outcome();
    assert_eq!(parked.phase, Phase::Completed, "{:?}", parked.failure);
    scale(&kube, 3).await;
    wait_until("three pods are created", async || pods(&kube).await.len() == 3).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let warnings = kube.list(&paths::pod_warnings("refdb")).await.expect("they can be listed");
    let reason = |event: &Value| (event["involvedObject"]["kind"].clone(), event["reason"].clone());
    let of_scheduler = |event| reason(event) == (json!("Pod"), json!("FailedScheduling"));
    assert!(!warnings.is_empty() && warnings.iter().all(of_scheduler), "{warnings:?}");
    let uids_of_pods: Vec<Value> = pods(&kube).await.iter().map(|pod| pod["metadata"]["uid"].clone()).collect();
    assert!(warnings.iter().all(|event| uids_of_pods.contains(&event["involvedObject"]["uid"])), "{warnings:?}");
    let before = claims(&kube).await;
    assert!(before.iter().all(|(_, phase, _)| phase == "Pending"), "{before:?}");
    assert_eq!(before.len(), 3, "the controller adopted the parked claims and made none of its own");
    scale(&kube, 0).await;
    wait_until("the pods go", async || pods(&kube).await.is_empty()).await;
    let undone = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(undone.phase, Phase::RolledBack, "{:?}", undone.failure);

    // The whole of it: released, bound, and the set's controller takes the claims as they are.
    let moved = stage.apply(&plan).await.outcome();
    assert_eq!(moved.phase, Phase::Completed, "{:?}", moved.failure);
    let bound = claims(&kube).await;
    assert!(bound.iter().all(|(_, phase, _)| phase == "Bound"), "{bound:?}");
    let uids = |claims: &[(String, String, String)]| claims.iter().map(|c| c.2.clone()).collect::<Vec<_>>();
    assert_eq!(uids(&bound), uids(&before), "the claims are those that were parked");
    wait_until("three pods are created", async || pods(&kube).await.len() == 3).await;
    for volume in items(&kube, "/api/v1/persistentvolumes").await {
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    }
    let bind_ms: Vec<u64> = moved
        .record
        .steps
        .iter()
        .filter(|(id, _)| id.as_str().starts_with("release-volume"))
        .map(|(_, step)| step.at_ms)
        .collect();
    println!("three volumes were bound at {bind_ms:?}");

    // And back: parked anew, so that scaling up starts nothing.
    let back = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(back.phase, Phase::RolledBack, "{:?}", back.failure);
    assert!(items(&kube, "/api/v1/persistentvolumes").await.is_empty());
    let again = claims(&kube).await;
    assert!(again.iter().all(|(_, phase, _)| phase == "Pending"), "{again:?}");
    assert_eq!(again.len(), 3);
    assert!(uids(&again).iter().all(|uid| !uids(&bound).contains(uid)), "they are new claims");
    scale(&kube, 3).await;
    wait_until("three pods are created", async || pods(&kube).await.len() == 3).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(claims(&kube).await.iter().all(|(_, phase, _)| phase == "Pending"));
    assert!(items(&kube, "/api/v1/persistentvolumes").await.is_empty(), "nothing was provisioned");
}
