//! From parameters to actions.

use rehome_model::cloud::VolumeSpec;
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};

use super::params::Params;
use crate::core::{Action, ApiError, SnapshotRequest, VolumeRequest};

/// Which attribute DescribeInstanceAttribute was asked for.
pub(crate) const TERMINATION: &str = "disableApiTermination";
/// See [`TERMINATION`].
pub(crate) const STOP: &str = "disableApiStop";

/// The actions a request stands for. Several instances in one Start, Stop or Terminate are several actions.
pub(crate) fn actions(name: &str, params: &Params) -> Result<Vec<Action>, ApiError> {
    let instance = || params.required("InstanceId").map(InstanceId);
    let volume = || params.required("VolumeId").map(VolumeId);
    let instances = |make: fn(InstanceId) -> Action| {
        let ids = params.list("InstanceId");
        if ids.is_empty() {
            return Err(ApiError::new("MissingParameter", "The request must contain the parameter InstanceId"));
        }
        Ok(ids.into_iter().map(|id| make(InstanceId(id))).collect())
    };
    let one = |action: Action| Ok(vec![action]);
    match name {
        "GetCallerIdentity" => one(Action::GetCallerIdentity),
        "DescribeInstances" => one(Action::DescribeInstances {
            ids: params.list("InstanceId").into_iter().map(InstanceId).collect(),
            filters: params.filters(),
        }),
        "DescribeInstanceTypes" => one(Action::DescribeInstanceTypes { names: params.list("InstanceType") }),
        "DescribeVolumes" => one(Action::DescribeVolumes {
            ids: params.list("VolumeId").into_iter().map(VolumeId).collect(),
            filters: params.filters(),
        }),
        "DescribeSnapshots" => one(Action::DescribeSnapshots {
            ids: params.list("SnapshotId").into_iter().map(SnapshotId).collect(),
            filters: params.filters(),
        }),
        "DescribeInstanceAttribute" => {
            let instance = instance()?;
            match params.required("Attribute")?.as_str() {
                TERMINATION => one(Action::DescribeTerminationProtection { instance }),
                STOP => one(Action::DescribeStopProtection { instance }),
                other => Err(ApiError::new("InvalidParameterValue", format!("attribute {other} is not emulated"))),
            }
        }
        "ModifyInstanceAttribute" => modify(params, instance()?),
        "CreateVolume" => one(Action::CreateVolume(volume_request(params)?)),
        "DeleteVolume" => one(Action::DeleteVolume { volume: volume()? }),
        "AttachVolume" => {
            one(Action::AttachVolume { volume: volume()?, instance: instance()?, device: params.required("Device")? })
        }
        "DetachVolume" => {
            one(Action::DetachVolume { volume: volume()?, instance: params.get("InstanceId").map(InstanceId::from) })
        }
        "CreateSnapshots" => one(Action::CreateSnapshots(SnapshotRequest {
            instance: InstanceId(params.required("InstanceSpecification.InstanceId")?),
            exclude_boot_volume: params.flag("InstanceSpecification.ExcludeBootVolume"),
            exclude_data_volumes: params
                .list("InstanceSpecification.ExcludeDataVolumeId")
                .into_iter()
                .map(VolumeId)
                .collect(),
            description: params.get("Description").unwrap_or_default().to_owned(),
            tags: params.tags("TagSpecification.1.Tag"),
        })),
        "DeleteSnapshot" => one(Action::DeleteSnapshot { snapshot: SnapshotId(params.required("SnapshotId")?) }),
        "StartInstances" => instances(|instance| Action::StartInstances { instance }),
        "StopInstances" => instances(|instance| Action::StopInstances { instance }),
        "TerminateInstances" => instances(|instance| Action::TerminateInstances { instance }),
        "CreateTags" => {
            let tags = params.tags("Tag");
            let resources = params.list("ResourceId").into_iter();
            Ok(resources.map(|resource| Action::CreateTags { resource, tags: tags.clone() }).collect())
        }
        "DescribeAutoScalingInstances" => one(Action::DescribeInstances {
            ids: params.list("InstanceIds.member").into_iter().map(InstanceId).collect(),
            filters: Vec::new(),
        }),
        "DescribeAutoScalingGroups" => {
            one(Action::DescribeAutoScalingGroup { group: params.required("AutoScalingGroupNames.member.1")? })
        }
        "EnterStandby" | "ExitStandby" => {
            let group = params.required("AutoScalingGroupName")?;
            let instance = InstanceId(params.required("InstanceIds.member.1")?);
            one(if name == "EnterStandby" {
                Action::EnterStandby { group, instance }
            } else {
                Action::ExitStandby { group, instance }
            })
        }
        other => Err(ApiError::new("InvalidAction", format!("The action {other} is not valid for this web service."))),
    }
}

fn modify(params: &Params, instance: InstanceId) -> Result<Vec<Action>, ApiError> {
    if params.get("DisableApiTermination.Value").is_some() {
        return Ok(vec![Action::SetTerminationProtection { instance, on: params.flag("DisableApiTermination.Value") }]);
    }
    if params.get("DisableApiStop.Value").is_some() {
        return Ok(vec![Action::SetStopProtection { instance, on: params.flag("DisableApiStop.Value") }]);
    }
    let devices = params.delete_on_termination();
    if devices.is_empty() {
        return Err(ApiError::new("InvalidParameterCombination", "No attributes specified."));
    }
    Ok(vec![Action::SetDeleteOnTermination { instance, devices }])
}

fn volume_request(params: &Params) -> Result<VolumeRequest, ApiError> {
    Ok(VolumeRequest {
        zone: Zone(params.required("AvailabilityZone")?),
        snapshot: params.get("SnapshotId").map(SnapshotId::from),
        spec: VolumeSpec {
            // EC2's default is gp2, not gp3 (facts A2).
            volume_type: params.get("VolumeType").unwrap_or("gp2").to_owned(),
            size_gib: params.number("Size")?.unwrap_or(0),
            iops: params.number("Iops")?,
            throughput_mib_s: params.number("Throughput")?,
            encrypted: params.flag("Encrypted"),
            kms_key_id: params.get("KmsKeyId").map(str::to_owned),
        },
        multi_attach: params.flag("MultiAttachEnabled"),
        tags: params.tags("TagSpecification.1.Tag"),
        token: params.get("ClientToken").map(str::to_owned),
    })
}
