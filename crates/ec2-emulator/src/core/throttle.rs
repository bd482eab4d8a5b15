//! Token buckets per API family: capacity, and refill a second, per account and region (EC2 API developer guide, "Request
//! throttling").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{Action, Service};

use super::timing::Millis;

/// Families of actions that share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named after what they hold")]
pub enum Family {
    Describe,
    /// Describes of all instances, volumes or snapshots, without filter and page.
    DescribeAll,
    Mutate,
    RunInstances,
    CreateSnapshot,
    CreateSnapshots,
    CreateVolume,
    DeleteVolume,
    DeleteSnapshot,
    Tags,
    StartInstances,
    TerminateInstances,
    AutoScaling,
    Sts,
}

impl Family {
    /// Capacity, and refill a second.
    pub fn bucket(self) -> (u64, u64) {
        match self {
            Self::Describe => (100, 20),
            Self::DescribeAll => (50, 10),
            Self::Mutate => (50, 5),
            Self::RunInstances | Self::StartInstances => (5, 2),
            Self::CreateSnapshot
            | Self::CreateSnapshots
            | Self::CreateVolume
            | Self::DeleteVolume
            | Self::DeleteSnapshot
            | Self::TerminateInstances => (100, 5),
            Self::Tags | Self::AutoScaling => (100, 10),
            Self::Sts => (600, 600),
        }
    }

    /// The family of a call.
    pub fn of(action: &Action) -> Self {
        match action.service() {
            Service::AutoScaling => return Self::AutoScaling,
            Service::Sts => return Self::Sts,
            Service::Ec2 | Service::Ssm => {}
        }
        match action {
            Action::CreateSnapshot(_) => Self::CreateSnapshot,
            Action::CreateSnapshots(_) => Self::CreateSnapshots,
            Action::CreateVolume(_) => Self::CreateVolume,
            Action::DeleteVolume(_) => Self::DeleteVolume,
            Action::DeleteSnapshot(_) => Self::DeleteSnapshot,
            Action::CreateTags(_) | Action::DeleteTags(_) => Self::Tags,
            Action::RunInstances(_) => Self::RunInstances,
            Action::StartInstances(_) => Self::StartInstances,
            Action::TerminateInstances(_) => Self::TerminateInstances,
            Action::DescribeInstances(by) | Action::DescribeVolumes(by)
                if by.ids.is_empty() && by.filters.is_empty() && by.page.max_results.is_none() =>
            {
                Self::DescribeAll
            }
            Action::DescribeSnapshots(by)
                if by.ids.is_empty() && by.filters.is_empty() && by.page.max_results.is_none() =>
            {
                Self::DescribeAll
            }
            read if read.is_read() => Self::Describe,
            _ => Self::Mutate,
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
        // `refill` tokens a second are `refill` thousandths a millisecond.
        let level = (level + now.saturating_sub(at) * refill).min(capacity * WHOLE);
        let taken = level >= WHOLE;
        self.levels.insert(family, (if taken { level - WHOLE } else { level }, now));
        taken
    }
}
