//! The ports: what rehome asks of a cloud, of hosts and of pods.
//!
//! In: the model's nouns. Out: traits whose documentation is their contract (idempotent or not, what a lost reply
//! means, what "already so" answers, which errors mean retry, wait, decide or stop). The suite that
//! every `Cloud` must pass is `contract` (behind a feature of that name); it runs over both faces of the emulator.

mod cloud;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod hosts;
mod iam;
mod pods;
mod tap;

pub use cloud::{
    CALL_LIMIT, Cloud, CreateSnapshots, CreateVolume, InstanceFilter, InstanceProtection, Intended, ResourceId,
    SnapshotFilter, VolumeFilter,
};
pub use error::{CloudError, ErrorClass, NO_CREDENTIALS, NOT_SENT_IN_TIME, ScriptError, with_causes};
pub use hosts::{HostScript, Hosts, ScriptOutput};
pub use iam::{ACTIONS, ActionOn};
pub use pods::{PodScript, Pods};
pub use tap::Tap;
