//! What is to happen, and when.

use std::collections::BTreeSet;

use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use serde::{Deserialize, Serialize};

use super::timing::Millis;

/// Something that happens by itself. Each is checked against the object when it comes up: what was overtaken by a later
/// call is dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Event {
    VolumeReady(VolumeId),
    AttachmentDue(VolumeId, InstanceId),
    ForcedDetachDue(VolumeId, InstanceId),
    ModificationDue(VolumeId),
    SnapshotDone(SnapshotId),
    InstanceDue(InstanceId),
    ForgetInstance(InstanceId),
    LifecycleDue(String, InstanceId),
    MemberUnhealthy(String, InstanceId),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    at: Millis,
    // Two events of one instant happen in the order they were planned.
    sequence: u64,
    event: Event,
}

/// Events to come, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Schedule {
    entries: BTreeSet<Entry>,
    sequence: u64,
}

impl Schedule {
    pub(crate) fn plan(&mut self, at: Millis, event: Event) {
        self.sequence += 1;
        self.entries.insert(Entry { at, sequence: self.sequence, event });
    }

    /// The next event that is due by `now`.
    pub(crate) fn due(&mut self, now: Millis) -> Option<(Millis, Event)> {
        if self.entries.first()?.at > now {
            return None;
        }
        self.entries.pop_first().map(|entry| (entry.at, entry.event))
    }

    /// When the next event is due.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.entries.first().map(|entry| entry.at)
    }
}
