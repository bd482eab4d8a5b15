//! The replicas of a set, while somebody else scales it too: GitOps, an autoscaler, a person.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::plan::{Action, Plan, PodTarget, Purpose};
use serde_json::{Value, json};

use super::gate;
use crate::context::StepContext;
use crate::error::{StepError, or_wait};
use crate::kubernetes::paths;
use crate::limits::POD_MISSING;
use crate::objects::Named;

/// Sets the replicas through the scale subresource, against the version that was seen. A set that somebody deleted has none.
pub(super) async fn set(context: &StepContext, set: &str, replicas: u32) -> Result<(), StepError> {
    let namespace = &context.plan().namespace;
    let path = paths::scale(namespace, set);
    let Some(scale) = context.kube().get(&path).await? else {
        let gone = StepError::failed("NotFound", format!("StatefulSet {namespace}/{set} is gone"));
        return if replicas == 0 { Ok(()) } else { Err(gone) };
    };
    if scale["spec"]["replicas"].as_u64().unwrap_or(0) != u64::from(replicas) {
        let wanted = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {
                "name": set, "namespace": namespace,
                "resourceVersion": scale["metadata"]["resourceVersion"], "uid": scale["metadata"]["uid"],
            },
            "spec": {"replicas": replicas},
        });
        context.may_act()?;
        context.kube().replace(&path, &wanted).await?;
    }
    Ok(())
}

/// How many replicas the plan gives a set.
fn planned(plan: &Plan, set: &str) -> Option<u32> {
    plan.steps.iter().find_map(|step| match &step.action {
        Action::ScaleSet { set: name, replicas, .. } if name == set => Some(*replicas),
        _ => None,
    })
}

/// Before the downtime: nobody has scaled a set to more than the members that move to it. The pods beyond them would start on
/// blank volumes and join the cluster.
pub(super) fn see_not_more(context: &StepContext, set: &str, found: &Value) -> Result<(), StepError> {
    let Some(planned) = planned(context.plan(), set) else { return Ok(()) };
    let replicas = found.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(0);
    if replicas <= u64::from(planned) {
        return Ok(());
    }
    let namespace = &context.plan().namespace;
    Err(StepError::failed(
        "TooManyReplicas",
        format!(
            "StatefulSet {namespace}/{set} asks for {replicas} pods, and {planned} members move to it: the others would start on \
             blank volumes and join the cluster; set its replicas to {planned} or less where they come from"
        ),
    ))
}

/// All pods, once none of them is of such a set and beyond the plan; why not yet, otherwise. What passes is waited for: begun anew,
/// a step would forget what it has seen.
pub(super) async fn pods_of_plan(context: &StepContext) -> Result<Result<Named, String>, StepError> {
    let found = match or_wait(context.pods().await)? {
        Ok(found) => found,
        Err(reason) => return Ok(Err(reason)),
    };
    Ok(match or_wait(scaled_beyond(context, &found).await)? {
        Ok(None) => Ok(found),
        Ok(Some(reason)) | Err(reason) => Err(reason),
    })
}

/// Before the opening a set that somebody has scaled to more than was planned since this run scaled it is scaled down again.
/// Answers what is waited for: pods beyond the plan's must be gone before clients are let in.
async fn scaled_beyond(context: &StepContext, pods: &BTreeMap<String, Value>) -> Result<Option<String>, StepError> {
    let plan = context.plan();
    if context.undo || plan.purpose != Purpose::Apply {
        return Ok(None);
    }
    let slots = plan.members.iter().filter_map(|member| Some((member.slot.set.as_deref()?, member.slot.ordinal)));
    let sets: BTreeSet<&str> = slots.clone().map(|(set, _)| set).collect();
    for set in sets {
        let last = slots.clone().filter(|(of, _)| *of == set).map(|(_, ordinal)| ordinal).max();
        let beyond = |(name, pod): &(&String, &Value)| is_of(pod, set) && ordinal(name, set) > last;
        let (Some((pod, _)), Some(planned)) = (pods.iter().find(beyond), planned(plan, set)) else { continue };
        let (namespace, found) = (&plan.namespace, asked(context, set).await?);
        if found <= u64::from(planned) {
            return Ok(Some(format!("pod {pod} is not of the plan, and ends")));
        }
        self::set(context, set, planned).await?;
        let text = format!(
            "StatefulSet {namespace}/{set} was scaled up to {found} by somebody since this run scaled it to {planned}: it is \
             scaled down again, before pod {pod} joins the cluster; set its replicas to {planned} where they come from, too"
        );
        context.note(text.clone());
        return Ok(Some(text));
    }
    Ok(None)
}

fn is_of(pod: &Value, set: &str) -> bool {
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| owner["kind"] == "StatefulSet" && owner["name"] == set)
}

/// None of a name that is no pod's of the set.
fn ordinal(pod: &str, set: &str) -> Option<u32> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

async fn asked(context: &StepContext, set: &str) -> Result<u64, StepError> {
    let scale = context.kube().get(&paths::scale(&context.plan().namespace, set)).await?;
    Ok(scale.map_or(0, |scale| scale["spec"]["replicas"].as_u64().unwrap_or(0)))
}

/// The set of a pod that does not come is scaled up once more if somebody has scaled it down since this run scaled it up:
/// GitOps that says 0 would else keep the downtime going. Answers what was found.
pub(super) async fn scaled_again(context: &StepContext, target: &PodTarget) -> Result<Option<String>, StepError> {
    // The controller makes the pods of a set within seconds.
    if context.undo || context.plan().purpose != Purpose::Apply || context.elapsed() < POD_MISSING {
        return Ok(None);
    }
    let plan = context.plan();
    let member = plan.members.iter().find(|member| member.slot.pod.as_deref() == Some(target.pod.as_str()));
    let Some(set) = member.and_then(|member| member.slot.set.as_deref()) else { return Ok(None) };
    let (namespace, found) = (&plan.namespace, asked(context, set).await?);
    let Some(planned) = planned(plan, set).filter(|planned| found < u64::from(*planned)) else { return Ok(None) };
    gate::see_closed(context, set).await?;
    self::set(context, set, planned).await?;
    let text = format!(
        "StatefulSet {namespace}/{set} was scaled down to {found} by somebody since this run scaled it to {planned}: it is \
         scaled up again; set its replicas to {planned} where they come from, too"
    );
    context.note(text.clone());
    Ok(Some(text))
}
