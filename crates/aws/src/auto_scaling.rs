//! Auto Scaling: who is in a group, and who is out of its care.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::{self as reply, AutoScalingInstanceDetails};
use rehome_model::cloud::{AutoScalingGroup, AutoScalingMembership};
use rehome_model::ids::{InstanceId, Zone};
use rehome_ports::CloudError;

use crate::cloud::AwsCloud;
use crate::error::cloud_error;
use crate::retry::read;

const DESCRIBE: &str = "DescribeAutoScalingInstances";
/// DescribeAutoScalingInstances takes at most 50 ids (Auto Scaling API reference).
const MEMBERS_PER_CALL: usize = 50;
/// DescribeAutoScalingGroups tells of 50 groups a page, unless told otherwise (Auto Scaling API reference).
const GROUPS_PER_CALL: usize = 50;

impl AwsCloud {
    /// The membership of those instances that are in a group.
    pub(crate) async fn memberships(
        &self,
        instances: impl Iterator<Item = &InstanceId>,
    ) -> Result<BTreeMap<InstanceId, AutoScalingMembership>, CloudError> {
        let ids: Vec<String> = instances.map(ToString::to_string).collect();
        let mut found = BTreeMap::new();
        for ids in ids.chunks(MEMBERS_PER_CALL) {
            let mut token = None;
            loop {
                let page = read(|| async {
                    let call = self.auto_scaling.describe_auto_scaling_instances();
                    let call = call.set_instance_ids(Some(ids.to_vec())).set_next_token(token.clone());
                    call.send().await.map_err(|error| cloud_error(DESCRIBE, &error))
                })
                .await?;
                found.extend(page.auto_scaling_instances().iter().filter_map(membership));
                token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The members of a group; none if there is no such group.
    pub(crate) async fn group_members(&self, group: &str) -> Result<Vec<InstanceId>, CloudError> {
        let said = read(|| async {
            let call = self.auto_scaling.describe_auto_scaling_groups().auto_scaling_group_names(group);
            call.send().await.map_err(|error| cloud_error("DescribeAutoScalingGroups", &error))
        })
        .await?;
        let members = said.auto_scaling_groups().iter().flat_map(reply::AutoScalingGroup::instances);
        Ok(members.filter_map(|member| member.instance_id()).map(InstanceId::new).collect())
    }

    /// "Already so" has no code of its own (it is a ValidationError, as everything is), so the state is looked at.
    pub(crate) async fn groups(&self, names: &[String]) -> Result<Vec<AutoScalingGroup>, CloudError> {
        let mut found = Vec::new();
        for names in names.chunks(GROUPS_PER_CALL) {
            let said = read(|| async {
                let call = self.auto_scaling.describe_auto_scaling_groups();
                let sent = call.set_auto_scaling_group_names(Some(names.to_vec())).send().await;
                sent.map_err(|error| cloud_error("DescribeAutoScalingGroups", &error))
            })
            .await?;
            found.extend(said.auto_scaling_groups().iter().filter_map(group));
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    pub(crate) async fn standby(&self, group: &str, instance: &InstanceId, enter: bool) -> Result<(), CloudError> {
        let sent = if enter {
            let call = self.auto_scaling.enter_standby().auto_scaling_group_name(group);
            let call = call.instance_ids(instance.as_str()).should_decrement_desired_capacity(true);
            let sent = call.send().await;
            sent.map(|_| ()).map_err(|error| cloud_error("EnterStandby", &error))
        } else {
            let call = self.auto_scaling.exit_standby().auto_scaling_group_name(group);
            let call = call.instance_ids(instance.as_str());
            let sent = call.send().await;
            sent.map(|_| ()).map_err(|error| cloud_error("ExitStandby", &error))
        };
        let Err(error) = sent else { return Ok(()) };
        if error.code != "ValidationError" {
            return Err(error);
        }
        let membership = self.memberships(std::iter::once(instance)).await?.remove(instance);
        match membership {
            Some(found) if found.group == group && is_so(&found.lifecycle_state, enter) => Ok(()),
            _ => Err(error),
        }
    }
}

/// Sizes that are not told would be taken for no obstacle: Auto Scaling tells them of every group.
fn group(from: &reply::AutoScalingGroup) -> Option<AutoScalingGroup> {
    let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    Some(AutoScalingGroup {
        name: from.auto_scaling_group_name()?.to_owned(),
        min_size: number(from.min_size())?,
        desired_capacity: number(from.desired_capacity())?,
        suspended: from.suspended_processes().iter().filter_map(|p| p.process_name().map(str::to_owned)).collect(),
        zones: from.availability_zones().iter().map(|zone| Zone::from(zone.as_str())).collect(),
        load_balancers: load_balancers(from),
    })
}

/// Target groups are among the traffic sources, too.
fn load_balancers(from: &reply::AutoScalingGroup) -> Vec<String> {
    let sources = from.traffic_sources().iter().filter_map(|source| source.identifier().map(str::to_owned));
    let named = from.target_group_arns().iter().chain(from.load_balancer_names()).cloned();
    named.chain(sources).collect::<BTreeSet<String>>().into_iter().collect()
}

fn membership(from: &AutoScalingInstanceDetails) -> Option<(InstanceId, AutoScalingMembership)> {
    let group = from.auto_scaling_group_name()?.to_owned();
    let lifecycle_state = from.lifecycle_state()?.to_owned();
    Some((InstanceId::new(from.instance_id()?), AutoScalingMembership { group, lifecycle_state }))
}

/// Whether a lifecycle state is the wanted one, or on its way to it ("Amazon EC2 Auto Scaling instance lifecycle").
fn is_so(lifecycle_state: &str, standby: bool) -> bool {
    if standby {
        matches!(lifecycle_state, "Standby" | "EnteringStandby")
    } else {
        matches!(lifecycle_state, "InService" | "Pending" | "Pending:Wait" | "Pending:Proceed")
    }
}

#[cfg(test)]
mod tests {
    use super::{is_so, load_balancers, reply};

    #[test]
    fn whatever_sends_traffic_is_a_load_balancer_and_told_once() {
        let source = |identifier: &str| reply::TrafficSourceIdentifier::builder().identifier(identifier).build();
        let group = reply::AutoScalingGroup::builder()
            .target_group_arns("arn:one")
            .load_balancer_names("classic")
            .traffic_sources(source("arn:lattice"))
            .traffic_sources(source("arn:one"))
            .build();
        assert_eq!(load_balancers(&group), ["arn:lattice", "arn:one", "classic"]);
    }

    #[test]
    fn a_member_on_its_way_is_already_so_and_one_that_is_leaving_is_not() {
        assert!(is_so("EnteringStandby", true) && is_so("Pending", false));
        assert!(!is_so("Terminating", true) && !is_so("Terminating", false) && !is_so("InService", true));
    }
}
