//! The StatefulSet controller (kubernetes `pkg/controller/statefulset`): claims and pods by name.

use rehome_model::names;
use serde_json::{Value, json};

use super::api::written;
use super::cluster::Cluster;
use super::objects::{Key, is_going, text};

/// The label that tells a pod's revision (kubernetes `ControllerRevisionHashLabelKey`).
const REVISION: &str = "controller-revision-hash";

impl Cluster {
    pub(crate) fn run_sets(&mut self, now: u64) {
        for key in self.keys("statefulsets") {
            // Taken out meanwhile: nothing that is done for a set looks at the set again.
            let Some(mut set) = self.objects.remove(&key) else { continue };
            let status = self.run_set(now, &key, &set);
            set["status"] = status;
            self.objects.insert(key, set);
        }
    }

    fn run_set(&mut self, now: u64, key: &Key, set: &Value) -> Value {
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or(1) as u32;
        let first = set["spec"]["ordinals"]["start"].as_u64().unwrap_or(0) as u32;
        let parallel = text(set, "/spec/podManagementPolicy") == "Parallel";
        let update = revision(key, set);
        let mut ready = 0;
        let mut current = 0;
        let mut updated = 0;
        for ordinal in first..first + replicas {
            let pod_key = Key::new("pods", &key.namespace, &names::pod(&key.name, ordinal));
            if let Some(pod) = self.get(&pod_key) {
                current += 1;
                let is_ready = super::pods::is_ready(pod);
                ready += u32::from(is_ready);
                updated += u32::from(pod["metadata"]["labels"][REVISION] == update.as_str());
                if text(pod, "/status/phase") == "Pending" && self.looks_again(key, set, ordinal) {
                    self.make_claims(now, key, set, ordinal);
                }
                if !parallel && !is_ready {
                    break;
                }
                continue;
            }
            if self.make_claims(now, key, set, ordinal) {
                let pod = pod(key, set, ordinal, &update);
                // The name was free a moment ago, and nobody else acts between.
                let _ = self.put_new(now, &pod_key, pod);
                current += 1;
                updated += 1;
            }
            if !parallel {
                break;
            }
        }
        self.scale_down(now, key, first, replicas, parallel);
        // A roll-out is over when every pod is of the new revision and ready. Here it never goes on by itself, as with `OnDelete`.
        let before = text(set, "/status/currentRevision");
        let over = before.is_empty() || (updated == current && ready == current);
        let revision = if over { update.as_str() } else { before };
        json!({
            "replicas": current, "readyReplicas": ready, "currentRevision": revision, "updateRevision": update,
            "observedGeneration": set["metadata"]["generation"],
        })
    }

    /// Whether the controller has looked at the set since a claim of the pod went: a claim that goes wakes it not, a change of
    /// the set or of any of its pods does. It then makes what a pending pod lacks (`createMissingPersistentVolumeClaims`).
    fn looks_again(&self, key: &Key, set: &Value, ordinal: u32) -> bool {
        let empty = Vec::new();
        let missing = set["spec"]["volumeClaimTemplates"].as_array().unwrap_or(&empty).iter().filter_map(|template| {
            let name = names::claim(text(template, "/metadata/name"), &key.name, ordinal);
            let claim = Key::new("persistentvolumeclaims", &key.namespace, &name);
            if self.get(&claim).is_some() { None } else { self.gone.get(&claim).copied() }
        });
        let Some(gone) = missing.min() else { return false };
        let version = |object: &Value| text(object, "/metadata/resourceVersion").parse().unwrap_or(0_u64);
        let pods = self.of("pods").filter(|(pod, _)| pod.namespace == key.namespace).map(|(_, pod)| version(pod));
        pods.chain([version(set)]).any(|seen| seen > gone)
    }

    /// Claims of an ordinal: found by name and taken as they are, or made from the template. False while one is going.
    fn make_claims(&mut self, now: u64, key: &Key, set: &Value, ordinal: u32) -> bool {
        let empty = Vec::new();
        for template in set["spec"]["volumeClaimTemplates"].as_array().unwrap_or(&empty) {
            let name = names::claim(text(template, "/metadata/name"), &key.name, ordinal);
            let claim_key = Key::new("persistentvolumeclaims", &key.namespace, &name);
            match self.get(&claim_key) {
                Some(claim) if is_going(claim) => return false,
                Some(_) => {}
                None => {
                    let labels = set["spec"]["selector"]["matchLabels"].clone();
                    let claim = json!({
                        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                        "metadata": {"labels": labels}, "spec": template["spec"],
                    });
                    let _ = self.put_new(now, &claim_key, claim);
                }
            }
        }
        true
    }

    fn scale_down(&mut self, now: u64, key: &Key, first: u32, replicas: u32, parallel: bool) {
        let ordinal =
            |pod: &Key| -> Option<u32> { pod.name.strip_prefix(key.name.as_str())?.strip_prefix('-')?.parse().ok() };
        let mut surplus: Vec<(u32, Key)> = self
            .of("pods")
            .filter(|(pod, _)| pod.namespace == key.namespace)
            .filter_map(|(pod, _)| Some((ordinal(pod)?, pod)))
            .filter(|(ordinal, _)| *ordinal < first || *ordinal >= first + replicas)
            .map(|(ordinal, pod)| (ordinal, pod.clone()))
            .collect();
        surplus.sort_by(|left, right| right.cmp(left));
        let unready = |pod: &Key| self.get(pod).is_some_and(|pod| is_going(pod) || !super::pods::is_ready(pod));
        // From the highest on. At one that is not ready the controller waits while a lower one is not ready either.
        let blocks = |pod: &Key| unready(pod) && surplus.iter().any(|(_, lower)| lower < pod && unready(lower));
        if !parallel && surplus.first().is_some_and(|(_, highest)| blocks(highest)) {
            return;
        }
        for (_, pod) in surplus {
            if let Some(object) = self.objects.get_mut(&pod)
                && !is_going(object)
            {
                object["metadata"]["deletionTimestamp"] = json!(super::objects::time(now));
                let _ = self.changed(&pod);
            }
            if !parallel {
                break;
            }
        }
    }
}

/// The name of the ControllerRevision of a set's template.
fn revision(key: &Key, set: &Value) -> String {
    let hash = blake3::hash(&written(&set["spec"]["template"])).to_hex();
    format!("{}-{}", key.name, &hash[..10])
}

fn pod(key: &Key, set: &Value, ordinal: u32, revision: &str) -> Value {
    let empty = Vec::new();
    let volumes: Vec<Value> = set["spec"]["volumeClaimTemplates"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|template| {
            let name = text(template, "/metadata/name");
            json!({"name": name, "persistentVolumeClaim": {"claimName": names::claim(name, &key.name, ordinal)}})
        })
        .collect();
    let mut labels = set["spec"]["template"]["metadata"]["labels"].clone();
    labels[REVISION] = json!(revision);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "StatefulSet", "name": key.name,
                "uid": set["metadata"]["uid"], "controller": true,
            }],
        },
        "spec": {"containers": set["spec"]["template"]["spec"]["containers"], "volumes": volumes},
        "status": {"phase": "Pending"},
    })
}
