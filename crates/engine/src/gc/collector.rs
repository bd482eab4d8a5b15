//! Looking and deleting, as a whole.

use std::sync::Arc;

use rehome_model::collection::{Collection, Thing};
use rehome_model::migration::MemberSelector;
use rehome_model::names;
use rehome_ports::{Cloud, CloudError};
use serde::Serialize;
use thiserror::Error;

use super::{look, removal};
use crate::account::OtherAccount;
use crate::clock::Clock;
use crate::error::StepError;
use crate::kubernetes::{Kube, KubeError, paths, uid};
use crate::lease::{Lease, LeaseError};
use crate::store::StoreError;

/// What is looked for, and what the user allows.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The migration's name.
    pub migration: String,
    /// The target namespace.
    pub namespace: String,
    /// The members by the migration file: their volumes tell this migration from one of the same name elsewhere.
    pub members: Option<MemberSelector>,
    /// Whether parked claims may go too.
    pub parked_claims: bool,
}

/// Why nothing was looked at, or nothing more was deleted.
#[derive(Debug, Error)]
pub enum GcError {
    /// The cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The credentials are of another account or region than the recorded run.
    #[error(transparent)]
    Account(#[from] OtherAccount),
    /// Cloud did not tell whose they are.
    #[error("it cannot be told {0}")]
    Unknown(String),
    /// The cluster.
    #[error(transparent)]
    Kube(#[from] KubeError),
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody drives this migration now.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The lease was lost meanwhile.
    #[error("{0}")]
    Lost(StepError),
}

/// How one deletion ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is gone.
    Deleted,
    /// It was left in place, for this reason.
    Left(String),
}

/// A thing that the list called orphaned, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Which.
    pub thing: Thing,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a list.
#[derive(Debug)]
pub struct Deletion {
    /// What was tried, in the order of the list.
    pub removed: Vec<Removal>,
    /// Why the rest was not tried, if it was not. What was tried last may be gone or not.
    pub stopped: Option<GcError>,
}

/// Collects what a migration's runs left.
pub struct Collector {
    /// The cloud.
    pub cloud: Arc<dyn Cloud>,
    /// The target cluster; none if the user says that it is gone.
    pub kube: Option<kube::Client>,
    /// Its clock.
    pub clock: Clock,
    /// Its own name, unlike every driver's.
    pub holder: String,
    /// What is looked for.
    pub scope: Scope,
}

impl Collector {
    pub(super) fn kube(&self) -> Option<Kube> {
        self.kube.clone().map(Kube::new)
    }

    /// What there is, and what of it may go. Changes nothing.
    pub async fn look(&self) -> Result<Collection, GcError> {
        let seen = look::inventory(self).await?;
        let collection = rehome_planner::collect(&seen, self.scope.parked_claims);
        Ok(Collection { namespace: self.kube.is_some().then(|| self.scope.namespace.clone()), ..collection })
    }

    /// Deletes what the list calls orphaned, as far as a fresh look agrees, and nothing else. An error says that nothing was
    /// deleted.
    pub async fn delete(&self, shown: &Collection) -> Result<Deletion, GcError> {
        let Some(kube) = self.kube() else { return removal::remove_all(self, shown, None).await };
        // A namespace that is gone has no lease to take, and no driver either: its record would be in it.
        if kube.get(&paths::namespace(&self.scope.namespace)).await?.is_none() {
            return removal::remove_all(self, shown, None).await;
        }
        let path = paths::lease(&self.scope.namespace, &names::record(&self.scope.migration));
        let leased_before = kube.get(&path).await?.is_some();
        let lease = Lease::new(kube.clone(), &self.scope.namespace, &self.scope.migration, &self.holder, self.clock);
        lease.acquire().await?;
        let deletion = tokio::select! {
            deletion = removal::remove_all(self, shown, Some(&lease)) => deletion,
            () = async { lease.keep().await; std::future::pending::<()>().await } => unreachable!("pending"),
        };
        let listed = shown.orphaned().any(|found| matches!(found.thing, Thing::Lease(_)));
        let is_gone = |one: &Removal| one.outcome == Outcome::Deleted;
        let others_gone =
            deletion.as_ref().is_ok_and(|deletion| deletion.stopped.is_none() && deletion.removed.iter().all(is_gone));
        if listed && others_gone || !leased_before {
            // It is over by itself soon; what was deleted is what the caller must be told.
            if let Err(error) = self.drop_lease(&kube, &path).await {
                tracing::warn!(%error, path, "the lease was not deleted");
            }
        } else {
            lease.release().await;
        }
        deletion
    }

    /// Takes the lease away that this collector holds.
    async fn drop_lease(&self, kube: &Kube, path: &str) -> Result<(), GcError> {
        if let Some(object) = kube.get(path).await?
            && object["spec"]["holderIdentity"] == self.holder.as_str()
        {
            kube.delete(path, uid(&object)).await?;
        }
        Ok(())
    }
}
