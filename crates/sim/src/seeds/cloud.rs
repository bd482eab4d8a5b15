//! What stands between the engine and the cloud: a call that was sent takes effect whatever becomes of its sender, and
//! planted bugs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rehome_model::cloud::{
    Attachment, AttachmentState, AutoScalingGroup, CallerIdentity, Instance, InstanceState, InstanceType, Snapshot,
    Tags, Volume, VolumeState,
};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use rehome_model::labels;
use rehome_model::task::{HostAnswer, HostTask};
use rehome_ports::{
    Cloud, CloudError, CreateSnapshots, CreateVolume, HostScript, Hosts, InstanceFilter, InstanceProtection, Intended,
    ResourceId, ScriptError, ScriptOutput, SnapshotFilter, VolumeFilter,
};

use super::planted::Planted;
use super::seat::LEASE_MS;
use crate::world::World;

/// Makes every token another one.
static TOKENS: AtomicU64 = AtomicU64::new(0);

/// The cloud as one driver has it.
pub(super) struct SentCloud {
    pub inner: Arc<dyn Cloud>,
    pub world: World,
    pub planted: Option<Planted>,
    /// Attachments that a planted bug takes for made: volume -> instance and device; none for one taken for undone.
    pub imagined: Mutex<BTreeMap<VolumeId, Option<(InstanceId, String)>>>,
}

impl SentCloud {
    /// What a bug takes a volume's attachments for.
    fn imagine(&self, volume: &mut Volume) {
        let imagined = self.imagined.lock().unwrap_or_else(PoisonError::into_inner);
        match imagined.get(&volume.id) {
            Some(Some((instance, device))) => {
                let (instance, device) = (instance.clone(), device.clone());
                volume.attachments = vec![Attachment { instance, device, state: AttachmentState::Attached }];
            }
            Some(None) => volume.attachments.clear(),
            // Without the last describe: as if every node had let go.
            None if self.planted == Some(Planted::BelievesTheVolumesFree) && by_step(&volume.tags) => {
                volume.attachments.clear();
                volume.state = VolumeState::Available;
            }
            None => {}
        }
    }

    /// A bug takes an instance that stops for one that is stopped.
    fn believe(&self, mut found: Vec<Instance>) -> Vec<Instance> {
        if matches!(self.planted, Some(Planted::TrustsOneStaleDescribe | Planted::ReleasesBeforeTheFence)) {
            for instance in found.iter_mut().filter(|instance| instance.state == InstanceState::Stopping) {
                instance.state = InstanceState::Stopped;
            }
        }
        found
    }

    fn imagines(&self, volume: &VolumeId, attachment: Option<(InstanceId, String)>) -> bool {
        let bug = match self.planted {
            Some(Planted::ServesTheOldOriginals) => true,
            Some(Planted::BelievesTheVolumesFree) => attachment.is_some(),
            _ => false,
        };
        if bug {
            self.imagined.lock().unwrap_or_else(PoisonError::into_inner).insert(volume.clone(), attachment);
        }
        bug
    }
}

/// Hosts on which nobody looks which volume is mounted: a planted bug.
pub(super) struct TrustingHosts(pub Arc<dyn Hosts>);

#[async_trait]
impl Hosts for TrustingHosts {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        let mut script = script.clone();
        if let HostTask::TakeBack { volumes } = &script.task {
            let mount_points = volumes.iter().map(|volume| volume.mount_point.clone()).collect();
            script.task = HostTask::Mount { mount_points };
        }
        self.0.run(instance, &script).await
    }
}

/// Hosts that are not told which run a script belongs to: a planted bug.
pub(super) struct WordlessHosts(pub Arc<dyn Hosts>);

#[async_trait]
impl Hosts for WordlessHosts {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        let mut script = script.clone();
        script.text.clear();
        self.0.run(instance, &script).await
    }
}

/// Hosts that are not asked whether the member runs again before its instance is stopped: a part of a planted bug.
pub(super) struct UnaskedHosts(pub Arc<dyn Hosts>);

#[async_trait]
impl Hosts for UnaskedHosts {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        if matches!(script.task, HostTask::Unmount { .. }) && script.text.contains("--step stop-instance") {
            let stdout = serde_json::to_string(&HostAnswer::Done).unwrap_or_default();
            return Ok(ScriptOutput { exit_code: 0, stdout, stderr: String::new() });
        }
        self.0.run(instance, script).await
    }
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

/// Captures each volume of an instance by a call of its own, and takes them for captured together.
async fn one_by_one(inner: &dyn Cloud, request: &CreateSnapshots) -> Result<Vec<Snapshot>, CloudError> {
    let found = inner.describe_instances(&InstanceFilter::Ids(vec![request.instance.clone()])).await?;
    let volumes: Vec<&VolumeId> = found
        .iter()
        .flat_map(|instance| instance.block_devices.iter().filter(|d| Some(&d.device) != instance.root_device.as_ref()))
        .map(|device| &device.volume)
        .collect();
    let mut made = Vec::new();
    for volume in volumes.iter().filter(|volume| !request.exclude.contains(volume)) {
        let others = volumes.iter().filter(|other| *other != volume).map(|other| (*other).clone());
        let alone = CreateSnapshots { exclude: others.collect(), ..request.clone() };
        made.extend(inner.create_snapshots(&alone).await?);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    as_of_one_instant(&mut made);
    Ok(made)
}

fn as_of_one_instant(found: &mut [Snapshot]) {
    let of = |snapshot: &Snapshot| (snapshot.tags.get(labels::STEP).cloned(), snapshot.tags.get(labels::RUN).cloned());
    let mut first: BTreeMap<_, u64> = BTreeMap::new();
    for snapshot in found.iter() {
        let at = first.entry(of(snapshot)).or_insert(snapshot.started_at_ms);
        *at = (*at).min(snapshot.started_at_ms);
    }
    for snapshot in found {
        snapshot.started_at_ms = first.get(&of(snapshot)).copied().unwrap_or(snapshot.started_at_ms);
    }
}

/// The same tags without the run's.
fn of_any_run(tags: &Tags) -> Tags {
    tags.iter().filter(|(key, _)| *key != labels::RUN).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[async_trait]
impl Cloud for SentCloud {
    async fn caller(&self) -> Result<CallerIdentity, CloudError> {
        self.inner.caller().await
    }

    async fn describe_instances(&self, filter: &InstanceFilter) -> Result<Vec<Instance>, CloudError> {
        self.inner.describe_instances(filter).await.map(|found| self.believe(found))
    }

    async fn describe_instances_alone(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, CloudError> {
        let mut found = self.inner.describe_instances_alone(ids).await.map(|found| self.believe(found))?;
        if self.planted == Some(Planted::NeverStops) {
            // Nor does it look: a release would wait for the stop.
            for instance in &mut found {
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
            VolumeFilter::Tags(tags) if self.planted == Some(Planted::DeletesWithoutLookingWhose) => {
                let mut found = self.inner.describe_volumes(&VolumeFilter::Tags(of_any_run(tags))).await?;
                for volume in &mut found {
                    volume.tags.extend(tags.clone());
                }
                Ok(found)
            }
            filter => {
                let mut found = self.inner.describe_volumes(filter).await?;
                for volume in &mut found {
                    self.imagine(volume);
                }
                Ok(found)
            }
        }
    }

    async fn default_key(&self) -> Result<Option<String>, CloudError> {
        self.inner.default_key().await
    }

    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, CloudError> {
        match filter {
            SnapshotFilter::Tags(tags) if self.planted == Some(Planted::RetriesSnapshotsBlind) && by_step(tags) => {
                Ok(Vec::new())
            }
            SnapshotFilter::Tags(tags) if self.planted == Some(Planted::DeletesWithoutLookingWhose) => {
                let mut found = self.inner.describe_snapshots(&SnapshotFilter::Tags(of_any_run(tags))).await?;
                for snapshot in &mut found {
                    snapshot.tags.extend(tags.clone());
                }
                Ok(found)
            }
            filter => {
                let mut found = self.inner.describe_snapshots(filter).await?;
                if self.planted == Some(Planted::CapturesVolumesOneByOne) {
                    as_of_one_instant(&mut found);
                }
                Ok(found)
            }
        }
    }

    async fn create_snapshots(&self, request: &CreateSnapshots) -> Result<Vec<Snapshot>, CloudError> {
        let inner = Arc::clone(&self.inner);
        let request = request.clone();
        if self.planted == Some(Planted::CapturesVolumesOneByOne) {
            return sent(async move { one_by_one(inner.as_ref(), &request).await }).await;
        }
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
        if self.imagines(volume, Some((instance.clone(), device.to_owned()))) {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        let (volume, instance, device) = (volume.clone(), instance.clone(), device.to_owned());
        sent(async move { inner.attach_volume(&volume, &instance, &device).await }).await
    }

    async fn detach_volume(&self, volume: &VolumeId, instance: &InstanceId) -> Result<(), CloudError> {
        if self.imagines(volume, None) {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        let (volume, instance) = (volume.clone(), instance.clone());
        sent(async move { inner.detach_volume(&volume, &instance).await }).await
    }

    async fn stop_instances(&self, instances: &[InstanceId]) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let instances = instances.to_vec();
        sent(async move { inner.stop_instances(&instances).await }).await
    }

    async fn start_instance(&self, instance: &InstanceId) -> Result<(), CloudError> {
        let (inner, world, instance) = (Arc::clone(&self.inner), self.world.clone(), instance.clone());
        let since = self.world.with(|state, now| *state.starting.entry(instance.clone()).or_insert(now));
        sent(async move {
            let started = inner.start_instance(&instance).await;
            // What came in time is a driver's own.
            world.with(|state, now| now < since + LEASE_MS && state.starting.remove(&instance).is_some());
            started
        })
        .await
    }

    async fn protect_instance(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
        on: bool,
    ) -> Result<(), CloudError> {
        if self.planted == Some(Planted::StartsUnprotected) && protection == InstanceProtection::Stop && on {
            return Ok(());
        }
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

    async fn describe_auto_scaling_groups(&self, names: &[String]) -> Result<Vec<AutoScalingGroup>, CloudError> {
        self.inner.describe_auto_scaling_groups(names).await
    }

    async fn tag_all(&self, resources: &[ResourceId], tags: &Tags) -> Result<(), CloudError> {
        let inner = Arc::clone(&self.inner);
        let resources = resources.to_vec();
        let tags = tags.clone();
        sent(async move { inner.tag_all(&resources, &tags).await }).await
    }

    async fn denied_actions(&self, intended: &Intended) -> Result<Vec<String>, CloudError> {
        self.inner.denied_actions(intended).await
    }
}
