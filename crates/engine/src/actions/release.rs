//! Releasing a volume: the single act that lets a slot's pod start (invariants I4, I5, I6).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rehome_model::cloud::{Volume, VolumeState};
use rehome_model::ids::{MemberName, RoleName, SnapshotId, VolumeId, Zone};
use rehome_model::labels;
use rehome_model::plan::{Action, ClaimSpec};
use rehome_planner::manifests;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{claims, fence, gate};
use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::kubernetes::{label, paths, text, uid};
use crate::lease::micro_time;
use crate::limits::{NUDGE, NUDGE_MAX};

/// Stands for an EBS volume that is still to be made.
const NO_VOLUME: &str = "vol-00000000000000000";

/// What is released, with its inputs known.
struct Release<'a> {
    claim: &'a ClaimSpec,
    member: &'a MemberName,
    role: &'a RoleName,
    volume: VolumeId,
    snapshot: SnapshotId,
    legacy_volume: &'a VolumeId,
    zone: &'a Zone,
    fs_type: &'a str,
    driver: &'a str,
}

impl Release<'_> {
    fn manifest<'a>(&'a self, claim_uid: &'a str) -> manifests::VolumeFor<'a> {
        manifests::VolumeFor {
            claim: self.claim,
            claim_uid,
            member: self.member,
            role: self.role,
            volume: &self.volume,
            legacy_volume: self.legacy_volume,
            zone: self.zone,
            fs_type: self.fs_type,
            driver: self.driver,
        }
    }
}

pub(super) async fn release(context: &StepContext, action: &Action) -> Result<Outputs, StepError> {
    let Action::ReleaseVolume { claim, member, role, volume, snapshot, legacy_volume, zone, fs_type, driver } = action
    else {
        return Err(StepError::failed("Plan", "not a release"));
    };
    let volume = context.input(volume)?;
    let snapshot = context.input(snapshot)?;
    let release = Release { claim, member, role, volume, snapshot, legacy_volume, zone, fs_type, driver };
    // The claim first: a volume without its parked claim would be anybody's.
    let found = context.claim(&claim.name).await?.ok_or_else(|| claims::gone(claim))?;
    claims::check_ours(context, claim, &found)?;
    // Of a step that nobody has begun before there is no PersistentVolume; a stranger's is met when ours is created.
    let fresh = context.fresh.swap(false, Ordering::Relaxed);
    let existing = if fresh { None } else { context.kube().get(&paths::volume(&claim.volume_name)).await? };
    if let Some(existing) = existing {
        check_volume(context, &release, &existing)?;
        replace_if_stale(context, &existing, uid(&found)).await?;
    } else {
        futures::future::try_join(check_lineage(context, &release), may_start(context, member)).await?;
        context.may_act()?;
        context
            .kube()
            .create(paths::VOLUMES, &manifests::volume(context.maker(), release.manifest(uid(&found))))
            .await?;
    }
    bind(context, &release).await?;
    Ok(Outputs::new())
}

/// The apiserver would take the PersistentVolumes of this plan: asked without an effect, of one a role and zone. What admission
/// refuses it would refuse in the downtime.
pub(super) async fn would_be_admitted(context: &StepContext) -> Result<(), StepError> {
    let mut asked = BTreeSet::new();
    let releases = context.plan().steps.iter().filter_map(|step| match &step.action {
        Action::ReleaseVolume { claim, member, role, legacy_volume, zone, fs_type, driver, .. } => {
            asked.insert((role, zone)).then_some((claim, member, role, legacy_volume, zone, fs_type, driver))
        }
        _ => None,
    });
    let all = releases.map(async |(claim, member, role, legacy_volume, zone, fs_type, driver)| {
        let found = context.claim(&claim.name).await?.ok_or_else(|| claims::gone(claim))?;
        let volume = VolumeId::from(NO_VOLUME);
        let claim_uid = uid(&found);
        let wanted =
            manifests::VolumeFor { claim, claim_uid, member, role, volume: &volume, legacy_volume, zone, fs_type, driver };
        // It has no effect; but whoever reads the apiserver's log need not know that.
        context.may_act()?;
        match context.kube().would_create(paths::VOLUMES, &manifests::volume(context.maker(), wanted)).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_conflict() || error.cannot_dry_run() => Ok(()),
            // What passes says nothing of the volume.
            Err(error) if !error.is_final() => Err(error.into()),
            Err(error) => {
                let error = StepError::from(error);
                let message = format!(
                    "the cluster would not take PersistentVolume {} in the downtime: {}; mend the permissions or the admission \
                     policy that refuses it",
                    claim.volume_name, error.message
                );
                Err(StepError { message, ..error })
            }
        }
    });
    futures::future::try_join_all(all).await.map(|_| ())
}

/// The pod of a member may start: its set is closed to clients, and its legacy instance is down. Somebody else may have scaled
/// the set up: the pod starts as soon as its volumes are there.
async fn may_start(context: &StepContext, member: &MemberName) -> Result<(), StepError> {
    let Some(planned) = context.plan().members.iter().find(|planned| planned.name == *member) else {
        return Err(StepError::failed("Plan", format!("no member {member}")));
    };
    let closed = async {
        match planned.slot.set.as_deref() {
            Some(set) => gate::see_closed(context, set).await.map(|_| ()),
            None => Ok(()),
        }
    };
    futures::future::try_join(closed, fence::stays_stopped(context, &planned.instance)).await.map(|_| ())
}

/// The EBS volume is what the plan says: the right member's, captured by this run, in the right zone, held by nobody.
async fn check_lineage(context: &StepContext, release: &Release<'_>) -> Result<(), StepError> {
    let id = &release.volume;
    let wrong = |what: String| StepError::failed("WrongVolume", format!("{id} for {}: {what}", release.claim.name));
    let cloud = context.cloud();
    let (volumes, snapshots) = futures::join!(
        cloud.volumes(std::slice::from_ref(id)),
        cloud.snapshots(std::slice::from_ref(&release.snapshot))
    );
    let (volumes, snapshots) = (volumes?, snapshots?);
    let volume: &Volume =
        volumes.first().ok_or_else(|| StepError::again("InvalidVolume.NotFound", format!("{id} is not shown")))?;
    if volume.state != VolumeState::Available || !volume.attachments.is_empty() {
        return Err(StepError::again("IncorrectState", format!("{id} is {}, not available", volume.state)));
    }
    if volume.zone != *release.zone {
        return Err(wrong(format!("it is in {}, not in {}", volume.zone, release.zone)));
    }
    if volume.spec.size_gib != release.claim.size_gib {
        return Err(wrong(format!("it has {} GiB, not {}", volume.spec.size_gib, release.claim.size_gib)));
    }
    if volume.snapshot.as_ref() != Some(&release.snapshot) {
        return Err(wrong(format!("it was not made from {}", release.snapshot)));
    }
    let captured = snapshots.first().map(|snapshot| &snapshot.volume);
    if captured != Some(release.legacy_volume) {
        return Err(wrong(format!("{} captured {captured:?}, not {}", release.snapshot, release.legacy_volume)));
    }
    for (key, wanted) in [(labels::MEMBER, release.member.as_str()), (labels::ROLE, release.role.as_str())] {
        if volume.tags.get(key).map(String::as_str) != Some(wanted) {
            return Err(wrong(format!("its tag {key} is not {wanted}")));
        }
    }
    Ok(())
}

/// A PersistentVolume of this name is ours and for this very volume.
fn check_volume(context: &StepContext, release: &Release<'_>, existing: &Value) -> Result<(), StepError> {
    let name = &release.claim.volume_name;
    if label(existing, labels::MIGRATION) != Some(&context.plan().migration) {
        return Err(StepError::failed(
            "Stranger",
            format!("PersistentVolume {name} exists and does not belong to this migration"),
        ));
    }
    let handle = text(existing, "/spec/csi/volumeHandle");
    if handle != release.volume.as_str() {
        return Err(StepError::failed(
            "WrongVolume",
            format!("PersistentVolume {name} is for {handle}, not {}", release.volume),
        ));
    }
    if !existing["metadata"]["deletionTimestamp"].is_null() {
        return Err(StepError::again("Terminating", format!("PersistentVolume {name} is being deleted")));
    }
    Ok(())
}

/// Whether a PersistentVolume is for a claim of this name that is gone.
fn is_stale(volume: &Value, claim_uid: &str) -> bool {
    let reserved = text(volume, "/spec/claimRef/uid");
    !reserved.is_empty() && reserved != claim_uid
}

/// A PersistentVolume that was made for a claim which is gone never binds to the one that is there now: it makes way. The
/// step then begins anew, with all that it looks at first.
async fn replace_if_stale(context: &StepContext, existing: &Value, claim_uid: &str) -> Result<(), StepError> {
    if !is_stale(existing, claim_uid) {
        return Ok(());
    }
    let name = text(existing, "/metadata/name");
    context.may_act()?;
    context.kube().delete(&paths::volume(name), uid(existing)).await?;
    Err(StepError::again(
        "Stale",
        format!("PersistentVolume {name} was made for a claim that is gone; it is made anew"),
    ))
}

/// Sees claim and volume bound to each other. The binder is woken by a touch of the claim; otherwise it waits for its
/// resync (measured: 0.9 s against 22 s). Whether the volume shows as available already does not matter to it: that phase
/// too is late by a resync when the binder's own update met a conflict.
async fn bind(context: &StepContext, release: &Release<'_>) -> Result<(), StepError> {
    let claim_path = paths::claim(&release.claim.namespace, &release.claim.name);
    let mut nudged: Option<(Instant, std::time::Duration)> = None;
    let (claim_name, volume_name) = (&release.claim.name, &release.claim.volume_name);
    context
        .wait(async || {
            let (volume, claim) = futures::join!(context.persistent_volume(volume_name), context.claim(claim_name));
            let (Some(volume), Some(claim)) = (volume?, claim?) else {
                return Err(StepError::failed("ClaimGone", format!("claim {claim_name} or its volume is gone")));
            };
            let phase = text(&volume, "/status/phase");
            let bound = phase == "Bound"
                && text(&claim, "/status/phase") == "Bound"
                && text(&volume, "/spec/claimRef/uid") == uid(&claim);
            if bound {
                return Ok(Ok(()));
            }
            if is_stale(&volume, uid(&claim)) {
                return Err(StepError::again("Stale", format!("PersistentVolume {volume_name} is for another claim")));
            }
            if phase == "Released" || phase == "Failed" {
                return Err(StepError::failed("NotBound", format!("PersistentVolume {volume_name} is {phase}")));
            }
            let pause = match nudged {
                None => Some(NUDGE),
                Some((at, pause)) if at.elapsed() >= pause => Some((pause * 2).min(NUDGE_MAX)),
                Some(_) => None,
            };
            if let Some(pause) = pause {
                context.may_act()?;
                let patch = json!({"metadata": {"annotations": {labels::NUDGE: micro_time(context.now_ms())}}});
                context.kube().merge_patch(&claim_path, &patch).await?;
                nudged = Some((Instant::now(), pause));
            }
            let claim_phase = text(&claim, "/status/phase");
            Ok(Err(format!("claim {claim_name} is {claim_phase}, its PersistentVolume {phase}")))
        })
        .await
}
