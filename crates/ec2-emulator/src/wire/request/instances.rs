//! Instances.

use crate::api::{
    Action, ApiError, DescribeInstanceTypes, InstanceAttributeName, InstanceChange, ModifyInstanceAttribute,
    RunInstances, StopInstances,
};

use super::super::params::Params;
use super::by_id;

pub(super) fn action(name: &str, params: &Params) -> Result<Option<Action>, ApiError> {
    Ok(Some(match name {
        "DescribeInstances" => Action::DescribeInstances(by_id(params, "InstanceId")?),
        "DescribeInstanceStatus" => Action::DescribeInstanceStatus(by_id(params, "InstanceId")?),
        "DescribeInstanceTypes" => Action::DescribeInstanceTypes(DescribeInstanceTypes {
            names: params.list("InstanceType"),
            filters: params.filters(),
            page: params.page("MaxResults")?,
        }),
        "DescribeInstanceAttribute" => {
            let attribute: String = params.required("Attribute")?;
            Action::DescribeInstanceAttribute {
                instance_id: params.required("InstanceId")?,
                attribute: InstanceAttributeName::parse(&attribute).ok_or_else(|| {
                    ApiError::parameter(format!("Value ({attribute}) for parameter attribute is invalid."))
                })?,
            }
        }
        "ModifyInstanceAttribute" => Action::ModifyInstanceAttribute(ModifyInstanceAttribute {
            instance_id: params.required("InstanceId")?,
            change: change(params)?,
        }),
        "RunInstances" => Action::RunInstances(run_instances(params)?),
        "StartInstances" => Action::StartInstances(params.list("InstanceId")),
        "StopInstances" => Action::StopInstances(StopInstances {
            instance_ids: params.list("InstanceId"),
            force: params.flag("Force")?,
            skip_os_shutdown: params.flag("SkipOsShutdown")?,
        }),
        "TerminateInstances" => Action::TerminateInstances(params.list("InstanceId")),
        _ => return Ok(None),
    }))
}

/// The one attribute of a ModifyInstanceAttribute: `DisableApiStop.Value=true`, or `Attribute=disableApiStop` and
/// `Value=true`.
fn change(params: &Params) -> Result<InstanceChange, ApiError> {
    let named = |attribute: &str| {
        let here = params.get("Attribute").filter(|given| given.eq_ignore_ascii_case(attribute));
        here.and_then(|_| params.get("Value")).or_else(|| params.get(&format!("{attribute}.Value")))
    };
    if let Some(value) = named("DisableApiTermination") {
        return Ok(InstanceChange::DisableApiTermination(value.eq_ignore_ascii_case("true")));
    }
    if let Some(value) = named("DisableApiStop") {
        return Ok(InstanceChange::DisableApiStop(value.eq_ignore_ascii_case("true")));
    }
    if let Some(value) = named("InstanceType") {
        return Ok(InstanceChange::InstanceType(value.to_owned()));
    }
    let devices = params.delete_on_termination()?;
    if devices.is_empty() {
        return Err(ApiError::combination("No attributes specified."));
    }
    Ok(InstanceChange::DeleteOnTermination(devices))
}

fn run_instances(params: &Params) -> Result<RunInstances, ApiError> {
    Ok(RunInstances {
        image_id: params.text("ImageId").unwrap_or_default(),
        instance_type: params.text("InstanceType"),
        min_count: params.number("MinCount")?.ok_or_else(|| ApiError::missing("MinCount"))?,
        max_count: params.number("MaxCount")?.ok_or_else(|| ApiError::missing("MaxCount"))?,
        availability_zone: params.id("Placement.AvailabilityZone"),
        private_ip_address: params.text("PrivateIpAddress"),
        block_device_mappings: params.new_block_devices()?,
        disable_api_termination: params.flag("DisableApiTermination")?,
        disable_api_stop: params.flag("DisableApiStop")?,
        tag_specifications: params.tag_specifications(),
        client_token: params.text("ClientToken"),
    })
}
