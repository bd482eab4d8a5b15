//! The plan of `finalize`: what only a rollback needs goes; nothing legacy is deleted.

use std::collections::BTreeMap;

use rehome_model::ids::StepId;
use rehome_model::plan::{
    Action, Input, MemberPlan, Plan, Purpose, STOP_PROTECTION_WAS, TERMINATION_PROTECTION_WAS, outputs,
};
use rehome_model::record::{FinalizeChoice, RunRecord};

use crate::keep::keep_until;
use crate::sequel::Sequel;
use crate::steps::default::CALL_S;
use crate::steps::ids;

/// How long the new side may take to show itself whole, in seconds. It has served since the opening: what is not whole
/// within this is a reason to keep the way back.
const VERIFY_S: u32 = 180;
/// Every step of a finalize begins with this, so that it stands beside the run's own steps in one record.
const PREFIX: &str = "finalize";

/// Whether a step belongs to a finalize.
pub fn is_finalize_step(step: &StepId) -> bool {
    step.as_str().split(':').next() == Some(PREFIX)
}

/// The finalize of a completed run. The same plan, record and choice give the same bytes, so that a finalize that was
/// interrupted goes on with what it began.
pub fn finalize(plan: &Plan, record: &RunRecord, choice: &FinalizeChoice) -> Plan {
    let mut builder = Builder { plan, record, sequel: Sequel::new("finalize is the end of the way back") };
    let verified = builder.verify();
    let kept: Vec<StepId> =
        plan.members.iter().map(|member| builder.keep_final(member, &verified, choice.keep_until_ms)).collect();
    let kept = builder.all_kept(&kept);
    for member in &plan.members {
        builder.drop_base(member, &kept);
    }
    builder.retire_gates(&verified);
    if choice.release_legacy {
        for member in &plan.members {
            builder.release(member, &kept);
        }
    }
    builder.sequel.plan(plan, Purpose::Finalize)
}

struct Builder<'a> {
    plan: &'a Plan,
    record: &'a RunRecord,
    sequel: Sequel,
}

impl Builder<'_> {
    fn add(
        &mut self,
        what: &str,
        member: Option<&MemberPlan>,
        words: (String, &str),
        after: &[StepId],
        act: (Action, u32),
    ) -> StepId {
        self.sequel.add(StepId(format!("{PREFIX}:{what}")), member, words, after, act)
    }

    /// The gates of the run itself, once more: while they do not hold, the way back is kept. Since the opening the cluster may
    /// have changed as clusters do: members were added, and must be up like all others.
    fn verify(&mut self) -> Vec<StepId> {
        let mut verified = Vec::new();
        for step in &self.plan.steps {
            let (what, title, why) = match &step.action {
                Action::AwaitPods { .. } => {
                    ("pods-run", "every pod runs on its own volumes", "the slots hold what was moved into them")
                }
                Action::AwaitMembers { open: true, .. } => (
                    "members-whole",
                    "every member is up in every other's view, and open",
                    "while the new side is not whole, the way back is kept",
                ),
                _ => continue,
            };
            let action = match &step.action {
                // Legacy addresses may be anybody's by now: EC2 gives those of terminated instances away again.
                Action::AwaitMembers { pods, open, .. } => {
                    Action::AwaitMembers { pods: pods.clone(), legacy_addresses: Vec::new(), open: *open }
                }
                other => other.clone(),
            };
            verified.push(self.add(what, None, (title.to_owned(), why), &verified.clone(), (action, VERIFY_S)));
        }
        verified
    }

    fn keep_final(&mut self, member: &MemberPlan, after: &[StepId], until_ms: u64) -> StepId {
        let until = keep_until(until_ms);
        let snapshot = |role: &rehome_model::ids::RoleName| Input::Output {
            step: ids::last(&member.name),
            output: outputs::snapshot(role),
        };
        let snapshots = member.volumes.iter().map(|volume| (volume.role.clone(), snapshot(&volume.role))).collect();
        let title = format!("keep the final snapshots of {} until {until}", member.name);
        let why = "the legacy data as it was captured; `rehome gc` lets them go after that";
        let action = Action::KeepSnapshots { snapshots, until };
        self.add(&format!("keep-final-snapshots:{}", member.name), Some(member), (title, why), after, (action, CALL_S))
    }

    /// One step between those of all members and what follows: a thousand members would else make a million names.
    fn all_kept(&mut self, kept: &[StepId]) -> Vec<StepId> {
        let title = "every final snapshot says until when it is kept".to_owned();
        let why = "nothing is let go before that";
        let action = Action::AwaitSnapshots { snapshots: BTreeMap::new() };
        vec![self.add("final-snapshots-kept", None, (title, why), kept, (action, CALL_S))]
    }

    fn drop_base(&mut self, member: &MemberPlan, after: &[StepId]) {
        let title = format!("delete the base snapshots of {}", member.name);
        let why = "they only made the final ones small; EC2 keeps the blocks that those refer to";
        let action = Action::DeleteSnapshots { made_by: ids::base(&member.name) };
        let what = format!("delete-base-snapshots:{}", member.name);
        self.add(&what, Some(member), (title, why), after, (action, CALL_S));
    }

    fn retire_gates(&mut self, after: &[StepId]) {
        for step in &self.plan.steps {
            let Action::UncloseSet { config_map, data } = &step.action else { continue };
            // The set's name is the step's own argument; the gate's name is made from it and could be cut.
            let Some((_, set)) = step.id.as_str().split_once(':') else { continue };
            let title = format!("remove the gate of set {set} (ConfigMap {config_map})");
            let why = "it says open, as the set does without it; kept if a pod would not start without it";
            let action = Action::RetireGate { config_map: config_map.clone(), set: set.to_owned(), open: data.clone() };
            self.add(&format!("retire-gate:{set}"), None, (title, why), after, (action, CALL_S));
        }
    }

    fn release(&mut self, member: &MemberPlan, after: &[StepId]) {
        let protect = ids::protect(&member.name);
        let protected: Option<BTreeMap<String, bool>> = self.plan.step(&protect).and_then(|step| match &step.action {
            Action::ProtectInstance { delete_on_termination, .. } => Some(delete_on_termination.clone()),
            _ => None,
        });
        // A record without this output is of an older rehome, whose rollback took the protection away, too.
        let was_on = |step: &StepId, output: &str| {
            self.record.steps.get(step).and_then(|step| step.outputs.get(output)).is_some_and(|was| was == "on")
        };
        let action = Action::ReleaseInstance {
            instance: member.instance.clone(),
            delete_on_termination: protected.unwrap_or_default(),
            protected: was_on(&protect, TERMINATION_PROTECTION_WAS),
            stop_protected: was_on(&ids::stop_instance(&member.name), STOP_PROTECTION_WAS),
        };
        let title = format!("put the protections of {} back as they were", member.instance);
        let why = "you may terminate it from now on; it stays stopped, its service masked";
        let what = format!("release-instance:{}", member.name);
        self.add(&what, Some(member), (title, why), after, (action, CALL_S));
    }
}
