//! The port `Cloud`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rehome_model::cloud::{
    AutoScalingGroup, AutoScalingMembership, CallerIdentity, Instance, InstanceType, Snapshot, Tags, Volume,
};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use rehome_ports::{
    Cloud, CloudError, CreateSnapshots, CreateVolume, InstanceFilter, InstanceProtection, Intended, ResourceId,
    SnapshotFilter, VolumeFilter,
};

use crate::api::{
    Action, AttachVolume, AutoScalingInstance, DescribeAutoScaling, DescribeById, DescribeInstanceTypes,
    DescribeSnapshots, DetachVolume, Filter, InstanceAttribute, InstanceAttributeName, InstanceChange,
    ModifyInstanceAttribute, Reply, StandbyRequest, StopInstances, TagsRequest,
};

use super::convert;
use super::emulator::Emulator;
use super::permissions;

impl Emulator {
    async fn done(&self, action: Action) -> Result<(), CloudError> {
        self.call(&action, false).await.map(|_| ())
    }

    /// Instances by id, as many calls as the port on the AWS SDK needs.
    async fn by_ids(&self, ids: &[InstanceId]) -> Result<Vec<crate::api::Instance>, CloudError> {
        let mut found = Vec::new();
        for ids in ids.chunks(IDS_PER_CALL) {
            found.extend(self.by_filters(id_filter("instance-id", ids)).await?);
        }
        found.sort_by(|one: &crate::api::Instance, other| one.id.cmp(&other.id));
        Ok(found)
    }

    async fn by_filters(&self, filters: Vec<Filter>) -> Result<Vec<crate::api::Instance>, CloudError> {
        match self.call(&Action::DescribeInstances(DescribeById { filters, ..DescribeById::default() }), false).await? {
            Reply::Instances(page) => Ok(page.items),
            other => Err(unexpected("DescribeInstances", &other)),
        }
    }

    async fn with_groups(&self, found: Vec<crate::api::Instance>) -> Result<Vec<Instance>, CloudError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut members = self.members(found.iter().map(|instance| &instance.id)).await?;
        let membership = |member: AutoScalingInstance| AutoScalingMembership {
            group: member.group,
            lifecycle_state: member.lifecycle_state,
        };
        let shown = found.into_iter().map(|instance| {
            let member = members.remove(&instance.id).map(membership);
            convert::instance(instance, member)
        });
        Ok(shown.collect())
    }

    /// Auto Scaling's view of instances; those in no group are left out.
    async fn members<'a>(
        &self,
        ids: impl Iterator<Item = &'a InstanceId>,
    ) -> Result<BTreeMap<InstanceId, AutoScalingInstance>, CloudError> {
        let all: Vec<String> = ids.map(ToString::to_string).collect();
        let mut members = BTreeMap::new();
        for names in all.chunks(MEMBERS_PER_CALL) {
            let by = DescribeAutoScaling { names: names.to_vec(), ..DescribeAutoScaling::default() };
            match self.call(&Action::DescribeAutoScalingInstances(by), false).await? {
                Reply::AutoScalingInstances(page) => {
                    members.extend(page.items.into_iter().map(|member| (member.instance.clone(), member)));
                }
                other => return Err(unexpected("DescribeAutoScalingInstances", &other)),
            }
        }
        Ok(members)
    }
}

fn unexpected(operation: &'static str, reply: &Reply) -> CloudError {
    CloudError::new(operation, "InternalError", format!("unexpected reply {reply:?}"))
}

fn tag_filters(tags: &Tags) -> Vec<Filter> {
    tags.iter().map(|(key, value)| Filter::new(format!("tag:{key}"), literal(value))).collect()
}

/// The pattern that matches this text only.
fn literal(text: &str) -> String {
    let escape = |character: char| matches!(character, '*' | '?' | '\\').then_some('\\');
    text.chars().flat_map(|character| escape(character).into_iter().chain([character])).collect()
}

/// Values that one filter takes, and ids that go well into one call (EC2 API reference, "Filter").
const IDS_PER_CALL: usize = 200;
/// Groups that one DescribeAutoScalingGroups tells of without a second page (Auto Scaling API reference: 50 by default).
const GROUPS_PER_CALL: usize = 50;
/// Ids that one DescribeAutoScalingInstances takes (Auto Scaling API reference).
const MEMBERS_PER_CALL: usize = 50;

/// Filters for as many calls as these ids need; none at all is one call that finds nothing.
fn id_filters<T: ToString>(name: &str, ids: &[T]) -> Vec<Vec<Filter>> {
    if ids.is_empty() {
        return vec![id_filter(name, ids)];
    }
    ids.chunks(IDS_PER_CALL).map(|ids| id_filter(name, ids)).collect()
}

/// A filter, not ids: what EC2 does not show is left out instead of an error.
fn id_filter<T: ToString>(name: &str, ids: &[T]) -> Vec<Filter> {
    vec![Filter { name: name.to_owned(), values: ids.iter().map(|id| literal(&id.to_string())).collect() }]
}

/// Turns "already so" into success.
fn already(result: Result<(), CloudError>, codes: &[&str]) -> Result<(), CloudError> {
    match result {
        Err(error) if codes.contains(&error.code.as_str()) => Ok(()),
        other => other,
    }
}

#[async_trait]
impl Cloud for Emulator {
    async fn caller(&self) -> Result<CallerIdentity, CloudError> {
        match self.call(&Action::GetCallerIdentity, false).await? {
            Reply::CallerIdentity(found) => {
                Ok(CallerIdentity { account: found.account, arn: found.arn, region: self.region() })
            }
            other => Err(unexpected("GetCallerIdentity", &other)),
        }
    }

    async fn describe_instances(&self, filter: &InstanceFilter) -> Result<Vec<Instance>, CloudError> {
        match filter {
            InstanceFilter::Ids(ids) => self.with_groups(self.by_ids(ids).await?).await,
            InstanceFilter::Tags(tags) => self.with_groups(self.by_filters(tag_filters(tags)).await?).await,
            InstanceFilter::AutoScalingGroup(group) => {
                let names = vec![group.clone()];
                let by = DescribeAutoScaling { names, ..DescribeAutoScaling::default() };
                let members: Vec<InstanceId> = match self.call(&Action::DescribeAutoScalingGroups(by), false).await? {
                    Reply::AutoScalingGroups(page) => {
                        page.items.into_iter().flat_map(|group| group.instances).map(|found| found.instance).collect()
                    }
                    other => return Err(unexpected("DescribeAutoScalingGroups", &other)),
                };
                self.with_groups(self.by_ids(&members).await?).await
            }
        }
    }

    async fn describe_instances_alone(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, CloudError> {
        Ok(self.by_ids(ids).await?.into_iter().map(|instance| convert::instance(instance, None)).collect())
    }

    async fn describe_instance_types(&self, names: &[String]) -> Result<Vec<InstanceType>, CloudError> {
        // By filter: names that EC2 does not know are left out instead of an error.
        let filters = id_filter("instance-type", names);
        let action =
            Action::DescribeInstanceTypes(DescribeInstanceTypes { filters, ..DescribeInstanceTypes::default() });
        match self.call(&action, false).await? {
            Reply::InstanceTypes(page) => Ok(page.items.into_iter().map(convert::instance_type).collect()),
            other => Err(unexpected("DescribeInstanceTypes", &other)),
        }
    }

    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, CloudError> {
        let filters = match filter {
            VolumeFilter::Ids(ids) => id_filters("volume-id", ids),
            VolumeFilter::Tags(tags) => vec![tag_filters(tags)],
        };
        let mut found = Vec::new();
        for filters in filters {
            let action = Action::DescribeVolumes(DescribeById { filters, ..DescribeById::default() });
            match self.call(&action, false).await? {
                Reply::Volumes(page) => found.extend(page.items.into_iter().map(convert::volume)),
                other => return Err(unexpected("DescribeVolumes", &other)),
            }
        }
        found.sort_by(|one: &Volume, other| one.id.cmp(&other.id));
        Ok(found)
    }

    async fn default_key(&self) -> Result<Option<String>, CloudError> {
        match self.call(&Action::GetEbsEncryptionByDefault, false).await? {
            Reply::EncryptionByDefault(false) => return Ok(None),
            Reply::EncryptionByDefault(true) => {}
            other => return Err(unexpected("GetEbsEncryptionByDefault", &other)),
        }
        match self.call(&Action::GetEbsDefaultKmsKeyId, false).await? {
            Reply::DefaultKey(key) => Ok(Some(key)),
            other => Err(unexpected("GetEbsDefaultKmsKeyId", &other)),
        }
    }

    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, CloudError> {
        let filters = match filter {
            SnapshotFilter::Ids(ids) => id_filters("snapshot-id", ids),
            SnapshotFilter::Tags(tags) => vec![tag_filters(tags)],
        };
        let mut found = Vec::new();
        for filters in filters {
            let owners = vec!["self".to_owned()];
            let by = DescribeSnapshots { owners, filters, ..DescribeSnapshots::default() };
            match self.call(&Action::DescribeSnapshots(by), false).await? {
                Reply::Snapshots(page) => found.extend(page.items.into_iter().map(convert::snapshot)),
                other => return Err(unexpected("DescribeSnapshots", &other)),
            }
        }
        found.sort_by(|one: &Snapshot, other| one.id.cmp(&other.id));
        Ok(found)
    }

    async fn create_snapshots(&self, request: &CreateSnapshots) -> Result<Vec<Snapshot>, CloudError> {
        match self.call(&convert::create_snapshots(request), false).await? {
            Reply::SnapshotSet(made) => Ok(made.into_iter().map(convert::snapshot).collect()),
            other => Err(unexpected("CreateSnapshots", &other)),
        }
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<Volume, CloudError> {
        match self.call(&convert::create_volume(request), false).await? {
            Reply::Volume(made) => Ok(convert::volume(made)),
            other => Err(unexpected("CreateVolume", &other)),
        }
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), CloudError> {
        already(self.done(Action::DeleteVolume(volume.clone())).await, &["InvalidVolume.NotFound"])
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), CloudError> {
        already(self.done(Action::DeleteSnapshot(snapshot.clone())).await, &["InvalidSnapshot.NotFound"])
    }

    async fn attach_volume(&self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Result<(), CloudError> {
        let request =
            AttachVolume { volume_id: volume.clone(), instance_id: instance.clone(), device: device.to_owned() };
        let Err(error) = self.done(Action::AttachVolume(request)).await else { return Ok(()) };
        if error.code != "VolumeInUse" {
            return Err(error);
        }
        // A lost reply and a second call meet this code; whether it is there already only a describe tells.
        let found = self.describe_volumes(&VolumeFilter::Ids(vec![volume.clone()])).await?;
        let there = found.iter().any(|v| v.attachments.iter().any(|a| a.instance == *instance));
        if there { Ok(()) } else { Err(error) }
    }

    async fn detach_volume(&self, volume: &VolumeId, instance: &InstanceId) -> Result<(), CloudError> {
        let request = DetachVolume { instance_id: Some(instance.clone()), ..DetachVolume::of(volume.clone()) };
        let result = self.done(Action::DetachVolume(request)).await;
        already(result, &["IncorrectState", "InvalidAttachment.NotFound", "InvalidVolume.NotFound"])
    }

    async fn stop_instances(&self, instances: &[InstanceId]) -> Result<(), CloudError> {
        let request = StopInstances { instance_ids: instances.to_vec(), ..StopInstances::default() };
        self.done(Action::StopInstances(request)).await
    }

    async fn start_instance(&self, instance: &InstanceId) -> Result<(), CloudError> {
        self.done(Action::StartInstances(vec![instance.clone()])).await
    }

    async fn protect_instance(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
        on: bool,
    ) -> Result<(), CloudError> {
        let change = match protection {
            InstanceProtection::Termination => InstanceChange::DisableApiTermination(on),
            InstanceProtection::Stop => InstanceChange::DisableApiStop(on),
        };
        let request = ModifyInstanceAttribute { instance_id: instance.clone(), change };
        self.done(Action::ModifyInstanceAttribute(request)).await
    }

    async fn is_protected(&self, instance: &InstanceId, protection: InstanceProtection) -> Result<bool, CloudError> {
        let attribute = match protection {
            InstanceProtection::Termination => InstanceAttributeName::DisableApiTermination,
            InstanceProtection::Stop => InstanceAttributeName::DisableApiStop,
        };
        let action = Action::DescribeInstanceAttribute { instance_id: instance.clone(), attribute };
        match self.call(&action, false).await? {
            Reply::InstanceAttribute(
                _,
                InstanceAttribute::DisableApiTermination(on) | InstanceAttribute::DisableApiStop(on),
            ) => Ok(on),
            other => Err(unexpected("DescribeInstanceAttribute", &other)),
        }
    }

    async fn set_delete_on_termination(
        &self,
        instance: &InstanceId,
        devices: &BTreeMap<String, bool>,
    ) -> Result<(), CloudError> {
        if devices.is_empty() {
            return Ok(());
        }
        let change = InstanceChange::DeleteOnTermination(devices.clone());
        let request = ModifyInstanceAttribute { instance_id: instance.clone(), change };
        self.done(Action::ModifyInstanceAttribute(request)).await
    }

    async fn set_standby(&self, group: &str, instance: &InstanceId, standby: bool) -> Result<(), CloudError> {
        let request = StandbyRequest {
            auto_scaling_group_name: group.to_owned(),
            instance_ids: vec![instance.clone()],
            should_decrement_desired_capacity: standby,
        };
        let action = if standby { Action::EnterStandby(request) } else { Action::ExitStandby(request) };
        let Err(error) = self.done(action).await else { return Ok(()) };
        if error.code != "ValidationError" {
            return Err(error);
        }
        // Already so, or on the way there? Auto Scaling's message does not say.
        let members = self.members(std::iter::once(instance)).await?;
        let wanted = if standby { ["Standby", "EnteringStandby"] } else { ["InService", "Pending"] };
        let there = members.get(instance).is_some_and(|member| wanted.contains(&member.lifecycle_state.as_str()));
        if there { Ok(()) } else { Err(error) }
    }

    async fn describe_auto_scaling_groups(&self, names: &[String]) -> Result<Vec<AutoScalingGroup>, CloudError> {
        let mut found = Vec::new();
        for names in names.chunks(GROUPS_PER_CALL) {
            let by = DescribeAutoScaling { names: names.to_vec(), ..DescribeAutoScaling::default() };
            match self.call(&Action::DescribeAutoScalingGroups(by), false).await? {
                Reply::AutoScalingGroups(page) => found.extend(page.items.into_iter().map(convert::group)),
                other => return Err(unexpected("DescribeAutoScalingGroups", &other)),
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    async fn tag_all(&self, resources: &[ResourceId], tags: &Tags) -> Result<(), CloudError> {
        let id = |resource: &ResourceId| match resource {
            ResourceId::Instance(id) => id.to_string(),
            ResourceId::Volume(id) => id.to_string(),
            ResourceId::Snapshot(id) => id.to_string(),
        };
        let resources = resources.iter().map(id).collect();
        let tags = tags.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        self.done(Action::CreateTags(TagsRequest { resources, tags })).await
    }

    async fn denied_actions(&self, intended: &Intended) -> Result<Vec<String>, CloudError> {
        let mut denied = Vec::new();
        for action in permissions::probes(intended).into_iter().filter(|action| intended.asks(action.name())) {
            let name = format!("ec2:{}", action.name());
            if denied.contains(&name) {
                continue;
            }
            if let Err(error) = self.call(&action, true).await
                && matches!(error.code.as_str(), "UnauthorizedOperation" | "TagPolicyViolation")
            {
                denied.push(name);
            }
        }
        denied.sort();
        Ok(denied)
    }
}
