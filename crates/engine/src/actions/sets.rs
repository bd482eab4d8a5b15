//! The set: its replicas, and its pods on their volumes.

use std::collections::BTreeMap;

use rehome_model::plan::{PodTarget, Purpose};
use serde_json::Value;

use super::attachments::Attachments;
use super::claims::{keep_closed, used_claims};
use super::mounts::Mounts;
use super::starts::{self, Starts};
use super::{drain, gate, replicas as scaled};
use crate::context::{Outputs, StepContext};
use crate::error::{StepError, or_wait};
use crate::kubernetes::text;

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
    if replicas == 0 && context.plan().purpose == Purpose::RollbackKeepWrites {
        drain::drain(context, set).await?;
    }
    scaled::set(context, set, replicas).await?;
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
    let (mut starts, mut attachments, mut mounts) =
        (Starts::new(context), Attachments::new(context), Mounts::new(context));
    context
        .wait(async || {
            let found = match scaled::pods_of_plan(context).await? {
                Ok(found) => found,
                Err(reason) => return Ok(Err(reason)),
            };
            starts.look(context, pods, &found).await?;
            let waiting = starts::waiting(pods, &found);
            let unattached = attachments.look(context, &waiting, volumes).await?;
            let warnings = mounts.look(context, &waiting).await?;
            for target in pods {
                let Some(pod) = found.get(&target.pod) else {
                    let missing = format!("pod {} is not there yet", target.pod);
                    let again = or_wait(scaled::scaled_again(context, target).await)?;
                    return Ok(Err(again.map_or_else(|reason| reason, |again| again.unwrap_or(missing))));
                };
                if let Some(reason) = starts::not_running(pod, &target.container) {
                    let reason =
                        warnings.get(&target.pod).map_or_else(|| reason.clone(), |said| format!("{reason}; {said}"));
                    return Ok(Err(unattached.unwrap_or_else(|| format!("pod {}: {reason}", target.pod))));
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
