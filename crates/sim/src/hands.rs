//! What somebody does to a world by hand: to its hosts, its machines, and the objects of its cluster.

use rehome_ec2_emulator::api::Action;

use crate::kubernetes::{Ailing, Ailment, Key};
use crate::world::{State, World};

impl World {
    /// From now on scripts in pods take so long at least: a cluster that is busy.
    pub fn slow_pods(&self, takes: std::time::Duration) {
        self.with(|state, _| state.exec_ms = u64::try_from(takes.as_millis()).unwrap_or(u64::MAX));
    }

    /// From now on pods answer to a program of another name.
    pub fn name_pod_program(&self, program: &'static str) {
        self.with(|state, _| state.pod_program = program);
    }

    /// Makes the service of the n-th legacy host hang when it is asked to stop.
    pub fn let_service_hang(&self, n: usize) {
        self.with(|state, _| {
            let mut hosts: Vec<_> = state.hosts.values_mut().collect();
            hosts.sort_by(|left, right| left.address.cmp(&right.address));
            if let Some(host) = hosts.get_mut(n) {
                host.hangs = true;
            }
        });
    }

    /// The service of the n-th legacy host dies and is masked.
    pub fn kill_service(&self, n: usize) {
        self.with(|state, _| {
            let mut hosts: Vec<_> = state.hosts.iter_mut().collect();
            hosts.sort_by(|left, right| left.1.address.cmp(&right.1.address));
            if let Some((id, host)) = hosts.into_iter().nth(n) {
                host.masked = true;
                state.database.processes.remove(id.as_str());
            }
        });
    }

    /// Somebody takes away what keeps the services of all legacy hosts down: they start with their machines again.
    pub fn let_services_go(&self) {
        self.with(|state, _| {
            for host in state.hosts.values_mut() {
                (host.masked, host.held) = (false, false);
            }
        });
    }

    /// Somebody starts the services of all legacy hosts that are up, where they do not run.
    pub fn start_services(&self) {
        self.with(|state, now| {
            let State { hosts, database, .. } = state;
            for (id, host) in hosts.iter_mut().filter(|(_, host)| host.up) {
                self.ec2.with(|inner, _| {
                    host.mount(inner, now, id);
                    // systemd says why it does not start.
                    let _ = host.start(database, &mut inner.disks, now, id);
                });
            }
        });
    }

    /// The legacy services keep something elsewhere from now on.
    pub fn keep_elsewhere(&self, purpose: &str, path: &str) {
        self.with(|state, _| {
            for host in state.hosts.values_mut() {
                host.shape.directories.insert(purpose.to_owned(), Some(path.to_owned()));
            }
        });
    }

    /// Keeps the container of a pod from starting, for a while from now on.
    pub fn ail(&self, pod: &str, ailment: Ailment, for_a_while: std::time::Duration) {
        let for_ms = u64::try_from(for_a_while.as_millis()).unwrap_or(u64::MAX);
        self.with(|state, now| {
            let until = now.saturating_add(for_ms);
            state.cluster.ailing.push(Ailing { pod: pod.to_owned(), ailment, until });
        });
    }

    /// The readiness probe of a pod fails from now on.
    pub fn unready(&self, pod: &str) {
        self.with(|state, _| {
            state.ready.insert(pod.to_owned(), u64::MAX);
            state.cluster.change_all("pods", |object| {
                if object["metadata"]["name"] == pod {
                    object["status"]["conditions"] = serde_json::json!([{"type": "Ready", "status": "False"}]);
                }
            });
        });
    }

    /// From now on members in pods keep back what they have not synced, and are killed when their pods end.
    pub fn kill_pods(&self) {
        self.with(|state, _| state.database.pods_are_killed = true);
    }

    /// Changes all objects of a kind, as another user would.
    pub fn change_objects(&self, plural: &'static str, change: impl Fn(&mut serde_json::Value)) {
        self.with(|state, _| state.cluster.change_all(plural, change));
    }

    /// Adds an object to the cluster, as another user would.
    pub fn add_object(&self, plural: &'static str, namespace: &str, name: &str, object: serde_json::Value) {
        let added = self.with(|state, now| state.cluster.put_new(now, &Key::new(plural, namespace, name), object));
        // A scene that contradicts itself is a mistake of the test that set it up.
        assert!(added.is_ok(), "{added:?}");
    }

    /// Denies the caller `verb resource` in the cluster.
    pub fn deny(&self, what: &str) {
        self.with(|state, _| state.cluster.denied.insert(what.to_owned()));
    }

    /// Takes a denial back.
    pub fn allow(&self, what: &str) {
        self.with(|state, _| state.cluster.denied.remove(what));
    }

    /// An admission webhook of this name has effects besides its answer.
    pub fn install_effective_webhook(&self, name: &str) {
        self.with(|state, _| state.cluster.effective_webhook = Some(name.to_owned()));
    }

    /// A ResourceQuota lets so many claims be in a namespace.
    pub fn limit_claims(&self, hard: usize) {
        self.with(|state, _| state.cluster.claim_quota = Some(hard));
    }

    /// A node of the cluster is gone from one moment to the next, with all that ran on it. What its machine had
    /// acknowledged is on its volumes: the reference database syncs before it acknowledges, as far as a crash can tell.
    pub fn lose_node(&self, node: &str) {
        self.with(|state, now| {
            let Some(instance) = state.nodes.get(node).cloned() else { return };
            for pod in state.cluster.lose_node(node) {
                state.ready.remove(&pod);
                state.database.processes.remove(&pod);
            }
            self.ec2.with_at(now, |inner, now| {
                let record = inner.core.instances.get(&instance);
                let devices = record.map(|record| record.block_devices.clone()).unwrap_or_default();
                for device in devices {
                    inner.disks.sync(&device.volume);
                    inner.disks.crash(&device.volume, instance.as_str());
                }
                // It cannot be refused: nothing protects a node.
                let _ = inner.call(now, &Action::TerminateInstances(vec![instance.clone()]));
            });
        });
    }

    /// The apiserver does not answer for a while, from now on. Controllers go on: they are told when it is back.
    pub fn lose_apiserver(&self, for_a_while: std::time::Duration) {
        let for_ms = u64::try_from(for_a_while.as_millis()).unwrap_or(u64::MAX);
        self.with(|state, now| state.apiserver_away.push((now, now.saturating_add(for_ms))));
    }

    /// Makes the cluster another version.
    pub fn set_version(&self, version: &str) {
        self.with(|state, _| version.clone_into(&mut state.cluster.version_name));
    }
}
