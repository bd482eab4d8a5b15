//! Pods that wait for their volumes, and the template that they were made from.

use std::collections::BTreeMap;

use rehome_model::plan::PodTarget;
use serde_json::Value;

use super::gate;
use crate::context::StepContext;
use crate::error::StepError;
use crate::kubernetes::{label, text};

/// The label that tells the revision of the template that a pod was made from (kubernetes `apps/v1`,
/// `ControllerRevisionHashLabelKey`).
const REVISION: &str = "controller-revision-hash";

/// Pods that have not started are of the template that is looked at. One that waits for its volumes was made when somebody
/// scaled the set up. When the template changes the controller replaces it late or never (`OnDelete`; kubernetes issue 67250
/// of OrderedReady), and it starts as it was made: as it failed before, or open to clients.
pub(super) async fn see_current(context: &StepContext, name: &str, set: &Value) -> Result<(), StepError> {
    let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    // Nothing to list: such a set has no pods.
    if number("/spec/replicas") == 0 && number("/status/replicas") == 0 {
        return Ok(());
    }
    let namespace = &context.plan().namespace;
    if !is_observed(set) {
        let why = format!("the controller has not looked at StatefulSet {namespace}/{name} since it was changed");
        return Err(StepError::again("NotObserved", why));
    }
    let pods = context.pods().await?;
    let stale = stale(text(set, "/status/updateRevision"), gate::targets(context.plan(), name), &pods);
    if stale.is_empty() {
        return Ok(());
    }
    Err(StepError::failed(
        "StalePod",
        format!(
            "StatefulSet {namespace}/{name} was changed since these pods were made, and they have not started: with their \
             volumes they would start from its old template, and Kubernetes may never replace them by itself: {}",
            anew(namespace, name, set, &stale)
        ),
    ))
}

/// Whether the controller has looked at a set since it was changed: before that its status tells of the old template.
fn is_observed(set: &Value) -> bool {
    let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_u64);
    number("/status/observedGeneration").zip(number("/metadata/generation")).is_none_or(|(seen, is)| seen >= is)
}

/// What makes pods anew from the template as it is now. Below a partition the controller makes them from the old one again, as
/// long as the set has pods.
fn anew(namespace: &str, name: &str, set: &Value, stale: &[&str]) -> String {
    let partition = set.pointer("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_u64);
    if partition.is_some_and(|partition| partition > 0) {
        return format!("kubectl -n {namespace} scale statefulset {name} --replicas=0");
    }
    format!("kubectl -n {namespace} delete pod {}", stale.join(" "))
}

/// The pods that have not started and are of another revision. Where one of the two does not tell its revision, nothing is known.
fn stale<'a>(
    revision: &str,
    targets: impl Iterator<Item = &'a PodTarget>,
    pods: &BTreeMap<String, Value>,
) -> Vec<&'a str> {
    let is_stale = |pod: &Value| {
        let waits = matches!(text(pod, "/status/phase"), "" | "Pending");
        // One that is being deleted is not started any more.
        let stays = pod["metadata"]["deletionTimestamp"].is_null();
        waits && stays && !revision.is_empty() && label(pod, REVISION).is_some_and(|of| of != revision)
    };
    let names = targets.map(|target| target.pod.as_str());
    names.filter(|name| pods.get(*name).is_some_and(is_stale)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn below_a_partition_a_pod_is_not_made_anew_by_its_deletion() {
        let said = |partition: u64| {
            let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
            anew("ns", "db", &json!({"spec": {"updateStrategy": strategy}}), &["db-0", "db-2"])
        };
        assert_eq!(said(0), "kubectl -n ns delete pod db-0 db-2");
        assert_eq!(said(2), "kubectl -n ns scale statefulset db --replicas=0");
    }

    #[test]
    fn what_a_controller_has_not_looked_at_yet_is_told_by_the_generations() {
        let set = |seen: u64| json!({"metadata": {"generation": 4}, "status": {"observedGeneration": seen}});
        assert_eq!((is_observed(&set(3)), is_observed(&set(4)), is_observed(&json!({}))), (false, true, true));
    }
}
