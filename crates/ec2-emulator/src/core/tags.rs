//! Tags.

use rehome_model::cloud::Tags;
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};

use crate::api::{ApiError, DescribeTags, Reply, TagDescription, TagSpecification, TagsRequest};

use super::filter::any_matches;
use super::handle::Call;
use super::ids::Kind;
use super::page;
use super::state::Core;

/// Tags a resource may have (EC2 user guide).
const MOST_TAGS: usize = 50;

/// The tags that a creation gives to what it makes.
pub(crate) fn tags_for(
    specifications: &[TagSpecification],
    resource_type: &str,
    allowed: &[&str],
) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for given in specifications {
        if !allowed.contains(&given.resource_type.as_str()) {
            return Err(ApiError::parameter(format!(
                "'{}' is not a valid taggable resource type for this operation.",
                given.resource_type
            )));
        }
        if given.resource_type == resource_type {
            tags.extend(given.tags.clone());
        }
    }
    check_tags(&tags)?;
    Ok(tags)
}

pub(crate) fn check_tags(tags: &Tags) -> Result<(), ApiError> {
    for (key, value) in tags {
        if key.starts_with("aws:") {
            return Err(ApiError::parameter(format!(
                "Tag keys starting with 'aws:' are reserved for internal use: {key}"
            )));
        }
        if key.is_empty() || key.chars().count() > 127 {
            return Err(ApiError::parameter("Tag keys must be from 1 to 127 characters long."));
        }
        if value.chars().count() > 255 {
            return Err(ApiError::parameter(format!("The value of tag '{key}' exceeds 255 characters.")));
        }
    }
    if tags.len() > MOST_TAGS {
        return Err(ApiError::new(
            "TagLimitExceeded",
            format!("More than {MOST_TAGS} tags specified for the resource."),
        ));
    }
    Ok(())
}

impl Core {
    fn tags_of(&self, resource: &str) -> Option<&Tags> {
        match Kind::of(resource)? {
            Kind::Instance => self.instances.get(&InstanceId::from(resource)).map(|record| &record.tags),
            Kind::Volume => self.volumes.get(&VolumeId::from(resource)).map(|record| &record.tags),
            Kind::Snapshot => self.snapshots.get(&SnapshotId::from(resource)).map(|record| &record.tags),
        }
    }

    fn set_tags(&mut self, call: &Call, resource: &str, tags: Tags) {
        match Kind::of(resource) {
            Some(Kind::Instance) => {
                let id = InstanceId::from(resource);
                self.changing_instance(call.now, &id);
                self.instances.entry(id).and_modify(|record| record.tags = tags);
            }
            Some(Kind::Volume) => {
                let id = VolumeId::from(resource);
                self.changing_volume(call.now, &id);
                self.volumes.entry(id).and_modify(|record| record.tags = tags);
            }
            Some(Kind::Snapshot) => {
                let id = SnapshotId::from(resource);
                self.changing_snapshot(call.now, &id);
                self.snapshots.entry(id).and_modify(|record| record.tags = tags);
            }
            None => {}
        }
    }

    fn check_resources(&self, call: &Call, request: &TagsRequest) -> Result<(), ApiError> {
        if request.resources.is_empty() {
            return Err(ApiError::missing("resourceIdSet"));
        }
        for resource in &request.resources {
            let unknown = || ApiError::new("InvalidID", format!("The ID '{resource}' is not valid"));
            let kind = Kind::of(resource).ok_or_else(unknown)?;
            match kind {
                Kind::Instance => self.instance(call.now, &InstanceId::from(resource.as_str())).map(|_| ())?,
                Kind::Volume => self.volume(call.now, &VolumeId::from(resource.as_str())).map(|_| ())?,
                Kind::Snapshot => self.snapshot(call.now, &SnapshotId::from(resource.as_str())).map(|_| ())?,
            }
        }
        Ok(())
    }

    pub(crate) fn create_tags(&mut self, call: &Call, request: &TagsRequest) -> Result<Reply, ApiError> {
        self.check_resources(call, request)?;
        let given: Tags =
            request.tags.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())).collect();
        check_tags(&given)?;
        call.permit()?;
        let mut after = Vec::new();
        for resource in &request.resources {
            let mut tags = self.tags_of(resource).cloned().unwrap_or_default();
            tags.extend(given.clone());
            let own = tags.iter().filter(|(key, _)| !key.starts_with("aws:"));
            check_tags(&own.map(|(key, value)| (key.clone(), value.clone())).collect())?;
            after.push((resource, tags));
        }
        for (resource, tags) in after {
            self.set_tags(call, resource, tags);
        }
        Ok(Reply::Done)
    }

    pub(crate) fn delete_tags(&mut self, call: &Call, request: &TagsRequest) -> Result<Reply, ApiError> {
        self.check_resources(call, request)?;
        call.permit()?;
        for resource in &request.resources {
            let mut tags = self.tags_of(resource).cloned().unwrap_or_default();
            // A tag given with a value goes only if it has that value.
            tags.retain(|key, value| {
                let named = match request.tags.get(key) {
                    None => request.tags.is_empty(),
                    Some(wanted) => wanted.as_ref().is_none_or(|wanted| wanted == value),
                };
                !named || key.starts_with("aws:")
            });
            self.set_tags(call, resource, tags);
        }
        Ok(Reply::Done)
    }

    pub(crate) fn describe_tags(&self, call: &Call, by: &DescribeTags) -> Result<Reply, ApiError> {
        let shown = |views: Option<&Tags>| views.cloned().unwrap_or_default();
        let mut all: Vec<(String, &'static str, Tags)> = Vec::new();
        for (id, record) in &self.instances {
            let record = self.instance_views.show(call.now, id.as_str(), Some(record));
            all.push((id.to_string(), Kind::Instance.resource_type(), shown(record.map(|record| &record.tags))));
        }
        for (id, record) in &self.volumes {
            let record = self.volume_views.show(call.now, id.as_str(), Some(record));
            all.push((id.to_string(), Kind::Volume.resource_type(), shown(record.map(|record| &record.tags))));
        }
        for (id, record) in &self.snapshots {
            let record = self.snapshot_views.show(call.now, id.as_str(), Some(record));
            all.push((id.to_string(), Kind::Snapshot.resource_type(), shown(record.map(|record| &record.tags))));
        }
        let mut items = Vec::new();
        for (resource, kind, tags) in all {
            for (key, value) in tags {
                let tag = TagDescription {
                    resource_id: resource.clone(),
                    resource_type: kind.to_owned(),
                    key: key.clone(),
                    value: value.clone(),
                };
                if tag_passes(&tag, by)? {
                    items.push((format!("{resource}/{key}"), tag));
                }
            }
        }
        items.sort_by(|(left, _), (right, _)| left.cmp(right));
        call.permit()?;
        page::cut(items, &by.page, false, page::ec2("resourceIds")).map(Reply::Tags)
    }
}

fn tag_passes(tag: &TagDescription, by: &DescribeTags) -> Result<bool, ApiError> {
    let mut all = true;
    for filter in &by.filters {
        let value = match filter.name.as_str() {
            "resource-id" => tag.resource_id.clone(),
            "resource-type" => tag.resource_type.clone(),
            "key" => tag.key.clone(),
            "value" => tag.value.clone(),
            name => match name.strip_prefix("tag:") {
                Some(key) if key == tag.key => tag.value.clone(),
                Some(_) => return Ok(false),
                None => return Err(ApiError::parameter(format!("The filter '{name}' is invalid"))),
            },
        };
        all &= any_matches(&filter.values, &[value]);
    }
    Ok(all)
}
