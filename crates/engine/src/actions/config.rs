//! The gate's ConfigMap: whether pods start closed or open.

use std::collections::BTreeMap;

use rehome_model::labels;
use rehome_planner::manifests;
use serde_json::json;

use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::kubernetes::{label, paths, uid};

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

fn check_ours(context: &StepContext, name: &str, found: &serde_json::Value) -> Result<(), StepError> {
    if label(found, labels::MIGRATION) == Some(&context.plan().migration) {
        return Ok(());
    }
    Err(StepError::failed("Stranger", format!("ConfigMap {name} exists and does not belong to this migration")))
}
