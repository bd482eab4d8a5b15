//! How long things take.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970.
pub type Millis = u64;

/// Delays in ms. [`Timing::scaled`] makes them all shorter or longer; 0 is as fast as possible.
///
/// Sources: create, attach and detach from what users of the EBS CSI driver report (create about 1.5 s, p99 4 s; attach
/// and detach 1 to 4 s); snapshots, hydration, modification and Auto Scaling from the EBS and Auto Scaling user guides
/// where those give numbers, else plausible values that a test can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// CreateVolume, CopyVolumes: `creating` to `available`.
    pub create_volume_ms: u64,
    /// AttachVolume: `attaching` to `attached`.
    pub attach_ms: u64,
    /// DetachVolume: `detaching` to gone, or to `busy` if the device is mounted.
    pub detach_ms: u64,
    /// DeleteVolume: how long describes show `deleting`.
    pub delete_volume_ms: u64,
    /// StopInstances: `stopping` to `stopped`, at least; the guest's own shutdown may take longer.
    pub stop_ms: u64,
    /// StartInstances and RunInstances: `pending` to `running`.
    pub start_ms: u64,
    /// TerminateInstances: `shutting-down` to `terminated`.
    pub terminate_ms: u64,
    /// How long describes show a terminated instance (EC2: about an hour).
    pub forget_terminated_ms: u64,
    /// A snapshot's fixed part. Even an empty one takes this long.
    pub snapshot_ms: u64,
    /// A snapshot's rate over its changed data, bytes a ms.
    pub snapshot_bytes_per_ms: u64,
    /// The rate at which a volume made from a snapshot fills by itself, bytes a ms, where none was bought (EBS: it
    /// "fluctuates"); a copy of a volume fills at four times that.
    pub hydration_bytes_per_ms: u64,
    /// ModifyVolume: `modifying` to `optimizing`.
    pub modify_ms: u64,
    /// ModifyVolume: `optimizing` to `completed`.
    pub optimize_ms: u64,
    /// Auto Scaling: how soon a stopped member is terminated. Standby takes a third of it, each way.
    pub auto_scaling_ms: u64,
    /// The least time between two snapshots of one volume (`SnapshotCreationPerVolumeRateExceeded`: 15 s).
    pub snapshot_interval_ms: u64,
    /// Each delay is up to so many percent longer or shorter, by seed and object.
    pub spread_percent: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            create_volume_ms: 1_500,
            attach_ms: 2_000,
            detach_ms: 2_000,
            delete_volume_ms: 1_000,
            stop_ms: 15_000,
            start_ms: 8_000,
            terminate_ms: 10_000,
            forget_terminated_ms: 3_600_000,
            snapshot_ms: 20_000,
            snapshot_bytes_per_ms: 100 * 1024,
            hydration_bytes_per_ms: 30 * 1024,
            modify_ms: 3_000,
            optimize_ms: 600_000,
            auto_scaling_ms: 30_000,
            snapshot_interval_ms: 15_000,
            spread_percent: 25,
        }
    }
}

impl Timing {
    /// All delays times `factor`, and all rates divided by it.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let scale = |ms: u64| (ms as f64 * factor).round() as u64;
        let rate = |rate: u64| if factor <= 0.0 { u64::MAX } else { (rate as f64 / factor).max(1.0) as u64 };
        Self {
            create_volume_ms: scale(self.create_volume_ms),
            attach_ms: scale(self.attach_ms),
            detach_ms: scale(self.detach_ms),
            delete_volume_ms: scale(self.delete_volume_ms),
            stop_ms: scale(self.stop_ms),
            start_ms: scale(self.start_ms),
            terminate_ms: scale(self.terminate_ms),
            // How long a corpse is shown is a matter of bookkeeping, not of speed.
            forget_terminated_ms: self.forget_terminated_ms,
            snapshot_ms: scale(self.snapshot_ms),
            snapshot_bytes_per_ms: rate(self.snapshot_bytes_per_ms),
            hydration_bytes_per_ms: rate(self.hydration_bytes_per_ms),
            modify_ms: scale(self.modify_ms),
            optimize_ms: scale(self.optimize_ms),
            auto_scaling_ms: scale(self.auto_scaling_ms),
            snapshot_interval_ms: scale(self.snapshot_interval_ms),
            spread_percent: self.spread_percent,
        }
    }

    /// Exactly these delays, for tests that count milliseconds.
    #[must_use]
    pub fn exact(&self) -> Self {
        Self { spread_percent: 0, ..self.clone() }
    }
}
