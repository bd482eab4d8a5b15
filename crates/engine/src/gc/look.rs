//! The inventory: everything that carries the migration's name.

use std::collections::BTreeSet;

use rehome_model::cloud::{Instance, Snapshot, Tags, Volume, VolumeState};
use rehome_model::collection::{Inventory, RecordSeen};
use rehome_model::ids::{SnapshotId, VolumeId};
use rehome_model::labels;
use rehome_model::migration::MemberSelector;
use rehome_ports::{Cloud, CloudError, InstanceFilter, SnapshotFilter, VolumeFilter};

use super::cluster;
use super::collector::{Collector, GcError};
use crate::account::{self, Mismatch};
use crate::kubernetes::Kube;
use crate::store::{RecordStore, StoreError};

/// Looks at cloud and cluster. The cluster first: what a driver makes between the two looks is then seen in the cloud
/// only, where the judgement of things without a PersistentVolume is made again before each deletion.
pub(super) async fn inventory(of: &Collector) -> Result<Inventory, GcError> {
    let scope = &of.scope;
    let (record, cluster) = match of.kube() {
        Some(kube) => {
            let record = record(kube.clone(), &scope.namespace, &scope.migration).await?;
            (record, Some(cluster::look(&kube, &scope.namespace, &scope.migration).await?))
        }
        None => (RecordSeen::None, None),
    };
    let cloud = of.cloud.as_ref();
    // In another account nothing is seen of what the run made, and its record would go as one of nothing.
    if let RecordSeen::Read(read) = &record {
        account::compare(cloud, &read.1).await.map_err(|mismatch| match mismatch {
            Mismatch::Other(other) => GcError::Account(other),
            Mismatch::Unknown(why) => GcError::Unknown(why),
        })?;
    }
    let tags = Tags::from([(labels::MIGRATION.to_owned(), scope.migration.clone())]);
    let mut volumes = cloud.describe_volumes(&VolumeFilter::Tags(tags.clone())).await?;
    volumes.retain(stays);
    let snapshots = cloud.describe_snapshots(&SnapshotFilter::Tags(tags)).await?;
    let members_volumes = match &scope.members {
        Some(selector) => Some(members_volumes(cloud, selector).await?),
        None => None,
    };
    Ok(Inventory {
        captured: captured(cloud, &snapshots).await?,
        foreign_snapshots: foreign(cloud, &volumes, &snapshots).await?,
        migration: scope.migration.clone(),
        at_ms: of.clock.now_ms(),
        record,
        volumes,
        snapshots,
        members_volumes,
        cluster,
    })
}

/// Whether a volume is there, and not on its way out.
pub(super) fn stays(volume: &Volume) -> bool {
    !matches!(volume.state, VolumeState::Deleted | VolumeState::Deleting)
}

async fn record(kube: Kube, namespace: &str, migration: &str) -> Result<RecordSeen, GcError> {
    match RecordStore::new(kube, namespace, migration).load().await {
        Ok(Some(read)) => Ok(RecordSeen::Read(Box::new(read))),
        Ok(None) => Ok(RecordSeen::None),
        Err(
            error @ (StoreError::Damaged { .. }
            | StoreError::Changed { .. }
            | StoreError::Stranger { .. }
            | StoreError::Format(_)),
        ) => Ok(RecordSeen::Unreadable(error.to_string())),
        // The second is of writing only; here it could be no more than a failed look.
        Err(error @ (StoreError::Kube(_) | StoreError::NotOurs(_))) => Err(error.into()),
    }
}

/// Of the volumes that the snapshots captured, those that exist.
async fn captured(cloud: &dyn Cloud, snapshots: &[Snapshot]) -> Result<BTreeSet<VolumeId>, CloudError> {
    let ids: BTreeSet<VolumeId> = snapshots.iter().map(|snapshot| snapshot.volume.clone()).collect();
    if ids.is_empty() {
        return Ok(ids);
    }
    let found = cloud.describe_volumes(&VolumeFilter::Ids(ids.into_iter().collect())).await?;
    Ok(found.into_iter().filter(stays).map(|volume| volume.id).collect())
}

/// Of the snapshots that the volumes were made from, those that exist and do not carry the migration's name.
async fn foreign(
    cloud: &dyn Cloud,
    volumes: &[Volume],
    snapshots: &[Snapshot],
) -> Result<BTreeSet<SnapshotId>, CloudError> {
    let ours = |id: &SnapshotId| snapshots.iter().any(|snapshot| snapshot.id == *id);
    let ids: BTreeSet<SnapshotId> =
        volumes.iter().filter_map(|volume| volume.snapshot.clone()).filter(|id| !ours(id)).collect();
    if ids.is_empty() {
        return Ok(ids);
    }
    let found = cloud.describe_snapshots(&SnapshotFilter::Ids(ids.into_iter().collect())).await?;
    Ok(found.into_iter().map(|snapshot| snapshot.id).collect())
}

/// The volumes of the members that the migration file names, as far as those instances are still shown.
async fn members_volumes(cloud: &dyn Cloud, selector: &MemberSelector) -> Result<BTreeSet<VolumeId>, CloudError> {
    let mut instances: Vec<Instance> = Vec::new();
    match selector {
        MemberSelector::Tags(tags) => {
            instances.extend(cloud.describe_instances(&InstanceFilter::Tags(tags.clone())).await?);
        }
        MemberSelector::AutoScalingGroup(group) => {
            instances.extend(cloud.describe_instances(&InstanceFilter::AutoScalingGroup(group.clone())).await?);
        }
        // Some may be terminated and forgotten.
        MemberSelector::InstanceIds(ids) => instances.extend(cloud.describe_instances_alone(ids).await?),
    }
    Ok(instances.into_iter().flat_map(|instance| instance.block_devices).map(|device| device.volume).collect())
}
