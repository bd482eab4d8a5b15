//! Pods that wait on their nodes: what the kubelet says of it, and which volumes it will never mount.
//!
//! A volume that does not mount, or a pod that gets no address, shows in no status: the container is being created. The kubelet
//! tells of it in events only.

use std::collections::BTreeMap;

use rehome_model::plan::{PodTarget, Purpose};
use serde_json::Value;
use tokio::time::Instant;

use super::starts::{never, short};
use crate::context::StepContext;
use crate::error::{StepError, or_wait};
use crate::kubernetes::{paths, text, uid};
use crate::limits::{MOUNT_LATE, MOUNT_SILENCE, UNMOUNTABLE, WARNINGS_GAP};

/// What mount(8) and kubernetes' `mount-utils` say of a file system that this node will not mount however often it tries: its kernel
/// does not know a feature of it, it is of another type than it is to be mounted as, or it needs a repair.
const FINAL: [&str; 6] = [
    "wrong fs type",
    "unknown filesystem type",
    "it already contains",
    "but could not correct them",
    "Structure needs cleaning",
    "probably corrupted filesystem",
];
/// The kubelet's reason (kubernetes `pkg/kubelet/events`).
const FAILED_MOUNT: &str = "FailedMount";
/// The scheduler's reason.
const FAILED_SCHEDULING: &str = "FailedScheduling";

/// A mount that fails for good, as it seems.
struct Failing {
    first: Instant,
    /// The version of the event that told of it last, and since when it is this one: with each try the kubelet counts an event up.
    version: String,
    renewed: Instant,
}

/// What was seen of pods that wait on their nodes, since a step waits for them.
pub(super) struct Mounts {
    /// As with containers: production is down and comes back by itself.
    heeds: bool,
    /// Whether events may be listed.
    shown: bool,
    looked: Option<Instant>,
    /// Pod -> the last warning of it.
    said: BTreeMap<String, String>,
    /// Pod and volume, as the kubelet names them.
    failing: BTreeMap<(String, String), Failing>,
}

impl Mounts {
    pub(super) fn new(context: &StepContext) -> Self {
        let heeds = context.plan().purpose == Purpose::Apply && !context.undo;
        Self { heeds, shown: true, looked: None, said: BTreeMap::new(), failing: BTreeMap::new() }
    }

    /// What the kubelet says of a pod that waits. Ends the step if a volume of one of them is never mounted.
    pub(super) async fn look(
        &mut self,
        context: &StepContext,
        waiting: &[(&PodTarget, &Value)],
    ) -> Result<&BTreeMap<String, String>, StepError> {
        if waiting.is_empty() || !self.shown || context.elapsed() < MOUNT_LATE {
            self.said.clear();
            return Ok(&self.said);
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= WARNINGS_GAP) {
            self.looked = Some(Instant::now());
            match context.kube().list(&paths::pod_warnings(&context.plan().namespace)).await {
                Ok(found) => self.see(waiting, &found)?,
                // Only the telling depends on it: whatever else a cluster answers, the pods may start.
                Err(error) if error.is_final() && !error.is_unauthorized() => {
                    self.shown = false;
                    context.note(format!("what the kubelet says of pods that wait is not seen: {error}"));
                }
                // What passes is not what the pod waits for.
                Err(error) => drop(or_wait::<(), _>(Err(error))?),
            }
        }
        Ok(&self.said)
    }

    fn see(&mut self, waiting: &[(&PodTarget, &Value)], events: &[Value]) -> Result<(), StepError> {
        self.said.clear();
        let mut of_pods: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for event in events {
            of_pods.entry(text(event, "/involvedObject/uid")).or_default().push(event);
        }
        let (mut failing, now) = (BTreeMap::new(), Instant::now());
        for (target, pod) in waiting {
            let mut of_pod = of_pods.remove(uid(pod)).unwrap_or_default();
            // Pods that wait on their nodes have one: what a scheduler said is over.
            of_pod.retain(|event| text(event, "/reason") != FAILED_SCHEDULING);
            of_pod.sort_by_key(|event| last_seen(event));
            let mut last = of_pod.last().copied();
            // The newest of each volume.
            let finals = of_pod.iter().filter(|event| is_final(event)).map(|event| (volume(event), *event));
            for (volume, event) in finals.collect::<BTreeMap<_, _>>() {
                let key = (uid(pod).to_owned(), volume.to_owned());
                let version = text(event, "/metadata/resourceVersion");
                let mut seen = self.failing.remove(&key).unwrap_or_else(|| Failing {
                    first: now,
                    version: version.to_owned(),
                    renewed: now,
                });
                let silent = now.duration_since(seen.renewed);
                let again = seen.version != version;
                if again {
                    // What was told of no more for so long was mounted, or failed otherwise.
                    if silent >= MOUNT_SILENCE {
                        seen.first = now;
                    }
                    version.clone_into(&mut seen.version);
                    seen.renewed = now;
                }
                let waited = now.duration_since(seen.first);
                // Between two tries it may have been mended, and be mounted by the next one: what was just told of is not.
                if self.heeds && again && waited >= UNMOUNTABLE {
                    let why =
                        format!("a volume of it is not mounted for {} s: {}", waited.as_secs(), tells(pod, event));
                    return Err(never(target, &why));
                }
                // What does not pass is told before what does.
                if again || silent < MOUNT_SILENCE {
                    last = Some(event);
                }
                failing.insert(key, seen);
            }
            self.said.extend(last.map(|event| (target.pod.clone(), tells(pod, event))));
        }
        self.failing = failing;
        Ok(())
    }
}

/// Whether a kubelet says that it will not mount a volume however often it tries.
fn is_final(event: &Value) -> bool {
    let message = text(event, "/message");
    text(event, "/reason") == FAILED_MOUNT && FINAL.iter().any(|words| message.contains(words))
}

/// Which volume: `MountVolume.MountDevice failed for volume "NAME" : ...`; the event's own name if it has none.
fn volume(event: &Value) -> &str {
    let named = text(event, "/message").split_once("for volume \"").and_then(|(_, rest)| rest.split_once('"'));
    named.map_or(text(event, "/metadata/name"), |(name, _)| name)
}

/// In words, for whoever looks on.
fn tells(pod: &Value, event: &Value) -> String {
    let reason = text(event, "/reason");
    if text(event, "/source/component") == "kubelet" {
        return format!("{reason} on node {}: {}", text(pod, "/spec/nodeName"), said(event));
    }
    format!("{reason}: {}", said(event))
}

/// Of a driver's answer the kubelet's frame is left out: what mount(8) says stands at the end of it.
fn said(event: &Value) -> String {
    let message = text(event, "/message");
    let output = message.rsplit_once("Output: ").map_or(message, |(_, output)| output);
    short(output)
}

/// When an event was seen last, in RFC 3339: those of one writer compare as text.
fn last_seen(event: &Value) -> String {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.into_iter().map(|at| text(event, at)).find(|time| !time.is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// Looks at one pod after a while.
    struct Watch(Mounts);

    impl Watch {
        fn new() -> Self {
            let (said, failing) = (BTreeMap::new(), BTreeMap::new());
            Self(Mounts { heeds: true, shown: true, looked: None, said, failing })
        }

        /// Says that the pod is waited for, and what is told of it, or why it is not waited for any longer.
        async fn look(&mut self, after_s: u64, events: &[Value]) -> Result<String, String> {
            tokio::time::advance(Duration::from_secs(after_s)).await;
            let identity = json!({"id": "0", "cluster": "c", "version": null, "attributes": {}});
            let target = json!({"member": "c-0", "pod": "c-0", "container": "c", "claims": [], "identity": identity});
            let target: PodTarget = serde_json::from_value(target).expect("a target");
            let pod = json!({"metadata": {"uid": "1"}, "spec": {"nodeName": "node-0"}});
            self.0.see(&[(&target, &pod)], events).map_err(|error| error.to_string())?;
            Ok(self.0.said.get("c-0").cloned().unwrap_or_default())
        }
    }

    fn event(reason: &str, message: &str, version: u32) -> Value {
        let component = if reason == FAILED_SCHEDULING { "default-scheduler" } else { "kubelet" };
        json!({
            "metadata": {"name": message, "resourceVersion": version.to_string()}, "involvedObject": {"uid": "1"},
            "reason": reason, "message": message, "lastTimestamp": format!("2026-01-01T00:00:{version:02}Z"),
            "source": {"component": component},
        })
    }

    fn failed(volume: &str, version: u32) -> Value {
        let why = "wrong fs type, bad option";
        event(
            FAILED_MOUNT,
            &format!("MountVolume.MountDevice failed for volume \"{volume}\" : Output: mount: {why}"),
            version,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_volume_is_given_up_when_it_has_just_failed_once_more_after_five_minutes() {
        let mut watch = Watch::new();
        for (after_s, version) in [(0, 1), (15, 2), (120, 3), (120, 4), (60, 4), (30, 4)] {
            let told = watch.look(after_s, &[failed("a", version)]).await.expect("it waits");
            assert_eq!(told, "FailedMount on node node-0: mount: wrong fs type, bad option");
        }
        let ended = watch.look(15, &[failed("a", 5)]).await.expect_err("the end");
        assert!(ended.contains("a volume of it is not mounted for 360 s: FailedMount on node node-0"), "{ended}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_volume_has_its_own_five_minutes() {
        let mut watch = Watch::new();
        watch.look(0, &[failed("a", 1)]).await.expect("it waits");
        // The first was mended, and its event stands for an hour.
        for (after_s, version) in [(360, 2), (2, 3), (290, 4)] {
            watch.look(after_s, &[failed("a", 1), failed("b", version)]).await.expect("it waits");
        }
        let ended = watch.look(20, &[failed("a", 1), failed("b", 5)]).await.expect_err("the end");
        assert!(ended.contains("not mounted for 312 s"), "{ended}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_silent_for_long_begins_to_fail_anew() {
        let mut watch = Watch::new();
        for (after_s, version) in [(0, 1), (719, 1), (1, 2), (122, 3), (122, 4)] {
            watch.look(after_s, &[failed("a", version)]).await.expect("it waits");
        }
        watch.look(122, &[failed("a", 5)]).await.expect_err("the end");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_not_told() {
        let mut watch = Watch::new();
        let scheduled = event(FAILED_SCHEDULING, "0/3 nodes are available", 1);
        assert_eq!(watch.look(0, std::slice::from_ref(&scheduled)).await.expect("it waits"), "");
        let other = event("FailedCreatePodSandBox", "no address", 3);
        let events = [scheduled, failed("a", 2), other];
        // What does not pass is told before what does, while it may be true.
        assert!(watch.look(0, &events).await.expect("it waits").starts_with("FailedMount on node node-0"));
        let told = watch.look(720, &events).await.expect("it waits");
        assert_eq!(told, "FailedCreatePodSandBox on node node-0: no address");
    }
}
