//! From replies to XML, in the shapes of AWS' service models.

mod auto_scaling;
mod ebs;
mod instances;
mod place;

use rehome_model::cloud::Tags;
use serde::Serialize;

use crate::api::{Action, ApiError, Paged, Reply, Service};
use crate::core::Millis;

use super::xml::Xml;

/// Where AWS' own front end answers for a service: to an action that the service does not have.
const FRONT_END: &str = "http://webservices.amazon.com/AWSFault/2005-15-09";

fn namespace(service: Service) -> &'static str {
    match service {
        Service::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
        Service::AutoScaling => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
        Service::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        // It speaks JSON.
        Service::Ssm => "",
    }
}

/// A reply as XML.
pub(crate) fn body(action: &Action, reply: &Reply, request_id: &str) -> String {
    let mut xml = Xml::default();
    let name = action.name();
    let root = format!("{name}Response");
    match action.service() {
        Service::Ec2 => {
            xml.text("requestId", request_id);
            match (action, reply) {
                // One reservation, without the list around it.
                (Action::RunInstances(_), Reply::Instances(page)) => {
                    let id = page.items.first().map_or("", |instance| instance.reservation.as_str());
                    instances::reservation(&mut xml, id, &page.items.iter().collect::<Vec<_>>());
                }
                _ => ec2(&mut xml, reply),
            }
            xml.finish(&root, Some(namespace(Service::Ec2)))
        }
        service => {
            match reply {
                // An action without a result has no element for it either.
                Reply::Done => {}
                Reply::CallerIdentity(caller) => {
                    xml.element(&format!("{name}Result"), |xml| {
                        xml.text("Arn", &caller.arn).text("UserId", &caller.user_id).text("Account", &caller.account);
                    });
                }
                other => {
                    xml.element(&format!("{name}Result"), |xml| auto_scaling::show(xml, other));
                }
            }
            xml.element("ResponseMetadata", |xml| {
                xml.text("RequestId", request_id);
            });
            xml.finish(&root, Some(namespace(service)))
        }
    }
}

/// An error as XML.
pub(crate) fn error(service: Service, error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml::default();
    if service == Service::Ec2 {
        xml.element("Errors", |xml| {
            xml.element("Error", |xml| {
                xml.text("Code", &error.code).text("Message", &error.message);
            });
        });
        return xml.text("RequestID", request_id).finish("Response", None);
    }
    let unknown = ["InvalidAction", "MissingAction"].contains(&error.code.as_str());
    xml.element("Error", |xml| {
        xml.text("Type", if error.status < 500 { "Sender" } else { "Receiver" });
        xml.text("Code", &error.code).text("Message", &error.message);
    });
    xml.text("RequestId", request_id);
    xml.finish("ErrorResponse", Some(if unknown { FRONT_END } else { namespace(service) }))
}

fn ec2(xml: &mut Xml, reply: &Reply) {
    match reply {
        Reply::Instances(page) => instances::reservations(xml, page),
        Reply::InstanceStatuses(page) => paged(xml, "instanceStatusSet", page, instances::status),
        Reply::InstanceTypes(page) => paged(xml, "instanceTypeSet", page, instances::kind),
        Reply::InstanceAttribute(id, attribute) => instances::attribute(xml, id, attribute),
        Reply::InstanceStateChanges(changes) => {
            xml.list("instancesSet", changes, instances::change);
        }
        Reply::Volumes(page) => paged(xml, "volumeSet", page, ebs::volume),
        Reply::Volume(volume) => ebs::volume(xml, volume),
        Reply::CopiedVolumes(volumes) => {
            xml.list("volumeSet", volumes, ebs::volume);
        }
        Reply::VolumeStatuses(page) => paged(xml, "volumeStatusSet", page, ebs::volume_status),
        Reply::VolumeModifications(page) => paged(xml, "volumeModificationSet", page, ebs::modification),
        Reply::VolumeModification(found) => {
            xml.element("volumeModification", |xml| ebs::modification(xml, found));
        }
        Reply::Attachment(found) => ebs::attachment(xml, found),
        Reply::Snapshots(page) => paged(xml, "snapshotSet", page, ebs::snapshot),
        Reply::Snapshot(found) => ebs::snapshot(xml, found),
        Reply::SnapshotSet(found) => {
            xml.list("snapshotSet", found, ebs::snapshot_info);
        }
        Reply::SnapshotId(id) => {
            xml.text("snapshotId", id);
        }
        Reply::AvailabilityZones(zones) => {
            xml.list("availabilityZoneInfo", zones, place::zone);
        }
        Reply::Regions(regions) => {
            xml.list("regionInfo", regions, place::region);
        }
        Reply::Tags(page) => paged(xml, "tagSet", page, place::tag),
        Reply::EncryptionByDefault(on) => {
            xml.text("ebsEncryptionByDefault", on.to_string());
        }
        Reply::DefaultKey(key) => {
            xml.text("kmsKeyId", key);
        }
        Reply::Done
        | Reply::CallerIdentity(_)
        | Reply::AutoScalingInstances(_)
        | Reply::AutoScalingGroups(_)
        | Reply::AutoScalingActivities(_) => {
            xml.text("return", "true");
        }
    }
}

fn paged<T>(xml: &mut Xml, name: &str, page: &Paged<T>, each: fn(&mut Xml, &T)) {
    xml.list(name, &page.items, each);
    xml.optional("nextToken", page.next_token.as_ref());
}

/// An enum's own kebab-case name, as serde writes it: EC2's word.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn time(ms: Millis) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or_default();
    format!("{timestamp:.3}")
}

fn tags(xml: &mut Xml, tags: &Tags) {
    let pairs: Vec<_> = tags.iter().collect();
    xml.list("tagSet", &pairs, |xml, (key, value)| {
        xml.text("key", key).text("value", value);
    });
}
