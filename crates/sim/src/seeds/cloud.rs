//! What stands between the engine and the cloud: a call that was sent takes effect whatever becomes of its sender, and
//! planted bugs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rehome_model::cloud::{CallerIdentity, Instance, InstanceState, InstanceType, Snapshot, Tags, Volume};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use rehome_model::labels;
use rehome_ports::{
    Cloud, CloudError, CreateSnapshots, CreateVolume, InstanceFilter, InstanceProtection, ResourceId, SnapshotFilter,
    VolumeFilter,
};

use super::planted::Planted;

/// Makes every token another one.
static TOKENS: AtomicU64 = AtomicU64::new(0);

/// The cloud as one driver has it.
pub(super) struct SentCloud {
    pub inner: Arc<dyn Cloud>,
    pub planted: Option<Planted>,
}

/// Sends a call: neither a driver that dies nor one that stands still takes it back.
async fn sent<T: Send + 'static>(
    call: impl Future<Output = Result<T, CloudError>> + Send + 'static,
) -> Result<T, CloudError> {
    let landed = tokio::spawn(call).await;
    landed.unwrap_or_else(|error| Err(CloudError::new("Send", "Transport", error.to_string())))
}

fn by_step(tags: &Tags) -> bool {
    tags.contains_key(labels::STEP)
}

#[async_trait]
impl Cloud for SentCloud {
    async fn caller(&self) -> Result<CallerIdentity, CloudError> {
        self.inner.caller().await
    }

    async fn describe_instances(&self, filter: &InstanceFilter) -> Result<Vec<Instance>, CloudError> {
        let mut found = self.inner.describe_instances(filter).await?;
        if self.planted == Some(Planted::TrustsOneStaleDescribe) {
            for instance in found.iter_mut().filter(|instance| instance.state == InstanceState::Stopping) {
                instance.state = InstanceState::Stopped;
            }
        }
        Ok(found)
    }

    async fn describe_instance_types(&self, names: &[String]) -> Result<Vec<InstanceType>, CloudError> {
        self.inner.describe_instance_types(names).await
    }

    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, CloudError> {
        let blind = self.planted == Some(Planted::NewTokenForEveryTry);
        match filter {
            VolumeFilter::Tags(tags) if blind && by_step(tags) => Ok(Vec::new()),
            filter => self.inner.describe_volumes(filter).await,
        }
    }

    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, CloudError> {
        match filter {
            SnapshotFilter::Tags(tags) if self.planted == Some(Planted::RetriesSnapshotsBlind) && by_step(tags) => {
                Ok(Vec::new())
            }
            filter => self.inner.describe_snapshots(filter).await,
        }
    }

    async fn create_snapshots(&self, request: &CreateSnapshots) -> Result<Vec<Snapshot>, CloudError> {
        let inner = Arc::clone(&self.inner);
        let request = request.clone();
        sent(async move { inner.create_snapshots(&request).await }).await
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<Volume, CloudError> {
        let mut request = request.clone();
        if self.planted == Some(Planted::ForgetsATag) {
            request.tags.remove(labels::STEP);
        }
        if self.planted == Some(Planted::NewTokenForEveryTry) {
            request.token = format!("token-{}", TOKENS.fetch_add(1, Ordering::Relaxed));
        }
        let inner = Arc::clone(&self.inner);
        sent(async move { inner.create_volume(&request).await }).await
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let volume = volume.clone();
        sent(async move { inner.delete_volume(&volume).await }).await
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let snapshot = snapshot.clone();
        sent(async move { inner.delete_snapshot(&snapshot).await }).await
    }

    async fn attach_volume(&self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Result<(), CloudError> {
        self.inner.attach_volume(volume, instance, device).await
    }

    async fn detach_volume(&self, volume: &VolumeId, instance: &InstanceId) -> Result<(), CloudError> {
        self.inner.detach_volume(volume, instance).await
    }

    async fn stop_instance(&self, instance: &InstanceId) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let instance = instance.clone();
        sent(async move { inner.stop_instance(&instance).await }).await
    }

    async fn start_instance(&self, instance: &InstanceId) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let instance = instance.clone();
        sent(async move { inner.start_instance(&instance).await }).await
    }

    async fn protect_instance(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
        on: bool,
    ) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let instance = instance.clone();
        sent(async move { inner.protect_instance(&instance, protection, on).await }).await
    }

    async fn is_protected(&self, instance: &InstanceId, protection: InstanceProtection) -> Result<bool, CloudError> {
        self.inner.is_protected(instance, protection).await
    }

    async fn set_delete_on_termination(
        &self,
        instance: &InstanceId,
        devices: &BTreeMap<String, bool>,
    ) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let instance = instance.clone();
        let devices = devices.clone();
        sent(async move { inner.set_delete_on_termination(&instance, &devices).await }).await
    }

    async fn set_standby(&self, group: &str, instance: &InstanceId, standby: bool) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let group = group.to_owned();
        let instance = instance.clone();
        sent(async move { inner.set_standby(&group, &instance, standby).await }).await
    }

    async fn tag(&self, resource: &ResourceId, tags: &Tags) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let resource = resource.clone();
        let tags = tags.clone();
        sent(async move { inner.tag(&resource, &tags).await }).await
    }

    async fn denied_actions(&self, instances: &[InstanceId], volumes: &[VolumeId]) -> Result<Vec<String>, CloudError> {
        self.inner.denied_actions(instances, volumes).await
    }
}
