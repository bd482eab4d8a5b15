//! What the steps of one run share towards the cloud.

use std::sync::Arc;
use std::time::Duration;

use rehome_model::cloud::{Instance, Snapshot, Tags, Volume};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use rehome_ports::{CloudError, ResourceId};

use super::pace::Waits;
use super::quota::Quota;
use crate::batch::Batch;
use crate::limits::{BATCH_GAP_MAX, BATCH_GAP_PER_MEMBER, BATCH_LINGER_MAX, BATCH_LINGER_PER_MEMBER};

/// A look: many ids, one list.
pub(super) type Look<I, T> = Batch<Vec<I>, Result<Arc<Vec<T>>, CloudError>>;

/// What became of tagging, by what was tagged with.
type Tagged = Vec<(Tags, Result<(), CloudError>)>;

/// Limits, looks and acts that are shared.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(super) quota: Quota,
    pub(crate) waits: Waits,
    pub(super) instances: Look<InstanceId, Instance>,
    /// With their Auto Scaling membership.
    pub(super) memberships: Look<InstanceId, Instance>,
    pub(super) volumes: Look<VolumeId, Volume>,
    pub(super) snapshots: Look<SnapshotId, Snapshot>,
    pub(super) tags: Batch<(ResourceId, Tags), Tagged>,
    pub(super) stops: Batch<InstanceId, Result<(), CloudError>>,
}

impl Desk {
    /// For a run of so many members that keeps to `percent` of the account's limits. Few members are answered almost at
    /// once; of many, a call that waits a little is worth tens of others.
    pub(crate) fn new(members: usize, percent: u8) -> Self {
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let of = |each: Duration, most: Duration| each.saturating_mul(members).min(most);
        let linger = of(BATCH_LINGER_PER_MEMBER, BATCH_LINGER_MAX);
        let gap = of(BATCH_GAP_PER_MEMBER, BATCH_GAP_MAX);
        Self {
            quota: Quota::new(percent),
            waits: Waits::default(),
            instances: Batch::new(linger, gap),
            memberships: Batch::new(linger, gap),
            volumes: Batch::new(linger, gap),
            snapshots: Batch::new(linger, gap),
            tags: Batch::new(linger, gap),
            stops: Batch::new(linger, gap),
        }
    }
}
