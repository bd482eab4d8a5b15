//! The operations, drawn from a seed.

use rehome_sim::seeds::Dice;
use serde_json::{Value, json};

const CLAIMS: [&str; 2] = ["data-db-0", "data-db-1"];
/// A claim that is parked waits for a volume that nobody makes.
const PARKED: &str = "nobody-makes-it";

/// What is said of an object's version or uid.
#[derive(Clone, Copy, Debug)]
pub enum Stamp {
    Unsaid,
    Right,
    Wrong,
}

/// One operation; the same on both sides, but for versions and uids.
#[derive(Clone, Debug)]
pub struct Operation {
    pub verb: &'static str,
    pub path: String,
    pub content: &'static str,
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

    pub fn told(&self) -> String {
        let stamps = format!("version {:?}, uid {:?}", self.version, self.uid).to_lowercase();
        format!("{} {} {} ({stamps})", self.verb, self.path, self.body)
    }

    /// The body for a side that has this object now.
    pub fn body_for(&self, found: &Value) -> Vec<u8> {
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
pub fn beginning(seed: u64) -> Vec<Operation> {
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
pub fn class() -> Operation {
    Operation::of(
        "POST",
        "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "ebs"},
            "provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer",
        }),
    )
}

/// Draws operations of a sequence.
pub struct Draw<'a> {
    pub dice: &'a mut Dice,
    pub seed: u64,
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

    pub fn operation(&mut self) -> Operation {
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
