//! Counts what the driver asks of its ports.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::gate::{Call, Gate, Port, Ruling};

/// Stands at every port, lets everything pass, and counts.
#[derive(Debug, Default)]
pub struct Calls {
    calls: Mutex<BTreeMap<(Port, String), u64>>,
}

impl Calls {
    /// Nothing asked yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The calls so far at a port, by name.
    pub fn of(&self, port: Port) -> BTreeMap<String, u64> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|((at, _), _)| *at == port).map(|((_, name), count)| (name.clone(), *count)).collect()
    }

    /// Counts from 0 again.
    pub fn clear(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Gate for Calls {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        // The cluster's calls say only what is done; the path says to what.
        let name = match call.port {
            Port::Cluster => {
                let kind = kind(call.subject);
                let name =
                    if call.name == "kube get" && call.subject.ends_with(kind) { "kube list" } else { call.name };
                format!("{name} {kind}")
            }
            _ => call.name.to_owned(),
        };
        *calls.entry((call.port, name)).or_default() += 1;
        (0, Ruling::Go)
    }
}

/// The kind of object a path is of.
fn kind(path: &str) -> &str {
    const KINDS: [&str; 7] =
        ["persistentvolumeclaims", "persistentvolumes", "configmaps", "leases", "pods", "statefulsets", "namespaces"];
    KINDS.into_iter().find(|kind| path.split('/').any(|part| part == *kind)).unwrap_or("other")
}
