//! Token buckets per API family (facts A6: capacity, refill a second; per account and region).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::timing::Millis;

/// Families of actions that share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named after what they hold")]
pub enum Family {
    Describe,
    Mutate,
    CreateSnapshots,
    CreateVolume,
    DeleteVolume,
    DeleteSnapshot,
    Tags,
    StartInstances,
    TerminateInstances,
}

impl Family {
    /// Capacity, and refill a second.
    pub fn bucket(self) -> (u64, u64) {
        match self {
            Self::Describe => (100, 20),
            Self::Mutate => (50, 5),
            Self::CreateSnapshots
            | Self::CreateVolume
            | Self::DeleteVolume
            | Self::DeleteSnapshot
            | Self::TerminateInstances => (100, 5),
            Self::Tags => (100, 10),
            Self::StartInstances => (5, 2),
        }
    }
}

/// How full the buckets are, in thousandths of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buckets {
    levels: BTreeMap<Family, (u64, Millis)>,
}

impl Buckets {
    /// Takes a token; false if there is none.
    pub(crate) fn take(&mut self, family: Family, now: Millis) -> bool {
        const WHOLE: u64 = 1_000;
        let (capacity, refill) = family.bucket();
        let (level, at) = self.levels.get(&family).copied().unwrap_or((capacity * WHOLE, now));
        // refill tokens a second are refill thousandths a millisecond.
        let level = (level + now.saturating_sub(at) * refill).min(capacity * WHOLE);
        let taken = level >= WHOLE;
        self.levels.insert(family, (if taken { level - WHOLE } else { level }, now));
        taken
    }
}
