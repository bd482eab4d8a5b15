//! Auto Scaling. Its lists are `InstanceIds.member.1`.

use crate::api::{Action, ApiError, DescribeAutoScaling, ProcessesRequest, StandbyRequest};

use super::super::params::Params;

pub(super) fn action(name: &str, params: &Params) -> Result<Option<Action>, ApiError> {
    let describe = |names: &str| -> Result<DescribeAutoScaling, ApiError> {
        Ok(DescribeAutoScaling { names: params.list(&format!("{names}.member")), page: params.page("MaxRecords")? })
    };
    let group = || params.required("AutoScalingGroupName");
    let standby = || -> Result<StandbyRequest, ApiError> {
        Ok(StandbyRequest {
            auto_scaling_group_name: group()?,
            instance_ids: params.list("InstanceIds.member"),
            should_decrement_desired_capacity: params.flag("ShouldDecrementDesiredCapacity")?,
        })
    };
    let processes = || -> Result<ProcessesRequest, ApiError> {
        Ok(ProcessesRequest {
            auto_scaling_group_name: group()?,
            scaling_processes: params.list("ScalingProcesses.member"),
        })
    };
    Ok(Some(match name {
        "DescribeAutoScalingInstances" => Action::DescribeAutoScalingInstances(describe("InstanceIds")?),
        "DescribeAutoScalingGroups" => Action::DescribeAutoScalingGroups(describe("AutoScalingGroupNames")?),
        "EnterStandby" => Action::EnterStandby(standby()?),
        "ExitStandby" => Action::ExitStandby(standby()?),
        "SuspendProcesses" => Action::SuspendProcesses(processes()?),
        "ResumeProcesses" => Action::ResumeProcesses(processes()?),
        _ => return Ok(None),
    }))
}
