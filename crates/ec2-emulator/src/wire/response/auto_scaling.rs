//! Auto Scaling. Its lists are of `member`.

use crate::api::{AutoScalingActivity, AutoScalingGroupDescription, AutoScalingInstance, Reply};

use super::super::xml::Xml;
use super::time;

pub(super) fn show(xml: &mut Xml, reply: &Reply) {
    match reply {
        Reply::AutoScalingInstances(page) => {
            xml.members("AutoScalingInstances", &page.items, |xml, found| {
                instance(xml, found, &found.health_status.to_uppercase());
                xml.text("AutoScalingGroupName", &found.group);
            });
            xml.optional("NextToken", page.next_token.as_ref());
        }
        Reply::AutoScalingGroups(page) => {
            xml.members("AutoScalingGroups", &page.items, group);
            xml.optional("NextToken", page.next_token.as_ref());
        }
        Reply::AutoScalingActivities(found) => {
            xml.members("Activities", found, activity);
        }
        _ => {}
    }
}

fn instance(xml: &mut Xml, found: &AutoScalingInstance, health: &str) {
    xml.text("InstanceId", &found.instance).text("InstanceType", &found.instance_type);
    xml.text("AvailabilityZone", &found.zone).text("LifecycleState", &found.lifecycle_state);
    xml.text("HealthStatus", health).value("ProtectedFromScaleIn", found.protected_from_scale_in);
}

fn group(xml: &mut Xml, group: &AutoScalingGroupDescription) {
    xml.text("AutoScalingGroupName", &group.name).text("AutoScalingGroupARN", &group.arn);
    xml.value("MinSize", group.min_size).value("MaxSize", group.max_size);
    xml.value("DesiredCapacity", group.desired_capacity).value("DefaultCooldown", 300);
    xml.members("AvailabilityZones", &group.zones, |xml, zone| {
        xml.raw(zone);
    });
    xml.members("LoadBalancerNames", &group.load_balancer_names, |xml, name| {
        xml.raw(name);
    });
    xml.members("TargetGroupARNs", &group.target_group_arns, |xml, arn| {
        xml.raw(arn);
    });
    xml.text("HealthCheckType", "EC2").text("CreatedTime", time(group.created_at));
    xml.members("Instances", &group.instances, |xml, found| instance(xml, found, &found.health_status));
    xml.members("SuspendedProcesses", &group.suspended_processes, |xml, (name, why)| {
        xml.text("ProcessName", name).text("SuspensionReason", why);
    });
}

fn activity(xml: &mut Xml, found: &AutoScalingActivity) {
    xml.text("ActivityId", &found.id).text("AutoScalingGroupName", &found.group);
    xml.text("Description", &found.description).text("Cause", &found.cause);
    xml.text("StartTime", time(found.started_at)).text("StatusCode", &found.status);
    xml.value("Progress", found.progress);
}
