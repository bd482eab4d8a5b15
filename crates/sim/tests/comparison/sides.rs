//! The two sides, and what is compared of them.

use std::collections::{BTreeMap, BTreeSet};

use http_body_util::BodyExt as _;
use rehome_sim::kubernetes::{Cluster, Machines};
use rehome_sim::seeds::Dice;
use serde_json::{Value, json};

use crate::draw::{beginning, class};

/// Collections whose objects are compared.
const COLLECTIONS: [(&str, &str); 6] = [
    ("persistentvolumes", "/api/v1/persistentvolumes"),
    ("persistentvolumeclaims", "/api/v1/persistentvolumeclaims"),
    ("pods", "/api/v1/pods"),
    ("configmaps", "/api/v1/configmaps"),
    ("leases", "/apis/coordination.k8s.io/v1/leases"),
    ("statefulsets", "/apis/apps/v1/statefulsets"),
];
/// How long the simulated controllers have to settle, in virtual ms: several resyncs.
const SETTLE_MS: u64 = 60_000;
/// For what the dice of a sequence are.
const PURPOSE: u64 = 77;

/// Nothing runs without nodes.
struct NoMachines;

impl Machines for NoMachines {
    fn provision(&mut self, _: u64, _: &str, _: u32, claim: &str) -> String {
        panic!("a volume was provisioned for {claim}")
    }
    fn attach(&mut self, _: u64, _: &str, _: &str) -> Result<bool, String> {
        Ok(false)
    }
    fn detach(&mut self, _: u64, _: &str, _: &str) -> bool {
        true
    }
    fn detach_unattached(&mut self, _: u64, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn mount(&mut self, _: u64, _: &str, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn unmount(&mut self, _: u64, _: &str, _: &str) {}
    fn start(&mut self, _: u64, _: &str, _: &str, _: &BTreeMap<String, String>, _: &[String]) {}
    fn stop(&mut self, _: u64, _: &str) {}
    fn ready_at(&self, _: &str) -> Option<u64> {
        None
    }
}

/// One sequence, on the simulated side and as it is known of the real one.
pub struct Sequence {
    pub seed: u64,
    pub dice: Dice,
    cluster: Cluster,
    now: u64,
    pub told: Vec<String>,
    /// The uids after the last operation, on both sides: whether an object is still the same one.
    pub uids: [BTreeMap<String, String>; 2],
    pub differs: Option<String>,
}

impl Sequence {
    pub fn new(seed: u64) -> Self {
        let mut cluster = Cluster::new(0);
        for operation in [class()].iter().chain(&beginning(seed)) {
            let body = operation.body_for(&Value::Null);
            let (status, answer) = cluster.handle(0, operation.verb, &operation.path, "", operation.content, &body);
            assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        }
        Self {
            seed,
            dice: Dice::new(seed, PURPOSE),
            cluster,
            now: 0,
            told: Vec::new(),
            uids: [BTreeMap::new(), BTreeMap::new()],
            differs: None,
        }
    }

    pub fn send(&mut self, verb: &str, path: &str, content: &str, body: &[u8]) -> (u16, Value) {
        let (status, answer) = self.cluster.handle(self.now, verb, path, "", content, body);
        (status, serde_json::from_slice(&answer).expect("answers are JSON"))
    }

    pub fn settle(&mut self) {
        self.now += SETTLE_MS;
        self.cluster.advance(self.now, &mut NoMachines);
    }

    pub fn objects(&self) -> BTreeMap<String, Value> {
        let all = COLLECTIONS.iter().flat_map(|(plural, _)| {
            self.cluster.all(plural).into_iter().map(move |object| (named(plural, &object), object))
        });
        all.collect()
    }
}

fn named(plural: &str, object: &Value) -> String {
    format!("{plural}/{}", object["metadata"]["name"].as_str().unwrap_or_default())
}

/// The real one.
#[derive(Clone)]
pub struct Real(pub kube::Client);

impl Real {
    pub async fn send(&self, verb: &str, path: &str, content: &str, body: Vec<u8>) -> (u16, Value) {
        let request = http::Request::builder()
            .method(verb)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content)
            .body(kube::client::Body::from(body))
            .expect("a request");
        let reply = self.0.send(request).await.expect("the apiserver answers");
        let status = reply.status().as_u16();
        let bytes = reply.into_body().collect().await.expect("a whole answer").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Objects by sequence and name.
    pub async fn objects(&self) -> BTreeMap<u64, BTreeMap<String, Value>> {
        let mut found: BTreeMap<u64, BTreeMap<String, Value>> = BTreeMap::new();
        for (plural, path) in COLLECTIONS {
            let (status, mut list) = self.send("GET", path, "application/json", Vec::new()).await;
            assert_eq!(status, 200, "{list}");
            for object in list["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
                let text =
                    |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
                let of = match plural {
                    "persistentvolumes" => text("/metadata/name").split('-').nth(1).map(str::to_owned),
                    _ => text("/metadata/namespace").strip_prefix("seq-").map(str::to_owned),
                };
                // The controller-manager puts one into every namespace; no operation concerns it.
                let ours = text("/metadata/name") != "kube-root-ca.crt";
                if let Some(seed) = of.and_then(|seed| seed.parse().ok())
                    && ours
                {
                    found.entry(seed).or_default().insert(named(plural, &object), object);
                }
            }
        }
        found
    }
}

/// What is compared of an object; `same` says whether it is the one of the last look.
fn projected(objects: &BTreeMap<String, Value>, key: &str, uids: &BTreeMap<String, String>) -> Value {
    let object = &objects[key];
    let metadata = &object["metadata"];
    let mut seen = json!({
        "same": uids.get(key).is_some_and(|uid| metadata["uid"] == uid.as_str()),
        "labels": metadata["labels"], "going": !metadata["deletionTimestamp"].is_null(),
        "note": metadata["annotations"]["note"],
    });
    let (spec, status) = (&object["spec"], &object["status"]);
    match key.split('/').next().unwrap_or_default() {
        "persistentvolumes" => {
            let claim = &spec["claimRef"];
            let bound = objects.get(&format!("persistentvolumeclaims/{}", claim["name"].as_str().unwrap_or_default()));
            let uid = match (&claim["uid"], bound) {
                (Value::Null, _) => "none",
                (uid, Some(bound)) if *uid == bound["metadata"]["uid"] => "the claim's",
                _ => "another",
            };
            seen["of"] = json!([claim["name"], if claim.is_null() { "-" } else { uid }, status["phase"]]);
            seen["finalizers"] = metadata["finalizers"].clone();
        }
        "persistentvolumeclaims" => {
            let completed = !metadata["annotations"]["pv.kubernetes.io/bind-completed"].is_null();
            seen["of"] = json!([spec["volumeName"], status["phase"], completed, spec["storageClassName"]]);
            seen["finalizers"] = metadata["finalizers"].clone();
        }
        "configmaps" => seen["of"] = object["data"].clone(),
        "leases" => seen["of"] = spec["holderIdentity"].clone(),
        "statefulsets" => seen["of"] = json!([spec["replicas"], status["replicas"].as_u64().unwrap_or(0)]),
        // Labels that the controller gives every pod of a set. Its revision is named after a hash: whether it is the set's tells.
        _ => {
            let revision = &metadata["labels"]["controller-revision-hash"];
            let set = objects.iter().find(|(key, _)| key.starts_with("statefulsets/")).map(|(_, set)| set);
            let current = set.is_some_and(|set| set["status"]["updateRevision"] == *revision);
            seen["labels"] = Value::Null;
            seen["of"] = json!([spec["nodeName"], status["phase"], revision.is_string(), current]);
        }
    }
    seen
}

fn all_projected(objects: &BTreeMap<String, Value>, uids: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    objects.keys().map(|key| (key.clone(), projected(objects, key, uids))).collect()
}

pub fn uids(objects: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    objects.iter().map(|(key, object)| (key.clone(), uid(object))).collect()
}

/// What differs between the two sides' objects.
pub fn difference(sequence: &Sequence, real: &BTreeMap<String, Value>) -> Option<String> {
    let simulated = all_projected(&sequence.objects(), &sequence.uids[0]);
    let real = all_projected(real, &sequence.uids[1]);
    let keys: BTreeSet<&String> = simulated.keys().chain(real.keys()).collect();
    let lines: Vec<String> = keys
        .into_iter()
        .filter(|key| simulated.get(*key) != real.get(*key))
        .map(|key| {
            let show = |side: &BTreeMap<String, Value>| side.get(key).map_or("none".to_owned(), Value::to_string);
            format!("  {key}\n    real      {}\n    simulated {}", show(&real), show(&simulated))
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
