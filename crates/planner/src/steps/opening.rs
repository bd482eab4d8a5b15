//! The sets start closed, are verified, and opened.

use std::sync::Arc;

use rehome_model::ids::StepId;
use rehome_model::migration::Seconds;
use rehome_model::names;
use rehome_model::plan::{Action, Input, MemberPlan, PodTarget, outputs};

use super::{Builder, CUTOVER, Draft, PODS_RUN, default, ids, nothing, undo};

impl Builder<'_> {
    pub(super) fn start_sets(&mut self) {
        let released = self.of_all_volumes(ids::release);
        let mut scaled = Vec::new();
        for set in self.sets() {
            let of_set: Vec<&MemberPlan> = self.members.iter().filter(|m| m.slot.set.as_ref() == Some(&set)).collect();
            let first = self.survey.cluster.sets.iter().find(|s| s.name == set).map_or(0, |s| s.first_ordinal);
            let replicas =
                of_set.iter().map(|m| m.slot.ordinal.saturating_sub(first).saturating_add(1)).max().unwrap_or(0);
            let pods = of_set.iter().filter_map(|m| m.slot.pod.clone()).collect();
            let id = ids::scale(&set);
            let draft = Draft {
                id: id.clone(),
                title: format!("scale set {set} to {replicas}"),
                why: "the controller adopts the claims by name and starts a pod on each",
                after: released.clone(),
                action: Action::ScaleSet { set: set.clone(), replicas, gone: Vec::new() },
                undo: undo(Action::ScaleSet { set, replicas: 0, gone: pods }),
                deadline_s: default::CALL_S,
            };
            scaled.push(id);
            self.add(None, Some(CUTOVER), draft);
        }
        let targets = self.targets();
        let of_pod = |member: &MemberPlan| {
            let volumes = member.volumes.iter().map(|volume| volume.claim.volume_name.clone()).collect();
            Some((member.slot.pod.clone()?, volumes))
        };
        let draft = Draft {
            id: StepId::from(PODS_RUN),
            title: "every pod runs on its own volumes".to_owned(),
            why: "slot, claim and volume belong to one member",
            after: scaled,
            action: Action::AwaitPods { pods: targets, volumes: self.members.iter().filter_map(of_pod).collect() },
            undo: nothing("only looked"),
            deadline_s: self.migration.spec.limits.pods_seconds.map_or(default::PODS_S, Seconds::get),
        };
        self.add(None, Some(CUTOVER), draft);
    }

    /// Verify closed, open, verify open, sweep. Answers the step that commits the cutover.
    pub(super) fn open(&mut self) -> StepId {
        let legacy_addresses: Vec<String> = self.members.iter().filter_map(|m| m.legacy_address.clone()).collect();
        let verify = |open: bool, pods: Arc<[PodTarget]>| Action::AwaitMembers {
            pods,
            legacy_addresses: legacy_addresses.clone(),
            open,
        };
        let targets = self.targets();
        let verified = Draft {
            id: StepId::from("verify-closed"),
            title: "every pod is its member and sees all others".to_owned(),
            why: "identity, addresses, schema; while no client can write, all can still be undone",
            after: vec![StepId::from(PODS_RUN)],
            action: verify(false, targets.clone()),
            undo: nothing("only looked"),
            deadline_s: self.member_up_s(),
        };
        self.add(None, Some(CUTOVER), verified);
        let mut unclosed = Vec::new();
        for set in self.sets() {
            let config_map = names::gate(&set);
            let id = StepId(format!("unclose-set:{set}"));
            let mut after = vec![StepId::from("verify-closed")];
            after.extend(unclosed.last().cloned());
            let draft = Draft {
                id: id.clone(),
                title: format!("pods of set {set} start open from now on"),
                why: "the opening begins: from here on only you roll back",
                after,
                action: Action::UncloseSet {
                    config_map: config_map.clone(),
                    data: self.gate(self.profile.gate().open),
                },
                undo: undo(Action::CloseSet { config_map, data: self.gate(self.profile.gate().closed) }),
                deadline_s: default::CALL_S,
            };
            unclosed.push(id);
            self.add(None, Some(CUTOVER), draft);
        }
        // The first of them: once it was begun a restarted pod may let clients in.
        let commit = unclosed.first().cloned().unwrap_or(StepId::from("open"));
        let keep: Vec<Input<String>> = self.made_ids();
        let drafts = [
            Draft {
                id: StepId::from("open"),
                title: "open every pod to clients".to_owned(),
                why: "downtime ends",
                after: unclosed,
                action: Action::Open { pods: targets.clone() },
                undo: undo(Action::Close { pods: targets.clone() }),
                deadline_s: default::CALL_S,
            },
            Draft {
                id: StepId::from("verify-open"),
                title: "every pod serves clients".to_owned(),
                why: "the cluster is whole and open",
                after: vec![StepId::from("open")],
                action: verify(true, targets),
                undo: nothing("only looked"),
                deadline_s: self.member_up_s(),
            },
            Draft {
                id: StepId::from("sweep"),
                title: "collect what a lost reply made twice".to_owned(),
                why: "nothing of this run is left that nobody uses",
                after: vec![StepId::from("verify-open")],
                action: Action::Sweep { keep },
                undo: nothing("what was surplus is not made again"),
                deadline_s: default::CALL_S,
            },
        ];
        for draft in drafts {
            self.add(None, Some(CUTOVER), draft);
        }
        commit
    }

    /// Every snapshot and volume the plan makes.
    pub(super) fn made_ids(&self) -> Vec<Input<String>> {
        let mut keep = Vec::new();
        for member in self.members {
            for volume in &member.volumes {
                for step in [ids::base(&member.name), ids::last(&member.name)] {
                    keep.push(Input::Output { step, output: outputs::snapshot(&volume.role) });
                }
                let step = ids::create(&member.name, &volume.role);
                keep.push(Input::Output { step, output: outputs::VOLUME.to_owned() });
            }
        }
        keep
    }
}
