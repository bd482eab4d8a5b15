//! How long things take, and how much is allowed.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970.
pub type Millis = u64;

/// Delays in ms. `scaled` makes them all shorter or longer; 0 is as fast as possible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// CreateVolume: `creating` to `available` (lab notes: about 1.5 s, p99 4 s).
    pub create_volume_ms: u64,
    /// AttachVolume: `attaching` to `attached` (1 to 4 s).
    pub attach_ms: u64,
    /// DetachVolume: `detaching` to gone (1 to 4 s).
    pub detach_ms: u64,
    /// StopInstances: `stopping` to `stopped`, after the guest's own shutdown.
    pub stop_ms: u64,
    /// StartInstances: `pending` to `running`.
    pub start_ms: u64,
    /// TerminateInstances: `shutting-down` to `terminated`.
    pub terminate_ms: u64,
    /// A snapshot's fixed part. Even an empty one takes this long.
    pub snapshot_ms: u64,
    /// A snapshot's rate over its changed data, bytes a ms.
    pub snapshot_bytes_per_ms: u64,
    /// Auto Scaling: how soon a stopped member is terminated, and how long Standby takes.
    pub auto_scaling_ms: u64,
    /// How long describes do not show what was just created (EC2 "Eventual consistency").
    pub visibility_ms: u64,
    /// The least time between two snapshots of one volume (`SnapshotCreationPerVolumeRateExceeded`).
    pub snapshot_interval_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            create_volume_ms: 1_500,
            attach_ms: 2_000,
            detach_ms: 2_000,
            stop_ms: 15_000,
            start_ms: 8_000,
            terminate_ms: 10_000,
            snapshot_ms: 20_000,
            snapshot_bytes_per_ms: 100 * 1024,
            auto_scaling_ms: 30_000,
            visibility_ms: 800,
            snapshot_interval_ms: 15_000,
        }
    }
}

impl Timing {
    /// All delays times `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let scale = |ms: u64| (ms as f64 * factor).round() as u64;
        Self {
            create_volume_ms: scale(self.create_volume_ms),
            attach_ms: scale(self.attach_ms),
            detach_ms: scale(self.detach_ms),
            stop_ms: scale(self.stop_ms),
            start_ms: scale(self.start_ms),
            terminate_ms: scale(self.terminate_ms),
            snapshot_ms: scale(self.snapshot_ms),
            snapshot_bytes_per_ms: if factor <= 0.0 {
                u64::MAX
            } else {
                (self.snapshot_bytes_per_ms as f64 / factor).max(1.0) as u64
            },
            auto_scaling_ms: scale(self.auto_scaling_ms),
            visibility_ms: scale(self.visibility_ms),
            snapshot_interval_ms: scale(self.snapshot_interval_ms),
        }
    }
}

/// What the account allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Volumes in the region.
    pub volumes: usize,
    /// Pending snapshots of one volume (5 but for st1 and sc1, which have 1).
    pub pending_snapshots_per_volume: usize,
    /// Volumes attached to one instance.
    pub attachments_per_instance: usize,
    /// How long a token stays burned after its volume failed (CSI driver's measurement: about 12 h).
    pub burned_token_ms: u64,
    /// Whether calls are throttled by token buckets.
    pub throttling: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            volumes: 10_000,
            pending_snapshots_per_volume: 5,
            attachments_per_instance: 28,
            burned_token_ms: 12 * 3_600_000,
            throttling: true,
        }
    }
}
