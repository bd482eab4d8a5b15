//! The cluster's objects as the steps of a run look at them: one list for all that ask at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rehome_model::labels;
use serde_json::Value;

use crate::batch::Batch;
use crate::context::StepContext;
use crate::kubernetes::{KubeError, paths, text};
use crate::limits::{BATCH_LINGER_MAX, BATCH_LINGER_PER_MEMBER, LIST_GAP_MAX, LIST_GAP_PER_MEMBER};

/// Objects by name.
pub(crate) type Named = Arc<BTreeMap<String, Value>>;
type List = Batch<(), Result<Named, KubeError>>;

/// Lists that are shared.
#[derive(Debug)]
pub(crate) struct Objects {
    claims: List,
    volumes: List,
    pods: List,
}

impl Objects {
    /// For a run of so many members.
    pub(crate) fn new(members: usize) -> Self {
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let of = |each: Duration, most: Duration| each.saturating_mul(members).min(most);
        let list = || {
            let gap = of(LIST_GAP_PER_MEMBER, LIST_GAP_MAX);
            Batch::new(of(BATCH_LINGER_PER_MEMBER, BATCH_LINGER_MAX), gap)
        };
        Self { claims: list(), volumes: list(), pods: list() }
    }
}

async fn list(context: &StepContext, batch: &List, path: &str) -> Result<Named, KubeError> {
    let send = async |_| {
        let objects = context.kube().list(path).await?;
        let named = objects.into_iter().map(|object| (text(&object, "/metadata/name").to_owned(), object));
        Ok(Arc::new(named.collect()))
    };
    batch.ask(|| (), send).await.0
}

impl StepContext {
    fn labelled(&self, path: &str) -> String {
        // The key's slash must not be taken for one of the path.
        let key = labels::MIGRATION.replace('/', "%2F");
        format!("{path}?labelSelector={key}%3D{}", self.plan().migration)
    }

    /// The claims of this migration.
    pub(crate) async fn claims(&self) -> Result<Named, KubeError> {
        let path = self.labelled(&paths::claims(&self.plan().namespace));
        list(self, &self.shared.objects.claims, &path).await
    }

    /// A claim. One that is not among this migration's is asked for by name: it may be somebody else's.
    pub(crate) async fn claim(&self, name: &str) -> Result<Option<Value>, KubeError> {
        match self.claims().await?.get(name) {
            Some(found) => Ok(Some(found.clone())),
            None => self.kube().get(&paths::claim(&self.plan().namespace, name)).await,
        }
    }

    /// A PersistentVolume; as with `claim`.
    pub(crate) async fn persistent_volume(&self, name: &str) -> Result<Option<Value>, KubeError> {
        let path = self.labelled(paths::VOLUMES);
        match list(self, &self.shared.objects.volumes, &path).await?.get(name) {
            Some(found) => Ok(Some(found.clone())),
            None => self.kube().get(&paths::volume(name)).await,
        }
    }

    /// The pods of the namespace.
    pub(crate) async fn pods(&self) -> Result<Named, KubeError> {
        list(self, &self.shared.objects.pods, &paths::pods(&self.plan().namespace)).await
    }
}
