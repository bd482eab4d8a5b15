//! How an emulator is set up.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::ids::Zone;
use serde::{Deserialize, Serialize};

use super::timing::Timing;

/// How an emulator is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Ids and spreads are made from it.
    pub seed: u64,
    /// Account.
    pub account: String,
    /// Region.
    pub region: String,
    /// Its zones.
    pub zones: Vec<Zone>,
    /// Delays.
    pub timing: Timing,
    /// Limits.
    pub limits: Limits,
    /// How late describes are.
    pub consistency: Consistency,
    /// Actions that every caller is denied, for tests of missing permissions; `*` is all of them.
    pub denied: BTreeSet<String>,
    /// Actions that one caller is denied, by caller's name.
    pub denied_to: BTreeMap<String, BTreeSet<String>>,
    /// Whether volumes are encrypted that nobody asked to be (EBS user guide, "Enable Amazon EBS encryption by default").
    pub encrypts_by_default: bool,
    /// The key of encrypted volumes for which none was named; none is the one that AWS manages.
    pub default_key: Option<String>,
    /// Keys that cannot be used: volumes and snapshot copies under them fail after they were accepted (EC2 checks KMS
    /// asynchronously).
    pub bad_keys: BTreeSet<String>,
}

impl Default for Config {
    fn default() -> Self {
        let region = "us-east-1".to_owned();
        Self {
            seed: 1,
            account: "123456789012".to_owned(),
            zones: ["a", "b", "c"].iter().map(|zone| Zone(format!("{region}{zone}"))).collect(),
            region,
            timing: Timing::default(),
            limits: Limits::default(),
            consistency: Consistency::default(),
            denied: BTreeSet::new(),
            denied_to: BTreeMap::new(),
            encrypts_by_default: false,
            default_key: None,
            bad_keys: BTreeSet::new(),
        }
    }
}

impl Config {
    /// Every change is over at once and shown at once, and nothing is throttled: for tests of rules, not of time. Rates
    /// and limits that are rules stay.
    pub fn immediate() -> Self {
        let rules = Timing::default();
        let timing = Timing { snapshot_interval_ms: rules.snapshot_interval_ms, ..rules.scaled(0.0).exact() };
        let limits = Limits { throttling: false, ..Limits::default() };
        Self { timing, limits, consistency: Consistency::strong(), ..Self::default() }
    }

    /// Whether a caller may not do this.
    pub(crate) fn denies(&self, caller: &str, action: &str) -> bool {
        let listed = |set: &BTreeSet<String>| set.contains(action) || set.contains("*");
        listed(&self.denied) || self.denied_to.get(caller).is_some_and(listed)
    }
}

/// What the account allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Volumes in the region (`VolumeLimitExceeded`).
    pub volumes: usize,
    /// GiB of volumes of one type in the region (`VolumeLimitExceeded`; EBS quotas: 50 TiB by default).
    pub storage_gib_per_type: u64,
    /// Pending snapshots of one volume; st1 and sc1 have 1 whatever this says (EBS quotas: 5).
    pub pending_snapshots_per_volume: usize,
    /// Volumes attached to one instance, where that is less than its type's own limit.
    pub attachments_per_instance: usize,
    /// MiB/s of VolumeInitializationRate over all volumes that initialise (EBS quotas: 5,000).
    pub initialization_rate: u64,
    /// How long a token stays burned after its volume failed or was deleted (EBS CSI driver's measurement: about 12 h).
    pub burned_token_ms: u64,
    /// Modifications of one volume in 24 h (ModifyVolume: four).
    pub modifications_per_day: usize,
    /// Whether CopyVolumes takes unencrypted volumes (its first version did not).
    pub copy_unencrypted: bool,
    /// Whether volumes that fail after they were accepted vanish, or stay in state `error`. EC2 does either.
    pub failed_volumes_vanish: bool,
    /// Whether calls are throttled by token buckets.
    pub throttling: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            volumes: 10_000,
            storage_gib_per_type: 1024 * 1024,
            pending_snapshots_per_volume: 5,
            attachments_per_instance: 128,
            initialization_rate: 5_000,
            burned_token_ms: 12 * 3_600_000,
            modifications_per_day: 4,
            copy_unencrypted: true,
            failed_volumes_vanish: false,
            throttling: true,
        }
    }
}

/// Eventual consistency: how late describes show a change (EC2 API developer guide, "Eventual consistency").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Consistency {
    /// A change shows after up to so long, by object and change: until then describes show the older state, and
    /// nothing of what was just created. Instances and volumes may disagree, in both directions.
    pub lag_ms: u64,
    /// How old DescribeVolumeStatus is (EBS: up to 5 min).
    pub volume_status_lag_ms: u64,
}

impl Default for Consistency {
    fn default() -> Self {
        Self { lag_ms: 800, volume_status_lag_ms: 60_000 }
    }
}

impl Consistency {
    /// As late times `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let scale = |ms: u64| (ms as f64 * factor).round() as u64;
        Self { lag_ms: scale(self.lag_ms), volume_status_lag_ms: scale(self.volume_status_lag_ms) }
    }

    /// Everything is shown at once.
    pub fn strong() -> Self {
        Self { lag_ms: 0, volume_status_lag_ms: 0 }
    }
}
