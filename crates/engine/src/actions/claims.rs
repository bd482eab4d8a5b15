//! Parked claims, and the way back to them (invariant I5).

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::ids::VolumeId;
use rehome_model::plan::{ClaimSpec, LEFT};
use rehome_model::{labels, quantity};
use rehome_planner::manifests;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::attachments;
use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::kubernetes::{label, paths, text, uid};
use crate::limits::{ATTACHER_LATE, HOLDERS_NAMED, NOT_FOUND_GRACE, POD_ENDS, VOLUME_HELD};

/// Code of a claim that a ResourceQuota has no room for.
const OVER_QUOTA: &str = "ExceededQuota";
/// Code of a claim of ours that a pod could start on.
const NOT_PARKED: &str = "NotParked";

/// Creates a claim that names a PersistentVolume which does not exist yet.
pub(super) async fn park(context: &StepContext, claim: &ClaimSpec) -> Result<Outputs, StepError> {
    context.may_act()?;
    // Named by its slot: if it is there already, creating it changes nothing and says so. Where a ResourceQuota is used up
    // it says something else, and a claim that is there counts in it: admission comes before the look at what there is.
    let made = context.kube().create(&paths::claims(&claim.namespace), &manifests::claim(context.maker(), claim)).await;
    let found = match made {
        Ok(made) => made,
        Err(error) if error.is_conflict() || error.is_forbidden() => {
            match context.kube().get(&paths::claim(&claim.namespace, &claim.name)).await? {
                Some(there) => there,
                None if error.is_conflict() => {
                    return Err(StepError::again("NotFound", format!("claim {} came and went", claim.name)));
                }
                None if error.is_over_quota() => return Err(StepError::failed(OVER_QUOTA, error.to_string())),
                None => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    check_ours(context, claim, &found)?;
    check_parked(claim, &found)?;
    Ok(Outputs::new())
}

/// Sees a claim that was parked before as it was left.
pub(super) async fn still_parked(context: &StepContext, claim: &ClaimSpec) -> Result<(), StepError> {
    let found = context.claim(&claim.name).await?.ok_or_else(|| gone(claim))?;
    check_ours(context, claim, &found)?;
    check_parked(claim, &found)
}

/// Of a claim that was parked before.
pub(super) fn gone(claim: &ClaimSpec) -> StepError {
    StepError::failed("ClaimGone", format!("claim {} is gone; it was parked before", claim.name))
}

/// A claim that is bound, or was, is not parked: its pod starts on what is behind it as soon as anybody scales the set up.
fn check_parked(claim: &ClaimSpec, found: &Value) -> Result<(), StepError> {
    let (namespace, name) = (&claim.namespace, &claim.name);
    let phase = text(found, "/status/phase");
    let not_parked = |what: String| {
        StepError::failed(
            NOT_PARKED,
            format!(
                "claim {namespace}/{name} {what}; if nobody needs what is behind it, delete it: \
                 kubectl -n {namespace} delete pvc {name}"
            ),
        )
    };
    if !matches!(phase, "" | "Pending") {
        return Err(not_parked(format!("is {phase}, not parked")));
    }
    // The resizer would grow the volume to it.
    let asks = quantity::bytes(text(found, "/spec/resources/requests/storage")).unwrap_or(0);
    if asks > u128::from(claim.size_gib) * quantity::GIB {
        return Err(not_parked(format!("asks for more than the {} GiB of its volume", claim.size_gib)));
    }
    Ok(())
}

/// Refuses a claim that is not this migration's, or that names another volume.
pub(super) fn check_ours(context: &StepContext, claim: &ClaimSpec, found: &Value) -> Result<(), StepError> {
    if !found["metadata"]["deletionTimestamp"].is_null() {
        return Err(StepError::again("Terminating", format!("claim {} is being deleted", claim.name)));
    }
    if label(found, labels::MIGRATION) != Some(&context.plan().migration) {
        return Err(StepError::failed(
            "Stranger",
            format!(
                "claim {}/{} exists and does not belong to this migration; nothing of it was changed",
                claim.namespace, claim.name
            ),
        ));
    }
    let named = text(found, "/spec/volumeName");
    if named != claim.volume_name {
        return Err(StepError::failed(
            "Stranger",
            format!("claim {} names volume {named:?}, not {}", claim.name, claim.volume_name),
        ));
    }
    Ok(())
}

/// Takes claim and PersistentVolume away and parks the claim anew. Retain keeps the volume itself. Where there is no
/// PersistentVolume one may still be on its way, from a driver that stood still: it is for the claim that was there then, by
/// its uid, and never binds to the new one.
pub(super) async fn unrelease(
    context: &StepContext,
    claim: &ClaimSpec,
    pod: Option<&str>,
) -> Result<Outputs, StepError> {
    if let Some(pod) = pod {
        keep_closed(context, &claim.namespace, pod).await?;
    }
    let volume_path = paths::volume(&claim.volume_name);
    let claim_path = paths::claim(&claim.namespace, &claim.name);
    let ours = context.kube().get(&volume_path).await?;
    if ours.as_ref().is_some_and(|volume| label(volume, labels::MIGRATION) != Some(&context.plan().migration)) {
        return Err(StepError::failed(
            "Stranger",
            format!("PersistentVolume {} does not belong to this migration", claim.volume_name),
        ));
    }
    // While the volume goes, the claim must go too (it is bound); it comes back parked right after.
    if let Some(found) = context.kube().get(&claim_path).await?
        && is_ours(context, claim, &found)
        && (ours.is_some() || !is_made_here(context, &found))
    {
        context.may_act()?;
        context.kube().delete(&claim_path, uid(&found)).await?;
    }
    let Some(volume) = ours else {
        let outputs = park_when_gone(context, claim, pod, false).await?;
        return match context.kube().get(&volume_path).await? {
            None => Ok(outputs),
            Some(_) => Err(StepError::again("Late", format!("PersistentVolume {} came late", claim.volume_name))),
        };
    };
    context.may_act()?;
    context.kube().delete(&volume_path, uid(&volume)).await?;
    park_when_gone(context, claim, pod, true).await?;
    let held = volume_goes(context, &volume).await?;
    let mut outputs = park_when_gone(context, claim, pod, true).await?;
    if let Some(held) = held {
        context.note(held.clone());
        outputs.entry(LEFT.to_owned()).or_insert(held);
    }
    Ok(outputs)
}

/// Waits for a PersistentVolume that was deleted. The driver's attacher holds it while a VolumeAttachment names it, which is so
/// until a DetachVolume passes, of a volume that was never attached too: a driver that may not attach may not detach, and all
/// legacy members would wait for its object. What they wait for is that nothing writes to the volume: no pod uses its claim any
/// more, and EC2 shows it attached to nothing. Answers what is left then.
async fn volume_goes(context: &StepContext, deleted: &Value) -> Result<Option<String>, StepError> {
    let (name, handle) = (text(deleted, "/metadata/name"), VolumeId::from(text(deleted, "/spec/csi/volumeHandle")));
    let path = paths::volume(name);
    let from = Instant::now();
    context
        .wait(async || {
            let found = context.kube().get(&path).await?;
            if found.is_none_or(|found| uid(&found) != uid(deleted)) {
                return Ok(Ok(None));
            }
            let goes = format!("PersistentVolume {name} goes");
            if from.elapsed() < VOLUME_HELD {
                return Ok(Err(goes));
            }
            // What EC2 does not tell is waited for: this look must end no way back.
            let volumes = match context.cloud().volumes(std::slice::from_ref(&handle)).await {
                Ok(volumes) => volumes,
                Err(error) => return Ok(Err(format!("{goes}; where {handle} is attached is not seen: {error}"))),
            };
            let shown = volumes.first().map(|volume| volume.attachments.first());
            match shown {
                Some(Some(on)) => return Ok(Err(format!("{goes} when {handle} is detached from {}", on.instance))),
                None if from.elapsed() < NOT_FOUND_GRACE => return Ok(Err(goes)),
                _ => {}
            }
            // The attacher is a little later than EC2, and of many volumes a lot.
            let held = attachments::holds(context, name).await;
            let fails = matches!(&held, Ok(Some(held)) if held.error.is_some());
            let for_good = fails || from.elapsed() >= ATTACHER_LATE;
            let what = match held {
                Ok(Some(held)) => held.to_string(),
                Ok(None) => "what holds it lets it go".to_owned(),
                Err(error) => format!("what holds it lets it go, which is not seen ({error})"),
            };
            let goes = format!("{goes} when {what}");
            Ok(if for_good {
                Ok(Some(format!("{goes}. See that the CSI driver may call ec2:DetachVolume")))
            } else {
                Err(goes)
            })
        })
        .await
}

/// Whether a claim is this migration's, and names its volume. One that was restored from a backup bears the labels too.
fn is_ours(context: &StepContext, claim: &ClaimSpec, found: &Value) -> bool {
    label(found, labels::MIGRATION) == Some(&context.plan().migration)
        && text(found, "/spec/volumeName") == claim.volume_name
}

/// Whether this very step has parked the claim: it has taken away what was there before.
fn is_made_here(context: &StepContext, found: &Value) -> bool {
    label(found, labels::RUN) == Some(context.run().as_str())
        && found["metadata"]["annotations"][labels::STEP] == json!(context.step.id)
        && text(found, "/status/phase") == "Pending"
}

/// Parks the claim as soon as its name is free. A claim that the set's controller made in between, because somebody
/// scaled the set up at this instant, is taken away again while it is blank and unbound. Once it is bound to a volume of
/// its own it may be worth something to somebody, and is left: nothing that starts on it starts on migrated data, and
/// production must not wait for the person who decides about it. The next plan refuses the slot until then. When it was
/// made is known only if this run's PersistentVolume `was_there` right before.
async fn park_when_gone(
    context: &StepContext,
    claim: &ClaimSpec,
    pod: Option<&str>,
    was_there: bool,
) -> Result<Outputs, StepError> {
    let path = paths::claim(&claim.namespace, &claim.name);
    let left = context
        .wait(async || {
            let Some(found) = context.kube().get(&path).await? else {
                return Ok(Ok(None));
            };
            if !found["metadata"]["deletionTimestamp"].is_null() {
                // It goes when its pod does: one that came since the set was closed is closed again.
                if let Some(pod) = pod {
                    gone_or_closed(context, &claim.namespace, pod).await?;
                }
                return Ok(Err(goes(context, claim).await?));
            }
            if is_ours(context, claim, &found) {
                return Ok(Ok(None));
            }
            let volume = text(&found, "/spec/volumeName");
            if volume.is_empty() && text(&found, "/status/phase") != "Bound" {
                context.may_act()?;
                context.kube().delete(&path, uid(&found)).await?;
                return Ok(Err(format!("claim {} was made anew by the set and is taken away", claim.name)));
            }
            Ok(Ok((volume != claim.volume_name).then(|| volume.to_owned())))
        })
        .await?;
    let Some(volume) = left else {
        return park(context, claim).await.map_err(|error| match error.code.as_str() {
            // What was taken away a moment ago is still counted: the claim was there before, so there is room for it.
            // And what is bound meanwhile is bound to a volume that came late.
            OVER_QUOTA | NOT_PARKED => StepError::again(error.code, error.message),
            _ => error,
        });
    };
    let (namespace, name) = (&claim.namespace, &claim.name);
    let how = if was_there {
        "was made by somebody else while this run's was taken away, on"
    } else {
        "was made anew since this run released its own, and may hold what its member wrote since: it is bound to"
    };
    let left = format!(
        "claim {namespace}/{name} {how} volume {volume}; it was left as it is. Before the next apply look \
         at what is in it, and delete it: kubectl -n {namespace} delete pvc {name}"
    );
    context.note(left.clone());
    Ok(Outputs::from([(LEFT.to_owned(), left)]))
}

/// Waits until a pod is gone, and closes its set again if somebody has scaled it up since this run closed it: the pod
/// would else come back for ever, and production would wait for it.
pub(super) async fn keep_closed(context: &StepContext, namespace: &str, pod: &str) -> Result<(), StepError> {
    context
        .wait(async || {
            Ok(match gone_or_closed(context, namespace, pod).await? {
                None => Ok(()),
                Some(object) if is_going(&object) || context.elapsed() < POD_ENDS => Err(ends(namespace, pod, &object)),
                Some(_) => Err(not_begun(namespace, pod, &*context.pods().await?)),
            })
        })
        .await
}

/// A pod that is not gone. Its set is closed.
async fn gone_or_closed(context: &StepContext, namespace: &str, pod: &str) -> Result<Option<Value>, StepError> {
    let Some(object) = context.kube().get(&paths::pod(namespace, pod)).await? else { return Ok(None) };
    let member = context.plan().members.iter().find(|member| member.slot.pod.as_deref() == Some(pod));
    if let Some(set) = member.and_then(|member| member.slot.set.as_deref()) {
        super::replicas::set(context, set, 0).await?;
    }
    Ok(Some(object))
}

/// What a pod that ends waits for. Without its node it never does by itself, and only a person knows that the node is dead.
fn ends(namespace: &str, pod: &str, object: &Value) -> String {
    let node = text(object, "/spec/nodeName");
    if !is_going(object) || node.is_empty() {
        return format!("pod {pod} ends");
    }
    format!(
        "pod {pod} ends on node {node}; if that node is off for certain: kubectl -n {namespace} delete pod {pod} --force"
    )
}

fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Of a pod whose set is scaled to 0, and that nobody has begun to end for long. With OrderedReady the controller ends one pod
/// after the other from the highest on, and does not go on at one that is not ready if a lower one is not ready either
/// (kubernetes `pkg/controller/statefulset`, processCondemned): it waits for ever, and rehome has no right to delete pods.
fn not_begun(namespace: &str, pod: &str, pods: &BTreeMap<String, Value>) -> String {
    let set = |name: &str| name.rsplit_once('-').map(|(set, _)| set.to_owned());
    let going = pods.iter().find(|(name, other)| set(name) == set(pod) && is_going(other));
    going.map_or_else(
        || {
            format!(
                "pod {pod} ends; the controller of its set does not end it, as happens where two pods of an OrderedReady set are \
                 not ready: kubectl -n {namespace} delete pod {pod}"
            )
        },
        |(name, other)| format!("pod {pod} ends when its turn comes; {}", ends(namespace, name, other)),
    )
}

/// What a claim that is being deleted waits for: whatever pod uses it, of whomever.
async fn goes(context: &StepContext, claim: &ClaimSpec) -> Result<String, StepError> {
    let (namespace, name) = (&claim.namespace, &claim.name);
    if context.elapsed() < HOLDERS_NAMED {
        return Ok(format!("claim {name} goes"));
    }
    let pods = context.pods().await?;
    let holders = pods.iter().filter(|(_, pod)| used_claims(pod).contains(name.as_str())).map(|(holder, pod)| {
        let node = text(pod, "/spec/nodeName");
        format!("pod {holder} on node {node} (kubectl -n {namespace} delete pod {holder})")
    });
    let holders: Vec<String> = holders.collect();
    Ok(if holders.is_empty() {
        format!("claim {name} goes")
    } else {
        format!("claim {name} goes when nothing uses it any more: {}", holders.join(", "))
    })
}

/// The claims that a pod uses.
pub(super) fn used_claims<'a>(pod: &'a Value) -> BTreeSet<&'a str> {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    let claim = |volume: &'a Value| volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str);
    volumes.into_iter().flatten().filter_map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_ends_on_a_node_is_told_with_the_node_and_what_to_do_if_that_is_off() {
        let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"nodeName": "node-1"}});
        let said = ends("refdb", "refdb-0", &going);
        assert!(said.contains("on node node-1") && said.contains("-n refdb delete pod refdb-0 --force"), "{said}");
        assert_eq!(ends("refdb", "refdb-0", &json!({"spec": {"nodeName": "node-1"}})), "pod refdb-0 ends");
    }
}
