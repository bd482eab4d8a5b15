//! The pure core: EC2's state and rules. No clock, no I/O, no randomness but by seed.

mod action;
mod autoscaling;
mod error;
mod handle;
mod instances;
mod snapshots;
mod state;
mod throttle;
mod timing;
mod volumes;

pub use action::{Action, Filter, Reply, SnapshotRequest, VolumeRequest};
pub use error::ApiError;
pub use state::{AutoScalingGroup, Config, Core, InstanceRecord, SnapshotRecord, VolumeRecord};
pub use throttle::Family;
pub use timing::{Limits, Millis, Timing};
