//! EC2's objects in the model's terms, and back.

use std::collections::BTreeSet;

use rehome_model::cloud as model;
use rehome_ports as ports;

use crate::api;

pub(super) fn instance(found: api::Instance, membership: Option<model::AutoScalingMembership>) -> model::Instance {
    let device = |device: api::InstanceBlockDevice| model::InstanceBlockDevice {
        device: device.device,
        volume: device.volume,
        delete_on_termination: device.delete_on_termination,
    };
    model::Instance {
        id: found.id,
        state: found.state,
        state_reason: found.state_reason,
        zone: found.zone,
        instance_type: found.instance_type,
        launched_at_s: Some(found.launched_at / 1_000),
        private_ip: found.private_ip,
        tags: found.tags,
        root_device: Some(found.root_device),
        root_device_type: Some(found.root_device_type),
        lifecycle: found.lifecycle,
        block_devices: found.block_devices.into_iter().map(device).collect(),
        auto_scaling: membership,
    }
}

pub(super) fn instance_type(found: api::InstanceType) -> model::InstanceType {
    model::InstanceType { name: found.name, nitro: found.nitro, attachment_limit: Some(found.attachment_limit) }
}

pub(super) fn volume(found: api::Volume) -> model::Volume {
    let attachment = |found: api::Attachment| model::Attachment {
        instance: found.instance,
        device: found.device,
        state: found.state,
    };
    // EC2 shows what gp2 gives by its size; only provisioned operations are part of a specification.
    let iops = found.spec.iops.filter(|_| found.spec.volume_type != "gp2");
    model::Volume {
        id: found.id,
        state: found.state,
        zone: found.zone,
        spec: model::VolumeSpec { iops, ..found.spec },
        multi_attach: found.multi_attach,
        snapshot: found.snapshot,
        attachments: found.attachments.into_iter().map(attachment).collect(),
        created_at_ms: found.created_at,
        tags: found.tags,
    }
}

pub(super) fn snapshot(found: api::Snapshot) -> model::Snapshot {
    model::Snapshot {
        id: found.id,
        volume: found.volume,
        state: found.state,
        progress_percent: found.progress_percent,
        volume_size_gib: found.volume_size_gib,
        started_at_ms: found.started_at,
        tags: found.tags,
    }
}

pub(super) fn group(found: api::AutoScalingGroupDescription) -> model::AutoScalingGroup {
    let load_balancers: BTreeSet<String> =
        found.target_group_arns.into_iter().chain(found.load_balancer_names).collect();
    model::AutoScalingGroup {
        name: found.name,
        min_size: found.min_size,
        desired_capacity: found.desired_capacity,
        suspended: found.suspended_processes.into_iter().map(|(process, _)| process).collect(),
        zones: found.zones,
        load_balancers: load_balancers.into_iter().collect(),
    }
}

pub(super) fn create_snapshots(request: &ports::CreateSnapshots) -> api::Action {
    api::Action::CreateSnapshots(api::CreateSnapshots {
        instance_id: request.instance.clone(),
        exclude_boot_volume: !request.include_root,
        exclude_data_volume_ids: request.exclude.clone(),
        description: request.description.clone(),
        tag_specifications: vec![api::TagSpecification::new("snapshot", request.tags.clone())],
        copy_tags_from_volume: false,
    })
}

pub(super) fn create_volume(request: &ports::CreateVolume) -> api::Action {
    let spec = &request.spec;
    api::Action::CreateVolume(api::CreateVolume {
        availability_zone: Some(request.zone.clone()),
        snapshot_id: Some(request.snapshot.clone()),
        size: Some(i64::from(spec.size_gib)),
        volume_type: Some(spec.volume_type.clone()),
        iops: spec.iops.map(i64::from),
        throughput: spec.throughput_mib_s.map(i64::from),
        // The key is the snapshot's.
        encrypted: spec.encrypted.then_some(true),
        tag_specifications: vec![api::TagSpecification::new("volume", request.tags.clone())],
        client_token: Some(request.token.clone()),
        ..api::CreateVolume::default()
    })
}
