//! What `gc` looks at and what it concludes: an [`Inventory`] of all that carries a migration's name, and from it a
//! [`Collection`], which says of each thing whether it may go, and why.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::cloud::{Snapshot, Volume};
use crate::format::Format;
use crate::ids::{RunId, SnapshotId, VolumeId};
use crate::plan::Plan;
use crate::record::RunRecord;

/// Everything in cloud and cluster that carries a migration's name, at one time, with what is needed to judge it.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// The migration's name.
    pub migration: String,
    /// When it was looked at, in ms since 1970.
    pub at_ms: u64,
    /// The run record.
    pub record: RecordSeen,
    /// Volumes with the migration's tag that are not being deleted.
    pub volumes: Vec<Volume>,
    /// Snapshots with the migration's tag.
    pub snapshots: Vec<Snapshot>,
    /// Of the volumes that those snapshots captured, the ones that still exist.
    pub captured: BTreeSet<VolumeId>,
    /// Of the snapshots that those volumes were made from, the ones that exist without the migration's tag.
    pub foreign_snapshots: BTreeSet<SnapshotId>,
    /// Volumes attached to the instances that the migration file names; none without a file.
    pub members_volumes: Option<BTreeSet<VolumeId>>,
    /// The cluster; none if the user says that it is gone.
    pub cluster: Option<ClusterInventory>,
}

/// What is known of the migration's run.
#[derive(Clone, Debug)]
pub enum RecordSeen {
    /// There is none.
    None,
    /// There is one that cannot be read, for this reason.
    Unreadable(String),
    /// The newest run.
    Read(Box<(RunRecord, Plan)>),
}

/// The migration's objects in the cluster, and what their use shows by.
#[derive(Clone, Debug, Default)]
pub struct ClusterInventory {
    /// Claims with the migration's label.
    pub claims: Vec<ClaimSeen>,
    /// **All** PersistentVolumes of the cluster: a volume behind any of them is in use.
    pub persistent_volumes: Vec<PersistentVolumeSeen>,
    /// ConfigMaps with the migration's label.
    pub config_maps: Vec<ObjectId>,
    /// Leases with the migration's label.
    pub leases: Vec<ObjectId>,
    /// Names of claims that pods use, or that a set with its present replicas asks for.
    pub wanted_claims: BTreeSet<String>,
}

/// One object of the cluster, and no later one of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimSeen {
    /// Which.
    pub id: ObjectId,
    /// `Pending`, `Bound`, `Lost`.
    pub phase: String,
    /// The volume it names.
    pub volume_name: String,
    /// Whether it is being deleted.
    pub going: bool,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersistentVolumeSeen {
    /// Which.
    pub id: ObjectId,
    /// Whether it has the migration's label.
    pub ours: bool,
    /// The run that made it, by its label.
    pub run: Option<RunId>,
    /// The EBS volume behind it, if one is.
    pub handle: Option<VolumeId>,
    /// The claim it is reserved for, as `namespace/name`.
    pub claim: String,
    /// Whether it may have been bound: from then on a pod may have written to it.
    pub may_have_been_bound: bool,
    /// Whether it is being deleted, and something holds it.
    pub going: bool,
    /// Whether that very claim exists and names this volume. Told only for claims of the target namespace; others count.
    pub claimed: bool,
}

/// A thing that carries the migration's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "named after what they are")]
pub enum Thing {
    Claim(ObjectId),
    PersistentVolume(ObjectId),
    ConfigMap(ObjectId),
    Volume { id: VolumeId },
    Snapshot { id: SnapshotId },
    Lease(ObjectId),
}

impl Thing {
    /// Whether it is in the cloud, and so may be another cluster's.
    pub fn is_in_the_cloud(&self) -> bool {
        matches!(self, Self::Volume { .. } | Self::Snapshot { .. })
    }
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::Claim(object) => format!("claim {}", object.name),
            Self::PersistentVolume(object) => format!("PersistentVolume {}", object.name),
            Self::ConfigMap(object) => format!("ConfigMap {}", object.name),
            Self::Lease(object) => format!("Lease {}", object.name),
            Self::Volume { id } => format!("volume {id}"),
            Self::Snapshot { id } => format!("snapshot {id}"),
        };
        f.pad(&text)
    }
}

/// Whether a thing may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A run, a slot, or somebody else needs it.
    InUse,
    /// Nothing needs it now, but it protects something, or it cannot be told whose it is.
    Kept,
    /// Nothing needs it.
    Orphaned,
}

/// A thing and what was concluded of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Which.
    pub thing: Thing,
    /// Whether it may go.
    pub verdict: Verdict,
    /// Why: one line.
    pub why: String,
}

/// The plan of a `gc`: what is orphaned in it is deleted, in this order, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Format of the document.
    pub format: Format,
    /// The migration's name.
    pub migration: String,
    /// The target namespace; none if the cluster is gone.
    pub namespace: Option<String>,
    /// Whether a run record was seen. Without one what a pod wrote to cannot be told for certain from what none did.
    #[serde(default)]
    pub recorded: bool,
    /// Whether parked claims may go too.
    pub parked_claims: bool,
    /// When it was made, in ms since 1970.
    pub at_ms: u64,
    /// Everything that was found, in the order of deletion.
    pub found: Vec<Found>,
}

impl Collection {
    /// What may go, in the order of deletion.
    pub fn orphaned(&self) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(|found| found.verdict == Verdict::Orphaned)
    }
}
