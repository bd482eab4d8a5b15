//! The steps of strategy `snapshot` with cutover `stop`, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rehome_model::cloud::Tags;
use rehome_model::ids::{MemberName, RoleName, StepId, VolumeId};
use rehome_model::labels;
use rehome_model::migration::{Migration, Seconds};
use rehome_model::plan::{
    Action, Group, Input, MemberPlan, Plan, PodTarget, SnapshotPhase, Step, Undo, VolumePlan, outputs,
};
use rehome_model::survey::Survey;
use rehome_profiles::Profile;

use crate::planner::roles;

mod cutover;
mod opening;
mod prepare;

/// The group of everything between the first quiesced member and the opening.
pub(crate) const CUTOVER: &str = "cutover";
/// The step between all base snapshots and what follows them.
const BASES_DONE: &str = "base-snapshots-completed";
pub(crate) const LEGACY_WHOLE: &str = "legacy-whole";
/// The step that waits for the pods.
pub(crate) const PODS_RUN: &str = "pods-run";

/// Default limits in seconds, where the migration gives none.
pub(crate) mod default {
    pub(super) const BASE_SNAPSHOT_S: u32 = 24 * 3600;
    pub(super) const FINAL_SNAPSHOT_S: u32 = 2 * 3600;
    /// For one call to the cloud or the cluster to take effect.
    pub(crate) const CALL_S: u32 = 600;
    /// For an instance to stop or start.
    pub(crate) const INSTANCE_S: u32 = 900;
    /// For a step of a way back, at least: nobody serves meanwhile, and production has nothing better to wait for.
    pub(crate) const WAY_BACK_S: u32 = 1800;
    /// For claim and volume to bind: the binder's resync is 15 s, and real clusters are slower.
    pub(super) const BIND_S: u32 = 180;
    /// For pods to be scheduled, attached, pulled and started.
    pub(crate) const PODS_S: u32 = 1800;
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
    pub(crate) fn scale(set: &str) -> StepId {
        StepId(format!("scale-set:{set}"))
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

/// The steps of a plan that are done while production serves: all that do not come after the last base snapshot. Those bring
/// members near their stop, and want nobody to wait for.
pub fn while_serving(plan: &Plan) -> BTreeSet<StepId> {
    let mut late = BTreeSet::from([StepId::from(BASES_DONE), StepId::from(LEGACY_WHOLE)]);
    // Steps are listed after those that they come after.
    for step in &plan.steps {
        if step.after.iter().any(|before| late.contains(before)) {
            late.insert(step.id.clone());
        }
    }
    late.remove(&StepId::from(BASES_DONE));
    plan.steps.iter().map(|step| step.id.clone()).filter(|id| !late.contains(id)).collect()
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
        self.migration.spec.limits.member_up_seconds.map_or(self.profile.limits().member_up_s, Seconds::get)
    }

    fn gate(&self, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(self.profile.gate().variable.to_owned(), value.to_owned())])
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
            (labels::NAME, volume.claim.name.clone()),
        ];
        let mut tags = self.migration.spec.tags.clone();
        tags.extend(pairs.map(|(key, value)| (key.to_owned(), value)));
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
            tags.retain(|key, _| labels::is_snapshots_tag(key));
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
            (volume.role.clone(), Input::Output { step: step.clone(), output: outputs::snapshot(&volume.role) })
        };
        Action::AwaitSnapshots { snapshots: member.volumes.iter().map(input).collect() }
    }

    /// The steps after which every claim is parked and every set closed.
    fn closed(&self) -> Vec<StepId> {
        self.sets().into_iter().map(|set| StepId(format!("close-set:{set}"))).collect()
    }
}
