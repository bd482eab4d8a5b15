//! Zones, regions, tags.

use crate::api::{AvailabilityZone, Region, TagDescription};

use super::super::xml::Xml;

pub(super) fn zone(xml: &mut Xml, zone: &AvailabilityZone) {
    xml.text("zoneName", &zone.name).text("zoneId", &zone.id).text("zoneState", "available");
    xml.text("regionName", &zone.region).text("groupName", format!("{}-zg-1", zone.region));
    xml.text("networkBorderGroup", &zone.region).text("zoneType", "availability-zone");
    xml.text("optInStatus", "opt-in-not-required");
}

pub(super) fn region(xml: &mut Xml, region: &Region) {
    xml.text("regionName", &region.name).text("regionEndpoint", &region.endpoint);
    xml.text("optInStatus", "opt-in-not-required");
}

pub(super) fn tag(xml: &mut Xml, tag: &TagDescription) {
    xml.text("resourceId", &tag.resource_id).text("resourceType", &tag.resource_type);
    xml.text("key", &tag.key).text("value", &tag.value);
}
