//! Auto Scaling groups, which must leave stopped members alone.

use std::collections::BTreeSet;

use rehome_model::cloud::{AutoScalingGroup, AutoScalingMembership, InstanceState};
use rehome_model::ids::InstanceId;
use rehome_model::plan::Action;

use super::instances::{STANDBY, not_shown, set_standby};
use crate::context::StepContext;
use crate::error::StepError;

/// Before a member stops: it is in no group, or in Standby, or its group is suspended. Base snapshots take up to a day, in
/// which somebody may put members back into service, or resume the group: it would terminate each that stops, and launch a
/// blank one in its place. A member that this run has put into Standby is put there once more.
pub(super) async fn let_go_still(context: &StepContext, members: &[InstanceId]) -> Result<(), StepError> {
    let found = context.cloud().instances_in_groups(members).await?;
    if let Some(missing) = members.iter().find(|id| !found.iter().any(|found| found.id == **id)) {
        return Err(not_shown(missing));
    }
    let in_service: Vec<(InstanceId, AutoScalingMembership)> = found
        .into_iter()
        // One that is gone is nothing to keep.
        .filter(|found| !matches!(found.state, InstanceState::Terminated | InstanceState::ShuttingDown))
        .filter_map(|found| Some((found.id, found.auto_scaling?)))
        .filter(|(_, membership)| membership.lifecycle_state != STANDBY)
        .collect();
    if in_service.is_empty() {
        return Ok(());
    }
    let names: BTreeSet<String> = in_service.iter().map(|(_, membership)| membership.group.clone()).collect();
    let groups = context.cloud().auto_scaling_groups(&names.into_iter().collect::<Vec<_>>()).await?;
    let suspended: BTreeSet<&str> =
        groups.iter().filter(|group| group.is_suspended()).map(|group| group.name.as_str()).collect();
    let to_leave = in_service.iter().filter(|(_, membership)| !suspended.contains(membership.group.as_str()));
    let leave = to_leave.map(async |(instance, membership)| {
        let group = &membership.group;
        if !was_taken_out(context, instance, group) {
            return Err(StepError::failed("WouldBeReplaced", would_be_replaced(context, instance, group)));
        }
        context.note(format!("{instance} is {} in Auto Scaling group {group} again", membership.lifecycle_state));
        set_standby(context, instance, Some(group), true).await
    });
    futures::future::try_join_all(leave).await.map(drop)
}

/// Whether the plan puts a member of a group into Standby.
fn was_taken_out(context: &StepContext, member: &InstanceId, from: &str) -> bool {
    context.plan().steps.iter().any(|step| match &step.action {
        Action::ProtectInstance { instance, auto_scaling_group: Some(group), .. } => {
            instance == member && group == from
        }
        _ => false,
    })
}

fn would_be_replaced(context: &StepContext, instance: &InstanceId, group: &str) -> String {
    format!(
        "Auto Scaling group {group} would terminate {instance} as soon as it stops: aws autoscaling suspend-processes --region {} \
         --auto-scaling-group-name '{group}' --scaling-processes {}",
        context.plan().region,
        AutoScalingGroup::LEFT_ALONE.join(" ")
    )
}
