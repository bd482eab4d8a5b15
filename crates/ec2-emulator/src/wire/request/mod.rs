//! From parameters to actions.

mod auto_scaling;
mod ebs;
mod instances;

use crate::api::{Action, ApiError, DescribeById, DescribeTags, Filter, TagsRequest};

use super::params::Params;

/// The action a request stands for.
pub(crate) fn action(name: &str, params: &Params) -> Result<Action, ApiError> {
    if let Some(action) = ebs::action(name, params)? {
        return Ok(action);
    }
    if let Some(action) = instances::action(name, params)? {
        return Ok(action);
    }
    if let Some(action) = auto_scaling::action(name, params)? {
        return Ok(action);
    }
    Ok(match name {
        "GetCallerIdentity" => Action::GetCallerIdentity,
        "DescribeAvailabilityZones" => {
            let mut by = by_id(params, "ZoneName")?;
            let ids = params.list("ZoneId");
            if !ids.is_empty() {
                by.filters.push(Filter { name: "zone-id".to_owned(), values: ids });
            }
            Action::DescribeAvailabilityZones(by)
        }
        "DescribeRegions" => Action::DescribeRegions(by_id(params, "RegionName")?),
        "DescribeTags" => {
            Action::DescribeTags(DescribeTags { filters: params.filters(), page: params.page("MaxResults")? })
        }
        "CreateTags" | "DeleteTags" => {
            let request = TagsRequest { resources: params.list("ResourceId"), tags: params.tags_or_keys() };
            if name == "CreateTags" { Action::CreateTags(request) } else { Action::DeleteTags(request) }
        }
        "" => return Err(ApiError::new("MissingAction", "The request must contain the parameter Action")),
        other => return Err(ApiError::invalid_action(other)),
    })
}

fn by_id(params: &Params, ids: &str) -> Result<DescribeById, ApiError> {
    Ok(DescribeById {
        ids: params.list(ids),
        filters: params.filters(),
        page: params.page("MaxResults")?,
        include_all: params.flag("IncludeAllInstances"),
    })
}
