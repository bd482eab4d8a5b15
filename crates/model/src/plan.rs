//! The plan: an immutable value in which nothing is left to choose at execution.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::action::{
    Action, ClaimSpec, Input, LAUNCHED_AT, LEFT, PodTarget, ReturnedMember, STOP_PROTECTION_WAS, SnapshotPhase,
    TERMINATION_PROTECTION_WAS,
};
use crate::cloud::VolumeSpec;
use crate::finding::Finding;
use crate::format::Format;
use crate::ids::{InstanceId, MemberName, RoleName, StepId, VolumeId, Zone};
use crate::migration::{Cutover, Strategy};
use crate::on_host::OnHost;

mod action;
pub mod outputs;

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Format of the document.
    pub format: Format,
    /// The migration's name.
    pub migration: String,
    /// The profile's name.
    pub profile: String,
    /// The profile's settings.
    pub settings: BTreeMap<String, String>,
    /// What this plan is for.
    pub purpose: Purpose,
    /// How the volumes move.
    pub strategy: Strategy,
    /// How service passes over.
    pub cutover: Cutover,
    /// AWS account and region it is for.
    pub account: String,
    /// See `account`.
    pub region: String,
    /// Target namespace.
    pub namespace: String,
    /// The share of the account's rates of EC2 calls that the run keeps to, in percent, if the user said one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_share_percent: Option<u8>,
    /// Which member lands where, in slot order.
    pub members: Vec<MemberPlan>,
    /// What is done, in an order that respects `after`.
    pub steps: Vec<Step>,
    /// Groups of steps that fail and are undone together.
    pub groups: Vec<Group>,
    /// What the plan relies on.
    pub facts: Vec<Fact>,
    /// What the checks found.
    pub findings: Vec<Finding>,
    /// What it will take.
    pub estimate: Estimate,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The migration itself.
    Apply,
    /// Back to the legacy side; writes made on the new side are discarded.
    RollbackDiscardWrites,
    /// The old side is no longer needed: what only a rollback needs goes. Since version 2.
    Finalize,
    /// Back to the legacy side, on the volumes that the new side wrote to. Since version 3.
    RollbackKeepWrites,
}

/// A member and its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPlan {
    /// The member.
    pub name: MemberName,
    /// Its legacy instance.
    pub instance: InstanceId,
    /// Its legacy address, as the other members know it.
    pub legacy_address: Option<String>,
    /// Its identity in the application's cluster.
    pub identity: crate::answer::MemberIdentity,
    /// Its zone: where its volumes, and so its pod, will be.
    pub zone: Zone,
    /// Where it lands.
    pub slot: Slot,
    /// Its volumes.
    pub volumes: Vec<VolumePlan>,
    /// Why it lands there.
    pub reason: String,
}

/// Where a member lands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The set; none for claims by pattern.
    pub set: Option<String>,
    /// The ordinal.
    pub ordinal: u32,
    /// The pod; none for claims by pattern.
    pub pod: Option<String>,
    /// The container the application runs in.
    pub container: Option<String>,
}

/// A volume and its claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePlan {
    /// What it is for.
    pub role: RoleName,
    /// The legacy volume.
    pub legacy_volume: VolumeId,
    /// Where it is mounted on the legacy host.
    pub mount_path: String,
    /// Its file system.
    pub fs_type: String,
    /// Type, size and performance; the new volume's are the same.
    pub spec: VolumeSpec,
    /// The claim.
    pub claim: ClaimSpec,
    /// How the legacy host holds it: what `rollback --keep-writes` needs to know while the host is down. None in plans
    /// of an older rehome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_host: Option<OnHost>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Stable id.
    pub id: StepId,
    /// What, on what: one line.
    pub title: String,
    /// Why: one line.
    pub why: String,
    /// The member it belongs to; none for the whole cluster.
    pub member: Option<MemberName>,
    /// The group it belongs to.
    pub group: Option<String>,
    /// Steps that must be done first.
    pub after: Vec<StepId>,
    /// What is done. A gate only looks.
    pub action: Action,
    /// What takes it back.
    pub undo: Undo,
    /// Limit for the whole step, in seconds.
    pub deadline_s: u32,
}

/// What takes a step back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// By this action.
    Act(Box<Action>),
    /// Nothing is to be taken back, for this reason.
    Nothing(String),
}

/// Steps that fail and are undone together until `commit` is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// What it is.
    pub title: String,
    /// The step after which a failure does not undo the group any more.
    pub commit: StepId,
}

/// A fact the plan relies on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What is observed: `member/cassandra-0/instance-state`.
    pub path: String,
    /// What was seen.
    pub value: String,
    /// Why the plan needs it.
    pub why: String,
    /// Steps of this plan that change it: once one of them was begun, the fact is no longer compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_by: Vec<StepId>,
}

/// What the plan will take. Assumptions are said, not hidden.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Whole duration in seconds, low and high.
    pub total_s: (u64, u64),
    /// Downtime in seconds, low and high.
    pub downtime_s: (u64, u64),
    /// Cost a month of what is kept on both sides until finalize, in US cents.
    pub monthly_cost_cents: u64,
    /// What the figures assume.
    pub assumptions: Vec<String>,
}

impl Plan {
    /// A digest of everything in the plan: it names the run, and tells an edited plan file.
    pub fn hash(&self) -> String {
        // Serialising a plan cannot fail: its maps have string keys.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        blake3::hash(&bytes).to_hex().to_string()
    }

    /// A step by id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// A member by name.
    pub fn member(&self, name: &MemberName) -> Option<&MemberPlan> {
        self.members.iter().find(|member| member.name == *name)
    }
}
