//! From parameters to actions.

mod auto_scaling;
mod ebs;
mod instances;
mod parameters;

use crate::api::{Action, ApiError, DescribeById, DescribeTags, Filter, Service, TagsRequest};

use super::params::Params;

/// The service a request is for: each has a version of its own. EC2 takes all its older ones, too.
pub(crate) fn service(version: &str) -> Service {
    match version {
        "2011-01-01" => Service::AutoScaling,
        "2011-06-15" => Service::Sts,
        _ => Service::Ec2,
    }
}

/// The action a request stands for.
pub(crate) fn action(service: Service, params: &Params) -> Result<Action, ApiError> {
    let name = params.get("Action").unwrap_or_default();
    if name.is_empty() {
        return Err(ApiError::new("MissingAction", "The request must contain the parameter Action"));
    }
    let found = match service {
        Service::Ec2 => {
            parameters::check(name, params)?;
            ec2(name, params)?
        }
        Service::AutoScaling => auto_scaling::action(name, params)?,
        Service::Sts => (name == "GetCallerIdentity").then_some(Action::GetCallerIdentity),
        Service::Ssm => None,
    };
    found.ok_or_else(|| match service {
        Service::Ec2 => ApiError::invalid_action(name),
        Service::AutoScaling | Service::Sts | Service::Ssm => {
            let version = params.get("Version").unwrap_or_default();
            ApiError::new("InvalidAction", format!("Could not find operation {name} for version {version}"))
        }
    })
}

fn ec2(name: &str, params: &Params) -> Result<Option<Action>, ApiError> {
    if let Some(action) = ebs::action(name, params)? {
        return Ok(Some(action));
    }
    if let Some(action) = instances::action(name, params)? {
        return Ok(Some(action));
    }
    Ok(Some(match name {
        "DescribeAvailabilityZones" => {
            let mut by = by_id(params, "ZoneName")?;
            let ids = params.list("ZoneId");
            if !ids.is_empty() {
                by.filters.push(Filter { name: "zone-id".to_owned(), values: ids });
            }
            Action::DescribeAvailabilityZones(by)
        }
        "DescribeRegions" => Action::DescribeRegions(by_id(params, "RegionName")?),
        "GetEbsEncryptionByDefault" => Action::GetEbsEncryptionByDefault,
        "GetEbsDefaultKmsKeyId" => Action::GetEbsDefaultKmsKeyId,
        "DescribeTags" => {
            Action::DescribeTags(DescribeTags { filters: params.filters(), page: params.page("MaxResults")? })
        }
        "CreateTags" | "DeleteTags" => {
            let request = TagsRequest { resources: params.list("ResourceId"), tags: params.tags_or_keys() };
            if name == "CreateTags" { Action::CreateTags(request) } else { Action::DeleteTags(request) }
        }
        _ => return Ok(None),
    }))
}

fn by_id(params: &Params, ids: &str) -> Result<DescribeById, ApiError> {
    Ok(DescribeById {
        ids: params.list(ids),
        filters: params.filters(),
        page: params.page("MaxResults")?,
        include_all: params.flag("IncludeAllInstances")?,
    })
}
