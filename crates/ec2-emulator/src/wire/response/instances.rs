//! Instances.

use std::collections::BTreeMap;
use std::slice;

use rehome_model::cloud::InstanceState;
use rehome_model::ids::InstanceId;

use crate::api::{
    Instance, InstanceAttribute, InstanceBlockDevice, InstanceStateChange, InstanceStatus, InstanceType, Paged,
};

use super::super::xml::Xml;
use super::{tags, time, word};

/// DescribeInstances groups by reservation; RunInstances answers one reservation, without the list around it.
pub(super) fn reservations(xml: &mut Xml, page: &Paged<Instance>) {
    let mut by_reservation: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in &page.items {
        by_reservation.entry(&instance.reservation).or_default().push(instance);
    }
    let reservations: Vec<_> = by_reservation.into_iter().collect();
    xml.list("reservationSet", &reservations, |xml, (id, instances)| reservation(xml, id, instances));
    xml.optional("nextToken", page.next_token.as_ref());
}

pub(super) fn reservation(xml: &mut Xml, id: &str, instances: &[&Instance]) {
    xml.text("reservationId", id).text("ownerId", instances.first().map_or("", |instance| &instance.owner));
    xml.list("groupSet", &[] as &[()], |_, ()| ());
    xml.list("instancesSet", instances, |xml, instance| show(xml, instance));
}

fn show(xml: &mut Xml, instance: &Instance) {
    xml.text("instanceId", &instance.id).text("imageId", &instance.image_id);
    xml.element("instanceState", |xml| state(xml, instance.state));
    xml.text("privateDnsName", &instance.private_dns_name).text("reason", &instance.state_transition_reason);
    xml.text("instanceType", &instance.instance_type).text("launchTime", time(instance.launched_at));
    xml.element("placement", |xml| {
        xml.text("availabilityZone", &instance.zone).text("tenancy", "default");
    });
    xml.optional("privateIpAddress", instance.private_ip.as_ref());
    xml.text("architecture", &instance.architecture)
        .text("rootDeviceType", &instance.root_device_type)
        .text("rootDeviceName", &instance.root_device);
    block_devices(xml, &instance.block_devices);
    if let Some(reason) = &instance.state_reason {
        xml.element("stateReason", |xml| {
            xml.text("code", &reason.code).text("message", &reason.message);
        });
    }
    xml.optional("instanceLifecycle", instance.lifecycle.as_ref());
    xml.text("virtualizationType", "hvm");
    // EC2 says `xen` for Nitro instances too: only DescribeInstanceTypes tells them apart.
    xml.text("hypervisor", "xen");
    xml.text("clientToken", instance.client_token.as_deref().unwrap_or_default());
    tags(xml, &instance.tags);
}

fn block_devices(xml: &mut Xml, devices: &[InstanceBlockDevice]) {
    xml.list("blockDeviceMapping", devices, |xml, device| {
        xml.text("deviceName", &device.device);
        xml.element("ebs", |xml| {
            xml.text("volumeId", &device.volume).text("status", word(device.state));
            xml.text("attachTime", time(device.attached_at));
            xml.value("deleteOnTermination", device.delete_on_termination);
        });
    });
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
    xml.value("code", code).text("name", word(state));
}

pub(super) fn change(xml: &mut Xml, change: &InstanceStateChange) {
    xml.text("instanceId", &change.instance);
    xml.element("currentState", |xml| state(xml, change.current));
    xml.element("previousState", |xml| state(xml, change.previous));
}

pub(super) fn status(xml: &mut Xml, found: &InstanceStatus) {
    xml.text("instanceId", &found.instance).text("availabilityZone", &found.zone);
    xml.element("instanceState", |xml| state(xml, found.state));
    for name in ["systemStatus", "instanceStatus"] {
        xml.element(name, |xml| {
            xml.text("status", &found.status);
        });
    }
}

pub(super) fn kind(xml: &mut Xml, found: &InstanceType) {
    xml.text("instanceType", &found.name).text("hypervisor", if found.nitro { "nitro" } else { "xen" });
    xml.element("processorInfo", |xml| {
        xml.list("supportedArchitectures", slice::from_ref(&found.architecture), |xml, name| {
            xml.raw(name);
        });
    });
    xml.element("vCpuInfo", |xml| {
        xml.value("defaultVCpus", found.vcpus);
    });
    xml.element("memoryInfo", |xml| {
        xml.value("sizeInMiB", found.memory_mib);
    });
    xml.value("instanceStorageSupported", found.instance_storage_gb > 0);
    if found.instance_storage_gb > 0 {
        xml.element("instanceStorageInfo", |xml| {
            xml.value("totalSizeInGB", found.instance_storage_gb);
            xml.text("nvmeSupport", if found.nitro { "required" } else { "supported" });
        });
    }
    xml.element("ebsInfo", |xml| {
        xml.text("ebsOptimizedSupport", "default").text("encryptionSupport", "supported");
        xml.text("nvmeSupport", if found.nitro { "required" } else { "unsupported" });
        xml.value("maximumEbsAttachments", found.attachment_limit);
        xml.text("attachmentLimitType", if found.attachment_limit_shared { "shared" } else { "dedicated" });
    });
    xml.element("networkInfo", |xml| {
        xml.value("maximumNetworkInterfaces", found.maximum_network_interfaces);
    });
}

pub(super) fn attribute(xml: &mut Xml, id: &InstanceId, attribute: &InstanceAttribute) {
    xml.text("instanceId", id);
    let mut value = |name: &str, text: String| {
        xml.element(name, |xml| {
            xml.text("value", text);
        });
    };
    match attribute {
        InstanceAttribute::InstanceType(name) => value("instanceType", name.clone()),
        InstanceAttribute::DisableApiTermination(on) => value("disableApiTermination", on.to_string()),
        InstanceAttribute::DisableApiStop(on) => value("disableApiStop", on.to_string()),
        InstanceAttribute::RootDeviceName(name) => value("rootDeviceName", name.clone()),
        InstanceAttribute::BlockDeviceMapping(devices) => block_devices(xml, devices),
    }
}
