//! The simulated Kubernetes against the real one: the same random operations on both, with the same answers, and the same
//! objects once their controllers have settled. There are no nodes, so pods stay Pending.
//!
//! `cargo xtask control-plane` starts the real one, with a binder that looks every second, and runs this.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use rehome_sim::kubernetes::{Cluster, Machines};
use rehome_sim::seeds::Dice;
use serde_json::{Value, json};

/// Operations of a sequence.
const LENGTH: u64 = 10;
/// Requests under way at the real one.
const AT_ONCE: usize = 16;
/// How long the real controllers are left alone at least: the binder has looked at everything twice.
const SETTLE: Duration = Duration::from_millis(2_500);
/// How long they may take.
const LIMIT: Duration = Duration::from_secs(15);
/// The same for the simulated ones, in virtual ms: several resyncs.
const SETTLE_MS: u64 = 60_000;
/// What is told of all that differs.
const SHOWN: usize = 8;
const PURPOSE: u64 = 77;

const CLAIMS: [&str; 2] = ["data-db-0", "data-db-1"];
/// A claim that is parked waits for a volume that nobody makes.
const PARKED: &str = "nobody-makes-it";
/// Collections whose objects are compared.
const COLLECTIONS: [(&str, &str); 6] = [
    ("persistentvolumes", "/api/v1/persistentvolumes"),
    ("persistentvolumeclaims", "/api/v1/persistentvolumeclaims"),
    ("pods", "/api/v1/pods"),
    ("configmaps", "/api/v1/configmaps"),
    ("leases", "/apis/coordination.k8s.io/v1/leases"),
    ("statefulsets", "/apis/apps/v1/statefulsets"),
];

/// What is said of an object's version or uid.
#[derive(Clone, Copy, Debug)]
enum Stamp {
    Unsaid,
    Right,
    Wrong,
}

/// One operation; the same on both sides, but for versions and uids.
#[derive(Clone, Debug)]
struct Operation {
    verb: &'static str,
    path: String,
    content: &'static str,
    body: Value,
    /// Where the version goes: into the body's metadata, or a deletion's preconditions.
    version: Stamp,
    uid: Stamp,
}

impl Operation {
    fn of(verb: &'static str, path: String, body: Value) -> Self {
        let content = if verb == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        Self { verb, path, content, body, version: Stamp::Unsaid, uid: Stamp::Unsaid }
    }

    fn told(&self) -> String {
        let stamps = format!("version {:?}, uid {:?}", self.version, self.uid).to_lowercase();
        format!("{} {} {} ({stamps})", self.verb, self.path, self.body)
    }

    /// The body for a side that has this object now.
    fn body_for(&self, found: &Value) -> Vec<u8> {
        let mut body = self.body.clone();
        let place = if self.verb == "DELETE" { "preconditions" } else { "metadata" };
        for (field, stamp, wrong) in
            [("resourceVersion", self.version, "1"), ("uid", self.uid, "11111111-1111-4111-8111-111111111111")]
        {
            match stamp {
                Stamp::Unsaid => {}
                // What is not there has none.
                Stamp::Right if found["metadata"][field].is_null() => {}
                Stamp::Right => body[place][field] = found["metadata"][field].clone(),
                Stamp::Wrong => body[place][field] = json!(wrong),
            }
        }
        if body.is_null() { Vec::new() } else { body.to_string().into_bytes() }
    }
}

fn namespace(seed: u64) -> String {
    format!("seq-{seed}")
}

fn volume_name(seed: u64, which: u64) -> String {
    format!("pv-{seed}-{which}")
}

/// The objects that a sequence begins with.
fn beginning(seed: u64) -> Vec<Operation> {
    let namespace = namespace(seed);
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": namespace},
        "spec": {
            "replicas": 0, "serviceName": "db", "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": "db", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]},
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "storageClassName": "ebs",
                    "resources": {"requests": {"storage": "4Gi"}},
                },
            }],
        },
    });
    let post = |collection: String, object| Operation::of("POST", collection, object);
    vec![
        post(
            "/api/v1/namespaces".to_owned(),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        ),
        post(format!("/apis/apps/v1/namespaces/{namespace}/statefulsets"), set),
    ]
}

/// The class of all claims, which every sequence shares.
fn class() -> Operation {
    Operation::of(
        "POST",
        "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "ebs"},
            "provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer",
        }),
    )
}

struct Draw<'a> {
    dice: &'a mut Dice,
    seed: u64,
}

impl Draw<'_> {
    fn stamp(&mut self) -> Stamp {
        self.dice.pick(&[Stamp::Unsaid, Stamp::Unsaid, Stamp::Right, Stamp::Right, Stamp::Wrong])
    }

    fn claims(&self) -> String {
        format!("/api/v1/namespaces/{}/persistentvolumeclaims", namespace(self.seed))
    }

    fn claim(&mut self) -> String {
        format!("{}/{}", self.claims(), self.dice.pick(&CLAIMS))
    }

    fn volume(&mut self) -> String {
        let which = self.dice.below(2);
        format!("/api/v1/persistentvolumes/{}", volume_name(self.seed, which))
    }

    fn config_map(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps/notes", namespace(self.seed))
    }

    fn lease(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/run", namespace(self.seed))
    }

    fn set(&self) -> String {
        format!("/apis/apps/v1/namespaces/{}/statefulsets/db", namespace(self.seed))
    }

    fn pod(&mut self) -> String {
        format!("/api/v1/namespaces/{}/pods/db-{}", namespace(self.seed), self.dice.below(2))
    }

    fn any(&mut self) -> String {
        match self.dice.below(7) {
            0 | 1 => self.claim(),
            2 | 3 => self.volume(),
            4 => self.config_map(),
            5 => self.lease(),
            _ => self.pod(),
        }
    }

    fn new_claim(&mut self) -> Operation {
        let which = self.dice.below(2);
        let mut object = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIMS[which as usize], "labels": {"of": "a-test"}},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": self.dice.pick(&["ebs", "ebs", "ebs", "other"]),
                "resources": {"requests": {"storage": self.dice.pick(&["1Gi", "4Gi"])}},
            },
        });
        match self.dice.below(5) {
            0 => {}
            1 => object["spec"]["volumeName"] = json!(PARKED),
            // Never one volume for two: which of them gets it is a race on the real side.
            _ => object["spec"]["volumeName"] = json!(volume_name(self.seed, which)),
        }
        match self.dice.below(16) {
            0 => object["metadata"]["name"] = json!("Not_A_Name"),
            1 => object["spec"]["resources"] = json!({}),
            _ => {}
        }
        let collection = if self.dice.one_in(16) {
            "/api/v1/namespaces/not-there/persistentvolumeclaims".to_owned()
        } else {
            self.claims()
        };
        Operation::of("POST", collection, object)
    }

    fn new_volume(&mut self) -> Operation {
        let which = self.dice.below(2);
        let mut object = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": volume_name(self.seed, which), "labels": {"of": "a-test"}},
            "spec": {
                "capacity": {"storage": "4Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "ebs",
                "persistentVolumeReclaimPolicy": "Retain",
                "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": format!("vol-{}-{which}", self.seed), "fsType": "xfs"},
            },
        });
        match self.dice.below(6) {
            0 => {}
            1 => object["spec"]["csi"]["volumeHandle"] = json!(""),
            _ => {
                object["spec"]["claimRef"] = json!({"namespace": namespace(self.seed), "name": CLAIMS[which as usize]});
            }
        }
        if self.dice.one_in(8) && !object["spec"]["claimRef"].is_null() {
            object["spec"]["claimRef"]["uid"] = json!("22222222-2222-4222-8222-222222222222");
        }
        Operation::of("POST", "/api/v1/persistentvolumes".to_owned(), object)
    }

    fn patch_claim(&mut self) -> Operation {
        let patch = match self.dice.below(4) {
            0 => json!({"metadata": {"annotations": {"note": self.dice.pick(&["a", "b"])}}}),
            1 => json!({"metadata": {"labels": {"of": null, "for": "somebody"}}}),
            2 => json!({"spec": {"volumeName": PARKED}}),
            _ => json!({"spec": {"storageClassName": "other"}}),
        };
        let mut patch = Operation::of("PATCH", self.claim(), patch);
        patch.version = self.stamp();
        patch
    }

    fn patch_volume(&mut self) -> Operation {
        let patch = match self.dice.below(4) {
            0 => json!({"metadata": {"annotations": {"note": self.dice.pick(&["a", "b"])}}}),
            1 => json!({"spec": {"claimRef": null}}),
            2 => json!({"spec": {"csi": {"volumeHandle": "vol-other"}}}),
            _ => json!({"metadata": {"labels": {"for": "somebody"}}}),
        };
        let mut patch = Operation::of("PATCH", self.volume(), patch);
        patch.uid = self.stamp();
        patch
    }

    fn config(&mut self) -> Operation {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "notes", "namespace": namespace(self.seed)},
            "data": {"state": self.dice.pick(&["begun", "done"])},
        });
        self.made_or_replaced(object, self.config_map())
    }

    fn holder(&mut self) -> Operation {
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "run", "namespace": namespace(self.seed)},
            "spec": {"holderIdentity": self.dice.pick(&["one", "two"]), "leaseDurationSeconds": 15},
        });
        self.made_or_replaced(object, self.lease())
    }

    fn made_or_replaced(&mut self, object: Value, path: String) -> Operation {
        if self.dice.one_in(3) {
            let collection = path.rsplit_once('/').map_or(path.as_str(), |(collection, _)| collection).to_owned();
            return Operation::of("POST", collection, object);
        }
        let mut replaced = Operation::of("PUT", path, object);
        replaced.version = self.stamp();
        replaced.uid = self.stamp();
        replaced
    }

    fn deletion(&mut self) -> Operation {
        let mut gone = Operation::of(
            "DELETE",
            self.any(),
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {}}),
        );
        gone.uid = self.stamp();
        gone
    }

    fn scaling(&mut self) -> Operation {
        let path = if self.dice.one_in(12) { self.set().replace("/db", "/other") } else { self.set() };
        let name = if path.ends_with("/other") { "other" } else { "db" };
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": name, "namespace": namespace(self.seed)}, "spec": {"replicas": self.dice.below(3)},
        });
        let mut scaled = Operation::of("PUT", path + "/scale", scale);
        scaled.version = self.stamp();
        scaled
    }

    fn operation(&mut self) -> Operation {
        match self.dice.below(20) {
            0..=3 => self.new_claim(),
            4..=6 => self.new_volume(),
            7 | 8 => self.patch_claim(),
            9 | 10 => self.patch_volume(),
            11 => self.config(),
            12 => self.holder(),
            13..=15 => self.deletion(),
            16..=18 => self.scaling(),
            _ => Operation::of("GET", self.any(), Value::Null),
        }
    }
}

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
struct Sequence {
    seed: u64,
    dice: Dice,
    cluster: Cluster,
    now: u64,
    told: Vec<String>,
    /// The uids after the last operation, on both sides: whether an object is still the same one.
    uids: [BTreeMap<String, String>; 2],
    differs: Option<String>,
}

impl Sequence {
    fn new(seed: u64) -> Self {
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

    fn send(&mut self, verb: &str, path: &str, content: &str, body: &[u8]) -> (u16, Value) {
        let (status, answer) = self.cluster.handle(self.now, verb, path, "", content, body);
        (status, serde_json::from_slice(&answer).expect("answers are JSON"))
    }

    fn settle(&mut self) {
        self.now += SETTLE_MS;
        self.cluster.advance(self.now, &mut NoMachines);
    }

    fn objects(&self) -> BTreeMap<String, Value> {
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
struct Real(kube::Client);

impl Real {
    async fn send(&self, verb: &str, path: &str, content: &str, body: Vec<u8>) -> (u16, Value) {
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
    async fn objects(&self) -> BTreeMap<u64, BTreeMap<String, Value>> {
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
                // Every namespace gets one, and no controller of this cluster makes it.
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
        // Labels that the controller gives every pod of a set.
        _ => {
            seen["labels"] = Value::Null;
            seen["of"] = json!([spec["nodeName"], status["phase"]]);
        }
    }
    seen
}

fn all_projected(objects: &BTreeMap<String, Value>, uids: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    objects.keys().map(|key| (key.clone(), projected(objects, key, uids))).collect()
}

fn uids(objects: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    objects.iter().map(|(key, object)| (key.clone(), uid(object))).collect()
}

/// What differs between the two sides' objects.
fn difference(sequence: &Sequence, real: &BTreeMap<String, Value>) -> Option<String> {
    let simulated = all_projected(&sequence.objects(), &sequence.uids[0]);
    let real = all_projected(real, &sequence.uids[1]);
    let keys: std::collections::BTreeSet<&String> = simulated.keys().chain(real.keys()).collect();
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

async fn client() -> kube::Client {
    let path = std::env::var("REHOME_CONTROL_PLANE").expect("REHOME_CONTROL_PLANE names a kubeconfig");
    let config = kube::config::Kubeconfig::read_from(path).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await;
    kube::Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
}

/// One operation on both sides; whether they answer alike.
async fn both(real: &Real, sequence: &mut Sequence) {
    let operation = Draw { dice: &mut sequence.dice, seed: sequence.seed }.operation();
    sequence.told.push(operation.told());
    let (verb, content) = (operation.verb, operation.content);
    let object = operation.path.trim_end_matches("/scale").to_owned();
    let named = verb != "POST";
    let found = if named { real.send("GET", &object, "application/json", Vec::new()).await.1 } else { Value::Null };
    let answered = real.send(verb, &operation.path, content, operation.body_for(&found)).await;
    let found = if named { sequence.send("GET", &object, "application/json", &[]).1 } else { Value::Null };
    let simulated = sequence.send(verb, &operation.path, content, &operation.body_for(&found));
    let told = |(status, answer): &(u16, Value)| {
        let reason = if *status < 400 { String::new() } else { answer["reason"].to_string() };
        (*status, reason)
    };
    if told(&answered) != told(&simulated) {
        sequence.differs = Some(format!(
            "  it was answered\n    real      {} {}\n    simulated {} {}",
            answered.0, answered.1["message"], simulated.0, simulated.1["message"]
        ));
    }
    sequence.settle();
}

#[tokio::test]
#[ignore = "needs a real control plane: cargo xtask control-plane"]
async fn random_operations_have_the_same_effects_on_the_real_and_the_simulated_kubernetes() {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().expect("a number"));
    let (from, count) = (number("REHOME_SEQUENCES_FROM", 1), number("REHOME_SEQUENCES", 100));
    let real = Real(client().await);
    let made = |answer: (u16, Value)| assert!(matches!(answer.0, 201 | 409), "{answer:?}");
    let class = class();
    made(real.send("POST", &class.path, class.content, class.body_for(&Value::Null)).await);
    let mut sequences: Vec<Sequence> = (from..from + count).map(Sequence::new).collect();
    futures::stream::iter(from..from + count)
        .for_each_concurrent(AT_ONCE, async |seed| {
            for operation in beginning(seed) {
                made(real.send("POST", &operation.path, operation.content, operation.body_for(&Value::Null)).await);
            }
        })
        .await;
    for sequence in &mut sequences {
        sequence.settle();
    }
    tokio::time::sleep(SETTLE).await;
    let mut differing: Vec<Sequence> = Vec::new();
    let mut operations = 0;
    for _ in 0..LENGTH {
        let objects = real.objects().await;
        for sequence in &mut sequences {
            sequence.uids = [uids(&sequence.objects()), objects.get(&sequence.seed).map(uids).unwrap_or_default()];
        }
        operations += sequences.len();
        futures::stream::iter(sequences.iter_mut())
            .for_each_concurrent(AT_ONCE, async |sequence| both(&real, sequence).await)
            .await;
        let started = tokio::time::Instant::now();
        tokio::time::sleep(SETTLE).await;
        loop {
            let objects = real.objects().await;
            let none = BTreeMap::new();
            let mut all_alike = true;
            for sequence in &mut sequences {
                let of = objects.get(&sequence.seed).unwrap_or(&none);
                let now = difference(sequence, of);
                all_alike &= now.is_none();
                if started.elapsed() > LIMIT && sequence.differs.is_none() {
                    sequence.differs = now;
                }
            }
            if all_alike || started.elapsed() > LIMIT {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // One that differs goes no further: all after it would too.
        let (alike, other): (Vec<_>, Vec<_>) = sequences.into_iter().partition(|sequence| sequence.differs.is_none());
        sequences = alike;
        differing.extend(other);
    }
    differing.sort_by_key(|sequence| (sequence.told.len(), sequence.seed));
    for sequence in differing.iter().take(SHOWN) {
        let difference = sequence.differs.as_deref().unwrap_or_default();
        println!("sequence {}:\n  {}\n{difference}", sequence.seed, sequence.told.join("\n  "));
    }
    println!("comparison: {count} sequences, {operations} operations, {} differ", differing.len());
    assert!(differing.is_empty(), "{} of {count} sequences differ", differing.len());
}
