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
use crate::limits::{MOUNT_LATE, MOUNT_TRIES, UNMOUNTABLE, WARNINGS_GAP};

/// What mount(8) and kubernetes' `mount-utils` say of a file system that this node will not mount however often it tries: its kernel
/// does not know a feature of it, it is of another type than it is to be mounted as, or it needs a repair.
const FINAL: [&str; 6] = [
    "wrong fs type",
    "unknown filesystem type",
    "it already contains",
    "but could not correct them",
    "Structure needs cleaning",
    "can't read superblock",
];
/// The kubelet's reason (kubernetes `pkg/kubelet/events`).
const FAILED_MOUNT: &str = "FailedMount";

/// A mount that fails for good, as it seems.
struct Failing {
    pod_uid: String,
    first: Instant,
    /// The version of the event, and since when it is this one: with each try the kubelet counts the event up.
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
    failing: BTreeMap<String, Failing>,
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
                Err(error) if error.is_forbidden() => {
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
        let mut failing = BTreeMap::new();
        for (target, pod) in waiting {
            let mut of_pod: Vec<&Value> =
                events.iter().filter(|event| text(event, "/involvedObject/uid") == uid(pod)).collect();
            of_pod.sort_by_key(|event| last_seen(event));
            let is_final = |event: &&&Value| {
                let message = text(event, "/message");
                text(event, "/reason") == FAILED_MOUNT && FINAL.iter().any(|words| message.contains(words))
            };
            let node = text(pod, "/spec/nodeName");
            let tells = |event: &Value| format!("{} on node {node}: {}", text(event, "/reason"), said(event));
            let last = of_pod.iter().rev().find(is_final);
            // What does not pass is told before what does.
            if let Some(event) = last.or(of_pod.last()) {
                self.said.insert(target.pod.clone(), tells(event));
            }
            let Some(event) = last else { continue };
            let (version, now) = (text(event, "/metadata/resourceVersion"), Instant::now());
            let before = self.failing.remove(&target.pod).filter(|before| before.pod_uid == uid(pod));
            let mut seen = before.unwrap_or_else(|| Failing {
                pod_uid: uid(pod).to_owned(),
                first: now,
                version: version.to_owned(),
                renewed: now,
            });
            if seen.version != version {
                version.clone_into(&mut seen.version);
                seen.renewed = now;
            }
            let waited = seen.first.elapsed();
            // One that is told of no more may be mounted by now, and the image is on its way.
            if self.heeds && waited >= UNMOUNTABLE && seen.renewed.elapsed() < MOUNT_TRIES {
                return Err(never(
                    target,
                    &format!("its volume is not mounted for {} s: {}", waited.as_secs(), tells(event)),
                ));
            }
            failing.insert(target.pod.clone(), seen);
        }
        self.failing = failing;
        Ok(())
    }
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
