//! Instances.

use std::collections::BTreeMap;

use rehome_model::cloud::{AutoScalingMembership, Instance, InstanceState, InstanceType, Tags};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};

use super::action::{Filter, Reply};
use super::error::ApiError;
use super::handle::any_matches;
use super::state::{Core, InstanceRecord};
use super::timing::Millis;

impl Core {
    pub(crate) fn instance(&self, id: &InstanceId) -> Result<&InstanceRecord, ApiError> {
        self.instances.get(id).ok_or_else(|| ApiError::instance_not_found(&[id.to_string()]))
    }

    pub(crate) fn instance_mut(&mut self, id: &InstanceId) -> Result<&mut InstanceRecord, ApiError> {
        self.instances.get_mut(id).ok_or_else(|| ApiError::instance_not_found(&[id.to_string()]))
    }

    pub(crate) fn advance_instances(&mut self, now: Millis) {
        for record in self.instances.values_mut() {
            if record.due.is_some_and(|due| due <= now) {
                record.due = None;
                record.state = match record.state {
                    InstanceState::Stopping => InstanceState::Stopped,
                    InstanceState::Pending => InstanceState::Running,
                    InstanceState::ShuttingDown => InstanceState::Terminated,
                    same => same,
                };
            }
        }
        let terminated: Vec<(InstanceId, Vec<(VolumeId, bool)>)> = self
            .instances
            .iter_mut()
            .filter(|(_, record)| record.state == InstanceState::Terminated && !record.block_devices.is_empty())
            .map(|(id, record)| {
                let devices = std::mem::take(&mut record.block_devices);
                (id.clone(), devices.into_iter().map(|d| (d.volume, d.delete_on_termination)).collect())
            })
            .collect();
        for (instance, volumes) in terminated {
            for (volume, delete) in volumes {
                self.release_terminated(now, &instance, &volume, delete);
            }
        }
    }

    pub(crate) fn describe_instances(&self, ids: &[InstanceId], filters: &[Filter]) -> Result<Reply, ApiError> {
        let missing: Vec<String> =
            ids.iter().filter(|id| !self.instances.contains_key(*id)).map(ToString::to_string).collect();
        if !missing.is_empty() {
            return Err(ApiError::instance_not_found(&missing));
        }
        let mut found = Vec::new();
        for (id, record) in &self.instances {
            if !ids.is_empty() && !ids.contains(id) {
                continue;
            }
            let mut all = true;
            for filter in filters {
                all &= any_matches(&filter.values, &instance_values(id, record, &filter.name)?);
            }
            if all {
                found.push(self.show_instance(id, record));
            }
        }
        Ok(Reply::Instances(found))
    }

    fn show_instance(&self, id: &InstanceId, record: &InstanceRecord) -> Instance {
        let membership = self.groups.iter().find_map(|(group, members)| {
            let state = members.members.get(id)?;
            Some(AutoScalingMembership { group: group.clone(), lifecycle_state: state.clone() })
        });
        Instance {
            id: id.clone(),
            state: record.state,
            zone: record.zone.clone(),
            instance_type: record.instance_type.clone(),
            private_ip: Some(record.private_ip.clone()),
            tags: record.tags.clone(),
            root_device: Some(record.root_device.clone()),
            block_devices: record.block_devices.clone(),
            auto_scaling: membership,
        }
    }

    pub(crate) fn describe_instance_types(names: &[String]) -> Reply {
        let known = |name: &String| {
            let family = name.split('.').next()?;
            let nitro = matches!(family, "m5" | "m6i" | "m7i" | "r5" | "r6i" | "i3en" | "c5" | "c6i");
            let xen = matches!(family, "m4" | "r4" | "i3" | "c4" | "t2");
            (nitro || xen).then(|| InstanceType {
                name: name.clone(),
                nitro,
                attachment_limit: Some(if nitro { 28 } else { 39 }),
            })
        };
        Reply::InstanceTypes(names.iter().filter_map(known).collect())
    }

    pub(crate) fn stop_instance(&mut self, now: Millis, id: &InstanceId) -> Result<Reply, ApiError> {
        let due = now + self.config.timing.stop_ms;
        let record = self.instance_mut(id)?;
        match record.state {
            InstanceState::Stopped | InstanceState::Stopping => Ok(Reply::Done),
            _ if record.stop_protection => Err(ApiError::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again."
                ),
            )),
            InstanceState::Running | InstanceState::Pending => {
                record.state = InstanceState::Stopping;
                record.due = Some(due);
                Ok(Reply::Done)
            }
            InstanceState::ShuttingDown | InstanceState::Terminated => Err(ApiError::new(
                "IncorrectInstanceState",
                format!("This instance '{id}' is not in a state from which it can be stopped."),
            )),
        }
    }

    pub(crate) fn start_instance(&mut self, now: Millis, id: &InstanceId) -> Result<Reply, ApiError> {
        let due = now + self.config.timing.start_ms;
        let record = self.instance_mut(id)?;
        match record.state {
            InstanceState::Running | InstanceState::Pending => Ok(Reply::Done),
            InstanceState::Stopped => {
                record.state = InstanceState::Pending;
                record.due = Some(due);
                Ok(Reply::Done)
            }
            _ => Err(ApiError::new(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in a state from which it can be started."),
            )),
        }
    }

    pub(crate) fn terminate_instance(&mut self, now: Millis, id: &InstanceId) -> Result<Reply, ApiError> {
        let due = now + self.config.timing.terminate_ms;
        let record = self.instance_mut(id)?;
        if record.termination_protection {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute \
                     and try again."
                ),
            ));
        }
        if record.state != InstanceState::Terminated {
            record.state = InstanceState::ShuttingDown;
            record.due = Some(due);
        }
        Ok(Reply::Done)
    }

    pub(crate) fn set_delete_on_termination(
        &mut self,
        id: &InstanceId,
        devices: &BTreeMap<String, bool>,
    ) -> Result<Reply, ApiError> {
        let record = self.instance_mut(id)?;
        for name in devices.keys() {
            if !record.block_devices.iter().any(|device| device.device == *name) {
                return Err(ApiError::new(
                    "InvalidInstanceAttributeValue",
                    format!("No device is currently mapped at {name}"),
                ));
            }
        }
        for device in &mut record.block_devices {
            if let Some(wanted) = devices.get(&device.device) {
                device.delete_on_termination = *wanted;
            }
        }
        Ok(Reply::Done)
    }

    pub(crate) fn create_tags(&mut self, resource: &str, tags: &Tags) -> Result<Reply, ApiError> {
        let found = if let Some(record) = self.instances.get_mut(&InstanceId::from(resource)) {
            &mut record.tags
        } else if let Some(record) = self.volumes.get_mut(&VolumeId::from(resource)) {
            &mut record.tags
        } else if let Some(record) = self.snapshots.get_mut(&SnapshotId::from(resource)) {
            &mut record.tags
        } else {
            return Err(match resource.split('-').next() {
                Some("vol") => ApiError::volume_not_found(resource),
                Some("snap") => ApiError::snapshot_not_found(resource),
                Some("i") => ApiError::instance_not_found(&[resource.to_owned()]),
                _ => ApiError::new("InvalidID", format!("The ID '{resource}' is not valid")),
            });
        };
        found.extend(tags.clone());
        Ok(Reply::Done)
    }
}

fn instance_values(id: &InstanceId, record: &InstanceRecord, name: &str) -> Result<Vec<String>, ApiError> {
    if let Some(key) = name.strip_prefix("tag:") {
        return Ok(record.tags.get(key).cloned().into_iter().collect());
    }
    Ok(match name {
        "instance-id" => vec![id.to_string()],
        "availability-zone" => vec![record.zone.to_string()],
        "private-ip-address" => vec![record.private_ip.clone()],
        "tag-key" => record.tags.keys().cloned().collect(),
        "instance-state-name" => {
            let name = serde_json::to_value(record.state).ok().and_then(|v| v.as_str().map(str::to_owned));
            name.into_iter().collect()
        }
        other => return Err(ApiError::parameter(format!("The filter '{other}' is invalid"))),
    })
}
