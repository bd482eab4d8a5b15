//! The set: its replicas, and its pods on their volumes.

use std::collections::BTreeMap;

use rehome_model::plan::{Action, PodTarget, Purpose};
use serde_json::{Value, json};

use super::claims::{keep_closed, used_claims};
use super::gate;
use super::starts::{self, Starts};
use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::kubernetes::{paths, text};
use crate::limits::POD_MISSING;

/// Sets the replicas through the scale subresource, against the version that was seen. A set that somebody deleted has none.
pub(super) async fn set_replicas(context: &StepContext, set: &str, replicas: u32) -> Result<(), StepError> {
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

/// Scales the set, and sees the pods go that must be gone.
pub(super) async fn scale(
    context: &StepContext,
    set: &str,
    replicas: u32,
    gone: &[String],
) -> Result<Outputs, StepError> {
    if replicas > 0 && context.plan().purpose == Purpose::Apply && !context.undo {
        gate::see_closed(context, set).await?;
    }
    set_replicas(context, set, replicas).await?;
    for pod in gone {
        keep_closed(context, &context.plan().namespace, pod).await?;
    }
    Ok(Outputs::new())
}

/// Every pod runs, on the claims of its slot, each bound to the volume made for it.
pub(super) async fn pods_run(
    context: &StepContext,
    pods: &[PodTarget],
    volumes: &BTreeMap<String, Vec<String>>,
) -> Result<Outputs, StepError> {
    let mut starts = Starts::new(context);
    context
        .wait(async || {
            let found = context.pods().await?;
            starts.look(pods, &found)?;
            for target in pods {
                let Some(pod) = found.get(&target.pod) else {
                    let missing = format!("pod {} is not there yet", target.pod);
                    return Ok(Err(scaled_again(context, target).await?.unwrap_or(missing)));
                };
                if let Some(reason) = starts::not_running(pod, &target.container) {
                    return Ok(Err(format!("pod {}: {reason}", target.pod)));
                }
            }
            let claims = context.claims().await?;
            for (target, pod) in pods.iter().filter_map(|target| Some((target, found.get(&target.pod)?))) {
                check_volumes(&claims, target, pod, volumes)?;
            }
            Ok(Ok(()))
        })
        .await?;
    Ok(Outputs::new())
}

/// The set of a pod that does not come is scaled up once more if somebody has scaled it down since this run scaled it up:
/// GitOps that says 0 would else keep the downtime going. Answers what was found.
async fn scaled_again(context: &StepContext, target: &PodTarget) -> Result<Option<String>, StepError> {
    // The controller makes the pods of a set within seconds.
    if context.undo || context.plan().purpose != Purpose::Apply || context.elapsed() < POD_MISSING {
        return Ok(None);
    }
    let plan = context.plan();
    let member = plan.members.iter().find(|member| member.slot.pod.as_deref() == Some(target.pod.as_str()));
    let Some(set) = member.and_then(|member| member.slot.set.as_deref()) else { return Ok(None) };
    let planned = plan.steps.iter().find_map(|step| match &step.action {
        Action::ScaleSet { set: name, replicas, .. } if name == set => Some(*replicas),
        _ => None,
    });
    let namespace = &plan.namespace;
    let scale = context.kube().get(&paths::scale(namespace, set)).await?;
    let found = scale.map_or(0, |scale| scale["spec"]["replicas"].as_u64().unwrap_or(0));
    let Some(planned) = planned.filter(|planned| found < u64::from(*planned)) else { return Ok(None) };
    gate::see_closed(context, set).await?;
    set_replicas(context, set, planned).await?;
    let text = format!(
        "StatefulSet {namespace}/{set} was scaled down to {found} by somebody since this run scaled it to {planned}: it is \
         scaled up again; set its replicas to {planned} where they come from, too"
    );
    context.note(text.clone());
    Ok(Some(text))
}

fn check_volumes(
    claims: &BTreeMap<String, Value>,
    target: &PodTarget,
    pod: &Value,
    volumes: &BTreeMap<String, Vec<String>>,
) -> Result<(), StepError> {
    let used = used_claims(pod);
    let wrong = |what: String| StepError::failed("WrongVolume", format!("pod {}: {what}", target.pod));
    for (claim, expected) in target.claims.iter().zip(volumes.get(&target.pod).into_iter().flatten()) {
        if !used.contains(claim.as_str()) {
            return Err(wrong(format!("it does not use claim {claim}")));
        }
        let bound = claims.get(claim).map(|found| text(found, "/spec/volumeName"));
        if bound != Some(expected.as_str()) {
            return Err(wrong(format!("claim {claim} is bound to {bound:?}, not {expected}")));
        }
    }
    Ok(())
}
