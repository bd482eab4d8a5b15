//! One deletion after another, each after a look of its own.

use std::time::Duration;

use rehome_model::collection::{Collection, Inventory, ObjectId, Thing, Verdict};
use rehome_model::ids::{SnapshotId, VolumeId};
use rehome_model::labels;
use rehome_ports::{ErrorClass, SnapshotFilter, VolumeFilter};
use tokio::time::Instant;

use super::cluster;
use super::collector::{Collector, Deletion, GcError, Outcome, Removal};
use super::look;
use crate::kubernetes::{Kube, label, paths, uid};
use crate::lease::Lease;
use crate::limits::{POLL, POLL_MAX};

/// How long one thing may take to go.
const REMOVE: Duration = Duration::from_secs(120);

/// What a look at one thing found.
enum Look {
    /// It is there.
    There,
    /// It is there and being deleted.
    Going,
    /// It is not there.
    Gone,
    /// It does not carry the migration's name any more.
    Another,
}

/// Deletes what is orphaned in the list and in a fresh inventory. What another hand took away meanwhile counts as
/// deleted. The lease is left to the caller. An error is one from before the first deletion was sent; one that comes later is
/// part of the answer.
pub(super) async fn remove_all(of: &Collector, shown: &Collection, lease: Option<&Lease>) -> Result<Deletion, GcError> {
    let mut work = Work { of, kube: of.kube(), seen: look::inventory(of).await?, lease, sent: false };
    let mut removed = Vec::new();
    for found in shown.orphaned().filter(|found| !matches!(found.thing, Thing::Lease(_))) {
        let thing = found.thing.clone();
        match work.remove(&thing).await {
            Ok(outcome) => removed.push(Removal { thing, outcome }),
            Err(error) if work.sent => {
                removed.push(Removal { thing, outcome: Outcome::Left(error.to_string()) });
                return Ok(Deletion { removed, stopped: Some(error) });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Deletion { removed, stopped: None })
}

struct Work<'a> {
    of: &'a Collector,
    kube: Option<Kube>,
    seen: Inventory,
    lease: Option<&'a Lease>,
    /// Whether a deletion was sent.
    sent: bool,
}

impl Work<'_> {
    /// Looks, judges, deletes, and looks until it is gone. Errors that may pass are tried again; an error that will not
    /// leaves the thing in place, and the others have their turn.
    async fn remove(&mut self, thing: &Thing) -> Result<Outcome, GcError> {
        let until = Instant::now() + REMOVE;
        let mut pause = POLL;
        let mut last = "it is still there".to_owned();
        loop {
            match self.look(thing).await {
                Ok(Look::Gone) => return Ok(Outcome::Deleted),
                Ok(Look::Going) => {}
                Ok(Look::Another) => return Ok(Outcome::Left("it lost the migration's label".to_owned())),
                Ok(Look::There) => {
                    let (verdict, why) = rehome_planner::judge(&self.seen, self.of.scope.parked_claims, thing);
                    if verdict != Verdict::Orphaned {
                        return Ok(Outcome::Left(why));
                    }
                    self.lease.map_or(Ok(()), Lease::check).map_err(GcError::Lost)?;
                    self.sent = true;
                    match self.send(thing).await {
                        Ok(()) => {}
                        Err(error) if may_pass(&error) => last = error.to_string(),
                        Err(error) => return Ok(Outcome::Left(error.to_string())),
                    }
                }
                Err(error) if may_pass(&error) => last = error.to_string(),
                Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                return Ok(Outcome::Left(last));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Brings what is known of one thing, and of what could need it, up to the present.
    async fn look(&mut self, thing: &Thing) -> Result<Look, GcError> {
        self.seen.at_ms = self.of.clock.now_ms();
        match thing {
            Thing::Volume { id } => self.look_at_volume(id).await,
            Thing::Snapshot { id } => self.look_at_snapshot(id).await,
            Thing::Claim(object) | Thing::PersistentVolume(object) => {
                let seen = self.look_at_object(thing, object).await?;
                if let (Some(kube), Look::There) = (&self.kube, &seen) {
                    let scope = &self.of.scope;
                    self.seen.cluster = Some(cluster::look(kube, &scope.namespace, &scope.migration).await?);
                }
                Ok(seen)
            }
            Thing::ConfigMap(object) | Thing::Lease(object) => self.look_at_object(thing, object).await,
        }
    }

    async fn look_at_volume(&mut self, id: &VolumeId) -> Result<Look, GcError> {
        let scope = &self.of.scope;
        if let (Some(kube), Some(cluster)) = (&self.kube, &mut self.seen.cluster) {
            cluster.persistent_volumes = cluster::persistent_volumes(kube, &scope.namespace, &scope.migration).await?;
        }
        // The volume last: it is the nearest to the act.
        let found = self.of.cloud.describe_volumes(&VolumeFilter::Ids(vec![id.clone()])).await?;
        self.seen.volumes.retain(|volume| volume.id != *id);
        let Some(volume) = found.into_iter().find(|volume| volume.id == *id) else { return Ok(Look::Gone) };
        if !look::stays(&volume) {
            return Ok(Look::Gone);
        }
        self.seen.volumes.push(volume);
        Ok(Look::There)
    }

    async fn look_at_snapshot(&mut self, id: &SnapshotId) -> Result<Look, GcError> {
        let from = |volume: &&rehome_model::cloud::Volume| volume.snapshot.as_ref() == Some(id);
        let made: Vec<VolumeId> = self.seen.volumes.iter().filter(from).map(|volume| volume.id.clone()).collect();
        for volume in made {
            self.look_at_volume(&volume).await?;
        }
        let found = self.of.cloud.describe_snapshots(&SnapshotFilter::Ids(vec![id.clone()])).await?;
        self.seen.snapshots.retain(|snapshot| snapshot.id != *id);
        let Some(snapshot) = found.into_iter().find(|snapshot| snapshot.id == *id) else { return Ok(Look::Gone) };
        self.seen.snapshots.push(snapshot);
        Ok(Look::There)
    }

    /// An object of the cluster: this very one, and still ours.
    async fn look_at_object(&mut self, thing: &Thing, object: &ObjectId) -> Result<Look, GcError> {
        let Some(kube) = &self.kube else { return Ok(Look::Gone) };
        let found = kube.get(&path(&self.of.scope.namespace, thing)).await?.filter(|found| uid(found) == object.uid);
        if found.is_none()
            && let Some(cluster) = &mut self.seen.cluster
        {
            cluster.claims.retain(|claim| claim.id != *object);
            cluster.persistent_volumes.retain(|volume| volume.id != *object);
            cluster.config_maps.retain(|found| found != object);
        }
        Ok(match found {
            None => Look::Gone,
            Some(found) if label(&found, labels::MIGRATION) != Some(&self.of.scope.migration) => Look::Another,
            Some(found) if !found["metadata"]["deletionTimestamp"].is_null() => Look::Going,
            Some(_) => Look::There,
        })
    }

    async fn send(&self, thing: &Thing) -> Result<(), GcError> {
        match thing {
            Thing::Volume { id } => Ok(self.of.cloud.delete_volume(id).await?),
            Thing::Snapshot { id } => Ok(self.of.cloud.delete_snapshot(id).await?),
            Thing::Claim(object)
            | Thing::PersistentVolume(object)
            | Thing::ConfigMap(object)
            | Thing::Lease(object) => match &self.kube {
                Some(kube) => Ok(kube.delete(&path(&self.of.scope.namespace, thing), &object.uid).await?),
                None => Ok(()),
            },
        }
    }
}

fn may_pass(error: &GcError) -> bool {
    match error {
        GcError::Cloud(error) => matches!(error.class(), ErrorClass::Retry | ErrorClass::Wait | ErrorClass::NotFound),
        GcError::Kube(error) => !error.is_final(),
        GcError::Account(_) | GcError::Unknown(_) | GcError::Store(_) | GcError::Lease(_) | GcError::Lost(_) => false,
    }
}

fn path(namespace: &str, thing: &Thing) -> String {
    match thing {
        Thing::Claim(object) => paths::claim(namespace, &object.name),
        Thing::PersistentVolume(object) => paths::volume(&object.name),
        Thing::ConfigMap(object) => paths::config_map(namespace, &object.name),
        Thing::Lease(object) => paths::lease(namespace, &object.name),
        // Not of the cluster.
        Thing::Volume { .. } | Thing::Snapshot { .. } => String::new(),
    }
}
