//! What rehome must be allowed to do in the cluster: one table for the survey's question and for `rehome rbac`.

/// A thing rehome does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Verb.
    pub verb: &'static str,
    /// API group; empty for core.
    pub group: &'static str,
    /// Resource.
    pub resource: &'static str,
    /// Subresource; empty for none.
    pub subresource: &'static str,
    /// Whether it is in the target namespace only.
    pub namespaced: bool,
}

const fn allow(
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    namespaced: bool,
) -> Permission {
    Permission { verb, group, resource, subresource, namespaced }
}

/// Everything an apply and its rollback do.
pub const PERMISSIONS: &[Permission] = &[
    allow("get", "", "persistentvolumeclaims", "", true),
    allow("list", "", "persistentvolumeclaims", "", true),
    allow("create", "", "persistentvolumeclaims", "", true),
    allow("patch", "", "persistentvolumeclaims", "", true),
    allow("delete", "", "persistentvolumeclaims", "", true),
    allow("get", "", "persistentvolumes", "", false),
    allow("list", "", "persistentvolumes", "", false),
    allow("create", "", "persistentvolumes", "", false),
    allow("delete", "", "persistentvolumes", "", false),
    allow("get", "", "configmaps", "", true),
    allow("create", "", "configmaps", "", true),
    allow("update", "", "configmaps", "", true),
    allow("delete", "", "configmaps", "", true),
    allow("get", "", "pods", "", true),
    allow("list", "", "pods", "", true),
    // Exec over a websocket is a GET to the apiserver; newer ones ask for create as well.
    allow("get", "", "pods", "exec", true),
    allow("create", "", "pods", "exec", true),
    allow("list", "", "events", "", true),
    allow("get", "apps", "statefulsets", "", true),
    allow("get", "apps", "statefulsets", "scale", true),
    allow("update", "apps", "statefulsets", "scale", true),
    allow("list", "storage.k8s.io", "volumeattachments", "", false),
    allow("get", "coordination.k8s.io", "leases", "", true),
    allow("create", "coordination.k8s.io", "leases", "", true),
    allow("update", "coordination.k8s.io", "leases", "", true),
];

/// What `gc` does beyond that. Not asked for by `check`: an apply does not need it.
pub const GC_PERMISSIONS: &[Permission] = &[
    allow("list", "", "configmaps", "", true),
    allow("list", "apps", "statefulsets", "", true),
    allow("list", "coordination.k8s.io", "leases", "", true),
    allow("delete", "coordination.k8s.io", "leases", "", true),
];
