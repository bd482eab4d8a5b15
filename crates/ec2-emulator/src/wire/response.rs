//! From replies to XML, in the shapes of AWS's service models.

use rehome_model::cloud::{Instance, InstanceState, InstanceType, Snapshot, Tags, Volume};
use serde::Serialize;

use super::request::{STOP, TERMINATION};
use super::xml::Xml;
use crate::core::{Action, Reply};

const EC2: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const AUTO_SCALING: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";
const REQUEST_ID: &str = "00000000-0000-0000-0000-000000000000";

/// A reply as XML. `name` is what was asked for: some replies have another shape for it. `next` is the token of the
/// next page.
pub(crate) fn body(name: &str, actions: &[Action], replies: &[Reply], next: Option<&str>) -> String {
    let mut xml = Xml::default();
    let root = format!("{name}Response");
    match (name, replies.first()) {
        ("GetCallerIdentity", Some(Reply::Caller(caller))) => {
            xml.element("GetCallerIdentityResult", |xml| {
                xml.text("Arn", &caller.arn).text("UserId", "AIDAREHOME").text("Account", &caller.account);
            });
            xml.element("ResponseMetadata", |xml| {
                xml.text("RequestId", REQUEST_ID);
            });
            return xml.finish(&root, STS);
        }
        ("DescribeAutoScalingInstances", Some(Reply::Instances(found))) => {
            auto_scaling_instances(&mut xml, found);
            return xml.finish(&root, AUTO_SCALING);
        }
        ("DescribeAutoScalingGroups", Some(Reply::Names(names))) => {
            auto_scaling_group(&mut xml, actions, names);
            return xml.finish(&root, AUTO_SCALING);
        }
        ("EnterStandby" | "ExitStandby", _) => {
            xml.element(&format!("{name}Result"), |xml| {
                xml.element("Activities", |_| ());
            });
            return xml.finish(&root, AUTO_SCALING);
        }
        _ => {}
    }
    xml.text("requestId", REQUEST_ID);
    match (name, replies.first()) {
        (_, Some(Reply::Instances(found))) => {
            xml.list("reservationSet", found, |xml, instance| {
                xml.text("reservationId", format!("r-{}", instance.id.as_str().trim_start_matches("i-")));
                xml.list("instancesSet", std::slice::from_ref(instance), show_instance);
            });
        }
        (_, Some(Reply::InstanceTypes(found))) => {
            xml.list("instanceTypeSet", found, show_type);
        }
        ("CreateVolume", Some(Reply::Volumes(made))) => {
            if let Some(volume) = made.first() {
                show_volume(&mut xml, volume);
            }
        }
        (_, Some(Reply::Volumes(found))) => {
            xml.list("volumeSet", found, show_volume);
        }
        (_, Some(Reply::Snapshots(found))) => {
            // CreateSnapshots says `state` where DescribeSnapshots says `status`.
            let word = if name == "CreateSnapshots" { "state" } else { "status" };
            xml.list("snapshotSet", found, |xml, snapshot| show_snapshot(xml, word, snapshot));
        }
        (_, Some(Reply::Flag(on))) => {
            if let Some(
                Action::DescribeTerminationProtection { instance } | Action::DescribeStopProtection { instance },
            ) = actions.first()
            {
                let stop = matches!(actions.first(), Some(Action::DescribeStopProtection { .. }));
                xml.text("instanceId", instance);
                xml.element(if stop { STOP } else { TERMINATION }, |xml| {
                    xml.text("value", on.to_string());
                });
            }
        }
        ("StartInstances" | "StopInstances" | "TerminateInstances", _) => changes(&mut xml, actions),
        ("AttachVolume" | "DetachVolume", _) => attachment(&mut xml, actions),
        _ => {
            xml.text("return", "true");
        }
    }
    xml.optional("nextToken", next);
    xml.finish(&root, EC2)
}

/// An enum's own kebab-case name, as serde writes it.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn time(ms: u64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or_default();
    format!("{timestamp:.3}")
}

fn tags(xml: &mut Xml, tags: &Tags) {
    let pairs: Vec<_> = tags.iter().collect();
    xml.list("tagSet", &pairs, |xml, (key, value)| {
        xml.text("key", key).text("value", value);
    });
}

fn show_instance(xml: &mut Xml, instance: &Instance) {
    xml.text("instanceId", &instance.id);
    xml.element("instanceState", |xml| state(xml, instance.state));
    xml.text("instanceType", &instance.instance_type);
    xml.element("placement", |xml| {
        xml.text("availabilityZone", &instance.zone);
    });
    xml.optional("privateIpAddress", instance.private_ip.as_ref());
    xml.optional("rootDeviceName", instance.root_device.as_ref());
    xml.list("blockDeviceMapping", &instance.block_devices, |xml, device| {
        xml.text("deviceName", &device.device);
        xml.element("ebs", |xml| {
            xml.text("volumeId", &device.volume).text("status", "attached").text("attachTime", time(0));
            xml.text("deleteOnTermination", device.delete_on_termination.to_string());
        });
    });
    tags(xml, &instance.tags);
}

fn state(xml: &mut Xml, state: InstanceState) {
    let code = match state {
        InstanceState::Pending => 0,
        InstanceState::Running => 16,
        InstanceState::ShuttingDown => 32,
        InstanceState::Terminated => 48,
        InstanceState::Stopping => 64,
        InstanceState::Stopped => 80,
    };
    xml.text("code", code.to_string()).text("name", word(state));
}

fn show_type(xml: &mut Xml, found: &InstanceType) {
    xml.text("instanceType", &found.name);
    xml.text("hypervisor", if found.nitro { "nitro" } else { "xen" });
    xml.element("ebsInfo", |xml| {
        xml.text("nvmeSupport", if found.nitro { "required" } else { "unsupported" });
        xml.optional("maximumEbsAttachments", found.attachment_limit);
    });
}

fn show_volume(xml: &mut Xml, volume: &Volume) {
    xml.text("volumeId", &volume.id).text("size", volume.spec.size_gib.to_string());
    xml.text("snapshotId", volume.snapshot.as_ref().map_or("", |id| id.as_str()));
    xml.text("availabilityZone", &volume.zone).text("status", word(volume.state));
    xml.text("createTime", time(volume.created_at_ms)).text("volumeType", &volume.spec.volume_type);
    xml.optional("iops", volume.spec.iops).optional("throughput", volume.spec.throughput_mib_s);
    xml.text("encrypted", volume.spec.encrypted.to_string());
    xml.optional("kmsKeyId", volume.spec.kms_key_id.as_ref());
    xml.text("multiAttachEnabled", volume.multi_attach.to_string());
    xml.list("attachmentSet", &volume.attachments, |xml, attachment| {
        xml.text("volumeId", &volume.id).text("instanceId", &attachment.instance);
        xml.text("device", &attachment.device).text("status", word(attachment.state)).text("attachTime", time(0));
    });
    tags(xml, &volume.tags);
}

fn show_snapshot(xml: &mut Xml, status: &str, snapshot: &Snapshot) {
    xml.text("snapshotId", &snapshot.id).text("volumeId", &snapshot.volume);
    xml.text(status, word(snapshot.state)).text("startTime", time(snapshot.started_at_ms));
    xml.text("progress", format!("{}%", snapshot.progress_percent));
    xml.text("volumeSize", snapshot.volume_size_gib.to_string());
    tags(xml, &snapshot.tags);
}

fn changes(xml: &mut Xml, actions: &[Action]) {
    let changed: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::StartInstances { instance } => Some((instance, InstanceState::Pending, InstanceState::Stopped)),
            Action::StopInstances { instance } => Some((instance, InstanceState::Stopping, InstanceState::Running)),
            Action::TerminateInstances { instance } => {
                Some((instance, InstanceState::ShuttingDown, InstanceState::Running))
            }
            _ => None,
        })
        .collect();
    xml.list("instancesSet", &changed, |xml, (instance, now, before)| {
        xml.text("instanceId", instance);
        xml.element("currentState", |xml| state(xml, *now));
        xml.element("previousState", |xml| state(xml, *before));
    });
}

fn attachment(xml: &mut Xml, actions: &[Action]) {
    match actions.first() {
        Some(Action::AttachVolume { volume, instance, device }) => {
            xml.text("volumeId", volume).text("instanceId", instance).text("device", device);
            xml.text("status", "attaching").text("attachTime", time(0));
        }
        Some(Action::DetachVolume { volume, instance }) => {
            xml.text("volumeId", volume).optional("instanceId", instance.as_ref()).text("status", "detaching");
        }
        _ => {}
    }
}

fn auto_scaling_instances(xml: &mut Xml, found: &[Instance]) {
    xml.element("DescribeAutoScalingInstancesResult", |xml| {
        xml.element("AutoScalingInstances", |xml| {
            for instance in found {
                let Some(member) = &instance.auto_scaling else { continue };
                xml.element("member", |xml| {
                    xml.text("InstanceId", &instance.id).text("AutoScalingGroupName", &member.group);
                    xml.text("AvailabilityZone", &instance.zone).text("LifecycleState", &member.lifecycle_state);
                    xml.text("HealthStatus", "HEALTHY").text("ProtectedFromScaleIn", "false");
                });
            }
        });
    });
}

fn auto_scaling_group(xml: &mut Xml, actions: &[Action], names: &[String]) {
    let Some(Action::DescribeAutoScalingGroup { group }) = actions.first() else { return };
    xml.element("DescribeAutoScalingGroupsResult", |xml| {
        xml.element("AutoScalingGroups", |xml| {
            xml.element("member", |xml| {
                xml.text("AutoScalingGroupName", group);
                xml.element("Instances", |xml| {
                    for name in names {
                        xml.element("member", |xml| {
                            xml.text("InstanceId", name);
                        });
                    }
                });
            });
        });
    });
}
