//! What only a rollback needs goes, and the legacy side gets back what was the user's.

use std::collections::BTreeMap;

use rehome_model::cloud::{InstanceState, Tags};
use rehome_model::ids::{InstanceId, RoleName, SnapshotId};
use rehome_model::labels;
use rehome_model::plan::{Input, LEFT};
use rehome_ports::ResourceId;
use serde_json::{Value, json};

use super::{gate, instances};
use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::kubernetes::{paths, text};

/// Deletes the gate's ConfigMap if no pod can tell the difference: it says open, as a set without it is, and every
/// reference to it is optional. A set that was changed since to need it keeps it.
pub(super) async fn retire_gate(
    context: &StepContext,
    name: &str,
    set: &str,
    open: &BTreeMap<String, String>,
) -> Result<Outputs, StepError> {
    let namespace = &context.plan().namespace;
    let Some(found) = context.kube().get(&paths::config_map(namespace, name)).await? else { return Ok(Outputs::new()) };
    if found["data"] != json!(open) {
        return Err(StepError::failed(
            "GateClosed",
            format!("ConfigMap {name} is not as the opening left it: pods of {set} may start closed; it stays"),
        ));
    }
    let object = context.kube().get(&paths::set(namespace, set)).await?;
    let template = object.as_ref().and_then(|object| object.pointer("/spec/template/spec"));
    if template.is_some_and(|template| needs(template, name)) {
        let kept = format!("ConfigMap {name} stays: a pod of {set} would not start without it");
        context.note(kept.clone());
        return Ok(Outputs::from([(LEFT.to_owned(), kept)]));
    }
    gate::remove(context, name).await
}

/// Whether anything in a pod's spec refers to a ConfigMap of this name without `optional: true`, however deep: in
/// containers, init containers, environment, volumes, projected volumes.
fn needs(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let refers = matches!(key.as_str(), "configMapKeyRef" | "configMapRef" | "configMap")
                && text(value, "/name") == name;
            refers && value["optional"] != true || needs(value, name)
        }),
        Value::Array(items) => items.iter().any(|item| needs(item, name)),
        _ => false,
    }
}

/// Tags the snapshots with the time until which they are kept. One that somebody deleted is told of, no more: the user
/// has said that it is not needed.
pub(super) async fn keep_snapshots(
    context: &StepContext,
    snapshots: &BTreeMap<RoleName, Input<SnapshotId>>,
    until: &str,
) -> Result<Outputs, StepError> {
    let tags = Tags::from([(labels::KEEP_UNTIL.to_owned(), until.to_owned())]);
    for input in snapshots.values() {
        let id = context.input(input)?;
        let look = async || -> Result<Option<bool>, StepError> {
            let found = context.cloud().snapshots(std::slice::from_ref(&id)).await?;
            let marked = |tags: &Tags| tags.get(labels::KEEP_UNTIL).is_some_and(|value| value == until);
            Ok(found.first().map(|snapshot| marked(&snapshot.tags)))
        };
        match look().await? {
            None => context.note(format!("{id} is gone already; there is nothing to keep")),
            Some(true) => {}
            Some(false) => {
                context.may_act()?;
                context.cloud().tag(&ResourceId::Snapshot(id.clone()), &tags).await?;
                context
                    .wait(async || {
                        Ok(match look().await? {
                            Some(false) => Err(format!("the tag of {id} is not shown yet")),
                            _ => Ok(()),
                        })
                    })
                    .await?;
            }
        }
    }
    Ok(Outputs::new())
}

/// What an instance was protected from before the run.
pub(super) struct Protections {
    pub termination: bool,
    pub stop: bool,
}

/// Puts the protections of a stopped instance back. It is neither started nor given back to its group.
pub(super) async fn release_instance(
    context: &StepContext,
    instance: &InstanceId,
    delete_on_termination: &BTreeMap<String, bool>,
    was: Protections,
) -> Result<Outputs, StepError> {
    let found = context.cloud().instances(std::slice::from_ref(instance)).await?;
    match found.first().map(|found| found.state) {
        None | Some(InstanceState::Terminated | InstanceState::ShuttingDown) => {
            context.note(format!("{instance} is terminated already"));
            return Ok(Outputs::new());
        }
        Some(InstanceState::Stopped) => {}
        Some(state) => {
            return Err(StepError::failed(
                "NotStopped",
                format!("{instance} is {state}: a legacy member that runs can meet the new cluster; stop it first"),
            ));
        }
    }
    instances::set_delete_on_termination(context, instance, delete_on_termination).await?;
    if !was.termination {
        instances::switch_off_protection(context, instance).await?;
    }
    if was.stop {
        instances::protect_from_stop(context, instance).await?;
    }
    instances::let_go(context, instance).await?;
    Ok(Outputs::new())
}
