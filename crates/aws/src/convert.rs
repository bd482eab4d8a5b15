//! From EC2's types to ours. What EC2 always says and did not is an error, never a default.

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{
    self as ec2, AttachmentStatus, EbsNvmeSupport, InstanceStateName, InstanceTypeHypervisor, VolumeAttachmentState,
};
use rehome_model::cloud::{
    Attachment, AttachmentState, Instance, InstanceBlockDevice, InstanceState, InstanceType, Snapshot, SnapshotState,
    StateReason, Tags, Volume, VolumeSpec, VolumeState,
};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};
use rehome_ports::CloudError;

use crate::error::bad_reply;

/// An instance, without its Auto Scaling membership.
pub(crate) fn instance(operation: &'static str, from: &ec2::Instance) -> Result<Instance, CloudError> {
    let lacks = |what: &str| bad_reply(operation, what);
    let state = from.state().and_then(|state| state.name()).and_then(instance_state);
    let zone = from.placement().and_then(|placement| placement.availability_zone());
    Ok(Instance {
        id: InstanceId::new(from.instance_id().ok_or_else(|| lacks("instanceId"))?),
        state: state.ok_or_else(|| lacks("instanceState"))?,
        state_reason: from.state_reason().and_then(state_reason),
        zone: Zone::new(zone.ok_or_else(|| lacks("availabilityZone"))?),
        instance_type: from.instance_type().ok_or_else(|| lacks("instanceType"))?.as_str().to_owned(),
        launched_at_s: from.launch_time().and_then(|time| u64::try_from(time.secs()).ok()),
        private_ip: text(from.private_ip_address()),
        tags: tags(from.tags()),
        root_device: text(from.root_device_name()),
        root_device_type: from.root_device_type().map(|kind| kind.as_str().to_owned()),
        lifecycle: from.instance_lifecycle().map(|kind| kind.as_str().to_owned()),
        block_devices: from.block_device_mappings().iter().filter_map(block_device).collect(),
        auto_scaling: None,
    })
}

fn state_reason(from: &ec2::StateReason) -> Option<StateReason> {
    let code = from.code()?.to_owned();
    Some(StateReason { message: from.message().unwrap_or(&code).to_owned(), code })
}

fn instance_state(name: &InstanceStateName) -> Option<InstanceState> {
    Some(match name {
        InstanceStateName::Pending => InstanceState::Pending,
        InstanceStateName::Running => InstanceState::Running,
        InstanceStateName::ShuttingDown => InstanceState::ShuttingDown,
        InstanceStateName::Terminated => InstanceState::Terminated,
        InstanceStateName::Stopping => InstanceState::Stopping,
        InstanceStateName::Stopped => InstanceState::Stopped,
        _ => return None,
    })
}

/// Devices without EBS (instance store) are not listed by EC2; one that is on its way out still is attached.
fn block_device(from: &ec2::InstanceBlockDeviceMapping) -> Option<InstanceBlockDevice> {
    let ebs = from.ebs().filter(|ebs| ebs.status() != Some(&AttachmentStatus::Detached))?;
    Some(InstanceBlockDevice {
        device: from.device_name()?.to_owned(),
        volume: VolumeId::new(ebs.volume_id()?),
        delete_on_termination: ebs.delete_on_termination().unwrap_or(false),
    })
}

/// What an instance type allows. "nitro" here means what it means for a driver: volumes appear as NVMe devices.
pub(crate) fn instance_type(operation: &'static str, from: &ec2::InstanceTypeInfo) -> Result<InstanceType, CloudError> {
    let name = from.instance_type().ok_or_else(|| bad_reply(operation, "instanceType"))?;
    let ebs = from.ebs_info();
    let nitro = match ebs.and_then(|ebs| ebs.nvme_support()) {
        Some(support) => *support == EbsNvmeSupport::Required,
        None => from.bare_metal() == Some(true) || from.hypervisor() == Some(&InstanceTypeHypervisor::Nitro),
    };
    let limit = ebs.and_then(ec2::EbsInfo::maximum_ebs_attachments).and_then(|limit| u32::try_from(limit).ok());
    Ok(InstanceType { name: name.as_str().to_owned(), nitro, attachment_limit: limit })
}

/// A volume.
pub(crate) fn volume(operation: &'static str, from: &ec2::Volume) -> Result<Volume, CloudError> {
    let lacks = |what: &str| bad_reply(operation, what);
    let attachments = from.attachments().iter().map(|from| attachment(operation, from));
    Ok(Volume {
        id: VolumeId::new(from.volume_id().ok_or_else(|| lacks("volumeId"))?),
        state: from.state().and_then(volume_state).ok_or_else(|| lacks("volume state"))?,
        zone: Zone::new(from.availability_zone().ok_or_else(|| lacks("availabilityZone"))?),
        spec: VolumeSpec {
            volume_type: from.volume_type().ok_or_else(|| lacks("volumeType"))?.as_str().to_owned(),
            size_gib: size(from.size()).ok_or_else(|| lacks("size"))?,
            iops: bought_iops(from),
            throughput_mib_s: from.throughput().and_then(|rate| u32::try_from(rate).ok()),
            encrypted: from.encrypted().unwrap_or(false),
            kms_key_id: text(from.kms_key_id()),
        },
        multi_attach: from.multi_attach_enabled().unwrap_or(false),
        snapshot: text(from.snapshot_id()).map(SnapshotId),
        attachments: attachments.filter_map(Result::transpose).collect::<Result<_, _>>()?,
        created_at_ms: millis(from.create_time()).ok_or_else(|| lacks("createTime"))?,
        tags: tags(from.tags()),
    })
}

/// EC2 shows operations a second for types that cannot be bought with them too (gp2's baseline), and refuses a
/// CreateVolume that asks for those.
fn bought_iops(from: &ec2::Volume) -> Option<u32> {
    use ec2::VolumeType::{Gp3, Io1, Io2};
    let bought = matches!(from.volume_type(), Some(Gp3 | Io1 | Io2));
    from.iops().filter(|_| bought).and_then(|iops| u32::try_from(iops).ok())
}

fn volume_state(state: &ec2::VolumeState) -> Option<VolumeState> {
    Some(match state {
        ec2::VolumeState::Creating => VolumeState::Creating,
        ec2::VolumeState::Available => VolumeState::Available,
        ec2::VolumeState::InUse => VolumeState::InUse,
        ec2::VolumeState::Deleting => VolumeState::Deleting,
        ec2::VolumeState::Deleted => VolumeState::Deleted,
        ec2::VolumeState::Error => VolumeState::Error,
        _ => return None,
    })
}

/// None if it is over.
fn attachment(operation: &'static str, from: &ec2::VolumeAttachment) -> Result<Option<Attachment>, CloudError> {
    let state = match from.state() {
        Some(VolumeAttachmentState::Attaching) => AttachmentState::Attaching,
        Some(VolumeAttachmentState::Attached) => AttachmentState::Attached,
        Some(VolumeAttachmentState::Detaching) => AttachmentState::Detaching,
        Some(VolumeAttachmentState::Busy) => AttachmentState::Busy,
        Some(VolumeAttachmentState::Detached) => return Ok(None),
        _ => return Err(bad_reply(operation, "attachment state")),
    };
    // Attached to something that is no instance (a managed service's resource): in use, by a holder without an id.
    let instance = from.instance_id().or(from.associated_resource()).unwrap_or_default();
    Ok(Some(Attachment {
        instance: InstanceId::new(instance),
        device: from.device().unwrap_or_default().to_owned(),
        state,
    }))
}

/// A snapshot, as DescribeSnapshots shows it.
pub(crate) fn snapshot(operation: &'static str, from: &ec2::Snapshot) -> Result<Snapshot, CloudError> {
    let raw = RawSnapshot {
        id: from.snapshot_id(),
        volume: from.volume_id(),
        state: from.state(),
        progress: from.progress(),
        size: from.volume_size(),
        started: from.start_time(),
        tags: from.tags(),
    };
    raw.convert(operation)
}

/// A snapshot, as CreateSnapshots answers it.
pub(crate) fn snapshot_info(operation: &'static str, from: &ec2::SnapshotInfo) -> Result<Snapshot, CloudError> {
    let raw = RawSnapshot {
        id: from.snapshot_id(),
        volume: from.volume_id(),
        state: from.state(),
        progress: from.progress(),
        size: from.volume_size(),
        started: from.start_time(),
        tags: from.tags(),
    };
    raw.convert(operation)
}

/// What EC2's two types for a snapshot have in common.
struct RawSnapshot<'a> {
    id: Option<&'a str>,
    volume: Option<&'a str>,
    state: Option<&'a ec2::SnapshotState>,
    progress: Option<&'a str>,
    size: Option<i32>,
    started: Option<&'a DateTime>,
    tags: &'a [ec2::Tag],
}

impl RawSnapshot<'_> {
    fn convert(self, operation: &'static str) -> Result<Snapshot, CloudError> {
        let lacks = |what: &str| bad_reply(operation, what);
        let state = match self.state {
            Some(ec2::SnapshotState::Pending) => SnapshotState::Pending,
            Some(ec2::SnapshotState::Completed) => SnapshotState::Completed,
            Some(ec2::SnapshotState::Error) => SnapshotState::Error,
            Some(ec2::SnapshotState::Recoverable) => SnapshotState::Recoverable,
            Some(ec2::SnapshotState::Recovering) => SnapshotState::Recovering,
            _ => return Err(lacks("snapshot state")),
        };
        Ok(Snapshot {
            id: SnapshotId::new(self.id.ok_or_else(|| lacks("snapshotId"))?),
            volume: VolumeId::new(self.volume.ok_or_else(|| lacks("volumeId"))?),
            state,
            progress_percent: progress(self.progress),
            volume_size_gib: size(self.size).ok_or_else(|| lacks("volumeSize"))?,
            started_at_ms: millis(self.started).ok_or_else(|| lacks("startTime"))?,
            tags: tags(self.tags),
        })
    }
}

/// `37%`; empty for a snapshot that has just begun.
fn progress(text: Option<&str>) -> u8 {
    text.and_then(|text| text.trim_end_matches('%').parse().ok()).unwrap_or(0)
}

fn size(gib: Option<i32>) -> Option<u32> {
    gib.and_then(|gib| u32::try_from(gib).ok())
}

fn millis(time: Option<&DateTime>) -> Option<u64> {
    time.and_then(|time| time.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok())
}

/// EC2 says "none" by an empty string in some replies.
fn text(from: Option<&str>) -> Option<String> {
    from.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn tags(from: &[ec2::Tag]) -> Tags {
    let pair = |tag: &ec2::Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    from.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_as_ec2_writes_it() {
        assert_eq!([Some("37%"), Some("100%"), Some(""), None].map(progress), [37, 100, 0, 0]);
    }

    #[test]
    fn a_baseline_that_cannot_be_bought_is_not_taken_for_one_that_was() {
        let of = |kind: ec2::VolumeType| bought_iops(&ec2::Volume::builder().volume_type(kind).iops(300).build());
        assert_eq!(of(ec2::VolumeType::Gp2), None);
        assert_eq!(of(ec2::VolumeType::Gp3), Some(300));
    }

    #[test]
    fn what_a_spot_instance_and_its_root_are_is_told() {
        let state = ec2::InstanceState::builder().name(InstanceStateName::Running).build();
        let bare = ec2::Instance::builder()
            .instance_id("i-1")
            .state(state)
            .placement(ec2::Placement::builder().availability_zone("us-east-1a").build())
            .instance_type(ec2::InstanceType::M5Large);
        let spot = bare.clone().instance_lifecycle(ec2::InstanceLifecycleType::Spot);
        let spot = spot.root_device_type(ec2::DeviceType::InstanceStore).build();
        let found = instance("DescribeInstances", &spot).unwrap();
        assert_eq!(
            (found.lifecycle.as_deref(), found.root_device_type.as_deref()),
            (Some("spot"), Some("instance-store"))
        );
        assert_eq!(instance("DescribeInstances", &bare.build()).unwrap().lifecycle, None);
    }

    #[test]
    fn why_an_instance_is_stopped_is_told_where_ec2_tells() {
        let told = |code: Option<&str>, message: Option<&str>| {
            let reason = ec2::StateReason::builder().set_code(code.map(str::to_owned));
            state_reason(&reason.set_message(message.map(str::to_owned)).build())
        };
        let reason = told(Some("Client.InternalError"), Some("Client.InternalError: Client error on launch")).unwrap();
        assert_eq!(reason.message, "Client.InternalError: Client error on launch");
        assert_eq!(told(Some("Server.InternalError"), None).unwrap().message, "Server.InternalError");
        assert_eq!(told(None, None), None);
    }

    #[test]
    fn a_volume_without_a_zone_is_no_volume() {
        let error = volume("DescribeVolumes", &ec2::Volume::builder().volume_id("vol-1").build()).unwrap_err();
        assert_eq!(error.code, "InvalidReply");
    }
}
