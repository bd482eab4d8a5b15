//! The in-process face: `Cloud` on the runtime's clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rehome_model::cloud::{CallerIdentity, Instance, InstanceType, Snapshot, Tags, Volume};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use rehome_ports::{
    Cloud, CloudError, CreateSnapshots, CreateVolume, InstanceFilter, InstanceProtection, ResourceId, SnapshotFilter,
    Tap, VolumeFilter,
};
use tokio::time::Instant;

use crate::core::{Action, ApiError, Config, Core, Filter, Millis, Reply, SnapshotRequest, VolumeRequest};
use crate::disks::MemoryDisks;

/// The account and its disks.
#[derive(Debug)]
pub struct Inner {
    /// EC2.
    pub core: Core,
    /// The disks.
    pub disks: MemoryDisks,
}

/// An EC2 in this process. Clones are the same EC2.
#[derive(Clone)]
pub struct Emulator {
    inner: Arc<Mutex<Inner>>,
    epoch_ms: Millis,
    started: Instant,
    latency: Duration,
    tap: Option<Arc<dyn Tap>>,
}

impl Emulator {
    /// An empty EC2 whose clock shows `epoch_ms` now, and which answers after `latency`.
    pub fn new(config: Config, epoch_ms: Millis, latency: Duration) -> Self {
        let inner = Inner { core: Core::new(config), disks: MemoryDisks::default() };
        Self { inner: Arc::new(Mutex::new(inner)), epoch_ms, started: Instant::now(), latency, tap: None }
    }

    /// The same EC2, with every call going past `tap`.
    #[must_use]
    pub fn tapped(&self, tap: Arc<dyn Tap>) -> Self {
        Self { tap: Some(tap), ..self.clone() }
    }

    /// Now, in ms since 1970.
    pub fn now(&self) -> Millis {
        self.epoch_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks into EC2 or its disks directly, at the present time: for the machines that live in it, and for tests.
    pub fn with<T>(&self, look: impl FnOnce(&mut Inner, Millis) -> T) -> T {
        self.with_at(self.now(), look)
    }

    /// The same at an earlier moment, for a world that catches up in steps. EC2 never goes back before what it was
    /// already asked at.
    pub fn with_at<T>(&self, at: Millis, look: impl FnOnce(&mut Inner, Millis) -> T) -> T {
        let mut inner = self.lock();
        let Inner { core, disks } = &mut *inner;
        core.advance(at, disks);
        look(&mut inner, at)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request, past the tap, with its latency, answered as EC2 answers it.
    pub async fn request(&self, action: &Action, dry_run: bool) -> Result<Reply, ApiError> {
        let name = action.name();
        let lost = |code: String| ApiError { status: 503, code, message: "no reply".to_owned() };
        if let Some(tap) = &self.tap {
            tap.before(name, !action.is_read()).await.map_err(lost)?;
        }
        tokio::time::sleep(self.latency).await;
        let now = self.now();
        let reply = {
            let mut inner = self.lock();
            let Inner { core, disks } = &mut *inner;
            core.handle(now, disks, action, dry_run)
        };
        if let Some(tap) = &self.tap {
            tap.after(name, !action.is_read()).await.map_err(lost)?;
        }
        reply
    }

    async fn call(&self, action: &Action, dry_run: bool) -> Result<Reply, CloudError> {
        let reply = self.request(action, dry_run).await;
        reply.map_err(|error| CloudError::new(action.name(), error.code, error.message))
    }

    async fn done(&self, action: Action) -> Result<(), CloudError> {
        self.call(&action, false).await.map(|_| ())
    }

    /// Instances by tags, paged as EC2 pages them elsewhere: in process there is one page.
    async fn instances(&self, ids: Vec<InstanceId>, filters: Vec<Filter>) -> Result<Vec<Instance>, CloudError> {
        match self.call(&Action::DescribeInstances { ids, filters }, false).await? {
            Reply::Instances(found) => Ok(found),
            other => Err(unexpected("DescribeInstances", &other)),
        }
    }
}

fn unexpected(operation: &'static str, reply: &Reply) -> CloudError {
    CloudError::new(operation, "InternalError", format!("unexpected reply {reply:?}"))
}

fn tag_filters(tags: &Tags) -> Vec<Filter> {
    tags.iter().map(|(key, value)| Filter::new(format!("tag:{key}"), value.clone())).collect()
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
            Reply::Caller(caller) => Ok(caller),
            other => Err(unexpected("GetCallerIdentity", &other)),
        }
    }

    async fn describe_instances(&self, filter: &InstanceFilter) -> Result<Vec<Instance>, CloudError> {
        match filter {
            InstanceFilter::Ids(ids) => self.instances(ids.clone(), Vec::new()).await,
            InstanceFilter::Tags(tags) => self.instances(Vec::new(), tag_filters(tags)).await,
            InstanceFilter::AutoScalingGroup(group) => {
                let action = Action::DescribeAutoScalingGroup { group: group.clone() };
                let Reply::Names(names) = self.call(&action, false).await? else { return Ok(Vec::new()) };
                self.instances(names.into_iter().map(InstanceId).collect(), Vec::new()).await
            }
        }
    }

    async fn describe_instance_types(&self, names: &[String]) -> Result<Vec<InstanceType>, CloudError> {
        match self.call(&Action::DescribeInstanceTypes { names: names.to_vec() }, false).await? {
            Reply::InstanceTypes(found) => Ok(found),
            other => Err(unexpected("DescribeInstanceTypes", &other)),
        }
    }

    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, CloudError> {
        let filters = match filter {
            VolumeFilter::Ids(ids) => {
                vec![Filter { name: "volume-id".to_owned(), values: ids.iter().map(ToString::to_string).collect() }]
            }
            VolumeFilter::Tags(tags) => tag_filters(tags),
        };
        match self.call(&Action::DescribeVolumes { ids: Vec::new(), filters }, false).await? {
            Reply::Volumes(found) => Ok(found),
            other => Err(unexpected("DescribeVolumes", &other)),
        }
    }

    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, CloudError> {
        let filters = match filter {
            SnapshotFilter::Ids(ids) => {
                vec![Filter { name: "snapshot-id".to_owned(), values: ids.iter().map(ToString::to_string).collect() }]
            }
            SnapshotFilter::Tags(tags) => tag_filters(tags),
        };
        match self.call(&Action::DescribeSnapshots { ids: Vec::new(), filters }, false).await? {
            Reply::Snapshots(found) => Ok(found),
            other => Err(unexpected("DescribeSnapshots", &other)),
        }
    }

    async fn create_snapshots(&self, request: &CreateSnapshots) -> Result<Vec<Snapshot>, CloudError> {
        let action = Action::CreateSnapshots(SnapshotRequest {
            instance: request.instance.clone(),
            exclude_boot_volume: !request.include_root,
            exclude_data_volumes: request.exclude.clone(),
            description: request.description.clone(),
            tags: request.tags.clone(),
        });
        match self.call(&action, false).await? {
            Reply::Snapshots(made) => Ok(made),
            other => Err(unexpected("CreateSnapshots", &other)),
        }
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<Volume, CloudError> {
        let action = Action::CreateVolume(VolumeRequest {
            zone: request.zone.clone(),
            snapshot: Some(request.snapshot.clone()),
            spec: request.spec.clone(),
            multi_attach: false,
            tags: request.tags.clone(),
            token: Some(request.token.clone()),
        });
        match self.call(&action, false).await? {
            Reply::Volumes(mut made) if made.len() == 1 => Ok(made.remove(0)),
            other => Err(unexpected("CreateVolume", &other)),
        }
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), CloudError> {
        let result = self.done(Action::DeleteVolume { volume: volume.clone() }).await;
        already(result, &["InvalidVolume.NotFound"])
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), CloudError> {
        let result = self.done(Action::DeleteSnapshot { snapshot: snapshot.clone() }).await;
        already(result, &["InvalidSnapshot.NotFound"])
    }

    async fn attach_volume(&self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Result<(), CloudError> {
        let (to, device) = (instance.clone(), device.to_owned());
        let result = self.done(Action::AttachVolume { volume: volume.clone(), instance: to, device }).await;
        let Err(error) = result else { return Ok(()) };
        // A lost reply and a second call meet this code; whether it is there already only a describe tells.
        let found = self.describe_volumes(&VolumeFilter::Ids(vec![volume.clone()])).await?;
        let there = found.iter().any(|v| v.attachments.iter().any(|a| a.instance == *instance));
        if error.code == "VolumeInUse" && there { Ok(()) } else { Err(error) }
    }

    async fn detach_volume(&self, volume: &VolumeId, instance: &InstanceId) -> Result<(), CloudError> {
        let action = Action::DetachVolume { volume: volume.clone(), instance: Some(instance.clone()) };
        already(self.done(action).await, &["IncorrectState", "InvalidAttachment.NotFound", "InvalidVolume.NotFound"])
    }

    async fn stop_instance(&self, instance: &InstanceId) -> Result<(), CloudError> {
        self.done(Action::StopInstances { instance: instance.clone() }).await
    }

    async fn start_instance(&self, instance: &InstanceId) -> Result<(), CloudError> {
        self.done(Action::StartInstances { instance: instance.clone() }).await
    }

    async fn protect_instance(
        &self,
        instance: &InstanceId,
        protection: InstanceProtection,
        on: bool,
    ) -> Result<(), CloudError> {
        let instance = instance.clone();
        self.done(match protection {
            InstanceProtection::Termination => Action::SetTerminationProtection { instance, on },
            InstanceProtection::Stop => Action::SetStopProtection { instance, on },
        })
        .await
    }

    async fn is_protected(&self, instance: &InstanceId, protection: InstanceProtection) -> Result<bool, CloudError> {
        let instance = instance.clone();
        let action = match protection {
            InstanceProtection::Termination => Action::DescribeTerminationProtection { instance },
            InstanceProtection::Stop => Action::DescribeStopProtection { instance },
        };
        Ok(self.call(&action, false).await? == Reply::Flag(true))
    }

    async fn set_delete_on_termination(
        &self,
        instance: &InstanceId,
        devices: &BTreeMap<String, bool>,
    ) -> Result<(), CloudError> {
        if devices.is_empty() {
            return Ok(());
        }
        let (instance, devices) = (instance.clone(), devices.clone());
        self.done(Action::SetDeleteOnTermination { instance, devices }).await
    }

    async fn set_standby(&self, group: &str, instance: &InstanceId, standby: bool) -> Result<(), CloudError> {
        let (group, instance) = (group.to_owned(), instance.clone());
        let result = self
            .done(if standby {
                Action::EnterStandby { group, instance }
            } else {
                Action::ExitStandby { group, instance }
            })
            .await;
        match result {
            Err(error) if error.code == "ValidationError" && error.message.contains("is not in") => Ok(()),
            other => other,
        }
    }

    async fn tag(&self, resource: &ResourceId, tags: &Tags) -> Result<(), CloudError> {
        let resource = match resource {
            ResourceId::Instance(id) => id.to_string(),
            ResourceId::Volume(id) => id.to_string(),
            ResourceId::Snapshot(id) => id.to_string(),
        };
        self.done(Action::CreateTags { resource, tags: tags.clone() }).await
    }

    async fn denied_actions(&self, instances: &[InstanceId], volumes: &[VolumeId]) -> Result<Vec<String>, CloudError> {
        let (Some(instance), Some(volume)) = (instances.first(), volumes.first()) else { return Ok(Vec::new()) };
        let mut denied = Vec::new();
        for action in probes(instance, volume) {
            if let Err(error) = self.call(&action, true).await
                && error.code == "UnauthorizedOperation"
            {
                denied.push(format!("ec2:{}", action.name()));
            }
        }
        Ok(denied)
    }
}

/// A dry run of each action the port performs.
fn probes(instance: &InstanceId, volume: &VolumeId) -> Vec<Action> {
    let request = SnapshotRequest {
        instance: instance.clone(),
        exclude_boot_volume: true,
        exclude_data_volumes: Vec::new(),
        description: String::new(),
        tags: Tags::new(),
    };
    let (instance, volume) = (instance.clone(), volume.clone());
    vec![
        Action::CreateSnapshots(request),
        Action::StopInstances { instance: instance.clone() },
        Action::StartInstances { instance: instance.clone() },
        Action::SetTerminationProtection { instance: instance.clone(), on: true },
        Action::CreateTags { resource: volume.to_string(), tags: Tags::new() },
        Action::DeleteVolume { volume },
    ]
}
