//! Volumes and snapshots.

use crate::api::{
    Action, ApiError, AttachVolume, CopySnapshot, CopyVolumes, CreateSnapshot, CreateSnapshots, CreateVolume,
    DescribeSnapshots, DetachVolume, ModifyVolume,
};

use super::super::params::Params;
use super::by_id;

pub(super) fn action(name: &str, params: &Params) -> Result<Option<Action>, ApiError> {
    Ok(Some(match name {
        "DescribeVolumes" => Action::DescribeVolumes(by_id(params, "VolumeId")?),
        "DescribeVolumeStatus" => Action::DescribeVolumeStatus(by_id(params, "VolumeId")?),
        "DescribeVolumesModifications" => Action::DescribeVolumesModifications(by_id(params, "VolumeId")?),
        "CreateVolume" => Action::CreateVolume(create_volume(params)?),
        "CopyVolumes" => Action::CopyVolumes(copy_volumes(params)?),
        "DeleteVolume" => Action::DeleteVolume(params.required("VolumeId")?),
        "AttachVolume" => Action::AttachVolume(AttachVolume {
            volume_id: params.required("VolumeId")?,
            instance_id: params.required("InstanceId")?,
            device: params.required("Device")?,
        }),
        "DetachVolume" => Action::DetachVolume(DetachVolume {
            volume_id: params.required("VolumeId")?,
            instance_id: params.id("InstanceId"),
            device: params.text("Device"),
            force: params.flag("Force")?,
        }),
        "ModifyVolume" => Action::ModifyVolume(ModifyVolume {
            volume_id: params.required("VolumeId")?,
            size: params.number("Size")?,
            volume_type: params.text("VolumeType"),
            iops: params.number("Iops")?,
            throughput: params.number("Throughput")?,
            multi_attach_enabled: params.boolean("MultiAttachEnabled")?,
        }),
        "DescribeSnapshots" => Action::DescribeSnapshots(DescribeSnapshots {
            ids: params.list("SnapshotId"),
            owners: params.list("Owner"),
            filters: params.filters(),
            page: params.page("MaxResults")?,
        }),
        "CreateSnapshot" => Action::CreateSnapshot(CreateSnapshot {
            volume_id: params.required("VolumeId")?,
            description: params.text("Description").unwrap_or_default(),
            tag_specifications: params.tag_specifications(),
        }),
        "CreateSnapshots" => Action::CreateSnapshots(CreateSnapshots {
            instance_id: params.required("InstanceSpecification.InstanceId")?,
            exclude_boot_volume: params.flag("InstanceSpecification.ExcludeBootVolume")?,
            exclude_data_volume_ids: params.list("InstanceSpecification.ExcludeDataVolumeId"),
            description: params.text("Description").unwrap_or_default(),
            tag_specifications: params.tag_specifications(),
            copy_tags_from_volume: params.get("CopyTagsFromSource") == Some("volume"),
        }),
        "DeleteSnapshot" => Action::DeleteSnapshot(params.required("SnapshotId")?),
        "CopySnapshot" => Action::CopySnapshot(CopySnapshot {
            source_region: params.required("SourceRegion")?,
            source_snapshot_id: params.required("SourceSnapshotId")?,
            description: params.text("Description").unwrap_or_default(),
            encrypted: params.boolean("Encrypted")?,
            kms_key_id: params.text("KmsKeyId"),
            tag_specifications: params.tag_specifications(),
        }),
        _ => return Ok(None),
    }))
}

fn create_volume(params: &Params) -> Result<CreateVolume, ApiError> {
    Ok(CreateVolume {
        availability_zone: params.id("AvailabilityZone"),
        availability_zone_id: params.text("AvailabilityZoneId"),
        snapshot_id: params.id("SnapshotId"),
        size: params.number("Size")?,
        volume_type: params.text("VolumeType"),
        iops: params.number("Iops")?,
        throughput: params.number("Throughput")?,
        encrypted: params.boolean("Encrypted")?,
        kms_key_id: params.text("KmsKeyId"),
        multi_attach_enabled: params.flag("MultiAttachEnabled")?,
        volume_initialization_rate: params.number("VolumeInitializationRate")?,
        tag_specifications: params.tag_specifications(),
        client_token: params.text("ClientToken"),
    })
}

fn copy_volumes(params: &Params) -> Result<CopyVolumes, ApiError> {
    Ok(CopyVolumes {
        size: params.number("Size")?,
        volume_type: params.text("VolumeType"),
        iops: params.number("Iops")?,
        throughput: params.number("Throughput")?,
        encrypted: params.flag("Encrypted")?,
        kms_key_id: params.text("KmsKeyId"),
        multi_attach_enabled: params.flag("MultiAttachEnabled")?,
        tag_specifications: params.tag_specifications(),
        client_token: params.text("ClientToken"),
        ..CopyVolumes::of(params.required("SourceVolumeId")?)
    })
}
