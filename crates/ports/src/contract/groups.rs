//! Auto Scaling.

use rehome_model::cloud::Tags;
use rehome_model::ids::InstanceId;

use super::check::{Broken, Checked, Under, only, same, unique};
use crate::cloud::InstanceFilter;
use crate::error::ErrorClass;

async fn member(under: Under<'_>) -> (InstanceId, String) {
    let instance = under.world.instance(&Tags::new()).await;
    let group = unique("group", &instance);
    under.world.join_group(&instance, &group).await;
    (instance, group)
}

/// The member's lifecycle state.
async fn lifecycle(under: Under<'_>, instance: &InstanceId) -> Checked<String> {
    let membership = under.instance(instance).await?.auto_scaling;
    membership.map(|found| found.lifecycle_state).ok_or_else(|| Broken("it is in no group".to_owned()))
}

pub(super) async fn members(under: Under<'_>) -> Checked {
    let (instance, group) = member(under).await;
    member(under).await;
    let found = only(under.cloud.describe_instances(&InstanceFilter::AutoScalingGroup(group.clone())).await?)?;
    same("the member", &found.id, &instance)?;
    let membership = found.auto_scaling.map(|membership| (membership.group, membership.lifecycle_state));
    same("the membership", &membership, &Some((group, "InService".to_owned())))
}

pub(super) async fn unknown(under: Under<'_>) -> Checked {
    let filter = InstanceFilter::AutoScalingGroup("no-such-group".to_owned());
    match under.cloud.describe_instances(&filter).await {
        Ok(found) => same("the members", &found, &Vec::new()),
        Err(error) if error.class() == ErrorClass::Stop => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn sizes(under: Under<'_>) -> Checked {
    let (instance, group) = member(under).await;
    let names = [group.clone(), "no-such-group".to_owned()];
    let shown = || async { only(under.cloud.describe_auto_scaling_groups(&names).await?) };
    let before = shown().await?;
    same("the name", &before.name, &group)?;
    same("the sizes", &(before.min_size, before.desired_capacity), &(0, 1))?;
    same("what is suspended", &before.suspended, &Vec::new())?;
    same("what sends it traffic", &before.load_balancers, &Vec::new())?;
    under.cloud.set_standby(&group, &instance, true).await?;
    under.world.settle().await;
    same("the desired capacity after a standby", &shown().await?.desired_capacity, &0)?;
    same("no name", &under.cloud.describe_auto_scaling_groups(&[]).await?, &Vec::new())
}

pub(super) async fn there_and_back(under: Under<'_>) -> Checked {
    let (instance, group) = member(under).await;
    under.cloud.set_standby(&group, &instance, true).await?;
    under.world.settle().await;
    same("the state there", &lifecycle(under, &instance).await?, &"Standby".to_owned())?;
    under.cloud.set_standby(&group, &instance, false).await?;
    under.world.settle().await;
    same("the state back", &lifecycle(under, &instance).await?, &"InService".to_owned())
}

pub(super) async fn already_so(under: Under<'_>) -> Checked {
    let (instance, group) = member(under).await;
    under.cloud.set_standby(&group, &instance, false).await?;
    same("the state at first", &lifecycle(under, &instance).await?, &"InService".to_owned())?;
    under.cloud.set_standby(&group, &instance, true).await?;
    under.world.settle().await;
    under.cloud.set_standby(&group, &instance, true).await?;
    same("the state at last", &lifecycle(under, &instance).await?, &"Standby".to_owned())
}

pub(super) async fn no_member(under: Under<'_>) -> Checked {
    let (_, group) = member(under).await;
    let stranger = under.world.instance(&Tags::new()).await;
    match under.cloud.set_standby(&group, &stranger, true).await {
        Err(error) => same("the class", &error.class(), &ErrorClass::Stop),
        Ok(()) => Err(Broken("it was accepted".to_owned())),
    }
}
