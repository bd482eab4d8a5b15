//! Before the cutover: claims are parked, sets closed, base snapshots taken; production serves.

use std::collections::BTreeMap;

use rehome_model::ids::StepId;
use rehome_model::migration::Seconds;
use rehome_model::names;
use rehome_model::plan::{Action, MemberPlan, SnapshotPhase};
use rehome_model::task::HostTask;

use super::{BASES_DONE, Builder, Draft, default, ids, nothing, undo};

impl Builder<'_> {
    /// The first acts: from here on nothing can be provisioned blank and no pod can start early, whoever scales the set.
    pub(super) fn park_all(&mut self) {
        for member in self.members {
            for volume in &member.volumes {
                let claim = &volume.claim;
                let draft = Draft {
                    id: ids::park(&member.name, &volume.role),
                    title: format!("park claim {}/{}", claim.namespace, claim.name),
                    why: "it names a volume that does not exist: nothing is provisioned, no pod starts",
                    after: Vec::new(),
                    action: Action::ParkClaim { claim: claim.clone() },
                    undo: nothing("a parked claim keeps the set from starting on blank volumes; it stays"),
                    deadline_s: default::CALL_S,
                };
                self.add(Some(&member.name), None, draft);
            }
        }
    }

    pub(super) fn close_sets(&mut self) {
        for set in self.sets() {
            let config_map = names::gate(&set);
            let draft = Draft {
                id: StepId(format!("close-set:{set}")),
                title: format!("close set {set} to clients (ConfigMap {config_map})"),
                why: "its members are verified before the first client writes",
                after: self.of_all_volumes(ids::park),
                action: Action::CloseSet {
                    config_map: config_map.clone(),
                    data: self.gate(self.profile.gate().closed),
                },
                undo: undo(Action::RemoveGate { config_map }),
                deadline_s: default::CALL_S,
            };
            self.add(None, None, draft);
        }
    }

    /// What is done to a member while it serves.
    pub(super) fn prepare(&mut self, member: &MemberPlan) {
        let name = &member.name;
        let limits = &self.migration.spec.limits;
        let base_s = limits.base_snapshot_seconds.map_or(default::BASE_SNAPSHOT_S, Seconds::get);
        let found = self.survey.members.iter().find(|m| m.instance.id == member.instance);
        let delete_on_termination: BTreeMap<String, bool> = found
            .map(|m| m.instance.block_devices.iter())
            .into_iter()
            .flatten()
            .filter(|device| member.volumes.iter().any(|v| v.legacy_volume == device.volume))
            .map(|device| (device.device.clone(), device.delete_on_termination))
            .collect();
        // A member that the user keeps in Standby stays there: a rollback must not put it into service.
        let auto_scaling_group = found.and_then(|m| self.survey.group_to_leave(&m.instance)).map(str::to_owned);
        let in_group = found.is_some_and(|m| m.instance.auto_scaling.is_some());
        let protect = |restore: bool| {
            let (instance, delete_on_termination) = (member.instance.clone(), delete_on_termination.clone());
            let auto_scaling_group = auto_scaling_group.clone();
            if restore {
                // No group takes the volumes of a member with it, whatever it is told later: they may be the only ones.
                let delete_on_termination = if in_group { BTreeMap::new() } else { delete_on_termination };
                Action::UnprotectInstance { instance, delete_on_termination, auto_scaling_group }
            } else {
                Action::ProtectInstance { instance, delete_on_termination, auto_scaling_group }
            }
        };
        let drafts = [
            Draft {
                id: ids::protect(name),
                title: format!("protect {} from termination, keep its volumes", member.instance),
                why: "a stopped instance, or one that its group replaces, must not take the originals with it",
                after: self.closed(),
                action: protect(false),
                undo: undo(protect(true)),
                deadline_s: default::CALL_S,
            },
            Draft {
                id: ids::base(name),
                title: format!("base snapshot of {}", member.instance),
                why: "taken while serving, so that the final one is small",
                after: self.closed(),
                action: self.snapshot(member, SnapshotPhase::Base),
                undo: undo(Action::DeleteSnapshots { made_by: ids::base(name) }),
                deadline_s: default::CALL_S,
            },
            Draft {
                id: ids::base_done(name),
                title: format!("base snapshot of {} is completed", member.instance),
                why: "an unfinished base would make the final one wait for it",
                after: vec![ids::base(name)],
                action: Self::await_snapshots(member, &ids::base(name)),
                undo: nothing("only looked"),
                deadline_s: base_s,
            },
        ];
        for draft in drafts {
            self.add(Some(name), None, draft);
        }
    }

    /// One step that stands between all base snapshots and all flushes: without it each flush would name each snapshot,
    /// which a thousand members make a million names. It has no snapshots of its own to wait for.
    pub(super) fn bases_done(&mut self) {
        let draft = Draft {
            id: StepId::from(BASES_DONE),
            title: "all base snapshots are completed".to_owned(),
            why: "members leave service together, once nothing slow is left to be done before",
            after: self.of_all(ids::base_done),
            action: Action::AwaitSnapshots { snapshots: BTreeMap::new() },
            undo: nothing("only looked"),
            deadline_s: default::CALL_S,
        };
        self.add(None, None, draft);
    }

    pub(super) fn flush(&mut self, member: &MemberPlan) {
        let draft = Draft {
            id: ids::flush(&member.name),
            title: format!("flush {}", member.name),
            why: "little is left to write when it stops",
            after: vec![StepId::from(BASES_DONE)],
            action: Action::Host { instance: member.instance.clone(), host_task: HostTask::Flush },
            undo: nothing("a flush changes no data"),
            deadline_s: self.profile.limits().flush_s,
        };
        self.add(Some(&member.name), None, draft);
    }
}
