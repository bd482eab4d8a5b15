//! Kubernetes as rehome uses it: JSON in and out, so that fields this build does not know are never lost.

use std::sync::Arc;
use std::time::Duration;

use rehome_model::ids::VolumeId;
use rehome_ports::with_causes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits::{LIST_PAGE, REQUEST};

/// An error of the cluster.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KubeError {
    /// The apiserver answered with an error.
    #[error("{verb} {path}: {message}")]
    Api {
        /// HTTP verb.
        verb: &'static str,
        /// Path.
        path: String,
        /// HTTP status.
        status: u16,
        /// Kubernetes' reason: `Conflict`, `AlreadyExists`, `Forbidden`.
        reason: String,
        /// Kubernetes' message.
        message: String,
    },
    /// No answer came. The effect may have happened.
    #[error("{verb} {path}: the cluster did not answer: {message}")]
    Transport {
        /// HTTP verb.
        verb: &'static str,
        /// Path.
        path: String,
        /// What went wrong.
        message: String,
    },
    /// While the request waited for others to end, what allowed it ended too. Nothing was sent.
    #[error("{verb} {path} was not sent: {why}")]
    NotSent {
        /// HTTP verb.
        verb: &'static str,
        /// Path.
        path: String,
        /// What does not allow it any more.
        why: String,
    },
}

impl KubeError {
    /// Kubernetes' reason, `Transport` or `NotSent`.
    pub fn reason(&self) -> &str {
        match self {
            Self::Api { reason, .. } => reason,
            Self::Transport { .. } => "Transport",
            Self::NotSent { .. } => "NotSent",
        }
    }

    /// Whether the same request will fail the same way again.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Api { status, reason, .. } => {
                matches!(status, 400 | 401 | 403 | 405 | 413 | 415 | 422) && reason != "Conflict"
            }
            Self::Transport { .. } | Self::NotSent { .. } => false,
        }
    }

    /// Whether the object was not as expected: changed meanwhile, or there already.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { status: 409, .. })
    }

    /// Whether it was refused: by the permissions, or by admission.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api { status: 403, .. })
    }

    /// Whether the apiserver does not know who asks. It takes no write of the record either.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Api { status: 401, .. })
    }

    /// Whether a ResourceQuota has no room for it (kubernetes `plugin/pkg/admission/resourcequota/controller.go`).
    pub(crate) fn is_over_quota(&self) -> bool {
        self.is_forbidden() && matches!(self, Self::Api { message, .. } if message.contains("exceeded quota"))
    }

    /// Whether a webhook is in the way that has effects of its own: then nobody can say what would be
    /// (apiserver `pkg/admission/plugin/webhook/errors/statuserror.go`, `NewDryRunUnsupportedErr`).
    pub(crate) fn cannot_dry_run(&self) -> bool {
        matches!(self, Self::Api { status: 400, message, .. } if message.contains("does not support dry run"))
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }
}

/// Says why a change may not be sent any more.
pub(crate) type Leave = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Where requests wait until others have ended.
struct Line {
    slots: Semaphore,
    leave: Leave,
}

impl Line {
    /// A slot. Whoever sends a change has asked for leave already, but a wait may be longer than a lease.
    async fn wait(&self, verb: &'static str, path: &str) -> Result<Option<SemaphorePermit<'_>>, KubeError> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(Some(slot));
        }
        // The semaphore is never closed.
        let slot = self.slots.acquire().await.ok();
        if verb != "GET" {
            (self.leave)().map_err(|why| KubeError::NotSent { verb, path: path.to_owned(), why })?;
        }
        Ok(slot)
    }
}

/// A client that speaks JSON.
#[derive(Clone)]
pub struct Kube {
    client: kube::Client,
    /// Requests that may be under way at the same time; all that there are, for the driver's own Lease.
    line: Option<Arc<Line>>,
    /// How long one request may take.
    within: Duration,
}

impl Kube {
    /// Wraps a client.
    pub fn new(client: kube::Client) -> Self {
        Self { client, line: None, within: REQUEST }
    }

    /// The same, with at most so many requests under way at a time. A change that had to wait is sent only with `leave`.
    pub(crate) fn limited(self, at_once: usize, leave: Leave) -> Self {
        Self { line: Some(Arc::new(Line { slots: Semaphore::new(at_once), leave })), ..self }
    }

    /// The same, where one request may take so long.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { within: limit, ..self }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        path: &str,
        content: &str,
        body: Option<&Value>,
    ) -> Result<T, KubeError> {
        let transport = |message: String| KubeError::Transport { verb, path: path.to_owned(), message };
        let _slot = match &self.line {
            Some(line) => line.wait(verb, path).await?,
            None => None,
        };
        // A `Value` has no keys but strings: it is always written.
        let bytes = body.map_or_else(Vec::new, |body| serde_json::to_vec(body).unwrap_or_default());
        let request = http::Request::builder()
            .method(verb)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content)
            .header(http::header::ACCEPT, "application/json")
            .body(bytes)
            .map_err(|error| transport(error.to_string()))?;
        match tokio::time::timeout(self.within, self.client.request::<T>(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(KubeError::Api {
                verb,
                path: path.to_owned(),
                status: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            }),
            Ok(Err(other)) => Err(transport(with_causes(&other))),
            Err(_) => Err(transport(format!("no answer within {} s", self.within.as_secs()))),
        }
    }

    /// An object, or none if it does not exist.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, KubeError> {
        match self.send("GET", path, "application/json", None).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a collection, page by page. `path` may have a query.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, KubeError> {
        let mut found = Vec::new();
        let mut from = String::new();
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = format!("{path}{sign}limit={LIST_PAGE}{from}");
            let mut list: Value = self.send("GET", &page, "application/json", None).await?;
            found.extend(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
            let next = text(&list, "/metadata/continue");
            if next.is_empty() {
                return Ok(found);
            }
            // An opaque token: base64, whose signs a query must not have bare.
            let escaped = next.replace('%', "%25").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
            from = format!("&continue={escaped}");
        }
    }

    /// Creates an object. `AlreadyExists` is an error.
    pub async fn create(&self, collection: &str, object: &Value) -> Result<Value, KubeError> {
        self.send("POST", collection, "application/json", Some(object)).await
    }

    /// Whether an object could be created: all that the apiserver and admission say to it, with no effect.
    pub(crate) async fn would_create(&self, collection: &str, object: &Value) -> Result<(), KubeError> {
        let path = format!("{collection}?dryRun=All");
        self.send::<Value>("POST", &path, "application/json", Some(object)).await.map(|_| ())
    }

    /// Replaces an object; its resourceVersion makes it fail if it changed meanwhile.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value, KubeError> {
        self.send("PUT", path, "application/json", Some(object)).await
    }

    /// Creates or replaces an object, for its new resourceVersion: of what it has just sent the caller needs nothing else.
    pub(crate) async fn write(&self, verb: &'static str, path: &str, object: &Value) -> Result<Value, KubeError> {
        let written: Written = self.send(verb, path, "application/json", Some(object)).await?;
        Ok(written.metadata.resource_version)
    }

    /// Applies a JSON merge patch.
    pub async fn merge_patch(&self, path: &str, patch: &Value) -> Result<Value, KubeError> {
        self.send("PATCH", path, "application/merge-patch+json", Some(patch)).await
    }

    /// Deletes the object with this uid, and no other of its name. Gone already is fine.
    pub async fn delete(&self, path: &str, uid: &str) -> Result<(), KubeError> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
        match self.send::<Value>("DELETE", path, "application/json", Some(&options)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Written {
    metadata: WrittenMetadata,
}

#[derive(Deserialize)]
struct WrittenMetadata {
    #[serde(default, rename = "resourceVersion")]
    resource_version: Value,
}

/// Paths of the objects rehome touches.
pub mod paths {
    /// Claims of a namespace.
    pub fn claims(namespace: &str) -> String {
        format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims")
    }
    /// A claim.
    pub fn claim(namespace: &str, name: &str) -> String {
        format!("{}/{name}", claims(namespace))
    }
    /// PersistentVolumes.
    pub const VOLUMES: &str = "/api/v1/persistentvolumes";
    /// VolumeAttachments, of all volumes and nodes.
    pub const ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments";
    /// A PersistentVolume.
    pub fn volume(name: &str) -> String {
        format!("{VOLUMES}/{name}")
    }
    /// A pod.
    pub fn pod(namespace: &str, name: &str) -> String {
        format!("/api/v1/namespaces/{namespace}/pods/{name}")
    }
    /// ConfigMaps of a namespace.
    pub fn config_maps(namespace: &str) -> String {
        format!("/api/v1/namespaces/{namespace}/configmaps")
    }
    /// A ConfigMap.
    pub fn config_map(namespace: &str, name: &str) -> String {
        format!("{}/{name}", config_maps(namespace))
    }
    /// Pods of a namespace.
    pub fn pods(namespace: &str) -> String {
        format!("/api/v1/namespaces/{namespace}/pods")
    }
    /// What is wrong with pods of a namespace, in the words of kubelets and controllers: events, which are kept for an hour.
    pub fn pod_warnings(namespace: &str) -> String {
        format!("/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.kind%3DPod%2Ctype%3DWarning")
    }
    /// A namespace.
    pub fn namespace(name: &str) -> String {
        format!("/api/v1/namespaces/{name}")
    }
    /// StatefulSets of a namespace.
    pub fn sets(namespace: &str) -> String {
        format!("/apis/apps/v1/namespaces/{namespace}/statefulsets")
    }
    /// A StatefulSet.
    pub fn set(namespace: &str, name: &str) -> String {
        format!("{}/{name}", sets(namespace))
    }
    /// The scale of a StatefulSet.
    pub fn scale(namespace: &str, set: &str) -> String {
        format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/{set}/scale")
    }
    /// Leases of a namespace.
    pub fn leases(namespace: &str) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    }
    /// A Lease.
    pub fn lease(namespace: &str, name: &str) -> String {
        format!("{}/{name}", leases(namespace))
    }
}

/// A string inside an object, by JSON pointer; empty if absent.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A label of an object.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// The EBS volume behind a PersistentVolume: of a CSI driver, or of the old in-tree field (`aws://zone/vol-...`).
pub(crate) fn ebs_volume(object: &Value) -> Option<VolumeId> {
    let csi = text(object, "/spec/csi/volumeHandle");
    let in_tree = text(object, "/spec/awsElasticBlockStore/volumeID");
    let handle = if csi.is_empty() { in_tree.rsplit('/').next().unwrap_or_default() } else { csi };
    (!handle.is_empty()).then(|| VolumeId::from(handle))
}

/// An object's uid.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use kube::client::Body;

    use super::*;

    /// An apiserver that takes ten seconds for each request, and what was sent to it.
    fn slow() -> (kube::Client, Arc<Mutex<Vec<String>>>) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            log.lock().expect("whole").push(format!("{} {}", request.method(), request.uri()));
            async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Ok::<_, Infallible>(http::Response::new(Body::from(b"{}".to_vec())))
            }
        });
        (kube::Client::new(service, "default"), sent)
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_waited_while_its_leave_ended_is_not_sent() {
        let (client, sent) = slow();
        let allowed = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&allowed);
        let leave = move || asked.load(Ordering::SeqCst).then_some(()).ok_or_else(|| "the lease ended".to_owned());
        let kube = Kube::new(client).limited(1, Arc::new(leave));
        let body = json!({});
        let ends = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            allowed.store(false, Ordering::SeqCst);
        };
        let (first, waited, looked, ()) =
            tokio::join!(kube.merge_patch("/a", &body), kube.merge_patch("/b", &body), kube.get("/c"), ends);
        assert!(first.is_ok() && looked.is_ok(), "{first:?} {looked:?}");
        let why = "the lease ended".to_owned();
        assert_eq!(waited, Err(KubeError::NotSent { verb: "PATCH", path: "/b".to_owned(), why }));
        assert_eq!(*sent.lock().expect("whole"), ["PATCH /a", "GET /c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_waited_and_still_may_is_sent() {
        let (client, sent) = slow();
        let kube = Kube::new(client).limited(1, Arc::new(|| Ok(())));
        let body = json!({});
        let (first, second) = tokio::join!(kube.merge_patch("/a", &body), kube.merge_patch("/b", &body));
        assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
        assert_eq!(*sent.lock().expect("whole"), ["PATCH /a", "PATCH /b"]);
    }
}
