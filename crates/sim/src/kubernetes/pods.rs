//! Scheduler, attacher and kubelet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::cluster::{Cluster, Machines, PodRun};
use super::objects::{Key, is_going, text};

/// Names of the claims a pod uses.
pub(crate) fn claims(pod: &Value) -> Vec<String> {
    let empty = Vec::new();
    pod["spec"]["volumes"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned))
        .collect()
}

/// A node's zone.
pub(crate) fn zone(node: &Value) -> String {
    node["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str().unwrap_or_default().to_owned()
}

/// Whether a pod's Ready condition is true.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let empty = Vec::new();
    let conditions = pod["status"]["conditions"].as_array().unwrap_or(&empty);
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

impl Cluster {
    pub(crate) fn run_pods(&mut self, now: u64, machines: &mut dyn Machines) {
        for key in self.keys("pods") {
            let Some(pod) = self.get(&key) else { continue };
            let settled = self.runs.get(&key.name).is_some_and(|run| run.started) && is_ready(pod);
            if settled && !is_going(pod) {
                continue;
            }
            if is_going(pod) {
                self.end_pod(now, machines, &key);
            } else if text(pod, "/spec/nodeName").is_empty() {
                let placed = self.place(&key, pod);
                self.schedule(&key, placed);
            } else {
                let pod = pod.clone();
                self.run_pod(now, machines, &key, &pod);
            }
        }
        self.detach_unused(now, machines);
    }

    /// Handles and zones of a pod's volumes; the scheduler's words if a claim is not bound.
    fn volumes_of(&self, key: &Key, pod: &Value) -> Result<Vec<(String, String, String)>, String> {
        let mut volumes = Vec::new();
        for name in claims(pod) {
            let claim = self.get(&Key::new("persistentvolumeclaims", &key.namespace, &name));
            let bound = claim.filter(|claim| text(claim, "/status/phase") == "Bound" && !is_going(claim));
            let Some(claim) = bound else {
                return Err(match claim {
                    Some(_) => "pod has unbound immediate PersistentVolumeClaims".to_owned(),
                    None => format!("persistentvolumeclaim \"{name}\" not found"),
                });
            };
            let volume = self
                .get(&Key::new("persistentvolumes", "", text(claim, "/spec/volumeName")))
                .ok_or_else(|| format!("persistentvolume of {name} not found"))?;
            let zone =
                text(volume, "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0").to_owned();
            let handle = text(volume, "/spec/csi/volumeHandle").to_owned();
            volumes.push((handle, zone, text(volume, "/spec/csi/fsType").to_owned()));
        }
        Ok(volumes)
    }

    /// The node for a pod, or the scheduler's words if there is none.
    fn place(&self, key: &Key, pod: &Value) -> Result<String, String> {
        if self.of("nodes").next().is_none() {
            return Err("no nodes available to schedule pods".to_owned());
        }
        self.volumes_of(key, pod).and_then(|volumes| {
            let fits = |node: &Value| {
                node["spec"]["unschedulable"] != true && volumes.iter().all(|(_, in_zone, _)| zone(node) == *in_zone)
            };
            let nodes = self.of("nodes").filter(|(_, node)| fits(node));
            // Spread by how many pods a node has, then by name.
            let pods_on = |name: &str| self.of("pods").filter(|(_, pod)| text(pod, "/spec/nodeName") == name).count();
            let best = nodes.min_by_key(|(key, _)| (pods_on(&key.name), &key.name));
            best.map(|(key, _)| key.name.clone()).ok_or_else(|| {
                "0 nodes are available: node(s) didn't match PersistentVolume's node affinity".to_owned()
            })
        })
    }

    fn schedule(&mut self, key: &Key, placed: Result<String, String>) {
        let Some(object) = self.objects.get_mut(key) else { return };
        match placed {
            Ok(node) => {
                object["spec"]["nodeName"] = json!(node);
                object["status"] = json!({"phase": "Pending"});
            }
            Err(message) => {
                let condition = json!({
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                });
                if object["status"]["conditions"][0] == condition {
                    return;
                }
                object["status"] = json!({"phase": "Pending", "conditions": [condition]});
            }
        }
        let _ = self.changed(key);
    }

    fn run_pod(&mut self, now: u64, machines: &mut dyn Machines, key: &Key, pod: &Value) {
        let node = text(pod, "/spec/nodeName").to_owned();
        let mut run = self.runs.remove(&key.name).unwrap_or_default();
        if run.started {
            let ready = machines.ready_at(&key.name).is_some_and(|at| at <= now);
            if ready != is_ready(pod) {
                self.show_running(key, pod, text(pod, "/status/podIP"), ready);
            }
        } else if let Ok(volumes) = self.volumes_of(key, pod)
            && self.attach_and_mount(now, machines, (key, &node), &volumes, &mut run)
        {
            let pull_ms = self.timing.pull_ms;
            let until = *run.pull_until.get_or_insert(now + pull_ms);
            if now >= until
                && !self.show_ailing(now, until, key)
                && let Some(env) = self.environment(key, pod)
            {
                self.addresses += 1;
                let ip = format!("10.244.{}.{}", self.addresses / 250 + 1, self.addresses % 250 + 2);
                let handles: Vec<String> = volumes.into_iter().map(|(handle, _, _)| handle).collect();
                machines.start(now, &key.name, &ip, &env, &handles);
                run.started = true;
                self.show_running(key, pod, &ip, false);
            }
        }
        self.runs.insert(key.name.clone(), run);
    }

    /// A node and all that ran on it is gone: its objects too, at once. Answers the pods.
    pub(crate) fn lose_node(&mut self, node: &str) -> Vec<String> {
        let on_it = self.of("pods").filter(|(_, pod)| text(pod, "/spec/nodeName") == node);
        let pods: Vec<Key> = on_it.map(|(key, _)| key.clone()).collect();
        for key in &pods {
            self.objects.remove(key);
            self.runs.remove(&key.name);
        }
        self.objects.remove(&Key::new("nodes", "", node));
        self.objects.remove(&Key::new("csinodes", "", node));
        self.version += 1;
        pods.into_iter().map(|key| key.name).collect()
    }

    fn attach_and_mount(
        &mut self,
        now: u64,
        machines: &mut dyn Machines,
        (key, node): (&Key, &str),
        volumes: &[(String, String, String)],
        run: &mut PodRun,
    ) -> bool {
        let mut all = true;
        for (handle, _, fs_type) in volumes {
            if run.mounted.contains(handle) {
                continue;
            }
            self.attached.insert((handle.clone(), node.to_owned()));
            let attached = machines.attach(now, handle, node);
            self.show_attachment(now, handle, node, attached.as_ref().copied().map_err(String::as_str));
            if attached == Ok(true) && self.mount(now, machines, key, (handle, node, fs_type), run) {
                run.mounted.push(handle.clone());
            } else {
                all = false;
            }
        }
        all
    }

    /// The container's environment; none while a ConfigMap it needs is missing.
    fn environment(&self, key: &Key, pod: &Value) -> Option<BTreeMap<String, String>> {
        let empty = Vec::new();
        let mut env = BTreeMap::new();
        for variable in pod["spec"]["containers"][0]["env"].as_array().unwrap_or(&empty) {
            let name = text(variable, "/name").to_owned();
            if let Some(value) = variable["value"].as_str() {
                env.insert(name, value.to_owned());
                continue;
            }
            let reference = &variable["valueFrom"]["configMapKeyRef"];
            let config_map = self.get(&Key::new("configmaps", &key.namespace, text(reference, "/name")));
            match config_map.and_then(|map| map["data"].get(text(reference, "/key"))).and_then(Value::as_str) {
                Some(value) => {
                    env.insert(name, value.to_owned());
                }
                None if reference["optional"] == true => {}
                None => return None,
            }
        }
        Some(env)
    }

    fn show_running(&mut self, key: &Key, pod: &Value, ip: &str, ready: bool) {
        let container = text(pod, "/spec/containers/0/name").to_owned();
        if let Some(object) = self.objects.get_mut(key) {
            object["status"] = json!({
                "phase": "Running", "podIP": ip,
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                "containerStatuses": [{"name": container, "ready": ready, "state": {"running": {}}}],
            });
        }
        let _ = self.changed(key);
    }

    fn end_pod(&mut self, now: u64, machines: &mut dyn Machines, key: &Key) {
        let node = self.get(key).map(|pod| text(pod, "/spec/nodeName").to_owned()).unwrap_or_default();
        let mut run = self.runs.remove(&key.name).unwrap_or_default();
        let stop_ms = if run.started { self.timing.stop_ms } else { 0 };
        let until = *run.stop_at.get_or_insert(now + stop_ms);
        if now < until {
            self.runs.insert(key.name.clone(), run);
            return;
        }
        if run.started {
            machines.stop(now, &key.name);
        }
        for handle in &run.mounted {
            machines.unmount(now, handle, &node);
        }
        self.objects.remove(key);
        self.version += 1;
    }

    /// Volumes that no pod of their node uses any more are detached.
    fn detach_unused(&mut self, now: u64, machines: &mut dyn Machines) {
        if self.attached.len() == self.runs.values().map(|run| run.mounted.len()).sum::<usize>() {
            return;
        }
        let mut used = BTreeSet::new();
        for key in self.keys("pods") {
            if let Some(pod) = self.get(&key)
                && let Ok(volumes) = self.volumes_of(&key, pod)
            {
                used.extend(volumes.into_iter().map(|(handle, _, _)| (handle, text(pod, "/spec/nodeName").to_owned())));
            }
            if let Some(run) = self.runs.get(&key.name) {
                let node = self.get(&key).map(|pod| text(pod, "/spec/nodeName").to_owned()).unwrap_or_default();
                used.extend(run.mounted.iter().map(|handle| (handle.clone(), node.clone())));
            }
        }
        let unused: Vec<(String, String)> = self.attached.iter().filter(|pair| !used.contains(pair)).cloned().collect();
        for (handle, node) in unused {
            if self.has_failed_to_attach(&handle, &node)
                && let Err(message) = machines.detach_unattached(now, &handle, &node)
            {
                self.show_detach_error(now, &handle, &node, &message);
                continue;
            }
            if machines.detach(now, &handle, &node) {
                self.forget_attachment(&handle, &node);
                self.attached.remove(&(handle, node));
            }
        }
    }
}
