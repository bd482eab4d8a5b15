//! The port, method by method; the work is in the file of each kind of object.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use rehome_model::cloud::{AutoScalingGroup, CallerIdentity, Instance, InstanceType, Snapshot, Tags, Volume};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use rehome_ports::{
    Cloud, CloudError, CreateSnapshots, CreateVolume, InstanceFilter, InstanceProtection, Intended, ResourceId,
    SnapshotFilter, VolumeFilter,
};

use crate::error::{bad_reply, cloud_error};
use crate::filters::to_tags;
use crate::in_time::SoonOrNever;
use crate::retry::read;

/// EC2, Auto Scaling and STS of one account and region. Clones share their connections.
#[derive(Clone, Debug)]
pub struct AwsCloud {
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) auto_scaling: aws_sdk_autoscaling::Client,
    sts: aws_sdk_sts::Client,
    region: String,
}

impl AwsCloud {
    pub(crate) fn new(config: &SdkConfig, region: String) -> Self {
        let ec2 = aws_sdk_ec2::config::Builder::from(config).interceptor(SoonOrNever).build();
        let auto_scaling = aws_sdk_autoscaling::config::Builder::from(config).interceptor(SoonOrNever).build();
        Self {
            ec2: aws_sdk_ec2::Client::from_conf(ec2),
            auto_scaling: aws_sdk_autoscaling::Client::from_conf(auto_scaling),
            sts: aws_sdk_sts::Client::new(config),
            region,
        }
    }

    async fn identity(&self) -> Result<CallerIdentity, CloudError> {
        const OPERATION: &str = "GetCallerIdentity";
        let said = read(|| async {
            self.sts.get_caller_identity().send().await.map_err(|error| cloud_error(OPERATION, &error))
        })
        .await?;
        Ok(CallerIdentity {
            account: said.account().ok_or_else(|| bad_reply(OPERATION, "Account"))?.to_owned(),
            arn: said.arn().ok_or_else(|| bad_reply(OPERATION, "Arn"))?.to_owned(),
            region: self.region.clone(),
        })
    }

    async fn create_tags(&self, resources: &[ResourceId], tags: &Tags) -> Result<(), CloudError> {
        if tags.is_empty() {
            return Ok(());
        }
        let id = |resource: &ResourceId| match resource {
            ResourceId::Instance(id) => id.to_string(),
            ResourceId::Volume(id) => id.to_string(),
            ResourceId::Snapshot(id) => id.to_string(),
        };
        let ids: Vec<String> = resources.iter().map(id).collect();
        let call = self.ec2.create_tags().set_resources(Some(ids)).set_tags(Some(to_tags(tags)));
        let sent = call.send().await;
        sent.map(|_| ()).map_err(|error| cloud_error("CreateTags", &error))
    }
}

/// Turns codes that mean "already so" into success.
pub(crate) fn already<T>(result: Result<T, CloudError>, codes: &[&str]) -> Result<(), CloudError> {
    match result {
        Err(error) if !codes.contains(&error.code.as_str()) => Err(error),
        _ => Ok(()),
    }
}

#[async_trait]
impl Cloud for AwsCloud {
    async fn caller(&self) -> Result<CallerIdentity, CloudError> {
        self.identity().await
    }

    async fn describe_instances(&self, filter: &InstanceFilter) -> Result<Vec<Instance>, CloudError> {
        self.instances(filter).await
    }

    async fn describe_instances_alone(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, CloudError> {
        self.by_ids(ids).await
    }

    async fn describe_instance_types(&self, names: &[String]) -> Result<Vec<InstanceType>, CloudError> {
        self.instance_types(names).await
    }

    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, CloudError> {
        self.volumes(filter).await
    }

    async fn default_key(&self) -> Result<Option<String>, CloudError> {
        self.key_by_default().await
    }

    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, CloudError> {
        self.snapshots(filter).await
    }

    async fn create_snapshots(&self, request: &CreateSnapshots) -> Result<Vec<Snapshot>, CloudError> {
        self.snapshot_instance(request).await
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<Volume, CloudError> {
        self.volume_from_snapshot(request).await
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), CloudError> {
        let sent = self.ec2.delete_volume().volume_id(volume.as_str()).send().await;
        already(sent.map_err(|error| cloud_error("DeleteVolume", &error)), &["InvalidVolume.NotFound"])
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), CloudError> {
        let sent = self.ec2.delete_snapshot().snapshot_id(snapshot.as_str()).send().await;
        already(sent.map_err(|error| cloud_error("DeleteSnapshot", &error)), &["InvalidSnapshot.NotFound"])
    }

    async fn attach_volume(&self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Result<(), CloudError> {
        self.attach(volume, instance, device).await
    }

    async fn detach_volume(&self, volume: &VolumeId, instance: &InstanceId) -> Result<(), CloudError> {
        self.detach(volume, instance).await
    }

    async fn stop_instances(&self, instances: &[InstanceId]) -> Result<(), CloudError> {
        let ids: Vec<String> = instances.iter().map(ToString::to_string).collect();
        let sent = self.ec2.stop_instances().set_instance_ids(Some(ids)).send().await;
        sent.map(|_| ()).map_err(|error| cloud_error("StopInstances", &error))
    }

    async fn start_instance(&self, instance: &InstanceId) -> Result<(), CloudError> {
        let sent = self.ec2.start_instances().instance_ids(instance.as_str()).send().await;
        sent.map(|_| ()).map_err(|error| cloud_error("StartInstances", &error))
    }

    async fn protect_instance(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
        on: bool,
    ) -> Result<(), CloudError> {
        self.protect(instance, protection, on).await
    }

    async fn is_protected(&self, instance: &InstanceId, protection: InstanceProtection) -> Result<bool, CloudError> {
        self.protected(instance, protection).await
    }

    async fn set_delete_on_termination(
        &self,
        instance: &InstanceId,
        devices: &BTreeMap<String, bool>,
    ) -> Result<(), CloudError> {
        self.delete_on_termination(instance, devices).await
    }

    async fn set_standby(&self, group: &str, instance: &InstanceId, standby: bool) -> Result<(), CloudError> {
        self.standby(group, instance, standby).await
    }

    async fn describe_auto_scaling_groups(&self, names: &[String]) -> Result<Vec<AutoScalingGroup>, CloudError> {
        self.groups(names).await
    }

    async fn tag_all(&self, resources: &[ResourceId], tags: &Tags) -> Result<(), CloudError> {
        self.create_tags(resources, tags).await
    }

    async fn denied_actions(&self, intended: &Intended) -> Result<Vec<String>, CloudError> {
        self.denied(intended).await
    }
}
