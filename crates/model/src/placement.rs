//! Where pods may be placed: what nodes refuse, and what a pod template asks of nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A taint that keeps pods from being placed (`NoSchedule`, `NoExecute`). One that only advises is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; empty for none.
    pub value: String,
    /// `NoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A taint that the pods of a template put up with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toleration {
    /// Key; empty, with operator `Exists`, for all keys.
    pub key: String,
    /// `Exists` or `Equal`.
    pub operator: String,
    /// Value, for `Equal`.
    pub value: String,
    /// Effect; empty for all.
    pub effect: String,
}

/// What a pod template says of the nodes its pods may go to. Resources and what other pods are there are not among it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// spec.tolerations.
    pub tolerations: Vec<Toleration>,
    /// spec.nodeSelector.
    pub node_selector: BTreeMap<String, String>,
    /// Terms of the required node affinity, of which one must hold; empty if there is none.
    pub required: Vec<NodeTerm>,
}

/// A term of a node affinity: all of it must hold. One that asks nothing holds for no node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTerm {
    /// matchExpressions, on labels.
    pub labels: Vec<NodeRequirement>,
    /// matchFields; `metadata.name` is the only field there is.
    pub fields: Vec<NodeRequirement>,
}

/// One requirement of a term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRequirement {
    /// Label or field.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// Values.
    pub values: Vec<String>,
}
