//! A hand on the world behind a cloud.

use async_trait::async_trait;
use rehome_model::cloud::Tags;
use rehome_model::ids::{InstanceId, VolumeId};

/// What a check needs and the port does not offer: things that were there before rehome came, and time.
#[async_trait]
pub trait CloudWorld: Send + Sync {
    /// A running `m5.large` with a root volume at its root device.
    async fn instance(&self, tags: &Tags) -> InstanceId;

    /// A gp3 volume that was attached to the instance some time ago. DeleteOnTermination is on.
    async fn volume(&self, instance: &InstanceId, device: &str, size_gib: u32) -> VolumeId;

    /// Mounts an attached volume on its instance, or unmounts it cleanly.
    async fn set_mounted(&self, volume: &VolumeId, instance: &InstanceId, mounted: bool);

    /// Makes the instance an `InService` member of a group.
    async fn join_group(&self, instance: &InstanceId, group: &str);

    /// Denies the caller an EC2 action (`StopInstances`), or allows it again.
    async fn set_denied(&self, action: &str, denied: bool);

    /// From now on the account encrypts new volumes by default, or does not.
    async fn set_encrypting(&self, on: bool);

    /// Lets all that is on its way arrive: attachments, states, snapshots, what describes show. Enough time passes for
    /// another snapshot of the same volume to be allowed.
    async fn settle(&self);
}
