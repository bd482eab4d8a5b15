//! Objects, their keys, and errors as `Status`.

use serde_json::{Value, json};

/// A kind of object: API prefix, plural, kind, and whether it lives in a namespace.
pub(crate) struct Resource {
    pub prefix: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
}

/// All that this Kubernetes knows.
pub(crate) const RESOURCES: &[Resource] = &[
    Resource { prefix: "api/v1", plural: "namespaces", kind: "Namespace", namespaced: false },
    Resource { prefix: "api/v1", plural: "nodes", kind: "Node", namespaced: false },
    Resource { prefix: "api/v1", plural: "persistentvolumes", kind: "PersistentVolume", namespaced: false },
    Resource { prefix: "api/v1", plural: "persistentvolumeclaims", kind: "PersistentVolumeClaim", namespaced: true },
    Resource { prefix: "api/v1", plural: "pods", kind: "Pod", namespaced: true },
    Resource { prefix: "api/v1", plural: "configmaps", kind: "ConfigMap", namespaced: true },
    Resource { prefix: "api/v1", plural: "events", kind: "Event", namespaced: true },
    Resource { prefix: "api/v1", plural: "services", kind: "Service", namespaced: true },
    Resource { prefix: "apis/apps/v1", plural: "statefulsets", kind: "StatefulSet", namespaced: true },
    Resource { prefix: "apis/storage.k8s.io/v1", plural: "storageclasses", kind: "StorageClass", namespaced: false },
    Resource { prefix: "apis/storage.k8s.io/v1", plural: "csidrivers", kind: "CSIDriver", namespaced: false },
    Resource { prefix: "apis/storage.k8s.io/v1", plural: "csinodes", kind: "CSINode", namespaced: false },
    Resource {
        prefix: "apis/storage.k8s.io/v1",
        plural: "volumeattachments",
        kind: "VolumeAttachment",
        namespaced: false,
    },
    Resource { prefix: "apis/coordination.k8s.io/v1", plural: "leases", kind: "Lease", namespaced: true },
    Resource {
        prefix: "apis/autoscaling/v2",
        plural: "horizontalpodautoscalers",
        kind: "HorizontalPodAutoscaler",
        namespaced: true,
    },
];

/// Where an object is kept: plural, namespace (empty if none), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `persistentvolumeclaims`.
    pub plural: &'static str,
    /// Namespace; empty for cluster-wide objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(plural: &'static str, namespace: &str, name: &str) -> Self {
        Self { plural, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// A refusal, as the apiserver words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status.
    pub code: u16,
    /// Reason.
    pub reason: &'static str,
    /// Message.
    pub message: String,
}

impl Failure {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    pub(crate) fn not_found(key: &Key) -> Self {
        Self::new(404, "NotFound", format!("{} \"{}\" not found", key.plural, key.name))
    }

    pub(crate) fn exists(key: &Key) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{}\" already exists", key.plural, key.name))
    }

    pub(crate) fn conflict(key: &Key, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{}\": {why}", key.plural, key.name);
        Self::new(409, "Conflict", message)
    }

    pub(crate) fn invalid(key: &Key, why: &str) -> Self {
        Self::new(422, "Invalid", format!("{} \"{}\" is invalid: {why}", key.plural, key.name))
    }

    /// The `Status` object.
    pub fn body(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }
}

/// A string by JSON pointer; empty if absent.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// As `Value::pointer`, for pointers without escapes: it is asked a thousand times a run, and allocates nothing.
fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer.split('/').skip(1).try_fold(object, |inner, token| match inner {
        Value::Object(fields) => fields.get(token),
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Whether the object is being deleted.
pub(crate) fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// An RFC 3339 time.
pub(crate) fn time(ms: u64) -> String {
    jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or_default().to_string()
}
