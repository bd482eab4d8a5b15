//! The cutover: each member leaves service, is captured, and comes back as a volume of its slot.

use std::collections::BTreeMap;

use rehome_model::ids::{InstanceId, StepId, VolumeId};
use rehome_model::migration::Seconds;
use rehome_model::plan::{Action, Input, MemberPlan, SnapshotPhase, outputs};
use rehome_model::task::HostTask;

use super::{Builder, CUTOVER, Draft, LEGACY_WHOLE, default, ids, nothing, undo};
use crate::planner::roles;

impl Builder<'_> {
    pub(super) fn begin_cutover(&mut self) {
        let mut after = self.of_all(ids::flush);
        after.extend(self.of_all(ids::protect));
        let draft = Draft {
            id: StepId::from(LEGACY_WHOLE),
            title: "the legacy cluster is whole".to_owned(),
            why: "a member that is down now would come up later than the others' last writes",
            after,
            action: self.legacy_members(),
            // Undone last of the cutover: production serves again only when every member is back.
            undo: undo(self.legacy_members()),
            deadline_s: self.member_up_s(),
        };
        self.add(None, None, draft);
    }

    pub(super) fn mount_points(member: &MemberPlan) -> Vec<String> {
        let mut paths: Vec<String> = member.volumes.iter().map(|volume| volume.mount_path.clone()).collect();
        paths.sort();
        paths
    }

    /// From service to a captured volume and a stopped instance.
    pub(super) fn take_out(&mut self, member: &MemberPlan) {
        let name = &member.name;
        let limits = &self.migration.spec.limits;
        let stop_s = limits.stop_seconds.map_or(self.profile.limits().stop_s, Seconds::get);
        let final_s = limits.final_snapshot_seconds.map_or(default::FINAL_SNAPSHOT_S, Seconds::get);
        let host = |host_task: HostTask| Action::Host { instance: member.instance.clone(), host_task };
        let mount_points = Self::mount_points(member);
        let drafts = [
            Draft {
                id: ids::stop_service(name),
                title: format!("drain, stop and mask {name}"),
                why: "every acknowledged write is on its disk, and nothing starts it again",
                after: vec![StepId::from(LEGACY_WHOLE)],
                action: host(HostTask::StopService),
                undo: undo(host(HostTask::StartService)),
                deadline_s: stop_s,
            },
            Draft {
                id: ids::inspect(name),
                title: format!("the disk of {name} holds its identity"),
                why: "no pod may start on a blank volume, or on another member's",
                after: vec![ids::stop_service(name)],
                action: Action::InspectDisk { instance: member.instance.clone(), identity: member.identity.clone() },
                undo: nothing("only looked"),
                deadline_s: default::CALL_S,
            },
            Draft {
                id: ids::unmount(name),
                title: format!("unmount {} on {}", mount_points.join(", "), member.instance),
                why: "what is captured is whole, and nothing writes after it",
                after: vec![ids::inspect(name)],
                action: host(HostTask::Unmount { mount_points: mount_points.clone() }),
                undo: undo(host(HostTask::Mount { mount_points })),
                deadline_s: stop_s,
            },
            Draft {
                id: ids::last(name),
                title: format!("final snapshot of {}", member.instance),
                why: "all volumes of the member at one instant, after the unmount",
                after: vec![ids::unmount(name)],
                action: self.snapshot(member, SnapshotPhase::Final),
                undo: undo(Action::DeleteSnapshots { made_by: ids::last(name) }),
                deadline_s: default::CALL_S,
            },
            Draft {
                id: ids::stop_instance(name),
                title: format!("stop {}", member.instance),
                why: "the fence: a stopped instance cannot answer its copy, and keeps its address from everybody; a stop \
                      protection that it has is lifted",
                after: vec![ids::last(name)],
                action: Action::StopInstance { instance: member.instance.clone() },
                undo: undo(Action::StartInstance { instance: member.instance.clone() }),
                deadline_s: default::INSTANCE_S,
            },
            Draft {
                id: ids::last_done(name),
                title: format!("final snapshot of {} is completed", member.instance),
                why: "EC2 makes volumes from completed snapshots only",
                after: vec![ids::last(name)],
                action: Self::await_snapshots(member, &ids::last(name)),
                undo: nothing("only looked"),
                deadline_s: final_s,
            },
        ];
        for draft in drafts {
            self.add(Some(name), Some(CUTOVER), draft);
        }
    }

    pub(super) fn legacy_fenced(&mut self) {
        let instances: BTreeMap<InstanceId, Vec<VolumeId>> =
            self.members.iter().map(|m| (m.instance.clone(), roles(m).into_values().collect())).collect();
        let draft = Draft {
            id: StepId::from("legacy-fenced"),
            title: "every legacy instance is stopped".to_owned(),
            why: "a copy that meets its living original takes over its place in the ring",
            after: self.of_all(ids::stop_instance),
            action: Action::AwaitLegacyFenced { instances },
            undo: nothing("only looked"),
            deadline_s: default::INSTANCE_S,
        };
        self.add(None, Some(CUTOVER), draft);
    }

    /// From a snapshot to a volume that its claim is bound to.
    pub(super) fn bring_in(&mut self, member: &MemberPlan) {
        let name = &member.name;
        for volume in &member.volumes {
            let snapshot = Input::Output { step: ids::last(name), output: outputs::snapshot(&volume.role) };
            let create = ids::create(name, &volume.role);
            let made = Draft {
                id: create.clone(),
                title: format!("create volume for {} in {}", volume.claim.name, member.zone),
                why: "made from the final snapshot; the original stays as it was captured",
                after: vec![ids::last_done(name)],
                action: Action::CreateVolume {
                    role: volume.role.clone(),
                    snapshot: snapshot.clone(),
                    zone: member.zone.clone(),
                    spec: volume.spec.clone(),
                    tags: self.tags(member, volume),
                },
                undo: undo(Action::DeleteVolumes { made_by: create.clone() }),
                deadline_s: default::INSTANCE_S,
            };
            let released = Draft {
                id: ids::release(name, &volume.role),
                title: format!("release volume to claim {}", volume.claim.name),
                why: "creating the PersistentVolume is the one act that lets the pod start",
                after: vec![create.clone(), StepId::from("legacy-fenced")],
                action: Action::ReleaseVolume {
                    claim: volume.claim.clone(),
                    member: name.clone(),
                    role: volume.role.clone(),
                    volume: Input::Output { step: create, output: outputs::VOLUME.to_owned() },
                    snapshot,
                    legacy_volume: volume.legacy_volume.clone(),
                    zone: member.zone.clone(),
                    fs_type: volume.fs_type.clone(),
                    driver: self.migration.spec.target.csi_driver.clone(),
                },
                undo: undo(Action::UnreleaseVolume { claim: volume.claim.clone(), pod: member.slot.pod.clone() }),
                deadline_s: default::BIND_S,
            };
            self.add(Some(name), Some(CUTOVER), made);
            self.add(Some(name), Some(CUTOVER), released);
        }
    }
}
