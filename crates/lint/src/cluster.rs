//! The target cluster.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::cluster::NodeReport;
use rehome_model::ids::Zone;

use crate::context::Context;
use crate::kernels;
use crate::placement::obstacle;

/// The oldest Kubernetes with everything the plan relies on: StatefulSet ordinals and claim retention as beta (1.27).
const OLDEST_MINOR: u32 = 27;
/// Actions whose dry run cannot name anything that a run made. A policy that only allows them for rehome's own tags is
/// the better one.
const DELETIONS: [&str; 2] = ["ec2:DeleteVolume", "ec2:DeleteSnapshot"];

pub(crate) fn check(context: &mut Context<'_>) {
    let cluster = &context.survey.cluster;
    if minor(&cluster.version).is_none_or(|minor| minor < OLDEST_MINOR) {
        let seen = vec![format!("the apiserver says {}", cluster.version)];
        let message = format!("Kubernetes before 1.{OLDEST_MINOR} is not supported");
        context.report("RH0701", "cluster".to_owned(), message, seen);
    }
    let namespace = context.namespace().to_owned();
    match &cluster.namespace {
        None => {
            let message = "it does not exist".to_owned();
            context.report("RH0702", format!("namespace {namespace}"), message, Vec::new());
        }
        Some(found) if found.phase == "Terminating" => {
            let message = "it is being deleted".to_owned();
            context.report("RH0702", format!("namespace {namespace}"), message, Vec::new());
        }
        Some(_) => {}
    }
    for permission in cluster.permissions.iter().filter(|permission| !permission.allowed) {
        let place = permission.namespace.as_ref().map_or_else(String::new, |found| format!(" in namespace {found}"));
        let message = format!("you may not {} {}{place}", permission.verb, permission.resource);
        let seen = vec!["SelfSubjectAccessReview answered no".to_owned()];
        context.report("RH0704", format!("permission {} {}", permission.verb, permission.resource), message, seen);
    }
    for action in &context.survey.denied_cloud_actions {
        let seen = vec!["a dry run answered UnauthorizedOperation".to_owned()];
        let (subject, arn) = (format!("permission {action}"), &context.survey.caller.arn);
        if DELETIONS.contains(&action.as_str()) {
            let message = format!("{arn} may not {action} for what no run made");
            context.report("RH0706", subject, message, seen);
        } else {
            context.report("RH0705", subject, format!("{arn} may not {action}"), seen);
        }
    }
    check_nodes(context);
}

fn check_nodes(context: &mut Context<'_>) {
    let (survey, driver) = (context.survey, &context.migration.spec.target.csi_driver);
    if !survey.cluster.csi_drivers.contains(driver) {
        let seen = vec![format!("CSIDrivers: {}", survey.cluster.csi_drivers.join(", "))];
        context.report("RH0302", "cluster".to_owned(), format!("there is no CSI driver {driver}"), seen);
    }
    let roles = context.migration.spec.source.volumes.len() as u32;
    let mut needed: BTreeMap<&Zone, u32> = BTreeMap::new();
    for member in &survey.members {
        *needed.entry(&member.instance.zone).or_default() += roles;
    }
    let sets: Vec<_> = context.sets().into_iter().map(|(_, set)| set).collect();
    for (zone, volumes) in needed {
        let nodes: Vec<_> = survey.cluster.nodes.iter().filter(|node| node.zone.as_ref() == Some(zone)).collect();
        let mut usable = Vec::new();
        // Why a node of the zone does not count: without it nobody finds out that a dedicated node is not theirs.
        let mut unusable = Vec::new();
        for node in nodes {
            match obstacle(node, &sets) {
                None => usable.push(node),
                Some(why) => unusable.push(format!("{} does not count: {why}", node.name)),
            }
        }
        if usable.is_empty() {
            let message = "no node of the zone can take a pod".to_owned();
            context.report("RH0301", format!("zone {zone}"), message, unusable);
            continue;
        }
        check_instances(context, zone, &usable);
        kernels::check(context, zone, &usable);
        let with_driver: Vec<_> = usable.iter().filter_map(|n| n.attach_limit.map(|limit| (n, limit))).collect();
        let room: u32 = with_driver.iter().map(|(node, limit)| limit.saturating_sub(node.attached)).sum();
        if room < volumes {
            let mut seen: Vec<String> = with_driver
                .iter()
                .map(|(node, limit)| format!("{}: {} of {limit} attached", node.name, node.attached))
                .collect();
            seen.extend(unusable);
            let message = format!("its nodes can attach {room} more volumes, {volumes} are needed");
            context.report("RH0303", format!("zone {zone}"), message, seen);
        }
    }
    let zones: BTreeSet<&Zone> = survey.members.iter().map(|member| &member.instance.zone).collect();
    if !zones.is_empty() && survey.cluster.nodes.iter().all(|node| node.zone.is_none()) {
        let message = "no node has a zone label".to_owned();
        context.report("RH0304", "cluster".to_owned(), message, Vec::new());
    }
}

/// The label of a node tells its zone by name only, which is another place in another account; EC2 attaches a volume to instances of
/// its own account and zone. Nodes that are no EC2 instances by their providerID are taken at their word.
fn check_instances(context: &mut Context<'_>, zone: &Zone, usable: &[&NodeReport]) {
    let Some(shown) = &context.survey.node_zones else { return };
    let caller = &context.survey.caller;
    let own = format!("account {} in {}", caller.account, caller.region);
    let instances: Vec<_> = usable.iter().filter_map(|node| Some((node, node.instance.as_ref()?))).collect();
    let seen: Vec<String> = instances
        .iter()
        .filter_map(|(node, id)| match shown.get(*id) {
            Some(found) if found == zone => None,
            Some(found) => Some(format!("{}: EC2 shows {id} in zone {found}", node.name)),
            None => Some(format!("{}: {id} is no instance of {own}", node.name)),
        })
        .collect();
    if seen.is_empty() {
        return;
    }
    let subject = format!("zone {zone}");
    if seen.len() == instances.len() {
        let message = format!("none of its nodes is an instance of {own} that its volumes can be attached to");
        context.report("RH0305", subject, message, seen);
    } else {
        let message = format!("{} of its {} nodes cannot have its volumes attached", seen.len(), instances.len());
        context.report("RH0306", subject, message, seen);
    }
}

/// `v1.34.1-eks-abc` is 34.
fn minor(version: &str) -> Option<u32> {
    let mut parts = version.trim_start_matches('v').split('.');
    if parts.next()? != "1" {
        return None;
    }
    parts.next()?.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}
