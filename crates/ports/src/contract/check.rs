//! The words checks are written in.

use std::fmt::Debug;

use rehome_model::cloud::{Instance, Snapshot, Tags, Volume};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};

use super::world::CloudWorld;
use crate::cloud::{Cloud, CreateSnapshots, InstanceFilter, SnapshotFilter, VolumeFilter};
use crate::error::CloudError;

/// Why a promise is taken for broken.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl From<CloudError> for Broken {
    fn from(error: CloudError) -> Self {
        Self(format!("unexpected error {error}"))
    }
}

pub(super) type Checked<T = ()> = Result<T, Broken>;

/// The cloud under test and the world behind it.
#[derive(Clone, Copy)]
pub(super) struct Under<'a> {
    pub(super) cloud: &'a dyn Cloud,
    pub(super) world: &'a dyn CloudWorld,
}

impl Under<'_> {
    /// The one instance of this id.
    pub(super) async fn instance(&self, id: &InstanceId) -> Checked<Instance> {
        only(self.cloud.describe_instances(&InstanceFilter::Ids(vec![id.clone()])).await?)
    }

    /// The one volume of this id.
    pub(super) async fn volume(&self, id: &VolumeId) -> Checked<Volume> {
        only(self.cloud.describe_volumes(&VolumeFilter::Ids(vec![id.clone()])).await?)
    }

    /// The one snapshot of this id.
    pub(super) async fn snapshot(&self, id: &SnapshotId) -> Checked<Snapshot> {
        only(self.cloud.describe_snapshots(&SnapshotFilter::Ids(vec![id.clone()])).await?)
    }

    /// A completed snapshot of a 2 GiB volume, and its instance.
    pub(super) async fn completed_snapshot(&self) -> Checked<(Instance, Snapshot)> {
        let instance = self.world.instance(&Tags::new()).await;
        self.world.volume(&instance, "/dev/xvdf", 2).await;
        let made = only(self.cloud.create_snapshots(&capture(&instance, "base")).await?)?;
        self.world.settle().await;
        Ok((self.instance(&instance).await?, self.snapshot(&made.id).await?))
    }
}

/// All data volumes of an instance, tagged with a step.
pub(super) fn capture(instance: &InstanceId, step: &str) -> CreateSnapshots {
    CreateSnapshots {
        instance: instance.clone(),
        exclude: Vec::new(),
        include_root: false,
        description: "contract".to_owned(),
        tags: tags(&[("step", step)]),
    }
}

/// A tag set.
pub(super) fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A value that no other check of this world has used: made from an id.
pub(super) fn unique(name: &str, id: impl AsRef<str>) -> String {
    format!("{name}-{}", id.as_ref())
}

/// The one element.
pub(super) fn only<T: Debug>(mut found: Vec<T>) -> Checked<T> {
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (one, _) => Err(Broken(format!("not exactly one: {one:?} {found:?}"))),
    }
}

/// Both are equal.
pub(super) fn same<T: Debug + PartialEq>(what: &str, found: &T, expected: &T) -> Checked {
    if found == expected { Ok(()) } else { Err(Broken(format!("{what} is {found:?}, not {expected:?}"))) }
}

/// It is so.
pub(super) fn holds(so: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if so { Ok(()) } else { Err(Broken(otherwise())) }
}

/// The call fails with this code; its error.
pub(super) fn fails<T: Debug>(code: &str, result: Result<T, CloudError>) -> Checked<CloudError> {
    match result {
        Err(error) if error.code == code => Ok(error),
        other => Err(Broken(format!("expected {code}, got {other:?}"))),
    }
}
