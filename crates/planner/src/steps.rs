//! The steps of strategy `snapshot` with cutover `stop`, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use rehome_model::cloud::Tags;
use rehome_model::ids::{InstanceId, MemberName, RoleName, StepId, VolumeId};
use rehome_model::labels;
use rehome_model::migration::Migration;
use rehome_model::names;
use rehome_model::plan::{Action, Group, Input, MemberPlan, PodTarget, SnapshotPhase, Step, Undo, VolumePlan};
use rehome_model::survey::Survey;
use rehome_model::task::HostTask;
use rehome_profiles::Profile;

use crate::planner::roles;

/// The group of everything between the first quiesced member and the opening.
pub(crate) const CUTOVER: &str = "cutover";
/// The step between all base snapshots and what follows them.
const BASES_DONE: &str = "base-snapshots-completed";

/// Default limits in seconds, where the migration gives none.
mod default {
    pub(super) const BASE_SNAPSHOT_S: u32 = 24 * 3600;
    pub(super) const FINAL_SNAPSHOT_S: u32 = 2 * 3600;
    /// For one call to the cloud or the cluster to take effect.
    pub(super) const CALL_S: u32 = 600;
    /// For an instance to stop or start.
    pub(super) const INSTANCE_S: u32 = 900;
    /// For claim and volume to bind: the binder's resync is 15 s, and real clusters are slower.
    pub(super) const BIND_S: u32 = 180;
    /// For pods to be scheduled, attached, pulled and started.
    pub(super) const PODS_S: u32 = 1800;
}

/// The stable ids of steps.
pub(crate) mod ids {
    use rehome_model::ids::{MemberName, RoleName, StepId};

    fn of(kind: &str, member: &MemberName) -> StepId {
        StepId(format!("{kind}:{member}"))
    }
    pub(crate) fn park(member: &MemberName, role: &RoleName) -> StepId {
        StepId(format!("park-claim:{member}:{role}"))
    }
    pub(crate) fn release(member: &MemberName, role: &RoleName) -> StepId {
        StepId(format!("release-volume:{member}:{role}"))
    }
    pub(crate) fn create(member: &MemberName, role: &RoleName) -> StepId {
        StepId(format!("create-volume:{member}:{role}"))
    }
    pub(crate) fn protect(member: &MemberName) -> StepId {
        of("protect-instance", member)
    }
    pub(crate) fn base(member: &MemberName) -> StepId {
        of("base-snapshot", member)
    }
    pub(crate) fn base_done(member: &MemberName) -> StepId {
        of("await-base-snapshot", member)
    }
    pub(crate) fn flush(member: &MemberName) -> StepId {
        of("flush", member)
    }
    pub(crate) fn stop_service(member: &MemberName) -> StepId {
        of("stop-service", member)
    }
    pub(crate) fn inspect(member: &MemberName) -> StepId {
        of("inspect-disk", member)
    }
    pub(crate) fn unmount(member: &MemberName) -> StepId {
        of("unmount", member)
    }
    pub(crate) fn last(member: &MemberName) -> StepId {
        of("final-snapshot", member)
    }
    pub(crate) fn last_done(member: &MemberName) -> StepId {
        of("await-final-snapshot", member)
    }
    pub(crate) fn stop_instance(member: &MemberName) -> StepId {
        of("stop-instance", member)
    }
}

struct Builder<'a> {
    migration: &'a Migration,
    survey: &'a Survey,
    profile: &'a dyn Profile,
    members: &'a [MemberPlan],
    steps: Vec<Step>,
}

/// What a step is, before it is put in its place.
struct Draft {
    id: StepId,
    title: String,
    why: &'static str,
    after: Vec<StepId>,
    action: Action,
    undo: Undo,
    deadline_s: u32,
}

fn nothing(reason: &str) -> Undo {
    Undo::Nothing(reason.to_owned())
}

fn undo(action: Action) -> Undo {
    Undo::Act(Box::new(action))
}

/// All steps of the plan, and its groups.
pub(crate) fn steps(
    migration: &Migration,
    survey: &Survey,
    profile: &dyn Profile,
    members: &[MemberPlan],
) -> (Vec<Step>, Vec<Group>) {
    let mut builder = Builder { migration, survey, profile, members, steps: Vec::new() };
    builder.park_all();
    builder.close_sets();
    for member in members {
        builder.prepare(member);
    }
    builder.bases_done();
    for member in members {
        builder.flush(member);
    }
    builder.begin_cutover();
    for member in members {
        builder.take_out(member);
    }
    builder.legacy_fenced();
    for member in members {
        builder.bring_in(member);
    }
    builder.start_sets();
    let commit = builder.open();
    let group = Group { id: CUTOVER.to_owned(), title: "stop, capture, adopt, verify, open".to_owned(), commit };
    (builder.steps, vec![group])
}

impl Builder<'_> {
    fn add(&mut self, member: Option<&MemberName>, group: Option<&str>, draft: Draft) {
        self.steps.push(Step {
            id: draft.id,
            title: draft.title,
            why: draft.why.to_owned(),
            member: member.cloned(),
            group: group.map(str::to_owned),
            after: draft.after,
            action: draft.action,
            undo: draft.undo,
            deadline_s: draft.deadline_s,
            alternatives: Vec::new(),
        });
    }

    fn of_all(&self, id: impl Fn(&MemberName) -> StepId) -> Vec<StepId> {
        self.members.iter().map(|member| id(&member.name)).collect()
    }

    fn of_all_volumes(&self, id: impl Fn(&MemberName, &RoleName) -> StepId) -> Vec<StepId> {
        let all = self.members.iter().flat_map(|m| m.volumes.iter().map(move |v| (&m.name, &v.role)));
        all.map(|(member, role)| id(member, role)).collect()
    }

    fn sets(&self) -> Vec<String> {
        let mut sets: Vec<String> = self.members.iter().filter_map(|member| member.slot.set.clone()).collect();
        sets.dedup();
        sets
    }

    fn targets(&self) -> Arc<[PodTarget]> {
        let target = |member: &MemberPlan| {
            Some(PodTarget {
                member: member.name.clone(),
                pod: member.slot.pod.clone()?,
                container: member.slot.container.clone()?,
                claims: member.volumes.iter().map(|volume| volume.claim.name.clone()).collect(),
                identity: member.identity.clone(),
            })
        };
        self.members.iter().filter_map(target).collect()
    }

    fn legacy_members(&self) -> Action {
        let of = |member: &MemberPlan| (member.name.clone(), (member.instance.clone(), member.identity.clone()));
        Action::AwaitLegacyMembers { members: self.members.iter().map(of).collect() }
    }

    fn member_up_s(&self) -> u32 {
        self.migration.spec.limits.member_up_seconds.unwrap_or(self.profile.limits().member_up_s)
    }

    /// The first acts: from here on nothing can be provisioned blank and no pod can start early, whoever scales the set.
    fn park_all(&mut self) {
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

    fn gate(&self, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(self.profile.gate().variable.to_owned(), value.to_owned())])
    }

    fn close_sets(&mut self) {
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

    fn tags(&self, member: &MemberPlan, volume: &VolumePlan) -> Tags {
        let pairs = [
            (labels::MIGRATION, self.migration.metadata.name.clone()),
            (labels::MEMBER, member.name.to_string()),
            (labels::ROLE, volume.role.to_string()),
            (labels::CSI_CLUSTER.0, labels::CSI_CLUSTER.1.to_owned()),
            (labels::CSI_CLAIM_NAME, volume.claim.name.clone()),
            (labels::CSI_CLAIM_NAMESPACE, volume.claim.namespace.clone()),
            (labels::CSI_VOLUME_NAME, volume.claim.volume_name.clone()),
        ];
        let mut tags: Tags = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        tags.insert("Name".to_owned(), volume.claim.name.clone());
        tags
    }

    fn snapshot(&self, member: &MemberPlan, phase: SnapshotPhase) -> Action {
        let volumes = roles(member);
        let instance = self.survey.members.iter().find(|m| m.instance.id == member.instance).map(|m| &m.instance);
        let root = instance.and_then(|instance| instance.root_device.clone());
        let excluded: Vec<VolumeId> = instance
            .map(|instance| instance.block_devices.as_slice())
            .unwrap_or_default()
            .iter()
            .filter(|device| Some(&device.device) != root.as_ref() && !volumes.values().any(|v| *v == device.volume))
            .map(|device| device.volume.clone())
            .collect();
        let role_tags = |volume: &VolumePlan| {
            let mut tags = self.tags(member, volume);
            tags.retain(|key, _| key.starts_with("rehome.dev/") || key == labels::CSI_CLUSTER.0);
            (volume.role.clone(), tags)
        };
        Action::SnapshotInstance {
            instance: member.instance.clone(),
            volumes,
            excluded,
            phase,
            tags: member.volumes.iter().map(role_tags).collect(),
        }
    }

    fn await_snapshots(member: &MemberPlan, step: &StepId) -> Action {
        let input = |volume: &VolumePlan| {
            let output = format!("snapshot/{}", volume.role);
            (volume.role.clone(), Input::Output { step: step.clone(), output })
        };
        Action::AwaitSnapshots { snapshots: member.volumes.iter().map(input).collect() }
    }

    /// What is done to a member while it serves.
    fn prepare(&mut self, member: &MemberPlan) {
        let name = &member.name;
        let limits = &self.migration.spec.limits;
        let base_s = limits.base_snapshot_seconds.unwrap_or(default::BASE_SNAPSHOT_S);
        let found = self.survey.members.iter().find(|m| m.instance.id == member.instance);
        let delete_on_termination: BTreeMap<String, bool> = found
            .map(|m| m.instance.block_devices.iter())
            .into_iter()
            .flatten()
            .filter(|device| member.volumes.iter().any(|v| v.legacy_volume == device.volume))
            .map(|device| (device.device.clone(), device.delete_on_termination))
            .collect();
        let auto_scaling_group =
            found.and_then(|m| m.instance.auto_scaling.as_ref()).map(|membership| membership.group.clone());
        let protect = |restore: bool| {
            let (instance, delete_on_termination) = (member.instance.clone(), delete_on_termination.clone());
            let auto_scaling_group = auto_scaling_group.clone();
            if restore {
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
    fn bases_done(&mut self) {
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

    fn flush(&mut self, member: &MemberPlan) {
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

    /// The steps after which every claim is parked and every set closed.
    fn closed(&self) -> Vec<StepId> {
        self.sets().into_iter().map(|set| StepId(format!("close-set:{set}"))).collect()
    }

    fn begin_cutover(&mut self) {
        let mut after = self.of_all(ids::flush);
        after.extend(self.of_all(ids::protect));
        let draft = Draft {
            id: StepId::from("legacy-whole"),
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

    fn mount_points(member: &MemberPlan) -> Vec<String> {
        let mut paths: Vec<String> = member.volumes.iter().map(|volume| volume.mount_path.clone()).collect();
        paths.sort();
        paths
    }

    /// From service to a captured volume and a stopped instance.
    fn take_out(&mut self, member: &MemberPlan) {
        let name = &member.name;
        let limits = &self.migration.spec.limits;
        let stop_s = limits.stop_seconds.unwrap_or(self.profile.limits().stop_s);
        let final_s = limits.final_snapshot_seconds.unwrap_or(default::FINAL_SNAPSHOT_S);
        let host = |host_task: HostTask| Action::Host { instance: member.instance.clone(), host_task };
        let mount_points = Self::mount_points(member);
        let drafts = [
            Draft {
                id: ids::stop_service(name),
                title: format!("drain, stop and mask {name}"),
                why: "every acknowledged write is on its disk, and nothing starts it again",
                after: vec![StepId::from("legacy-whole")],
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

    fn legacy_fenced(&mut self) {
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
    fn bring_in(&mut self, member: &MemberPlan) {
        let name = &member.name;
        for volume in &member.volumes {
            let snapshot = Input::Output { step: ids::last(name), output: format!("snapshot/{}", volume.role) };
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
                    volume: Input::Output { step: create, output: "volume".to_owned() },
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

    fn start_sets(&mut self) {
        let released = self.of_all_volumes(ids::release);
        let mut scaled = Vec::new();
        for set in self.sets() {
            let of_set: Vec<&MemberPlan> = self.members.iter().filter(|m| m.slot.set.as_ref() == Some(&set)).collect();
            let first = self.survey.cluster.sets.iter().find(|s| s.name == set).map_or(0, |s| s.first_ordinal);
            let replicas = of_set.iter().map(|m| m.slot.ordinal + 1 - first).max().unwrap_or(0);
            let pods = of_set.iter().filter_map(|m| m.slot.pod.clone()).collect();
            let id = StepId(format!("scale-set:{set}"));
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
            id: StepId::from("pods-run"),
            title: "every pod runs on its own volumes".to_owned(),
            why: "slot, claim and volume belong to one member",
            after: scaled,
            action: Action::AwaitPods { pods: targets, volumes: self.members.iter().filter_map(of_pod).collect() },
            undo: nothing("only looked"),
            deadline_s: default::PODS_S,
        };
        self.add(None, Some(CUTOVER), draft);
    }

    /// Verify closed, open, verify open, sweep. Answers the step that commits the cutover.
    fn open(&mut self) -> StepId {
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
            after: vec![StepId::from("pods-run")],
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
    fn made_ids(&self) -> Vec<Input<String>> {
        let mut keep = Vec::new();
        for member in self.members {
            for volume in &member.volumes {
                for step in [ids::base(&member.name), ids::last(&member.name)] {
                    keep.push(Input::Output { step, output: format!("snapshot/{}", volume.role) });
                }
                let step = ids::create(&member.name, &volume.role);
                keep.push(Input::Output { step, output: "volume".to_owned() });
            }
        }
        keep
    }
}
