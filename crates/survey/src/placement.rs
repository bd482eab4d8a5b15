//! Reads where pods may go, from nodes and pod templates.

use rehome_model::placement::{NodeRequirement, NodeTerm, Placement, Taint, Toleration};
use serde_json::Value;

use crate::cluster::{array, map, optional, text};

/// The taints of a node that keep pods away. `PreferNoSchedule` only advises the scheduler.
pub(crate) fn taints(node: &Value) -> Vec<Taint> {
    let read = |taint: &Value| Taint {
        key: text(taint, "/key"),
        value: text(taint, "/value"),
        effect: text(taint, "/effect"),
    };
    let hard = |taint: &Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    array(node, "/spec/taints").iter().map(read).filter(hard).collect()
}

/// What a pod spec asks of nodes.
pub(crate) fn placement(pod: &Value) -> Placement {
    let toleration = |found: &Value| Toleration {
        key: text(found, "/key"),
        // The apiserver puts no default in.
        operator: optional(found, "/operator").filter(|o| !o.is_empty()).unwrap_or("Equal".to_owned()),
        value: text(found, "/value"),
        effect: text(found, "/effect"),
    };
    let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let term = |found: &Value| NodeTerm {
        labels: array(found, "/matchExpressions").iter().map(requirement).collect(),
        fields: array(found, "/matchFields").iter().map(requirement).collect(),
    };
    Placement {
        tolerations: array(pod, "/tolerations").iter().map(toleration).collect(),
        node_selector: map(pod, "/nodeSelector"),
        required: array(pod, required).iter().map(term).collect(),
    }
}

fn requirement(found: &Value) -> NodeRequirement {
    NodeRequirement {
        key: text(found, "/key"),
        operator: text(found, "/operator"),
        values: array(found, "/values").iter().filter_map(|value| value.as_str().map(str::to_owned)).collect(),
    }
}
