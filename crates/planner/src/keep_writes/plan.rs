//! The plan of a return.
//!
//! Closing the set is what a rollback that discards writes does too, so it is taken from the plan itself. Then every
//! volume must be seen attached to nothing before one of them is given to a legacy instance: from there on no pod can
//! hold a member (invariant I1).

use std::collections::BTreeMap;

use rehome_model::cloud::Tags;
use rehome_model::ids::{StepId, VolumeId};
use rehome_model::labels;
use rehome_model::plan::{
    Action, MemberPlan, Plan, Purpose, ReturnedMember, Step, TERMINATION_PROTECTION_WAS, Undo, VolumePlan,
};
use rehome_model::record::{KeepWrites, RunRecord};
use rehome_model::task::{HostTask, ReturnedVolume};

use super::obstacles::adopted;
use crate::sequel::Sequel;
use crate::steps::default::{CALL_S, PODS_S, WAY_BACK_S};
use crate::steps::{LEGACY_WHOLE, PODS_RUN, ids};

/// For the files of a volume to change hands, in seconds: one call for each file, on a volume that may still be read from S3.
const OWNERS_S: u32 = 3600;
/// For a started member to be up in every other's view, at its old address, in seconds; longer where the migration gives members
/// longer.
const WHOLE_S: u32 = 1800;
/// Every step of a return begins with this, so that it stands beside the run's own steps in one record.
const PREFIX: &str = "keep-writes";

/// Whether a step belongs to a rollback that keeps writes.
pub fn is_keep_writes_step(step: &StepId) -> bool {
    step.as_str().split(':').next() == Some(PREFIX)
}

fn id(what: &str) -> StepId {
    StepId(format!("{PREFIX}:{what}"))
}

/// The return of a run to the legacy side. The same plan, record and choice give the same bytes, so that a return that
/// was interrupted goes on with what it began.
pub fn keep_writes(plan: &Plan, record: &RunRecord, choice: &KeepWrites) -> Plan {
    let sequel = Sequel::new("a rollback is not itself rolled back; run it again to go on");
    let mut builder = Builder { plan, record, choice, sequel };
    let parked = builder.close();
    let free = builder.await_detached(&parked);
    let started: Vec<StepId> = plan.members.iter().map(|member| builder.bring_back(member, &free)).collect();
    let whole = builder.verify(&started);
    builder.lift(&whole);
    builder.sequel.plan(plan, Purpose::RollbackKeepWrites)
}

struct Builder<'a> {
    plan: &'a Plan,
    record: &'a RunRecord,
    choice: &'a KeepWrites,
    sequel: Sequel,
}

/// A volume and what replaces it.
struct Swap<'a> {
    volume: &'a VolumePlan,
    adopted: VolumeId,
    device: String,
}

impl Builder<'_> {
    /// The undo of every step that `wanted` takes, with the step it belongs to.
    fn undo_of(&self, wanted: impl Fn(&Action) -> bool) -> Vec<(Step, Action)> {
        let undo = |step: &Step| match &step.undo {
            Undo::Act(action) if wanted(action) => Some((step.clone(), action.as_ref().clone())),
            _ => None,
        };
        self.plan.steps.iter().filter_map(undo).collect()
    }

    /// Closes the sets for good: pods that come back are closed, all pods end, every claim is parked anew.
    fn close(&mut self) -> Vec<StepId> {
        let mut last = Vec::new();
        for (step, action) in self.undo_of(|action| matches!(action, Action::CloseSet { .. })) {
            let set = step.id.as_str().split_once(':').map_or("", |(_, set)| set).to_owned();
            let text =
                (format!("pods of set {set} start closed from now on"), "no client writes while it is taken down");
            last.push(self.sequel.add(id(&format!("close-set:{set}")), None, text, &[], (action, WAY_BACK_S)));
        }
        let closed = std::mem::take(&mut last);
        for (_, action) in self.undo_of(|action| matches!(action, Action::ScaleSet { .. })) {
            let Action::ScaleSet { set, .. } = &action else { continue };
            let text = (
                format!("drain and stop the pods of set {set}"),
                "everything that was acknowledged is on the volumes, even if a kubelet kills what takes long to end",
            );
            last.push(self.sequel.add(id(&format!("stop-pods:{set}")), None, text, &closed, (action, self.pods_s())));
        }
        let stopped = std::mem::take(&mut last);
        for (step, action) in self.undo_of(|action| matches!(action, Action::UnreleaseVolume { .. })) {
            let Action::UnreleaseVolume { claim, .. } = &action else { continue };
            let text = (
                format!("park claim {}/{} anew", claim.namespace, claim.name),
                "whoever scales the set up from now on starts nothing; Retain keeps the volume",
            );
            let member = step.member.as_ref().and_then(|name| self.plan.member(name)).cloned();
            let what = format!("park:{}", claim.name);
            last.push(self.sequel.add(id(&what), member.as_ref(), text, &stopped, (action, self.pods_s())));
        }
        last
    }

    fn swaps<'m>(&self, member: &'m MemberPlan) -> Vec<Swap<'m>> {
        let mut volumes: Vec<&VolumePlan> = member.volumes.iter().collect();
        // Mounted in this order: deepest last.
        volumes.sort_by(|left, right| left.mount_path.cmp(&right.mount_path));
        let swap = |volume: &'m VolumePlan| {
            let device = self.choice.devices.get(&volume.legacy_volume)?.clone();
            Some(Swap { volume, adopted: adopted(self.record, member, volume)?, device })
        };
        volumes.into_iter().filter_map(swap).collect()
    }

    fn await_detached(&mut self, parked: &[StepId]) -> StepId {
        let volumes = self.plan.members.iter().flat_map(|member| self.swaps(member)).map(|swap| swap.adopted).collect();
        let text = (
            "every volume is attached to nothing".to_owned(),
            "no pod holds a member any more: before that no legacy instance may start",
        );
        self.sequel.add(id("volumes-free"), None, text, parked, (Action::AwaitDetached { volumes }, self.pods_s()))
    }

    /// From a stopped instance with its old volumes to a member that serves on the new ones.
    fn bring_back(&mut self, member: &MemberPlan, free: &StepId) -> StepId {
        let (name, instance) = (&member.name, &member.instance);
        let swaps = self.swaps(member);
        let mut kept = Vec::new();
        for Swap { volume, adopted, device } in &swaps {
            let tags = Tags::from([
                (labels::REPLACED_AT.to_owned(), format!("{instance} {device}")),
                (labels::REPLACED_BY.to_owned(), adopted.to_string()),
            ]);
            let original = volume.legacy_volume.clone();
            let text = (
                format!("detach {original} from {instance}, and keep it"),
                "it holds what was captured at the cutover; nothing deletes it",
            );
            let action = Action::KeepOriginal { instance: instance.clone(), volume: original, tags };
            let what = format!("keep-original:{name}:{}", volume.role);
            kept.push(self.sequel.add(id(&what), Some(member), text, std::slice::from_ref(free), (action, WAY_BACK_S)));
        }
        let mut attached = Vec::new();
        for Swap { volume, adopted, device } in &swaps {
            let text = (
                format!("attach {adopted} to {instance} as {device}"),
                "all writes since the opening are on it; DeleteOnTermination is off",
            );
            let (instance, device) = (instance.clone(), device.clone());
            let action = Action::AttachReturned { volume: adopted.clone(), instance, device };
            let what = format!("attach:{name}:{}", volume.role);
            attached.push(self.sequel.add(id(&what), Some(member), text, &kept, (action, WAY_BACK_S)));
        }
        let text = (format!("start {instance}"), "its service is masked still: nothing serves yet");
        let action = Action::StartInstance { instance: instance.clone() };
        let up =
            self.sequel.add(id(&format!("start-instance:{name}")), Some(member), text, &attached, (action, WAY_BACK_S));
        let returned = |swap: &Swap<'_>| {
            let host = swap.volume.on_host.as_ref()?;
            Some(ReturnedVolume {
                mount_point: swap.volume.mount_path.clone(),
                volume: swap.adopted.clone(),
                device: Some(swap.device.clone()),
                top: host.top,
                files: host.files?,
            })
        };
        let volumes: Vec<ReturnedVolume> = swaps.iter().filter_map(returned).collect();
        let owners: Vec<String> = volumes.iter().map(|v| format!("{}:{}", v.files.uid, v.files.gid)).collect();
        let text = (
            format!("mount the volumes of {name} as fstab says, and give their files back to {}", owners.join(", ")),
            "a pod's ids are not the host's; a mount of another volume is refused",
        );
        let host = |host_task| Action::Host { instance: instance.clone(), host_task };
        let action = host(HostTask::TakeBack { volumes });
        let mounted = self.sequel.add(id(&format!("take-back:{name}")), Some(member), text, &[up], (action, OWNERS_S));
        let text = (
            format!("the disk of {name} holds its identity, in the version that is installed"),
            "no service may start on another member's volume, or on what it cannot read",
        );
        let action = Action::InspectReturned { instance: instance.clone(), identity: member.identity.clone() };
        let inspected =
            self.sequel.add(id(&format!("inspect-disk:{name}")), Some(member), text, &[mounted], (action, WAY_BACK_S));
        let text =
            (format!("unmask and start {name}"), "it serves clients again, with everything that was ever acknowledged");
        let action = host(HostTask::StartService);
        self.sequel.add(id(&format!("start-service:{name}")), Some(member), text, &[inspected], (action, WAY_BACK_S))
    }

    /// What the migration gives a step of the move, but at least so many seconds: what takes long on the way there takes long on the
    /// way back.
    fn at_least(&self, step: &str, seconds: u32) -> u32 {
        self.plan.step(&StepId::from(step)).map_or(seconds, |found| found.deadline_s.max(seconds))
    }

    /// For pods to end and nodes to let go of their volumes.
    fn pods_s(&self) -> u32 {
        self.at_least(PODS_RUN, PODS_S)
    }

    fn verify(&mut self, started: &[StepId]) -> StepId {
        let of = |member: &MemberPlan| {
            let (instance, identity) = (member.instance.clone(), member.identity.clone());
            (member.name.clone(), ReturnedMember { instance, identity, address: member.legacy_address.clone() })
        };
        let members: BTreeMap<_, _> = self.plan.members.iter().map(of).collect();
        let text = (
            "the legacy cluster is whole, at its old addresses".to_owned(),
            "identities, tokens, addresses, schema: every member in every other's view",
        );
        let limit = self.at_least(LEGACY_WHOLE, WHOLE_S);
        self.sequel.add(id(LEGACY_WHOLE), None, text, started, (Action::AwaitReturnedMembers { members }, limit))
    }

    /// What is left of the fence, and of the run.
    fn lift(&mut self, whole: &StepId) {
        let after = std::slice::from_ref(whole);
        for member in &self.plan.members {
            let protect = ids::protect(&member.name);
            let auto_scaling_group = self.plan.step(&protect).and_then(|step| match &step.action {
                Action::ProtectInstance { auto_scaling_group, .. } => auto_scaling_group.clone(),
                _ => None,
            });
            // A record without this output is of an older rehome, whose rollback took the protection away, too.
            let was = self.record.steps.get(&protect).and_then(|step| step.outputs.get(TERMINATION_PROTECTION_WAS));
            let protected = was.is_some_and(|was| was == "on");
            let instance = member.instance.clone();
            let text = (
                format!("lift the termination protection and Standby of {instance}"),
                "it is in service again; terminating it never takes its volumes along",
            );
            let action = Action::GiveBackInstance { instance, auto_scaling_group, protected };
            self.sequel.add(id(&format!("give-back:{}", member.name)), Some(member), text, after, (action, CALL_S));
        }
        for (_, action) in self.undo_of(|action| matches!(action, Action::RemoveGate { .. })) {
            let Action::RemoveGate { config_map } = &action else { continue };
            let text = (format!("remove ConfigMap {config_map}"), "the parked claims keep the set closed");
            self.sequel.add(id(&format!("remove-gate:{config_map}")), None, text, after, (action, CALL_S));
        }
        if let Some(sweep) = self.plan.steps.iter().find(|step| matches!(step.action, Action::Sweep { .. })) {
            let text = (sweep.title.clone(), "a run that failed after its opening has not done it");
            self.sequel.add(id("sweep"), None, text, after, (sweep.action.clone(), CALL_S));
        }
    }
}
