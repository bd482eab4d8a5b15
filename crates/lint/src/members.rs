//! The legacy members.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use rehome_model::cloud::{AutoScalingGroup, InstanceState};
use rehome_model::ids::Zone;
use rehome_model::labels;
use rehome_model::survey::{DiskIdentity, MemberSurvey};

use crate::context::Context;

pub(crate) fn check(context: &mut Context<'_>) {
    let survey = context.survey;
    for id in &survey.missing_instances {
        let region = &survey.caller.region;
        context.report("RH0101", format!("instance {id}"), format!("EC2 knows no {id} in {region}"), Vec::new());
    }
    for member in &survey.members {
        let subject = format!("member {}", member.name);
        if member.instance.state != InstanceState::Running {
            let seen = format!("{} is {:?}", member.instance.id, member.instance.state);
            let message = match member.instance.state {
                InstanceState::Terminated | InstanceState::ShuttingDown => {
                    "its instance is terminated: name the one that took its place, or leave it out"
                }
                _ => "its instance is not running",
            };
            context.report("RH0102", subject.clone(), message.to_owned(), vec![seen]);
        }
        if let Some(error) = &member.host_error {
            context.report("RH0103", subject.clone(), "its host cannot be asked".to_owned(), vec![error.clone()]);
        }
        if let Some(host) = &member.host
            && host.view.is_none()
        {
            let seen = vec![
                host.view_error.clone().unwrap_or_default(),
                format!("unit {} is {} and {}", host.service.unit, host.service.active, host.service.enabled),
            ];
            context.report("RH0104", subject.clone(), "the application does not answer on it".to_owned(), seen);
        }
        if member.host.as_ref().and_then(|host| host.view.as_ref()).is_some_and(|view| !view.clients_open) {
            context.report("RH0123", subject.clone(), "it lets no clients in".to_owned(), Vec::new());
        }
        if let Some(run) = member.instance.tags.get(labels::HELD_BY).filter(|run| !run.is_empty()) {
            let seen = vec![format!("{} has tag {} = {run}", member.instance.id, labels::HELD_BY)];
            context.report("RH0124", subject.clone(), format!("it is in the hands of run {run}"), seen);
        }
        check_stop(context, &subject, member);
        check_disk(context, &subject, member);
        check_service(context, &subject, member);
        if let Some(tag) = member.instance.tags.get("Name").filter(|tag| **tag != *member.name.as_str()) {
            let message = "its Name tag is not used as its name".to_owned();
            context.report("RH0112", subject.clone(), message, vec![format!("Name is {tag:?}")]);
        }
        if let Some(group) = &member.instance.auto_scaling {
            let seen = format!("{} is {} in group {}", member.instance.id, group.lifecycle_state, group.group);
            if !matches!(group.lifecycle_state.as_str(), "InService" | "Standby") {
                let message = format!("it is {} in its group", group.lifecycle_state);
                context.report("RH0114", subject.clone(), message, vec![seen.clone()]);
            }
            context.report("RH0109", subject, "it is a member of an Auto Scaling group".to_owned(), vec![seen]);
        }
    }
    check_groups(context);
    check_load_balancers(context);
    check_cluster(context);
}

/// Can its instance be protected, stopped, and started again?
fn check_stop(context: &mut Context<'_>, subject: &str, member: &MemberSurvey) {
    let instance = &member.instance;
    if instance.lifecycle.as_deref() == Some("spot") {
        let seen = vec![format!("InstanceLifecycle of {} is spot", instance.id)];
        context.report("RH0122", subject.to_owned(), "it is on a Spot instance".to_owned(), seen);
    }
    if instance.root_device_type.as_deref() == Some("instance-store") {
        let seen = vec![format!("RootDeviceType of {} is instance-store", instance.id)];
        context.report("RH0122", subject.to_owned(), "its root is on an instance store".to_owned(), seen);
    }
}

/// Does each group let go of as many members as will be put into Standby, and leave the others alone?
fn check_groups(context: &mut Context<'_>) {
    let survey = context.survey;
    for group in &survey.auto_scaling_groups {
        let leaving =
            survey.members.iter().filter(|member| survey.group_to_leave(&member.instance) == Some(&group.name));
        let leaving = u32::try_from(leaving.count()).unwrap_or(u32::MAX);
        if leaving == 0 {
            continue;
        }
        if group.may_rebalance() {
            let zones: Vec<&str> = group.zones.iter().map(Zone::as_str).collect();
            let seen = vec![
                format!("it keeps its members in {}", zones.join(", ")),
                format!(
                    "aws autoscaling suspend-processes --region {} --auto-scaling-group-name '{}' --scaling-processes AZRebalance",
                    survey.caller.region, group.name
                ),
            ];
            let message = "it may terminate members while others go into Standby".to_owned();
            context.report("RH0121", format!("Auto Scaling group {}", group.name), message, seen);
        }
        let left = group.desired_capacity.saturating_sub(leaving);
        if left >= group.min_size {
            continue;
        }
        let seen = vec![
            format!("MinSize {}, DesiredCapacity {}", group.min_size, group.desired_capacity),
            format!(
                "aws autoscaling update-auto-scaling-group --region {} --auto-scaling-group-name '{}' --min-size {left}",
                survey.caller.region, group.name
            ),
        ];
        let message = format!("{leaving} of its members go into Standby, which would leave {left} in service");
        context.report("RH0113", format!("Auto Scaling group {}", group.name), message, seen);
    }
}

/// Is it the unit that runs, and does it come back where it was?
fn check_service(context: &mut Context<'_>, subject: &str, member: &MemberSurvey) {
    let Some(host) = &member.host else { return };
    if !host.starts_once.is_empty() {
        let message = "it cannot be started again".to_owned();
        context.report("RH0120", subject.to_owned(), message, host.starts_once.clone());
    }
    let Some(view) = &host.view else { return };
    let (unit, active) = (&host.service.unit, host.service.active.as_str());
    let mut beside = Vec::new();
    if !matches!(active, "active" | "activating" | "reloading") {
        let says = if active.is_empty() { "nothing" } else { active };
        beside.push(format!("systemd says of unit {unit:?}: {says}"));
    }
    let processes = host.service.processes.as_ref();
    if processes.is_some_and(Vec::is_empty) {
        beside.push("no process of it is found on the host".to_owned());
    }
    for process in processes.into_iter().flatten() {
        if !process.control_group.split('/').any(|part| part == unit) {
            beside.push(format!("process {} is in control group {:?}", process.pid, process.control_group));
        }
    }
    if !beside.is_empty() {
        let message = "it runs, but not by its unit".to_owned();
        context.report("RH0118", subject.to_owned(), message, beside);
    }
    let is_public = |address: &Ipv4Addr| {
        let [first, second, ..] = address.octets();
        let shared = first == 100 && (64..128).contains(&second);
        !(address.is_private() || address.is_loopback() || address.is_link_local() || shared)
    };
    if view.address.parse::<Ipv4Addr>().is_ok_and(|address| is_public(&address)) {
        let private = member.instance.private_ip.as_deref().unwrap_or("none");
        let seen = format!("the others know it as {}; its private address is {private}", view.address);
        let message = "the others know it by a public address".to_owned();
        context.report("RH0119", subject.to_owned(), message, vec![seen]);
    }
}

/// EnterStandby takes a member out of all that sends it traffic, while the run prepares: up to a day before the cutover.
fn check_load_balancers(context: &mut Context<'_>) {
    let survey = context.survey;
    for group in survey.auto_scaling_groups.iter().filter(|group| !group.load_balancers.is_empty()) {
        let leaving: Vec<&str> = survey
            .members
            .iter()
            .filter(|member| survey.group_to_leave(&member.instance) == Some(&group.name))
            .map(|member| member.name.as_str())
            .collect();
        if leaving.is_empty() {
            continue;
        }
        let mut seen: Vec<String> =
            group.load_balancers.iter().map(|found| format!("traffic comes by {found}")).collect();
        seen.push(format!("into Standby: {}", leaving.join(", ")));
        seen.push(format!(
            "aws autoscaling suspend-processes --region {} --auto-scaling-group-name '{}' --scaling-processes {} AZRebalance",
            survey.caller.region,
            group.name,
            AutoScalingGroup::LEFT_ALONE.join(" ")
        ));
        let message = "clients reach its members by load balancers, which Standby takes them out of".to_owned();
        context.report("RH0117", format!("Auto Scaling group {}", group.name), message, seen);
    }
}

/// The cutover reads each disk's identity once the member has stopped, and goes on with no other one.
fn check_disk(context: &mut Context<'_>, subject: &str, member: &MemberSurvey) {
    let view = member.host.as_ref().and_then(|host| host.view.as_ref());
    match (&member.disk, view) {
        (Some(DiskIdentity::Unreadable(reason)), _) => {
            let message = "its identity cannot be read from its disk".to_owned();
            context.report("RH0116", subject.to_owned(), message, vec![reason.clone()]);
        }
        (Some(DiskIdentity::Read(found)), Some(view)) => {
            let differences = view.identity.differences(found);
            if !differences.is_empty() {
                let message = "its disk holds another member than the one that runs".to_owned();
                context.report("RH0115", subject.to_owned(), message, differences);
            }
        }
        _ => {}
    }
}

/// Do the members form one whole cluster, with nobody else in it?
fn check_cluster(context: &mut Context<'_>) {
    let survey = context.survey;
    let views: Vec<_> =
        survey.members.iter().filter_map(|member| Some((member, member.host.as_ref()?.view.as_ref()?))).collect();
    let mut holders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (member, view) in &views {
        holders.entry(&view.identity.id).or_default().push(member.name.as_str());
    }
    for (id, members) in holders.iter().filter(|(_, members)| members.len() > 1) {
        let seen = members.iter().map(|member| format!("{member} says it is {id}")).collect();
        context.report("RH0105", format!("identity {id}"), "two members have one identity".to_owned(), seen);
    }
    let ours: BTreeSet<&str> = holders.keys().copied().collect();
    let names: BTreeSet<&str> = views.iter().map(|(_, view)| view.identity.cluster.as_str()).collect();
    if names.len() > 1 {
        let seen = views.iter().map(|(member, view)| format!("{}: {}", member.name, view.identity.cluster)).collect();
        context.report("RH0108", "the members".to_owned(), "they are of different clusters".to_owned(), seen);
    }
    for (member, view) in &views {
        let subject = format!("member {}", member.name);
        // Only if all were asked is a stranger in the view a member that the migration leaves out.
        let strangers: Vec<String> = view
            .members
            .iter()
            .filter(|peer| views.len() == survey.members.len() && !ours.contains(peer.id.as_str()))
            .map(|peer| format!("it sees {} at {}", peer.id, peer.address))
            .collect();
        if !strangers.is_empty() {
            let message = "it sees members that the migration does not name".to_owned();
            context.report("RH0106", subject.clone(), message, strangers);
        }
        let down: Vec<String> = view
            .members
            .iter()
            .filter(|peer| !peer.up)
            .map(|peer| format!("{} at {} is {}", peer.id, peer.address, peer.state))
            .collect();
        if !down.is_empty() {
            context.report("RH0107", subject.clone(), "it sees members that are not up".to_owned(), down);
        }
        if view.schema_versions.len() > 1 {
            let seen = vec![format!("schema versions {}", view.schema_versions.join(", "))];
            context.report("RH0110", subject, "the members do not agree on one schema".to_owned(), seen);
        }
    }
}
