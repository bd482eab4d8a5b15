//! Whether a pod may be placed on a node, by the rules of the scheduler's own filters (kubernetes/kubernetes,
//! `staging/src/k8s.io/component-helpers/scheduling/corev1/helpers.go` and `nodeaffinity/nodeaffinity.go`,
//! `staging/src/k8s.io/api/core/v1/toleration.go`).

use rehome_model::cluster::{NodeReport, StatefulSetReport};
use rehome_model::placement::{NodeRequirement, NodeTerm, Placement, Taint, Toleration};

/// Why no pod of any of the sets can go to a node; none if one can. Without sets only the node itself speaks.
pub(crate) fn obstacle(node: &NodeReport, sets: &[&StatefulSetReport]) -> Option<String> {
    if !node.ready {
        return Some("it is not Ready".to_owned());
    }
    if !node.schedulable {
        return Some("it is cordoned".to_owned());
    }
    let mut obstacles = Vec::new();
    for set in sets {
        let why = refused(node, &set.placement)?;
        obstacles.push(format!("set {}: {why}", set.name));
    }
    if obstacles.is_empty() { None } else { Some(obstacles.join("; ")) }
}

fn refused(node: &NodeReport, placement: &Placement) -> Option<String> {
    if let Some(taint) = node.taints.iter().find(|taint| !placement.tolerations.iter().any(|t| tolerates(t, taint))) {
        let value = if taint.value.is_empty() { String::new() } else { format!("={}", taint.value) };
        return Some(format!("its pods do not tolerate the taint {}{value}:{}", taint.key, taint.effect));
    }
    let missing = placement.node_selector.iter().find(|(key, value)| node.labels.get(*key) != Some(*value));
    if let Some((key, value)) = missing {
        let has = node.labels.get(key).map_or("none".to_owned(), |has| format!("{has:?}"));
        return Some(format!("its nodeSelector asks for label {key}={value}, the node has {has}"));
    }
    if !placement.required.is_empty() && !placement.required.iter().any(|term| holds(term, node)) {
        return Some("the node fits no term of its required node affinity".to_owned());
    }
    None
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
    // An empty key is allowed with Exists only, and matches every key.
    let key = toleration.key.is_empty() || toleration.key == taint.key;
    let value = match toleration.operator.as_str() {
        "Exists" => true,
        "Equal" => toleration.value == taint.value,
        _ => false,
    };
    effect && key && value
}

/// A term without requirements holds for no node, as the API documents it.
fn holds(term: &NodeTerm, node: &NodeReport) -> bool {
    let asks = !term.labels.is_empty() || !term.fields.is_empty();
    let label = |requirement: &NodeRequirement| fits(requirement, node.labels.get(&requirement.key));
    let field =
        |requirement: &NodeRequirement| fits(requirement, (requirement.key == "metadata.name").then_some(&node.name));
    asks && term.labels.iter().all(label) && term.fields.iter().all(field)
}

fn fits(requirement: &NodeRequirement, has: Option<&String>) -> bool {
    let among = || has.is_some_and(|has| requirement.values.contains(has));
    let number = |text: Option<&String>| text?.parse::<i64>().ok();
    let compared = || number(has).zip(number(requirement.values.first())).map(|(has, limit)| has.cmp(&limit));
    match requirement.operator.as_str() {
        "In" => among(),
        "NotIn" => !among(),
        "Exists" => has.is_some(),
        "DoesNotExist" => has.is_none(),
        "Gt" => compared().is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => compared().is_some_and(std::cmp::Ordering::is_lt),
        _ => false,
    }
}
