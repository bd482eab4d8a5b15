//! Instances: describes and attributes.

use rehome_model::cloud::{AttachmentState, InstanceState, Tags};
use rehome_model::ids::InstanceId;

use crate::api::{
    ApiError, DescribeById, DescribeInstanceTypes, Instance, InstanceAttribute, InstanceAttributeName,
    InstanceBlockDevice, InstanceChange, InstanceStatus, ModifyInstanceAttribute, Reply,
};

use super::catalog::{instance_type, instance_types};
use super::filter::{Filtered, any_matches, passes};
use super::handle::Call;
use super::ids::Kind;
use super::page;
use super::state::{Core, InstanceRecord};
use super::timing::Millis;

impl Core {
    /// An instance that a call may work on: known, and not so new that EC2 does not find it yet.
    pub(crate) fn instance(&self, now: Millis, id: &InstanceId) -> Result<&InstanceRecord, ApiError> {
        Kind::Instance.check(id.as_str())?;
        let truth = self.instances.get(id);
        let shown = self.instance_views.show(now, id.as_str(), truth).is_some();
        truth.filter(|_| shown).ok_or_else(|| ApiError::instances_not_found(&[id.as_str()]))
    }

    fn shown_instances(&self, call: &Call, by: &DescribeById) -> Result<Vec<(InstanceId, &InstanceRecord)>, ApiError> {
        for id in &by.ids {
            Kind::Instance.check(id)?;
        }
        let show = |id: &str| {
            let id = InstanceId::from(id);
            self.instance_views.show(call.now, id.as_str(), self.instances.get(&id)).map(|record| (id.clone(), record))
        };
        let missing: Vec<&str> = by.ids.iter().map(String::as_str).filter(|id| show(id).is_none()).collect();
        if !missing.is_empty() {
            return Err(ApiError::instances_not_found(&missing));
        }
        let wanted = self.instance_views.with(self.instances.keys().map(InstanceId::as_str));
        let mut found = Vec::new();
        for id in wanted {
            if (by.ids.is_empty() || by.ids.iter().any(|named| named == id))
                && let Some((id, record)) = show(id)
                && passes(&Shown(&id, record), &by.filters)?
            {
                found.push((id, record));
            }
        }
        Ok(found)
    }

    pub(crate) fn describe_instances(&self, call: &Call, by: &DescribeById) -> Result<Reply, ApiError> {
        let items = self.shown_instances(call, by)?;
        let items =
            items.into_iter().map(|(id, record)| (id.to_string(), self.show_instance(call.now, &id, record))).collect();
        call.permit()?;
        page::cut(items, &by.page, !by.ids.is_empty(), page::ec2("instanceIds")).map(Reply::Instances)
    }

    pub(crate) fn describe_instance_status(&self, call: &Call, by: &DescribeById) -> Result<Reply, ApiError> {
        let items = self
            .shown_instances(call, by)?
            .into_iter()
            .filter(|(_, record)| by.include_all || record.state == InstanceState::Running)
            .map(|(id, record)| {
                let status = if record.state == InstanceState::Running { "ok" } else { "not-applicable" };
                let shown = InstanceStatus {
                    instance: id.clone(),
                    zone: record.zone.clone(),
                    state: record.state,
                    status: status.to_owned(),
                };
                (id.to_string(), shown)
            })
            .collect();
        call.permit()?;
        page::cut(items, &by.page, !by.ids.is_empty(), page::ec2("instanceIds")).map(Reply::InstanceStatuses)
    }

    pub(crate) fn show_instance(&self, now: Millis, id: &InstanceId, record: &InstanceRecord) -> Instance {
        let gone = record.state == InstanceState::Terminated;
        Instance {
            id: id.clone(),
            reservation: record.reservation.clone(),
            owner: self.config.account.clone(),
            image_id: record.image_id.clone(),
            state: record.state,
            state_transition_reason: record.state_transition_reason.clone(),
            state_reason: record.state_reason.clone(),
            zone: record.zone.clone(),
            instance_type: record.instance_type.clone(),
            // Types that the catalogue does not know are old ones, such as EC2's default, m1.small.
            architecture: instance_type(&record.instance_type)
                .map_or_else(|| "x86_64".to_owned(), |known| known.architecture),
            private_ip: (!gone).then(|| record.private_ip.clone()),
            private_dns_name: if gone { String::new() } else { self.private_dns_name(&record.private_ip) },
            launched_at: record.launched_at,
            root_device: record.root_device.clone(),
            root_device_type: if record.instance_store_root { "instance-store" } else { "ebs" }.to_owned(),
            lifecycle: record.lifecycle.clone(),
            block_devices: self.show_block_devices(now, id, record),
            client_token: record.client_token.clone(),
            tags: record.tags.clone(),
        }
    }

    fn private_dns_name(&self, ip: &str) -> String {
        let domain = match self.config.region.as_str() {
            "us-east-1" => "ec2.internal".to_owned(),
            region => format!("{region}.compute.internal"),
        };
        format!("ip-{}.{domain}", ip.replace('.', "-"))
    }

    fn show_block_devices(&self, _now: Millis, id: &InstanceId, record: &InstanceRecord) -> Vec<InstanceBlockDevice> {
        let show = |device: &rehome_model::cloud::InstanceBlockDevice| {
            let volume = self.volumes.get(&device.volume);
            let found = volume.and_then(|volume| volume.attachments.iter().find(|found| found.instance == *id));
            InstanceBlockDevice {
                device: device.device.clone(),
                volume: device.volume.clone(),
                // EC2 has no `busy` here: an instance's list says `detaching` until the device is gone.
                state: match found.map(|found| found.state) {
                    Some(AttachmentState::Busy | AttachmentState::Detached) => AttachmentState::Detaching,
                    Some(state) => state,
                    None => AttachmentState::Attached,
                },
                attached_at: found.map_or(record.launched_at, |found| found.attached_at),
                delete_on_termination: device.delete_on_termination,
            }
        };
        record.block_devices.iter().map(show).collect()
    }

    pub(crate) fn describe_instance_types(call: &Call, by: &DescribeInstanceTypes) -> Result<Reply, ApiError> {
        let known = instance_types();
        let unknown: Vec<&str> =
            by.names.iter().map(String::as_str).filter(|name| instance_type(name).is_none()).collect();
        if !unknown.is_empty() {
            return Err(ApiError::new(
                "InvalidInstanceType",
                format!("The following supplied instance types do not exist: [{}]", unknown.join(", ")),
            ));
        }
        let mut items = Vec::new();
        for found in known {
            let mut all = by.names.is_empty() || by.names.contains(&found.name);
            for filter in &by.filters {
                let value = match filter.name.as_str() {
                    "instance-type" => found.name.clone(),
                    "hypervisor" => if found.nitro { "nitro" } else { "xen" }.to_owned(),
                    other => return Err(ApiError::parameter(format!("The filter '{other}' is invalid"))),
                };
                all &= any_matches(&filter.values, &[value]);
            }
            if all {
                items.push((found.name.clone(), found));
            }
        }
        call.permit()?;
        page::cut(items, &by.page, !by.names.is_empty(), page::ec2("instanceTypes")).map(Reply::InstanceTypes)
    }

    pub(crate) fn describe_instance_attribute(
        &self,
        call: &Call,
        id: &InstanceId,
        attribute: InstanceAttributeName,
    ) -> Result<Reply, ApiError> {
        let record = self.instance(call.now, id)?;
        call.permit()?;
        let shown = match attribute {
            InstanceAttributeName::InstanceType => InstanceAttribute::InstanceType(record.instance_type.clone()),
            InstanceAttributeName::DisableApiTermination => {
                InstanceAttribute::DisableApiTermination(record.termination_protection)
            }
            InstanceAttributeName::DisableApiStop => InstanceAttribute::DisableApiStop(record.stop_protection),
            InstanceAttributeName::RootDeviceName => InstanceAttribute::RootDeviceName(record.root_device.clone()),
            InstanceAttributeName::BlockDeviceMapping => {
                InstanceAttribute::BlockDeviceMapping(self.show_block_devices(call.now, id, record))
            }
        };
        Ok(Reply::InstanceAttribute(id.clone(), shown))
    }

    pub(crate) fn modify_instance_attribute(
        &mut self,
        call: &Call,
        request: &ModifyInstanceAttribute,
    ) -> Result<Reply, ApiError> {
        let id = &request.instance_id;
        let record = self.instance(call.now, id)?;
        if let InstanceChange::DeleteOnTermination(devices) = &request.change {
            let mapped = |name: &&String| record.block_devices.iter().any(|device| device.device == **name);
            if let Some(name) = devices.keys().find(|name| !mapped(name)) {
                return Err(ApiError::new(
                    "InvalidInstanceAttributeValue",
                    format!("No device is currently mapped at {name}"),
                ));
            }
        }
        if let InstanceChange::InstanceType(name) = &request.change
            && instance_type(name).is_none()
        {
            return Err(ApiError::new(
                "InvalidInstanceAttributeValue",
                format!("Invalid value '{name}' for InstanceType."),
            ));
        }
        call.permit()?;
        if matches!(record.state, InstanceState::ShuttingDown | InstanceState::Terminated) {
            return Err(ApiError::new(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in a state in which its attributes can be modified."),
            ));
        }
        if matches!(request.change, InstanceChange::InstanceType(_)) && record.state != InstanceState::Stopped {
            return Err(ApiError::new(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in the 'stopped' state."),
            ));
        }
        self.changing_instance(call.now, id);
        let Some(record) = self.instances.get_mut(id) else { return Ok(Reply::Done) };
        match &request.change {
            InstanceChange::DisableApiTermination(on) => record.termination_protection = *on,
            InstanceChange::DisableApiStop(on) => record.stop_protection = *on,
            InstanceChange::InstanceType(name) => record.instance_type.clone_from(name),
            InstanceChange::DeleteOnTermination(devices) => {
                for device in &mut record.block_devices {
                    if let Some(wanted) = devices.get(&device.device) {
                        device.delete_on_termination = *wanted;
                    }
                }
            }
        }
        Ok(Reply::Done)
    }
}

/// An instance as filters see it.
struct Shown<'a>(&'a InstanceId, &'a InstanceRecord);

impl Filtered for Shown<'_> {
    fn tags(&self) -> &Tags {
        &self.1.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let Self(id, record) = self;
        Some(match name {
            "instance-id" => vec![id.to_string()],
            "availability-zone" => vec![record.zone.to_string()],
            "private-ip-address" => vec![record.private_ip.clone()],
            "instance-type" => vec![record.instance_type.clone()],
            "image-id" => vec![record.image_id.clone()],
            "instance-state-name" => vec![instance_state(record.state).to_owned()],
            "block-device-mapping.volume-id" => {
                record.block_devices.iter().map(|device| device.volume.to_string()).collect()
            }
            "block-device-mapping.device-name" => {
                record.block_devices.iter().map(|device| device.device.clone()).collect()
            }
            _ => return None,
        })
    }
}

/// EC2's spelling.
pub(crate) fn instance_state(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Pending => "pending",
        InstanceState::Running => "running",
        InstanceState::ShuttingDown => "shutting-down",
        InstanceState::Terminated => "terminated",
        InstanceState::Stopping => "stopping",
        InstanceState::Stopped => "stopped",
    }
}
