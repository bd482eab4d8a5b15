//! Planted bugs: what a mistake in rehome would do, at its seams. Nothing of them is in a product build: they change
//! the plan, or stand between the engine and the world's ports.

use rehome_model::ids::StepId;
use rehome_model::on_host::Owner;
use rehome_model::plan::{Action, Plan, Step, Undo};
use rehome_model::survey::Survey;
use rehome_model::task::HostTask;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The legacy service is never stopped, nor its instance, and nobody looks whether it is.
    NeverStops,
    /// Volumes are released before every legacy instance is seen stopped: each where its own is about to be.
    ReleasesBeforeTheFence,
    /// `stopping` is taken for `stopped`.
    TrustsOneStaleDescribe,
    /// A legacy member is unmasked and started while pods run.
    UnmasksTheLegacyService,
    /// The final snapshot is taken while the members serve.
    CapturesBeforeTheStop,
    /// The volumes of an instance are captured one after the other.
    CapturesVolumesOneByOne,
    /// A failure after the opening undoes the run.
    UndoesAfterTheOpening,
    /// The service runs again between its capture and the fence, and nobody looks before the stop of its instance.
    ResumesAfterTheCapture,
    /// Two PersistentVolumes get the same volume.
    ReusesAHandle,
    /// Two members land in each other's slots.
    SwapsTwoSlots,
    /// The claims are not parked.
    ParksNothing,
    /// PersistentVolumes are made with reclaim policy Delete.
    MakesVolumesDelete,
    /// Claims are owned by an object whose deletion takes them along.
    OwnsTheClaims,
    /// New volumes do not say which step made them.
    ForgetsATag,
    /// Deletes what looks like a run's without a look at whose run it is.
    DeletesWithoutLookingWhose,
    /// CreateSnapshots is sent again without a look for what the first call made.
    RetriesSnapshotsBlind,
    /// CreateVolume is sent again with a new token, though the old attempt may live.
    NewTokenForEveryTry,
    /// A rollback that keeps writes leaves the old originals attached, and its look at what is mounted is forgotten.
    ServesTheOldOriginals,
    /// A rollback that keeps writes attaches before the nodes have let go, and starts the legacy side while pods run.
    BelievesTheVolumesFree,
    /// A rollback that keeps writes does not park the claims.
    LeavesTheClaimsBound,
    /// The files of a volume that came back are given to the ids of the pods.
    ForgetsTheOwners,
    /// The undo of the stop is forgotten.
    LeavesTheServiceMasked,
    /// `apply` takes the given plan as it is.
    ComparesNoFacts,
    /// The driver takes its renewals for granted.
    ActsAfterItsLease,
    /// The driver takes the lease without watching its holder.
    TakesTheLeaseByForce,
    /// A member that is started again is not protected from a late stop.
    StartsUnprotected,
    /// Nothing tells a host that a run was taken back.
    LeavesNoWord,
}

impl Planted {
    /// All of them, each with the invariant whose checker must see it.
    pub const ALL: [(Self, &'static str); 27] = [
        (Self::NeverStops, "I1"),
        (Self::ReleasesBeforeTheFence, "I1"),
        (Self::TrustsOneStaleDescribe, "I1"),
        (Self::UnmasksTheLegacyService, "I1"),
        (Self::CapturesBeforeTheStop, "I2"),
        (Self::CapturesVolumesOneByOne, "I2"),
        (Self::UndoesAfterTheOpening, "I2"),
        (Self::ResumesAfterTheCapture, "I3"),
        (Self::ReusesAHandle, "I4"),
        (Self::SwapsTwoSlots, "I4"),
        (Self::ParksNothing, "I5"),
        (Self::MakesVolumesDelete, "I6"),
        (Self::OwnsTheClaims, "I6"),
        (Self::ForgetsATag, "I7"),
        (Self::DeletesWithoutLookingWhose, "I7"),
        (Self::RetriesSnapshotsBlind, "I8"),
        (Self::NewTokenForEveryTry, "I8"),
        (Self::ServesTheOldOriginals, "I2"),
        (Self::BelievesTheVolumesFree, "I1"),
        (Self::LeavesTheClaimsBound, "I5"),
        (Self::ForgetsTheOwners, "I8"),
        (Self::LeavesTheServiceMasked, "I8"),
        (Self::ComparesNoFacts, "I9"),
        (Self::ActsAfterItsLease, "I10"),
        (Self::TakesTheLeaseByForce, "I10"),
        (Self::StartsUnprotected, "I8"),
        (Self::LeavesNoWord, "I8"),
    ];

    /// The invariant whose checker must see it.
    pub fn caught_by(self) -> Option<&'static str> {
        Self::ALL.into_iter().find(|(planted, _)| *planted == self).map(|(_, by)| by)
    }

    /// The survey as the bug understands it.
    pub(super) fn misread(self, survey: &mut Survey) {
        if self == Self::SwapsTwoSlots && survey.members.len() > 1 {
            survey.members.swap(0, 1);
        }
    }

    /// The plan as the bug makes it.
    pub(super) fn change(self, plan: &mut Plan) {
        match self {
            Self::NeverStops => {
                for kind in ["stop-service", "inspect-disk", "unmount", "stop-instance", "legacy-fenced"] {
                    leave_out(plan, kind);
                }
            }
            Self::ReleasesBeforeTheFence => {
                for step in of_kind(plan, "release-volume") {
                    step.after.retain(|id| id.as_str() != "legacy-fenced");
                }
            }
            Self::UnmasksTheLegacyService => {
                let Some(instance) = plan.members.first().map(|member| member.instance.clone()) else { return };
                let start = Action::StartInstance { instance: instance.clone() };
                add(plan, "wake-instance", &["pods-run"], start);
                add(
                    plan,
                    "wake-service",
                    &["wake-instance"],
                    Action::Host { instance, host_task: HostTask::StartService },
                );
            }
            Self::CapturesBeforeTheStop => {
                for step in &mut plan.steps {
                    let of = step.member.clone().unwrap_or_else(|| "".into());
                    let after = match step.id.as_str().split(':').next().unwrap_or_default() {
                        "final-snapshot" => "legacy-whole".to_owned(),
                        "stop-service" => format!("await-final-snapshot:{of}"),
                        "stop-instance" => format!("unmount:{of}"),
                        _ => continue,
                    };
                    step.after = vec![StepId(after)];
                }
            }
            Self::UndoesAfterTheOpening => {
                plan.groups.clear();
                // And something fails after it: the first view of an open pod that cannot be read.
                for step in of_kind(plan, "verify-open") {
                    step.deadline_s = 0;
                }
            }
            Self::ResumesAfterTheCapture => {
                for member in plan.members.clone() {
                    let (name, instance) = (member.name, member.instance);
                    let mount_points = member.volumes.iter().map(|volume| volume.mount_path.clone()).collect();
                    let mount =
                        Action::Host { instance: instance.clone(), host_task: HostTask::Mount { mount_points } };
                    add(plan, &format!("remount:{name}"), &[&format!("final-snapshot:{name}")], mount);
                    let start = Action::Host { instance, host_task: HostTask::StartService };
                    add(plan, &format!("resume:{name}"), &[&format!("remount:{name}")], start);
                    for step in of_kind(plan, &format!("stop-instance:{name}")) {
                        step.after =
                            [format!("resume:{name}"), format!("await-final-snapshot:{name}")].map(StepId).into();
                    }
                }
            }
            Self::ParksNothing => leave_out(plan, "park-claim"),
            Self::RetriesSnapshotsBlind => leave_out(plan, "sweep"),
            Self::BelievesTheVolumesFree => {
                for kind in ["scale-set", "release-volume"] {
                    take_back_nothing(plan, kind);
                }
            }
            Self::LeavesTheClaimsBound => take_back_nothing(plan, "release-volume"),
            Self::ForgetsTheOwners => {
                for volume in plan.members.iter_mut().flat_map(|member| &mut member.volumes) {
                    if let Some(host) = &mut volume.on_host {
                        host.files = Some(Owner { uid: 10_999, gid: 10_999 });
                    }
                }
            }
            Self::LeavesTheServiceMasked => {
                take_back_nothing(plan, "stop-service");
            }
            _ => {}
        }
    }
}

fn of_kind<'a>(plan: &'a mut Plan, kind: &str) -> impl Iterator<Item = &'a mut Step> {
    plan.steps.iter_mut().filter(move |step| step.id.as_str().starts_with(kind))
}

fn take_back_nothing(plan: &mut Plan, kind: &str) {
    for step in of_kind(plan, kind) {
        step.undo = Undo::Nothing("planted".to_owned());
    }
}

/// Steps that do nothing: they remove a ConfigMap that is not there.
fn leave_out(plan: &mut Plan, kind: &str) {
    for step in of_kind(plan, kind) {
        step.action = Action::RemoveGate { config_map: "nothing-there".to_owned() };
        step.undo = Undo::Nothing("planted".to_owned());
    }
}

fn add(plan: &mut Plan, id: &str, after: &[&str], action: Action) {
    plan.steps.push(Step {
        id: StepId::from(id),
        title: id.to_owned(),
        why: "planted".to_owned(),
        member: None,
        group: None,
        after: after.iter().map(|id| StepId::from(*id)).collect(),
        action,
        undo: Undo::Nothing("planted".to_owned()),
        deadline_s: 600,
    });
}
