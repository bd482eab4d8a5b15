//! The cluster's objects as the steps of a run look at them: one list for all that ask at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rehome_model::{labels, names};
use serde_json::Value;

use crate::batch::Batch;
use crate::context::StepContext;
use crate::kubernetes::{KubeError, paths, text};
use crate::limits::{ATTACHMENTS_GAP, BATCH_LINGER_MAX, BATCH_LINGER_PER_MEMBER, LIST_GAP_MAX, LIST_GAP_PER_MEMBER};

/// Objects by name.
pub(crate) type Named = Arc<BTreeMap<String, Value>>;
type List = Batch<(), Result<Named, KubeError>>;

/// Lists that are shared.
#[derive(Debug)]
pub(crate) struct Objects {
    claims: List,
    volumes: List,
    pods: List,
    attachments: List,
    gates: Batch<String, Result<Arc<BTreeMap<String, GateFound>>, KubeError>>,
}

/// A set and the ConfigMap of its gate, as they are; none of what is not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct GateFound {
    pub map: Option<Value>,
    pub set: Option<Value>,
}

impl Objects {
    /// For a run of so many members.
    pub(crate) fn new(members: usize) -> Self {
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let of = |each: Duration, most: Duration| each.saturating_mul(members).min(most);
        let (linger, gap) = (of(BATCH_LINGER_PER_MEMBER, BATCH_LINGER_MAX), of(LIST_GAP_PER_MEMBER, LIST_GAP_MAX));
        let list = || Batch::new(linger, gap);
        let attachments = Batch::new(linger, ATTACHMENTS_GAP);
        Self { claims: list(), volumes: list(), pods: list(), attachments, gates: Batch::new(linger, gap) }
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

    /// The PersistentVolumes of this migration.
    pub(crate) async fn persistent_volumes(&self) -> Result<Named, KubeError> {
        list(self, &self.shared.objects.volumes, &self.labelled(paths::VOLUMES)).await
    }

    /// A PersistentVolume; as with `claim`.
    pub(crate) async fn persistent_volume(&self, name: &str) -> Result<Option<Value>, KubeError> {
        match self.persistent_volumes().await?.get(name) {
            Some(found) => Ok(Some(found.clone())),
            None => self.kube().get(&paths::volume(name)).await,
        }
    }

    /// A set and its gate.
    pub(crate) async fn gate(&self, set: &str) -> Result<GateFound, KubeError> {
        let namespace = &self.plan().namespace;
        let send = async |sets: Vec<String>| {
            let mut found = BTreeMap::new();
            for set in BTreeSet::from_iter(sets) {
                let (map, of) = (paths::config_map(namespace, &names::gate(&set)), paths::set(namespace, &set));
                let (map, of) = futures::join!(self.kube().get(&map), self.kube().get(&of));
                found.insert(set, GateFound { map: map?, set: of? });
            }
            Ok(Arc::new(found))
        };
        let (all, _) = self.shared.objects.gates.ask(|| set.to_owned(), send).await;
        Ok(all?.get(set).cloned().unwrap_or_default())
    }

    /// The VolumeAttachments of the cluster: they have no labels.
    pub(crate) async fn attachments(&self) -> Result<Named, KubeError> {
        list(self, &self.shared.objects.attachments, paths::ATTACHMENTS).await
    }

    /// The pods of the namespace.
    pub(crate) async fn pods(&self) -> Result<Named, KubeError> {
        list(self, &self.shared.objects.pods, &paths::pods(&self.plan().namespace)).await
    }
}
