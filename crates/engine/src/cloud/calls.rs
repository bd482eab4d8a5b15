//! The calls of one step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rehome_model::cloud::{AutoScalingGroup, Instance, Snapshot, Tags, Volume};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use rehome_ports::{
    Cloud, CloudError, CreateSnapshots, CreateVolume, ErrorClass, InstanceFilter, InstanceProtection, ResourceId,
    SnapshotFilter, VolumeFilter,
};

use super::desk::{Desk, Look};
use super::quota::Family;
use crate::context::StepContext;
use crate::error::StepError;

/// Ids that one describe takes (EC2 API reference, "Filter": at most 200 values).
const IDS_PER_CALL: usize = 200;
/// Ids that one DescribeAutoScalingInstances takes (Auto Scaling API reference).
const MEMBERSHIPS_PER_CALL: usize = 50;

/// The cloud, called for one step: with a token, and for an act only while the lease allows it.
pub(crate) struct Calls<'a>(pub(crate) &'a StepContext);

impl<'a> Calls<'a> {
    fn desk(&self) -> &'a Desk {
        &self.0.shared.desk
    }

    fn port(&self) -> &'a dyn Cloud {
        self.0.shared.ports.cloud.as_ref()
    }

    async fn token(&self, family: Family) {
        // Standing in line is not the step's own time.
        self.0.off_the_clock(self.desk().quota.take(family, self.0.rank)).await;
    }

    fn note<T>(&self, family: Family, answer: Result<T, CloudError>) -> Result<T, CloudError> {
        match &answer {
            Ok(_) => self.desk().quota.accepted(family),
            Err(error) if error.is_throttling() => self.desk().quota.refused(family),
            Err(_) => {}
        }
        answer
    }

    async fn read<T>(
        &self,
        family: Family,
        call: impl Future<Output = Result<T, CloudError>>,
    ) -> Result<T, CloudError> {
        self.token(family).await;
        self.note(family, call.await)
    }

    /// The lease is looked at after the wait for a token, right before the call.
    async fn act<T>(&self, family: Family, call: impl Future<Output = Result<T, CloudError>>) -> Result<T, StepError> {
        self.token(family).await;
        self.0.may_act()?;
        Ok(self.note(family, call.await)?)
    }

    /// Describes by id, put together with those of other steps. What is not shown is left out.
    async fn look<I: Ord + Clone, T: Clone>(
        &self,
        look: &Look<I, T>,
        ids: &[I],
        id_of: impl Fn(&T) -> &I,
        describe: impl AsyncFn(Vec<I>) -> Result<Vec<T>, CloudError>,
    ) -> Result<Vec<T>, CloudError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let send = async |asked: Vec<Vec<I>>| {
            let all: BTreeSet<I> = asked.into_iter().flatten().collect();
            let all: Vec<I> = all.into_iter().collect();
            let mut found = Vec::new();
            for part in all.chunks(IDS_PER_CALL) {
                found.extend(self.read(Family::Describe, describe(part.to_vec())).await?);
            }
            Ok(Arc::new(found))
        };
        let (found, _) = look.ask(|| ids.to_vec(), send).await;
        Ok(found?.iter().filter(|item| ids.contains(id_of(item))).cloned().collect())
    }

    /// Instances, without their Auto Scaling membership.
    pub(crate) async fn instances(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, CloudError> {
        let describe = async |ids: Vec<InstanceId>| self.port().describe_instances_alone(&ids).await;
        self.look(&self.desk().instances, ids, |found| &found.id, describe).await
    }

    /// Instances with their Auto Scaling membership. What is not shown is left out.
    pub(crate) async fn instances_in_groups(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, CloudError> {
        let describe = async |ids: Vec<InstanceId>| {
            for _ in ids.chunks(MEMBERSHIPS_PER_CALL) {
                self.token(Family::AutoScaling).await;
            }
            self.port().describe_instances(&InstanceFilter::Ids(ids)).await
        };
        self.look(&self.desk().memberships, ids, |found| &found.id, describe).await
    }

    /// Auto Scaling groups by name.
    pub(crate) async fn auto_scaling_groups(&self, names: &[String]) -> Result<Vec<AutoScalingGroup>, CloudError> {
        self.read(Family::AutoScaling, self.port().describe_auto_scaling_groups(names)).await
    }

    /// Volumes by id.
    pub(crate) async fn volumes(&self, ids: &[VolumeId]) -> Result<Vec<Volume>, CloudError> {
        let describe = async |ids: Vec<VolumeId>| self.port().describe_volumes(&VolumeFilter::Ids(ids)).await;
        self.look(&self.desk().volumes, ids, |found| &found.id, describe).await
    }

    /// Snapshots by id.
    pub(crate) async fn snapshots(&self, ids: &[SnapshotId]) -> Result<Vec<Snapshot>, CloudError> {
        let describe = async |ids: Vec<SnapshotId>| self.port().describe_snapshots(&SnapshotFilter::Ids(ids)).await;
        self.look(&self.desk().snapshots, ids, |found| &found.id, describe).await
    }

    /// Volumes by tags.
    pub(crate) async fn tagged_volumes(&self, tags: &Tags) -> Result<Vec<Volume>, CloudError> {
        let filter = VolumeFilter::Tags(tags.clone());
        self.read(Family::Describe, self.port().describe_volumes(&filter)).await
    }

    /// Snapshots by tags.
    pub(crate) async fn tagged_snapshots(&self, tags: &Tags) -> Result<Vec<Snapshot>, CloudError> {
        let filter = SnapshotFilter::Tags(tags.clone());
        self.read(Family::Describe, self.port().describe_snapshots(&filter)).await
    }

    /// Whether an instance is protected.
    pub(crate) async fn is_protected(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
    ) -> Result<bool, CloudError> {
        self.read(Family::Describe, self.port().is_protected(instance, protection)).await
    }

    /// Waits for its turn to create snapshots: what is written down of the call tells then when it was sent.
    pub(crate) async fn turn_to_create_snapshots(&self) {
        self.token(Family::CreateSnapshots).await;
    }

    /// EC2's own answer. Its turn has come before.
    pub(crate) async fn create_snapshots(
        &self,
        request: &CreateSnapshots,
    ) -> Result<Result<Vec<Snapshot>, CloudError>, StepError> {
        self.0.may_act()?;
        Ok(self.note(Family::CreateSnapshots, self.port().create_snapshots(request).await))
    }

    /// EC2's own answer: what the error means is the caller's to decide.
    pub(crate) async fn create_volume(&self, request: &CreateVolume) -> Result<Result<Volume, CloudError>, StepError> {
        self.token(Family::CreateVolume).await;
        self.0.may_act()?;
        Ok(self.note(Family::CreateVolume, self.port().create_volume(request).await))
    }

    /// EC2's own answer.
    pub(crate) async fn delete_volume(&self, volume: &VolumeId) -> Result<Result<(), CloudError>, StepError> {
        self.token(Family::DeleteVolume).await;
        self.0.may_act()?;
        Ok(self.note(Family::DeleteVolume, self.port().delete_volume(volume).await))
    }

    /// EC2's own answer.
    pub(crate) async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<Result<(), CloudError>, StepError> {
        self.token(Family::DeleteSnapshot).await;
        self.0.may_act()?;
        Ok(self.note(Family::DeleteSnapshot, self.port().delete_snapshot(snapshot).await))
    }

    /// Stops an instance, in one call with those of other steps. EC2 stops all of a call or none.
    pub(crate) async fn stop_instance(&self, instance: &InstanceId) -> Result<(), StepError> {
        let send = async |all: Vec<InstanceId>| {
            self.token(Family::Mutate).await;
            // The lease has run out: nothing is sent, and each of them meets its own `may_act` below.
            self.0.may_act().map_err(|error| CloudError::new("StopInstances", NOT_SENT, error.message))?;
            self.note(Family::Mutate, self.port().stop_instances(&all).await)
        };
        let (answer, asked) = self.desk().stops.ask(|| instance.clone(), send).await;
        match answer {
            Err(error) if alone(&error, asked) => {
                let one = std::slice::from_ref(instance);
                self.act(Family::Mutate, self.port().stop_instances(one)).await
            }
            answer => self.sent(answer),
        }
    }

    /// Tags a resource, in one call with those that get the same tags.
    pub(crate) async fn tag(&self, resource: &ResourceId, tags: &Tags) -> Result<(), StepError> {
        let send = async |all: Vec<(ResourceId, Tags)>| {
            let mut by_tags: BTreeMap<Tags, Vec<ResourceId>> = BTreeMap::new();
            for (resource, tags) in all {
                by_tags.entry(tags).or_default().push(resource);
            }
            let mut answers = Vec::new();
            for (tags, resources) in by_tags {
                self.token(Family::Tags).await;
                let answer = match self.0.may_act() {
                    Ok(()) => self.note(Family::Tags, self.port().tag_all(&resources, &tags).await),
                    Err(error) => Err(CloudError::new("CreateTags", NOT_SENT, error.message)),
                };
                answers.push((tags, answer));
            }
            answers
        };
        let (answers, asked) = self.desk().tags.ask(|| (resource.clone(), tags.clone()), send).await;
        let not_asked = || Err(CloudError::new("CreateTags", NOT_SENT, "these tags were not asked for".to_owned()));
        let answer = answers.into_iter().find(|(of, _)| of == tags).map_or_else(not_asked, |(_, answer)| answer);
        match answer {
            Err(error) if alone(&error, asked) => {
                self.act(Family::Tags, self.port().tag_all(std::slice::from_ref(resource), tags)).await
            }
            answer => self.sent(answer),
        }
    }

    fn sent(&self, answer: Result<(), CloudError>) -> Result<(), StepError> {
        match answer {
            Err(error) if error.code == NOT_SENT => {
                self.0.may_act()?;
                Err(StepError::again(NOT_SENT, error.message))
            }
            answer => Ok(answer?),
        }
    }

    pub(crate) async fn detach_volume(&self, volume: &VolumeId, instance: &InstanceId) -> Result<(), StepError> {
        self.act(Family::Mutate, self.port().detach_volume(volume, instance)).await
    }

    /// EC2's own answer.
    pub(crate) async fn attach_volume(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<Result<(), CloudError>, StepError> {
        self.token(Family::Mutate).await;
        self.0.may_act()?;
        Ok(self.note(Family::Mutate, self.port().attach_volume(volume, instance, device).await))
    }

    pub(crate) async fn start_instance(&self, instance: &InstanceId) -> Result<(), StepError> {
        self.act(Family::StartInstances, self.port().start_instance(instance)).await
    }

    pub(crate) async fn protect_instance(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
        on: bool,
    ) -> Result<(), StepError> {
        self.act(Family::Mutate, self.port().protect_instance(instance, protection, on)).await
    }

    pub(crate) async fn set_delete_on_termination(
        &self,
        instance: &InstanceId,
        devices: &BTreeMap<String, bool>,
    ) -> Result<(), StepError> {
        self.act(Family::Mutate, self.port().set_delete_on_termination(instance, devices)).await
    }

    pub(crate) async fn set_standby(&self, group: &str, instance: &InstanceId, standby: bool) -> Result<(), StepError> {
        self.act(Family::AutoScaling, self.port().set_standby(group, instance, standby)).await
    }
}

/// The code of a call that was not sent.
const NOT_SENT: &str = "NotSent";

/// Whether one of several may be why all were refused. What passes by itself is not, it is tried again by the step; nor
/// are the credentials, which are the same for all.
fn alone(error: &CloudError, asked: usize) -> bool {
    asked > 1 && error.code != NOT_SENT && !matches!(error.class(), ErrorClass::Retry | ErrorClass::Credentials)
}
