//! What tests of `gc` look at: all that carries the migration's name, told by rules of their own.

use std::collections::BTreeSet;

use rehome_ec2_emulator::core::Core;
use rehome_engine::{Clock, Collector, Kube, Removal, Scope};
use rehome_model::cloud::{Tags, VolumeState};
use rehome_model::collection::{Collection, Verdict};
use rehome_model::labels;
use serde_json::Value;

use crate::common::Stage;

/// `gc -f FILE`.
pub fn by_file(stage: &Stage) -> Collector {
    let members = Some(stage.migration.spec.source.members.clone());
    let by_name = by_name(stage);
    Collector { scope: Scope { members, ..by_name.scope.clone() }, ..by_name }
}

/// `gc NAME -n NAMESPACE`.
pub fn by_name(stage: &Stage) -> Collector {
    Collector {
        cloud: stage.ports.cloud(),
        kube: Some(stage.ports.kube()),
        clock: Clock::starting_at(stage.world.ec2().now()),
        holder: "gc".to_owned(),
        scope: Scope {
            migration: "refdb".to_owned(),
            namespace: "refdb".to_owned(),
            members: None,
            parked_claims: false,
        },
    }
}

/// `gc --cluster-gone`.
pub fn cluster_gone(collector: Collector) -> Collector {
    Collector { kube: None, ..collector }
}

pub async fn delete(collector: &Collector, shown: &Collection) -> Vec<Removal> {
    let deletion = collector.delete(shown).await.expect("deleted");
    assert!(deletion.stopped.is_none(), "{:?}", deletion.stopped);
    deletion.removed
}

/// Why, of all things whose name begins so.
pub fn whys(shown: &Collection, begins: &str) -> Vec<String> {
    let of = shown.found.iter().filter(|found| found.thing.to_string().starts_with(begins));
    let whys: Vec<String> = of.map(|found| found.why.clone()).collect();
    assert!(!whys.is_empty(), "there is no {begins}: {shown:?}");
    whys
}

/// The verdicts of all things whose name begins so.
pub fn verdict(shown: &Collection, begins: &str) -> Vec<Verdict> {
    shown.found.iter().filter(|f| f.thing.to_string().starts_with(begins)).map(|f| f.verdict).collect()
}

pub async fn objects(stage: &Stage, path: &str) -> Vec<Value> {
    let list = Kube::new(stage.ports.kube()).get(path).await.expect("listed").unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/refdb/configmaps";
const CLAIMS: &str = "/api/v1/namespaces/refdb/persistentvolumeclaims";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/refdb/leases";
const VOLUMES: &str = "/api/v1/persistentvolumes";

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn is_ours(object: &Value) -> bool {
    object["metadata"]["labels"][labels::MIGRATION] == "refdb"
}

/// Somebody deletes the whole run record, by hand.
pub async fn forget_record(stage: &Stage) {
    let kube = Kube::new(stage.ports.kube());
    for object in objects(stage, CONFIG_MAPS).await {
        if name(&object).starts_with("rehome-run-") || name(&object).starts_with("rehome-plan-") {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            kube.delete(&format!("{CONFIG_MAPS}/{}", name(&object)), uid).await.expect("deleted");
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    stage.control.disarm();
}

/// The world as `gc` may change it, and as it may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Volumes, snapshots and objects that carry the migration's name.
    pub ours: BTreeSet<String>,
    /// Of these, what must not go: adopted volumes and what they were made from, claims, their PersistentVolumes, the
    /// gate of adopted slots.
    pub needed: BTreeSet<String>,
    /// All volumes and snapshots that do not carry it.
    pub not_ours: BTreeSet<String>,
    /// PersistentVolumes with their EBS volume.
    pub adopted: BTreeSet<(String, String)>,
    /// Claims with their uid.
    pub claims: BTreeSet<(String, String)>,
}

/// Looks at the world past all of rehome's own code.
pub async fn world_of(stage: &Stage) -> Left {
    let mut left = Left::default();
    for object in objects(stage, VOLUMES).await {
        let handle = object["spec"]["csi"]["volumeHandle"].as_str().unwrap_or_default().to_owned();
        left.needed.insert(handle.clone());
        left.needed.insert(name(&object));
        left.ours.insert(name(&object));
        left.adopted.insert((name(&object), handle));
    }
    for object in objects(stage, CLAIMS).await {
        left.ours.insert(name(&object));
        left.needed.insert(name(&object));
        left.claims.insert((name(&object), object["metadata"]["uid"].to_string()));
    }
    for object in objects(stage, CONFIG_MAPS).await.iter().filter(|object| is_ours(object)) {
        left.ours.insert(name(object));
        if name(object).starts_with("rehome-gate-") && !left.adopted.is_empty() {
            left.needed.insert(name(object));
        }
    }
    stage.world.ec2().with(|inner, _| cloud(&inner.core, &mut left));
    left
}

fn cloud(core: &Core, left: &mut Left) {
    let ours = |tags: &Tags| tags.get(labels::MIGRATION).is_some_and(|name| name == "refdb");
    let adopted = left.needed.clone();
    for (id, record) in &core.volumes {
        if matches!(record.state, VolumeState::Deleted | VolumeState::Deleting) {
            continue;
        }
        if !ours(&record.tags) {
            left.not_ours.insert(id.to_string());
            continue;
        }
        left.ours.insert(id.to_string());
        if let Some(snapshot) = record.snapshot.as_ref().filter(|_| adopted.contains(id.as_str())) {
            left.needed.insert(snapshot.to_string());
        }
    }
    for (id, record) in &core.snapshots {
        if ours(&record.tags) {
            left.ours.insert(id.to_string());
        } else {
            left.not_ours.insert(id.to_string());
        }
    }
    // What is needed and not there would be a loss of its own.
}

/// Adopted slots: PersistentVolumes, claims and pods.
pub async fn slots(stage: &Stage) -> (Left, Vec<String>) {
    let left = world_of(stage).await;
    let pods = stage.world.landed().into_iter().map(|landed| format!("{landed:?}")).collect();
    (Left { adopted: left.adopted, claims: left.claims, ..Left::default() }, pods)
}

/// Everything of the migration that is left, anywhere.
pub async fn left_behind(stage: &Stage) -> Vec<String> {
    let mut left: Vec<String> = world_of(stage).await.ours.into_iter().collect();
    left.extend(objects(stage, LEASES).await.iter().map(name));
    left
}
