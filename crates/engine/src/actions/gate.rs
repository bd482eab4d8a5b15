//! The gate: the ConfigMap that says whether pods start closed or open, and the set's template that takes its word.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::fingerprint::fingerprint;
use rehome_model::plan::{Action, Plan, PodTarget, Step};
use rehome_model::record::StepState;
use rehome_model::task::PodTask;
use rehome_model::{labels, names};
use rehome_planner::manifests;
use serde_json::{Value, json};

use super::{members, revision};
use crate::context::{Outputs, StepContext};
use crate::error::{StepError, StepErrorKind};
use crate::kubernetes::{label, paths, text, uid};
use crate::objects::GateFound;
use crate::schedule::blank;

pub(super) async fn write(
    context: &StepContext,
    name: &str,
    data: &BTreeMap<String, String>,
) -> Result<Outputs, StepError> {
    let namespace = &context.plan().namespace;
    let path = paths::config_map(namespace, name);
    let found = context.kube().get(&path).await?;
    if let Some(found) = &found {
        check_ours(context, name, found)?;
        if !found["metadata"]["deletionTimestamp"].is_null() {
            // Whatever it says now: once it is gone the pods start with the image's default, open.
            return Err(StepError::again("Terminating", format!("ConfigMap {name} is being deleted")));
        }
        if found["data"] == json!(data) {
            return Ok(Outputs::new());
        }
    }
    let mut object = manifests::gate(context.maker(), namespace, name, data);
    context.may_act()?;
    if let Some(found) = found {
        object["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
        context.kube().replace(&path, &object).await?;
    } else {
        context.kube().create(&paths::config_maps(namespace), &object).await?;
    }
    Ok(Outputs::new())
}

pub(super) async fn remove(context: &StepContext, name: &str) -> Result<Outputs, StepError> {
    let path = paths::config_map(&context.plan().namespace, name);
    if let Some(found) = context.kube().get(&path).await? {
        check_ours(context, name, &found)?;
        context.may_act()?;
        context.kube().delete(&path, uid(&found)).await?;
    }
    Ok(Outputs::new())
}

fn check_ours(context: &StepContext, name: &str, found: &Value) -> Result<(), StepError> {
    if label(found, labels::MIGRATION) == Some(&context.plan().migration) {
        return Ok(());
    }
    Err(StepError::failed("Stranger", format!("ConfigMap {name} exists and does not belong to this migration")))
}

/// Right before pods may start: the gate says closed, the set's template takes it and is the one that was checked, and pods that
/// wait already are of this template. The plan was made, and the gate written, up to a day before; whoever deleted one or
/// deployed the other anew meanwhile would let clients in at once. Pods may start when the set is scaled up, or when their
/// volumes are released, if somebody else has scaled it up. Answers what was found.
pub(super) async fn see_closed(context: &StepContext, set: &str) -> Result<GateFound, StepError> {
    let name = names::gate(set);
    // A plan of a version that knew no gate.
    let Some(data) = written(context.plan(), &name) else { return Ok(GateFound::default()) };
    let found = context.gate(set).await?;
    if !says(&found, data) {
        // Before it is closed again, and nothing tells any more that it was open.
        see_pods_shut(context, set).await?;
        write(context, &name, data).await?;
    }
    if let Some(of) = found.set.as_ref().filter(|_| is_taken(context, &found, set)) {
        if !is_started(context, set, of) {
            see_checked(context, set, of)?;
        }
        revision::see_current(context, set, of).await?;
        return Ok(found);
    }
    let (namespace, variable) = (&context.plan().namespace, context.profile().gate().variable);
    Err(StepError::failed(
        "NotGated",
        format!(
            "StatefulSet {namespace}/{set} does not take {variable} from its key of ConfigMap {name} any more: its pods would let \
             clients in before they are verified. It was changed since the plan was made"
        ),
    ))
}

/// Whether the set was told to start its pods: from then on it is its owner's to change, as the facts of the plan have it.
fn is_started(context: &StepContext, set: &str, found: &Value) -> bool {
    let is_scale =
        |step: &&Step| matches!(&step.action, Action::ScaleSet { set: of, replicas, .. } if of == set && *replicas > 0);
    let Some(scale) = context.plan().steps.iter().find(is_scale) else { return false };
    context.shared.step_record(&scale.id).is_some_and(|record| {
        record.state == StepState::Done || found.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(0) > 0
    })
}

/// Image, mounts, users and settings of the pods were checked when the plan was made, up to a day before.
fn see_checked(context: &StepContext, set: &str, found: &Value) -> Result<(), StepError> {
    let planned = rehome_planner::template(context.plan(), set);
    if planned.is_none_or(|planned| planned == fingerprint(&found["spec"]["template"])) {
        return Ok(());
    }
    Err(StepError::failed(
        "TemplateChanged",
        format!(
            "the pod template of StatefulSet {}/{set} was changed since the plan was made, and its pods would start unchecked: a plan \
             that is made anew checks it",
            context.plan().namespace
        ),
    ))
}

/// Before a run that failed is taken back by itself: no pod may have let clients in. Where a gate does not hold, because
/// somebody opened it, or a pod says that it is open, what clients wrote counts.
pub(crate) async fn see_nothing_written(context: &StepContext) -> Result<(), StepError> {
    let sets: BTreeSet<&String> = context.plan().members.iter().filter_map(|member| member.slot.set.as_ref()).collect();
    for set in sets {
        let Some(data) = written(context.plan(), &names::gate(set)) else { continue };
        let found = context.gate(set).await?;
        // A set that is gone starts no pods.
        let gated = found.set.is_none() || is_taken(context, &found, set);
        if says(&found, data) && gated {
            shut_all(context, &open_ones(context, started(context, set).await?).await).await?;
        } else {
            see_pods_shut(context, set).await?;
        }
    }
    Ok(())
}

/// What this plan writes into a gate before the pods start.
fn written<'a>(plan: &'a Plan, name: &str) -> Option<&'a BTreeMap<String, String>> {
    plan.steps.iter().find_map(|step| match &step.action {
        Action::CloseSet { config_map, data } if config_map == name => Some(data),
        _ => None,
    })
}

fn says(found: &GateFound, data: &BTreeMap<String, String>) -> bool {
    let map = found.map.as_ref().filter(|map| map["metadata"]["deletionTimestamp"].is_null());
    map.is_some_and(|map| map["data"] == json!(data))
}

/// Whether the set's template takes the gate's word.
fn is_taken(context: &StepContext, found: &GateFound, set: &str) -> bool {
    let (gate, variable) = (names::gate(set), context.profile().gate().variable);
    // A plan that waits for no pods does not say which of the containers it is.
    let container = targets(context.plan(), set).map(|target| target.container.as_str()).next();
    let template = found.set.as_ref().and_then(|set| set.pointer("/spec/template/spec/containers"));
    let containers = template.and_then(Value::as_array).into_iter().flatten();
    let takes = |container: &Value| {
        // Of two of a name the kubelet takes the last.
        let env = container["env"].as_array()?.iter().rfind(|found| found["name"] == variable)?;
        let taken = env.pointer("/valueFrom/configMapKeyRef")?;
        Some(taken["name"] == gate.as_str() && taken["key"] == variable)
    };
    containers
        .filter(|found| container.is_none_or(|name| found["name"] == name))
        .any(|found| takes(found) == Some(true))
}

/// The pods of a set that the plan waits for.
pub(super) fn targets<'a>(plan: &'a Plan, set: &str) -> impl Iterator<Item = &'a PodTarget> {
    let pods = plan.steps.iter().find_map(|step| match &step.action {
        Action::AwaitPods { pods, .. } => Some(pods),
        _ => None,
    });
    let of = format!("{set}-");
    pods.into_iter()
        .flat_map(|pods| pods.iter())
        .filter(move |target| target.pod.strip_prefix(&of).is_some_and(|n| n.parse::<u32>().is_ok()))
}

/// Of a set whose gate does not hold: once a volume was released its pods may have let clients in, those that are gone by now
/// too. What was written counts, and those that have started are closed.
async fn see_pods_shut(context: &StepContext, set: &str) -> Result<(), StepError> {
    // Of a migration of this name in another namespace there may be some, too.
    let volumes = context.persistent_volumes().await?;
    if volumes.values().any(|volume| label(volume, labels::RUN) == Some(context.run().as_str())) {
        let why =
            format!("the gate of set {set} does not hold, and volumes were released: its pods may have let clients in");
        count_as_opened(context, &why).await?;
        shut_all(context, &started(context, set).await?).await?;
    }
    Ok(())
}

/// From here on nothing discards by itself, as if the run had been opened: clients may have written.
pub(super) async fn count_as_opened(context: &StepContext, why: &str) -> Result<(), StepError> {
    let plan = context.plan();
    for step in plan.groups.iter().filter_map(|group| plan.step(&group.commit)) {
        if context.shared.step_record(&step.id).is_none() {
            context.shared.save_step(step, blank(context.now_ms())).await?;
            context.note(format!("{why}; what was written counts, and this run is not undone by itself any more"));
        }
    }
    Ok(())
}

/// The pods of a set that have started.
async fn started<'a>(context: &'a StepContext, set: &str) -> Result<Vec<&'a PodTarget>, StepError> {
    let pods = context.pods().await?;
    let started = |target: &&PodTarget| {
        pods.get(&target.pod).is_some_and(|pod| !matches!(text(pod, "/status/phase"), "" | "Pending"))
    };
    Ok(targets(context.plan(), set).filter(started).collect())
}

/// Those that say they are open. One that does not answer has a gate that holds.
async fn open_ones<'a>(context: &StepContext, pods: Vec<&'a PodTarget>) -> Vec<&'a PodTarget> {
    let all = pods.into_iter().map(async |pod| {
        let output = context.pod(pod, PodTask::View).await.ok()?;
        let view = context.profile().read_pod_view(&output.stdout).ok()?;
        view.clients_open.then_some(pod)
    });
    futures::future::join_all(all).await.into_iter().flatten().collect()
}

/// Closes pods that may have let clients in; what was written counts.
async fn shut_all(context: &StepContext, pods: &[&PodTarget]) -> Result<(), StepError> {
    for pod in pods {
        if let Err(error) = members::shut(context, pod).await {
            match error.kind {
                // It is noted; whoever takes the run up closes it, or scales the set down.
                StepErrorKind::Again => context.note(format!("pod {} was not closed: {error}", pod.pod)),
                _ => return Err(error),
            }
        }
    }
    Ok(())
}
