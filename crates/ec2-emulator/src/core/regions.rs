//! Regions and zones.

use rehome_model::ids::Zone;

use crate::api::{ApiError, AvailabilityZone, CreateVolume, DescribeById, Region, Reply};

use super::filter::any_matches;
use super::handle::Call;
use super::state::Core;

impl Core {
    /// A zone's id, `use1-az1`: the same place under a name that is the same in all accounts.
    pub(crate) fn zone_id(&self, zone: &Zone) -> String {
        let mut parts = self.config.region.split('-');
        let geography = parts.next().unwrap_or_default();
        let direction: String = parts.next().unwrap_or_default().chars().take(1).collect();
        let number = parts.next().unwrap_or_default();
        let index = self.config.zones.iter().position(|known| known == zone).map_or(0, |index| index + 1);
        format!("{geography}{direction}{number}-az{index}")
    }

    /// The zone a volume is asked for in, by name or id.
    pub(crate) fn zone_of(&self, request: &CreateVolume) -> Result<Zone, ApiError> {
        match (&request.availability_zone, &request.availability_zone_id) {
            (Some(_), Some(_)) => Err(ApiError::combination(
                "The parameter AvailabilityZone cannot be used with the parameter AvailabilityZoneId",
            )),
            (None, None) => Err(ApiError::missing("AvailabilityZone")),
            (Some(zone), None) => {
                if self.config.zones.contains(zone) {
                    return Ok(zone.clone());
                }
                Err(ApiError::new("InvalidZone.NotFound", format!("The zone '{zone}' does not exist.")))
            }
            (None, Some(id)) => {
                let found = self.config.zones.iter().find(|zone| self.zone_id(zone) == *id);
                found
                    .cloned()
                    .ok_or_else(|| ApiError::new("InvalidZone.NotFound", format!("The zone '{id}' does not exist.")))
            }
        }
    }

    pub(crate) fn describe_availability_zones(&self, call: &Call, by: &DescribeById) -> Result<Reply, ApiError> {
        let unknown = by.ids.iter().find(|name| !self.config.zones.iter().any(|zone| zone.as_str() == *name));
        if let Some(unknown) = unknown {
            return Err(ApiError::parameter(format!("Invalid availability zone: [{unknown}]")));
        }
        let mut found = Vec::new();
        for zone in &self.config.zones {
            let id = self.zone_id(zone);
            let mut all = by.ids.is_empty() || by.ids.iter().any(|name| name == zone.as_str());
            for filter in &by.filters {
                let value = match filter.name.as_str() {
                    "zone-name" => zone.to_string(),
                    "zone-id" => id.clone(),
                    "region-name" => self.config.region.clone(),
                    "state" => "available".to_owned(),
                    "zone-type" => "availability-zone".to_owned(),
                    "opt-in-status" => "opt-in-not-required".to_owned(),
                    other => return Err(ApiError::parameter(format!("The filter '{other}' is invalid"))),
                };
                all &= any_matches(&filter.values, &[value]);
            }
            if all {
                found.push(AvailabilityZone { name: zone.clone(), id, region: self.config.region.clone() });
            }
        }
        call.permit()?;
        Ok(Reply::AvailabilityZones(found))
    }

    pub(crate) fn describe_regions(&self, call: &Call, by: &DescribeById) -> Result<Reply, ApiError> {
        if let Some(unknown) = by.ids.iter().find(|name| **name != self.config.region) {
            return Err(ApiError::parameter(format!("Invalid region name: {unknown}")));
        }
        let mut all = true;
        for filter in &by.filters {
            let value = match filter.name.as_str() {
                "region-name" => self.config.region.clone(),
                "endpoint" => format!("ec2.{}.amazonaws.com", self.config.region),
                "opt-in-status" => "opt-in-not-required".to_owned(),
                other => return Err(ApiError::parameter(format!("The filter '{other}' is invalid"))),
            };
            all &= any_matches(&filter.values, &[value]);
        }
        call.permit()?;
        let name = self.config.region.clone();
        let region = Region { endpoint: format!("ec2.{name}.amazonaws.com"), name };
        Ok(Reply::Regions(if all { vec![region] } else { Vec::new() }))
    }
}
