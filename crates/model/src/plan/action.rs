//! The vocabulary of steps: every act rehome knows, with its inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::answer::MemberIdentity;
use crate::cloud::{Tags, VolumeSpec};
use crate::ids::{InstanceId, MemberName, RoleName, SnapshotId, StepId, VolumeId, Zone};
use crate::task::HostTask;

/// An input that is known now, or will be after another step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input<T> {
    /// Known now.
    Literal(T),
    /// The output of a step; shown as "(known after apply)".
    Output {
        /// The step.
        step: StepId,
        /// The output's name.
        output: String,
    },
}

/// When a snapshot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotPhase {
    /// While production serves; makes the final one small.
    Base,
    /// After the unmount; what the new volumes are made from.
    Final,
}

/// A claim exactly as it will be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimSpec {
    /// Namespace.
    pub namespace: String,
    /// Name: `<template>-<set>-<ordinal>`.
    pub name: String,
    /// The PersistentVolume it names.
    pub volume_name: String,
    /// Class; empty for none.
    pub storage_class: String,
    /// Size in GiB: the EBS size exactly, else the resizer grows the volume.
    pub size_gib: u32,
    /// Access modes.
    pub access_modes: Vec<String>,
    /// Labels: those of the template and the set's selector. The record's own are added.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodTarget {
    /// The member that lives there.
    pub member: MemberName,
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
    /// Claims the pod must have, by name.
    pub claims: Vec<String>,
    /// Who must live there.
    pub identity: MemberIdentity,
}

/// Where a member that came back must be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnedMember {
    /// Its instance.
    pub instance: InstanceId,
    /// Who it must be.
    pub identity: MemberIdentity,
    /// The address at which every member must see it; none if the plan does not know it.
    pub address: Option<String>,
}

/// Output of [`Action::ProtectInstance`]: `on` or `off`, as protection from termination was before, so that what puts
/// it back does not take away a protection of the user's own.
pub const TERMINATION_PROTECTION_WAS: &str = "termination-protection-was";

/// Output of a step that left something in place which its title says it takes away: what, why, and what to do about it.
pub const LEFT: &str = "left";

/// Output of [`Action::StopInstance`]: `on` if a stop protection had to be lifted for it.
pub const STOP_PROTECTION_WAS: &str = "stop-protection-was";

/// Output of the final [`Action::SnapshotInstance`]: when the instance had last been started, in seconds since 1970. One that
/// shows another time afterwards may have served what nobody captured.
pub const LAUNCHED_AT: &str = "launched-at";

/// What a step does. Each is idempotent: it looks first, acts only if needed, and looks again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    /// Create a claim that names a PersistentVolume which does not exist: nothing can be provisioned, no pod can start.
    ParkClaim {
        /// The claim.
        claim: ClaimSpec,
    },
    /// Take PersistentVolume and bound claim away and park the claim anew. Needs the pod gone.
    UnreleaseVolume {
        /// The claim.
        claim: ClaimSpec,
        /// The pod that must be gone first.
        pod: Option<String>,
    },
    /// Write the ConfigMap with which the set starts closed to clients.
    CloseSet {
        /// ConfigMap.
        config_map: String,
        /// Its data.
        data: BTreeMap<String, String>,
    },
    /// Write the ConfigMap with which pods that start from now on are open.
    UncloseSet {
        /// ConfigMap.
        config_map: String,
        /// Its data.
        data: BTreeMap<String, String>,
    },
    /// Delete the gate's ConfigMap.
    RemoveGate {
        /// ConfigMap.
        config_map: String,
    },
    /// Switch off DeleteOnTermination, protect the instance from termination, take it out of its Auto Scaling group's care.
    ProtectInstance {
        /// The instance.
        instance: InstanceId,
        /// Device -> what DeleteOnTermination was.
        delete_on_termination: BTreeMap<String, bool>,
        /// Its group, if it is in service in one that would act when it stops.
        auto_scaling_group: Option<String>,
    },
    /// Put back what ProtectInstance changed.
    UnprotectInstance {
        /// The instance.
        instance: InstanceId,
        /// Device -> what DeleteOnTermination was.
        delete_on_termination: BTreeMap<String, bool>,
        /// Its group, if it was in service in one that would act.
        auto_scaling_group: Option<String>,
    },
    /// Snapshot a member's volumes in one call, at one instant. Outputs: `snapshot/<role>`.
    SnapshotInstance {
        /// The instance.
        instance: InstanceId,
        /// Its volumes that are captured, by role; all others are excluded.
        volumes: BTreeMap<RoleName, VolumeId>,
        /// Attached volumes that are not captured.
        excluded: Vec<VolumeId>,
        /// Base or final.
        phase: SnapshotPhase,
        /// Tags by role.
        tags: BTreeMap<RoleName, Tags>,
    },
    /// Wait until snapshots are completed.
    AwaitSnapshots {
        /// By role.
        snapshots: BTreeMap<RoleName, Input<SnapshotId>>,
    },
    /// Delete what SnapshotInstance made, found by tag.
    DeleteSnapshots {
        /// The step that made them.
        made_by: StepId,
    },
    /// Make a volume from a snapshot. Output: `volume`.
    CreateVolume {
        /// The role.
        role: RoleName,
        /// The snapshot.
        snapshot: Input<SnapshotId>,
        /// The zone.
        zone: Zone,
        /// Type, size, performance.
        spec: VolumeSpec,
        /// Tags.
        tags: Tags,
    },
    /// Delete what CreateVolume made, found by tag, once it is detached.
    DeleteVolumes {
        /// The step that made them.
        made_by: StepId,
    },
    /// Run an idempotent task on the host.
    Host {
        /// The instance.
        instance: InstanceId,
        /// The task.
        host_task: HostTask,
    },
    /// Read the stopped member's identity from its disk and compare.
    InspectDisk {
        /// The instance.
        instance: InstanceId,
        /// Who must be found there.
        identity: MemberIdentity,
    },
    /// Stop the instance: from here it cannot serve, whatever starts its service.
    StopInstance {
        /// The instance.
        instance: InstanceId,
    },
    /// Start the instance.
    StartInstance {
        /// The instance.
        instance: InstanceId,
    },
    /// Gate: all legacy members are stopped and none of their volumes is attached elsewhere.
    AwaitLegacyFenced {
        /// Instances, with the volumes that must stay theirs.
        instances: BTreeMap<InstanceId, Vec<VolumeId>>,
    },
    /// Create the PersistentVolume: the single act that lets the slot's pod start. Checks first that the volume is
    /// available, in its zone, and made from the final snapshot of the right legacy volume; then sees the claim bound.
    ReleaseVolume {
        /// The claim.
        claim: ClaimSpec,
        /// The member and role it is for.
        member: MemberName,
        /// See `member`.
        role: RoleName,
        /// The new volume.
        volume: Input<VolumeId>,
        /// The snapshot it must be made from.
        snapshot: Input<SnapshotId>,
        /// The legacy volume that snapshot must have captured.
        legacy_volume: VolumeId,
        /// Zone.
        zone: Zone,
        /// File system.
        fs_type: String,
        /// CSI driver.
        driver: String,
    },
    /// Set the replicas of a set through its scale subresource.
    ScaleSet {
        /// The set.
        set: String,
        /// Wanted replicas.
        replicas: u32,
        /// Pods that must be gone at the end, when scaling down.
        gone: Vec<String>,
    },
    /// Gate: every pod runs, with its claims and no others.
    AwaitPods {
        /// The pods.
        pods: Arc<[PodTarget]>,
        /// The claims by pod -> PersistentVolume names, for the proof that slot and volume belong together.
        volumes: BTreeMap<String, Vec<String>>,
    },
    /// Gate: asked inside, every pod is who it must be, sees all others up at pods' addresses, and is closed (or open).
    AwaitMembers {
        /// The pods.
        pods: Arc<[PodTarget]>,
        /// Addresses no member may be seen at.
        legacy_addresses: Vec<String>,
        /// Whether clients must be able to connect.
        open: bool,
    },
    /// Open every pod to clients. The opening: from here only the user rolls back.
    Open {
        /// The pods.
        pods: Arc<[PodTarget]>,
    },
    /// Close every pod to clients.
    Close {
        /// The pods.
        pods: Arc<[PodTarget]>,
    },
    /// Gate: on every legacy host the member is up in every other's view and open to clients.
    AwaitLegacyMembers {
        /// Member -> instance and identity.
        members: BTreeMap<MemberName, (InstanceId, MemberIdentity)>,
    },
    /// Find snapshots and volumes that this run made twice (a reply was lost) and delete the surplus.
    Sweep {
        /// Outputs that are kept: `step/output`.
        keep: Vec<Input<String>>,
    },
    /// Delete the gate's ConfigMap, if it says open and no pod of the set needs it to start. Otherwise it stays.
    RetireGate {
        /// ConfigMap.
        config_map: String,
        /// The set that reads it.
        set: String,
        /// Its data when it lets clients in.
        open: BTreeMap<String, String>,
    },
    /// Tag snapshots with the time until which `gc` keeps them.
    KeepSnapshots {
        /// By role.
        snapshots: BTreeMap<RoleName, Input<SnapshotId>>,
        /// Until when, in RFC 3339.
        until: String,
    },
    /// Put the protections of a stopped legacy instance back as they were. It stays stopped, and in Standby: started,
    /// or back in its group's care, it could meet the new cluster.
    ReleaseInstance {
        /// The instance.
        instance: InstanceId,
        /// Device -> what DeleteOnTermination was.
        delete_on_termination: BTreeMap<String, bool>,
        /// Whether it was protected from termination before.
        protected: bool,
        /// Whether it was protected from being stopped before.
        stop_protected: bool,
    },
    /// Gate: the volumes are attached to nothing.
    AwaitDetached {
        /// The volumes.
        volumes: Vec<VolumeId>,
    },
    /// Detach a legacy volume from its stopped instance, to make room for its successor. It is tagged and kept.
    KeepOriginal {
        /// The instance.
        instance: InstanceId,
        /// The volume.
        volume: VolumeId,
        /// Tags that say where it was and what took its place.
        tags: Tags,
    },
    /// Attach a volume that comes back from the new side to the stopped instance of its member, with DeleteOnTermination
    /// off. Its step tag becomes this step's: no undo, and no `gc`, finds it as something that may go.
    AttachReturned {
        /// The volume.
        volume: VolumeId,
        /// The instance.
        instance: InstanceId,
        /// The device name.
        device: String,
    },
    /// Read the member's identity and version from its disk before its service starts, and compare: an older version
    /// cannot read what a newer one wrote.
    InspectReturned {
        /// The instance.
        instance: InstanceId,
        /// Who must be found there, and the version that will start on it.
        identity: MemberIdentity,
    },
    /// Gate: on every legacy host all members are up, at the legacy addresses and no others, and open to clients.
    AwaitReturnedMembers {
        /// The members.
        members: BTreeMap<MemberName, ReturnedMember>,
    },
    /// Lift what is left of the fence: protection from termination, Standby. DeleteOnTermination stays off.
    GiveBackInstance {
        /// The instance.
        instance: InstanceId,
        /// Its group, if it was in service in one.
        auto_scaling_group: Option<String>,
        /// Whether it was protected from termination before.
        protected: bool,
    },
}

impl Action {
    /// Whether it only looks.
    pub fn is_gate(&self) -> bool {
        matches!(
            self,
            Self::AwaitSnapshots { .. }
                | Self::AwaitLegacyFenced { .. }
                | Self::AwaitPods { .. }
                | Self::AwaitMembers { .. }
                | Self::AwaitLegacyMembers { .. }
                | Self::InspectDisk { .. }
                | Self::AwaitDetached { .. }
                | Self::InspectReturned { .. }
                | Self::AwaitReturnedMembers { .. }
        )
    }
}
