//! Auto Scaling groups, which must leave stopped members alone.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::cloud::AutoScalingGroup;
use rehome_model::ids::InstanceId;
use rehome_model::plan::Action;

use super::instances::{STANDBY, set_standby};
use crate::context::StepContext;
use crate::error::StepError;

/// Right before the first stop: each member of a group is in Standby, or its group is suspended. Base snapshots take up to a day, in
/// which somebody may put members back into service, or resume the group: it would terminate each that stops, and launch a
/// blank one in its place. A member that this run has put into Standby is put there once more.
pub(super) async fn let_go_still(context: &StepContext) -> Result<(), StepError> {
    let plan = context.plan();
    let left: BTreeMap<&InstanceId, &str> = plan.steps.iter().filter_map(|step| left(&step.action)).collect();
    if left.is_empty() && !rehome_planner::relies_on_a_group(plan) {
        return Ok(());
    }
    let ids: Vec<InstanceId> = plan.members.iter().map(|member| member.instance.clone()).collect();
    let mut in_service = Vec::new();
    for found in context.cloud().instances_in_groups(&ids).await? {
        let Some(membership) = found.auto_scaling.filter(|membership| membership.lifecycle_state != STANDBY) else {
            continue;
        };
        if left.get(&found.id).is_some_and(|group| *group == membership.group) {
            context.note(format!("{} is {} in its group again", found.id, membership.lifecycle_state));
            set_standby(context, &found.id, Some(&membership.group), true).await?;
        } else {
            in_service.push((found.id, membership));
        }
    }
    let names: BTreeSet<String> = in_service.iter().map(|(_, membership)| membership.group.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let groups = context.cloud().auto_scaling_groups(&names.into_iter().collect::<Vec<_>>()).await?;
    for (instance, membership) in in_service {
        let is_its = |group: &&AutoScalingGroup| group.name == membership.group;
        if !groups.iter().find(is_its).is_some_and(AutoScalingGroup::is_suspended) {
            return Err(StepError::failed("WouldBeReplaced", would_be_replaced(context, &instance, &membership.group)));
        }
    }
    Ok(())
}

/// A member that the plan takes out of its group, and the group.
fn left(action: &Action) -> Option<(&InstanceId, &str)> {
    match action {
        Action::ProtectInstance { instance, auto_scaling_group: Some(group), .. } => Some((instance, group)),
        _ => None,
    }
}

fn would_be_replaced(context: &StepContext, instance: &InstanceId, group: &str) -> String {
    format!(
        "Auto Scaling group {group} would terminate {instance} as soon as it stops: aws autoscaling suspend-processes --region {} \
         --auto-scaling-group-name '{group}' --scaling-processes {}",
        context.plan().region,
        AutoScalingGroup::LEFT_ALONE.join(" ")
    )
}
