//! Instances.

use std::collections::BTreeMap;

use aws_sdk_ec2::operation::modify_instance_attribute::builders::ModifyInstanceAttributeFluentBuilder;
use aws_sdk_ec2::types::{
    self as ec2, AttributeBooleanValue, EbsInstanceBlockDeviceSpecification, InstanceAttributeName,
    InstanceBlockDeviceMappingSpecification,
};
use rehome_model::cloud::{Instance, InstanceState, InstanceType};
use rehome_model::ids::InstanceId;
use rehome_ports::{CloudError, InstanceFilter, InstanceProtection};

use crate::cloud::AwsCloud;
use crate::convert;
use crate::error::cloud_error;
use crate::filters::{IDS_PER_CALL, PAGE, carries, filter, id_filter, tag_filters};
use crate::retry::read;

const DESCRIBE: &str = "DescribeInstances";
const TYPES: &str = "DescribeInstanceTypes";
const MODIFY: &str = "ModifyInstanceAttribute";

impl AwsCloud {
    /// Instances in the order of ids, with their Auto Scaling membership.
    pub(crate) async fn instances(&self, wanted: &InstanceFilter) -> Result<Vec<Instance>, CloudError> {
        let mut found = match wanted {
            InstanceFilter::Ids(ids) => self.by_ids(ids).await?,
            InstanceFilter::Tags(tags) => {
                let mut found = self.by_filters(tag_filters(tags)).await?;
                found.retain(|instance| carries(&instance.tags, tags));
                found
            }
            InstanceFilter::AutoScalingGroup(group) => self.by_ids(&self.group_members(group).await?).await?,
        };
        found.sort_by(|one, other| one.id.cmp(&other.id));
        found.dedup_by(|one, other| one.id == other.id);
        let present = found.iter().filter(|instance| instance.state != InstanceState::Terminated);
        let mut memberships = self.memberships(present.map(|instance| &instance.id)).await?;
        for instance in &mut found {
            instance.auto_scaling = memberships.remove(&instance.id);
        }
        Ok(found)
    }

    /// By filter: asked by id, EC2 fails the whole call for one unknown id, and takes no page size.
    pub(crate) async fn by_ids(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, CloudError> {
        let mut found = Vec::new();
        for ids in ids.chunks(IDS_PER_CALL) {
            found.extend(self.by_filters(vec![id_filter("instance-id", ids)]).await?);
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }

    async fn by_filters(&self, filters: Vec<ec2::Filter>) -> Result<Vec<Instance>, CloudError> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = read(|| async {
                let call = self.ec2.describe_instances().set_filters(Some(filters.clone())).max_results(PAGE);
                call.set_next_token(token.clone()).send().await.map_err(|error| cloud_error(DESCRIBE, &error))
            })
            .await?;
            collect(page.reservations(), &mut found)?;
            token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// By filter: asked by name, EC2 fails the whole call for one unknown type.
    pub(crate) async fn instance_types(&self, names: &[String]) -> Result<Vec<InstanceType>, CloudError> {
        const TYPES_PAGE: i32 = 100;
        let mut found = Vec::new();
        for names in names.chunks(IDS_PER_CALL) {
            let mut token = None;
            loop {
                let page = read(|| async {
                    let filter = filter("instance-type", names.iter().cloned());
                    let call = self.ec2.describe_instance_types().filters(filter).max_results(TYPES_PAGE);
                    call.set_next_token(token.clone()).send().await.map_err(|error| cloud_error(TYPES, &error))
                })
                .await?;
                for kind in page.instance_types() {
                    found.push(convert::instance_type(TYPES, kind)?);
                }
                token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
                if token.is_none() {
                    break;
                }
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found.dedup_by(|one, other| one.name == other.name);
        Ok(found)
    }

    pub(crate) async fn protect(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
        on: bool,
    ) -> Result<(), CloudError> {
        let sent = self.protection(instance, protection, on).send().await;
        sent.map(|_| ()).map_err(|error| cloud_error(MODIFY, &error))
    }

    /// The call that switches a protection.
    pub(crate) fn protection(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
        on: bool,
    ) -> ModifyInstanceAttributeFluentBuilder {
        let call = self.ec2.modify_instance_attribute().instance_id(instance.as_str());
        let value = AttributeBooleanValue::builder().value(on).build();
        match protection {
            InstanceProtection::Termination => call.disable_api_termination(value),
            InstanceProtection::Stop => call.disable_api_stop(value),
        }
    }

    pub(crate) async fn protected(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
    ) -> Result<bool, CloudError> {
        let attribute = match protection {
            InstanceProtection::Termination => InstanceAttributeName::DisableApiTermination,
            InstanceProtection::Stop => InstanceAttributeName::DisableApiStop,
        };
        let said = read(|| async {
            let call = self.ec2.describe_instance_attribute().instance_id(instance.as_str());
            let sent = call.attribute(attribute.clone()).send().await;
            sent.map_err(|error| cloud_error("DescribeInstanceAttribute", &error))
        })
        .await?;
        let value = match protection {
            InstanceProtection::Termination => said.disable_api_termination(),
            InstanceProtection::Stop => said.disable_api_stop(),
        };
        // A protection that is not known to be on is not relied on.
        Ok(value.and_then(AttributeBooleanValue::value).unwrap_or(false))
    }

    pub(crate) async fn delete_on_termination(
        &self,
        instance: &InstanceId,
        devices: &BTreeMap<String, bool>,
    ) -> Result<(), CloudError> {
        if devices.is_empty() {
            return Ok(());
        }
        let sent = self.deletion(instance, devices).send().await;
        sent.map(|_| ()).map_err(|error| cloud_error(MODIFY, &error))
    }

    /// The call that sets DeleteOnTermination.
    pub(crate) fn deletion(
        &self,
        instance: &InstanceId,
        devices: &BTreeMap<String, bool>,
    ) -> ModifyInstanceAttributeFluentBuilder {
        let mappings = devices.iter().map(|(device, delete)| {
            let ebs = EbsInstanceBlockDeviceSpecification::builder().delete_on_termination(*delete).build();
            InstanceBlockDeviceMappingSpecification::builder().device_name(device).ebs(ebs).build()
        });
        let call = self.ec2.modify_instance_attribute().instance_id(instance.as_str());
        call.set_block_device_mappings(Some(mappings.collect()))
    }
}

fn collect(reservations: &[ec2::Reservation], found: &mut Vec<Instance>) -> Result<(), CloudError> {
    for instance in reservations.iter().flat_map(ec2::Reservation::instances) {
        found.push(convert::instance(DESCRIBE, instance)?);
    }
    Ok(())
}
