//! Volumes that do not attach to the nodes of their pods: why, and which of them never will.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rehome_model::plan::{PodTarget, Purpose};
use serde_json::Value;
use tokio::time::Instant;

use super::starts::{never, short};
use crate::context::StepContext;
use crate::error::{StepError, or_wait};
use crate::kubernetes::{KubeError, paths, text, uid};
use crate::limits::{ATTACH_LATE, ATTACHMENTS_GAP, NODE_GONE, UNATTACHABLE};

/// What is in the driver's words when no further try mends it: EC2's codes (AWS documentation, "Error codes for the Amazon EC2
/// API"), and gRPC's, which aws-ebs-csi-driver answers for a volume or an instance that its account and region do not have.
const FINAL: [(&str, Duration); 6] = [
    ("UnauthorizedOperation", UNATTACHABLE),
    ("CustomerKeyHasBeenRevoked", UNATTACHABLE),
    ("InvalidVolume.NotFound", UNATTACHABLE),
    ("InvalidVolume.ZoneMismatch", UNATTACHABLE),
    ("InvalidInstanceID.NotFound", NODE_GONE),
    ("code = NotFound", NODE_GONE),
];
/// What stands before EC2's code in what the driver says (aws-sdk-go-v2, `smithy.GenericAPIError` in `OperationError`).
const API_ERROR: &str = "api error ";

/// What was seen of attachments that fail, since a step waits for its pods. A pod whose volume does not attach shows nothing of
/// it: its containers are being created.
pub(super) struct Attachments {
    /// As with containers: production is down and comes back by itself.
    heeds: bool,
    /// Whether they may be listed.
    shown: bool,
    looked: Option<Instant>,
    /// The pod of one that fails, and why.
    said: Option<(String, String)>,
    /// Attachment -> its uid, what was in the driver's words first, and when.
    since: BTreeMap<String, (String, &'static str, Instant)>,
}

impl Attachments {
    pub(super) fn new(context: &StepContext) -> Self {
        let heeds = context.plan().purpose == Purpose::Apply && !context.undo;
        Self { heeds, shown: true, looked: None, said: None, since: BTreeMap::new() }
    }

    /// Why one of the pods waits, if it is for a volume. Ends the step if that never attaches. They have no labels: each look
    /// lists those of the whole cluster, and so none is made while pods may well be about to start.
    pub(super) async fn look(
        &mut self,
        context: &StepContext,
        waiting: &[(&PodTarget, &Value)],
        volumes: &BTreeMap<String, Vec<String>>,
    ) -> Result<Option<String>, StepError> {
        if waiting.is_empty() || !self.shown || context.elapsed() < ATTACH_LATE {
            return Ok(None);
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= ATTACHMENTS_GAP) {
            self.looked = Some(Instant::now());
            match context.kube().list(paths::ATTACHMENTS).await {
                Ok(found) => self.said = self.see(waiting, &found, volumes)?,
                Err(error) if error.is_final() && !error.is_unauthorized() => {
                    self.shown = false;
                    context.note(format!("whether volumes attach is not seen: {error}"));
                    return Ok(None);
                }
                // What passes is not what the pod waits for.
                Err(error) => drop(or_wait::<(), _>(Err(error))?),
            }
        }
        let of_one_that_waits =
            self.said.as_ref().filter(|(pod, _)| waiting.iter().any(|(target, _)| target.pod == *pod));
        Ok(of_one_that_waits.map(|(_, reason)| reason.clone()))
    }

    fn see(
        &mut self,
        waiting: &[(&PodTarget, &Value)],
        found: &[Value],
        volumes: &BTreeMap<String, Vec<String>>,
    ) -> Result<Option<(String, String)>, StepError> {
        let mut said = None;
        let mut since = BTreeMap::new();
        for attachment in found.iter().filter(|attachment| attachment["status"]["attached"] != true) {
            let message = text(attachment, "/status/attachError/message");
            let (node, volume) =
                (text(attachment, "/spec/nodeName"), text(attachment, "/spec/source/persistentVolumeName"));
            let is_of =
                |target: &PodTarget| volumes.get(&target.pod).is_some_and(|of| of.iter().any(|of| of == volume));
            let target = waiting
                .iter()
                .find(|(target, pod)| text(pod, "/spec/nodeName") == node && is_of(target))
                .map(|(target, _)| *target);
            let Some(target) = target.filter(|_| !message.is_empty()) else { continue };
            let what = format!("volume {volume} does not attach to node {node}");
            let why = short(message.split_once(API_ERROR).map_or(message, |(_, why)| why));
            let tells = || (target.pod.clone(), format!("pod {}: {what}: {why}", target.pod));
            let Some((code, limit)) = FINAL.into_iter().find(|(code, _)| message.contains(code)) else {
                said.get_or_insert_with(tells);
                continue;
            };
            // What does not pass is told before what does.
            if since.is_empty() {
                said = Some(tells());
            }
            let name = text(attachment, "/metadata/name");
            let first = (uid(attachment).to_owned(), code, Instant::now());
            // One that was deleted and made anew begins anew, and so does one that fails in another way.
            let before = self.since.remove(name).filter(|before| (&before.0, before.1) == (&first.0, first.1));
            let from = before.unwrap_or(first);
            let waited = from.2.elapsed();
            if self.heeds && waited >= limit {
                return Err(never(target, &format!("{what} for {} s: {why}", waited.as_secs())));
            }
            since.insert(name.to_owned(), from);
        }
        self.since = since;
        Ok(said)
    }
}

/// What keeps a PersistentVolume from going.
pub(super) struct Holder {
    name: String,
    node: String,
    /// Why the driver does not detach it.
    pub error: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VolumeAttachment {} of node {} does", self.name, self.node)?;
        self.error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}

/// The VolumeAttachment that holds a PersistentVolume.
pub(super) async fn holds(context: &StepContext, volume: &str) -> Result<Option<Holder>, KubeError> {
    let found = context.attachments().await?;
    let is_its = |of: &Value| text(of, "/spec/source/persistentVolumeName") == volume;
    let Some((name, held)) = found.iter().find(|(_, of)| is_its(of)) else { return Ok(None) };
    let message = text(held, "/status/detachError/message");
    let error = (!message.is_empty()).then(|| short(message));
    Ok(Some(Holder { name: name.clone(), node: text(held, "/spec/nodeName").to_owned(), error }))
}
