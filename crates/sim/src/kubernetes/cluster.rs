//! The cluster's state, and how time passes in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::ailments::Ailing;
use super::objects::{Failure, Key, text, time};

/// How long the quota controller takes to notice that a claim went.
const RECOUNT_MS: u64 = 2_000;

/// The machines under the cluster: volumes, mounts, processes. The simulated world implements it.
pub trait Machines {
    /// Makes a blank volume for a claim that nobody adopted: the accident rehome must prevent. Answers its handle.
    fn provision(&mut self, now: u64, zone: &str, size_gib: u32, claim: &str) -> String;
    /// Begins or goes on to attach a volume to a node; true once attached.
    fn attach(&mut self, now: u64, handle: &str, node: &str) -> Result<bool, String>;
    /// Begins or goes on to detach; true once gone.
    fn detach(&mut self, now: u64, handle: &str, node: &str) -> bool;
    /// Asks to detach what never was attached, as the driver does; the error if it is not allowed to.
    fn detach_unattached(&mut self, now: u64, handle: &str, node: &str) -> Result<(), String>;
    /// Mounts a volume on a node, formatting it if it is blank (as a CSI driver does).
    fn mount(&mut self, now: u64, handle: &str, node: &str, fs_type: &str) -> Result<(), String>;
    /// Unmounts it.
    fn unmount(&mut self, now: u64, handle: &str, node: &str);
    /// Starts the pod's container.
    fn start(&mut self, now: u64, pod: &str, ip: &str, env: &BTreeMap<String, String>, volumes: &[String]);
    /// Stops it.
    fn stop(&mut self, now: u64, pod: &str);
    /// When the pod's readiness probe passes, if its container runs.
    fn ready_at(&self, pod: &str) -> Option<u64>;
}

/// How long things take, in ms.
#[derive(Clone, Debug)]
pub struct KubeTiming {
    /// Between two looks of the controllers.
    pub tick_ms: u64,
    /// The claim binder's resync (kube-controller-manager --pvclaimbinder-sync-period).
    pub binder_resync_ms: u64,
    /// Pulling the image.
    pub pull_ms: u64,
    /// A container's clean stop.
    pub stop_ms: u64,
}

impl Default for KubeTiming {
    fn default() -> Self {
        Self { tick_ms: 250, binder_resync_ms: 15_000, pull_ms: 3_000, stop_ms: 2_000 }
    }
}

/// What the kubelet knows of a pod beyond the object.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodRun {
    pub mounted: Vec<String>,
    pub pull_until: Option<u64>,
    pub started: bool,
    pub stop_at: Option<u64>,
    pub mount_tries: u32,
    pub mount_at: u64,
}

/// A cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub(crate) objects: BTreeMap<Key, Value>,
    pub(crate) version: u64,
    pub(crate) uids: u64,
    pub(crate) timing: KubeTiming,
    pub(crate) ticked_at: u64,
    /// The version that the controllers have seen.
    seen_version: u64,
    /// When something happens next that no change announces.
    due: u64,
    /// Claims that the binder looks at before its next resync.
    pub(crate) woken: BTreeSet<(String, String)>,
    /// The version at which what bore a name went last.
    pub(crate) gone: BTreeMap<Key, u64>,
    pub(crate) runs: BTreeMap<String, PodRun>,
    pub(crate) addresses: u32,
    /// Volumes attached to nodes: (handle, node).
    pub(crate) attached: BTreeSet<(String, String)>,
    /// Containers that do not start.
    pub(crate) ailing: Vec<Ailing>,
    /// What callers may not do: `verb plural`.
    pub denied: BTreeSet<String>,
    /// An admission webhook that has effects besides its answer: what is only tried is refused because of it.
    pub effective_webhook: Option<String>,
    /// How many claims a ResourceQuota lets be in a namespace.
    pub claim_quota: Option<usize>,
    /// When claims went that the quota still counts.
    pub(crate) uncounted: Vec<(String, u64)>,
    /// `v1.34.1`.
    pub version_name: String,
    /// Driver -> when it last wrote its Lease (invariant I10).
    pub lease_writes: BTreeMap<String, u64>,
    /// API calls by verb and plural.
    pub(crate) calls: BTreeMap<(&'static str, &'static str), u64>,
}

impl Cluster {
    /// An empty cluster at a time.
    pub fn new(now: u64) -> Self {
        Self { ticked_at: now, version_name: "v1.34.1".to_owned(), ..Self::default() }
    }

    /// Lets the controllers work up to `now`.
    pub fn advance(&mut self, now: u64, machines: &mut dyn Machines) {
        while self.ticked_at + self.timing.tick_ms <= now {
            let tick_ms = self.timing.tick_ms;
            let due = self.next_due();
            if due > now {
                self.ticked_at += (now - self.ticked_at) / tick_ms * tick_ms;
                break;
            }
            self.ticked_at += due.saturating_sub(self.ticked_at).div_ceil(tick_ms).max(1) * tick_ms;
            let at = self.ticked_at;
            let before = self.version;
            self.bind(at, machines);
            self.run_sets(at);
            self.run_pods(at, machines);
            self.collect(at);
            self.due = if before == self.version { self.next_event(machines) } else { at };
            self.seen_version = self.version;
        }
    }

    /// When the controllers next have something to do: at once after a change, while pods come and go, and at the
    /// binder's resync.
    pub(crate) fn next_due(&self) -> u64 {
        let next_tick = self.ticked_at + self.timing.tick_ms;
        if self.version != self.seen_version {
            return next_tick;
        }
        let resync_ms = self.timing.binder_resync_ms;
        ((self.ticked_at / resync_ms + 1) * resync_ms).min(self.due.max(next_tick))
    }

    /// When something goes on that no change of an object announces.
    fn next_event(&self, machines: &dyn Machines) -> u64 {
        let mounted = self.runs.values().map(|run| run.mounted.len()).sum::<usize>();
        if self.attached.len() > mounted {
            return self.ticked_at;
        }
        let of_pod = |(key, pod): (&Key, &Value)| {
            let run = self.runs.get(&key.name);
            if super::objects::is_going(pod) {
                return run.and_then(|run| run.stop_at).unwrap_or(self.ticked_at);
            }
            if text(pod, "/spec/nodeName").is_empty() {
                return u64::MAX;
            }
            match run {
                Some(run) if run.started && super::pods::is_ready(pod) => u64::MAX,
                Some(run) if run.started => machines.ready_at(&key.name).unwrap_or(u64::MAX),
                run => run.and_then(|run| run.pull_until).unwrap_or(self.ticked_at),
            }
        };
        let pods = self.of("pods").map(of_pod).min().unwrap_or(u64::MAX);
        let going = |plural| self.of(plural).any(|(_, object)| super::objects::is_going(object));
        if going("persistentvolumeclaims") || going("persistentvolumes") { self.ticked_at } else { pods }
    }

    /// Objects of a plural, with their keys.
    pub(crate) fn of(&self, plural: &'static str) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.range(Key::new(plural, "", "")..).take_while(move |(key, _)| key.plural == plural)
    }

    /// An object.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// All objects of a plural.
    pub fn all(&self, plural: &'static str) -> Vec<Value> {
        self.of(plural).map(|(_, object)| object.clone()).collect()
    }

    /// Changes all objects of a plural.
    pub fn change_all(&mut self, plural: &'static str, change: impl Fn(&mut Value)) {
        for key in self.keys(plural) {
            let Some(object) = self.objects.get_mut(&key) else { continue };
            let before = object.clone();
            change(object);
            if *object != before {
                // It is there: it was changed just now.
                let _ = self.changed(&key);
            }
        }
    }

    /// Keys of a plural.
    pub(crate) fn keys(&self, plural: &'static str) -> Vec<Key> {
        self.of(plural).map(|(key, _)| key.clone()).collect()
    }

    /// Puts an object there, as the apiserver stores it: with uid, version, time, finalizers and a first status.
    pub fn put_new(&mut self, now: u64, key: &Key, mut object: Value) -> Result<(), Failure> {
        if self.objects.contains_key(key) {
            return Err(Failure::exists(key));
        }
        self.uids += 1;
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        if !key.namespace.is_empty() {
            metadata["namespace"] = json!(key.namespace);
        }
        metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", self.uids));
        metadata["creationTimestamp"] = json!(time(now));
        metadata["generation"] = json!(1);
        if let Some(finalizer) = finalizer(key.plural) {
            metadata["finalizers"] = json!([finalizer]);
        }
        if matches!(key.plural, "persistentvolumeclaims" | "persistentvolumes") {
            object["status"] = json!({"phase": "Pending"});
        }
        self.objects.insert(key.clone(), object);
        self.changed(key)
    }

    /// Gives an object a new version after a change, and wakes whom it concerns.
    pub(crate) fn changed(&mut self, key: &Key) -> Result<(), Failure> {
        // No controller watches these: those who have seen all have seen them too.
        let unwatched = matches!(key.plural, "configmaps" | "events" | "leases") && self.seen_version == self.version;
        self.version += 1;
        if unwatched {
            self.seen_version = self.version;
        }
        if key.plural == "persistentvolumeclaims" {
            self.woken.insert((key.namespace.clone(), key.name.clone()));
        }
        let version = self.version;
        let object = self.objects.get_mut(key).ok_or_else(|| Failure::not_found(key))?;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        Ok(())
    }

    /// Removes what is being deleted and nothing protects any more.
    fn collect(&mut self, now: u64) {
        // Nothing else is ever held by a finalizer.
        let going: Vec<Key> = ["persistentvolumeclaims", "persistentvolumes"]
            .into_iter()
            .flat_map(|plural| self.of(plural))
            .filter(|(_, object)| super::objects::is_going(object))
            .map(|(key, _)| key.clone())
            .collect();
        for key in going {
            let protected = match key.plural {
                "persistentvolumeclaims" => self.claim_in_use(&key),
                _ => self.volume_in_use(&key),
            };
            if !protected {
                self.objects.remove(&key);
                self.version += 1;
                if self.claim_quota.is_some() && key.plural == "persistentvolumeclaims" {
                    self.uncounted.push((key.namespace.clone(), now));
                }
                self.gone.insert(key, self.version);
            }
        }
    }

    /// Whether one claim more is within the quota, which is counted anew a moment after a claim went.
    pub(crate) fn within_quota(&mut self, now: u64, claim: &Key) -> Result<(), Failure> {
        let Some(hard) = self.claim_quota else { return Ok(()) };
        self.uncounted.retain(|(_, went)| now < went + RECOUNT_MS);
        let there = self.of("persistentvolumeclaims").filter(|(key, _)| key.namespace == claim.namespace).count();
        let used = there + self.uncounted.iter().filter(|(namespace, _)| *namespace == claim.namespace).count();
        if used < hard {
            return Ok(());
        }
        let why = format!(
            "persistentvolumeclaims \"{}\" is forbidden: exceeded quota: claims, requested: persistentvolumeclaims=1, \
             used: persistentvolumeclaims={used}, limited: persistentvolumeclaims={hard}",
            claim.name
        );
        Err(Failure::new(403, "Forbidden", why))
    }

    fn claim_in_use(&self, claim: &Key) -> bool {
        // A pod that no node was chosen for uses nothing yet, and no kubelet starts it on a claim that is going
        // (kubernetes pkg/controller/volume/pvcprotection).
        self.of("pods").any(|(key, pod)| {
            key.namespace == claim.namespace
                && !text(pod, "/spec/nodeName").is_empty()
                && super::pods::claims(pod).contains(&claim.name)
        })
    }

    fn volume_in_use(&self, volume: &Key) -> bool {
        let Some(object) = self.objects.get(volume) else { return false };
        object["status"]["phase"] == "Bound" || self.is_held_by_an_attachment(&volume.name)
    }
}

fn finalizer(plural: &str) -> Option<&'static str> {
    match plural {
        "persistentvolumeclaims" => Some("kubernetes.io/pvc-protection"),
        "persistentvolumes" => Some("kubernetes.io/pv-protection"),
        _ => None,
    }
}
