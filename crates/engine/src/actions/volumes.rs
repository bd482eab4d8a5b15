//! The new volumes.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rehome_model::cloud::{Volume, VolumeState};
use rehome_model::ids::{SnapshotId, StepId, VolumeId};
use rehome_model::plan::{Action, outputs};
use rehome_ports::CreateVolume;
use tokio::time::Instant;

use super::left::Refusals;
use super::snapshots::made_by;
use crate::cloud::Pace;
use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::limits::{NOT_FOUND_GRACE, SETTLE, VOLUME_ATTEMPTS};

/// Makes a volume from a snapshot and sees it available. A volume that fails after EC2 accepted it burns its token:
/// the next attempt, with a new one, begins only after describe has shown the old one dead.
pub(super) async fn create(context: &StepContext, action: &Action) -> Result<Outputs, StepError> {
    let Action::CreateVolume { role, snapshot, zone, spec, tags } = action else {
        return Err(StepError::failed("Plan", "not a volume"));
    };
    let snapshot = context.input(snapshot)?;
    let by_step = made_by(context, &context.step.id);
    let mut all_tags = by_step.clone();
    all_tags.extend(tags.clone());
    let mut full = false;
    loop {
        let attempt = context.record().map_or(1, |record| record.attempt.max(1));
        // Of a step that nobody has begun before nothing can be there.
        let fresh = context.fresh.swap(false, Ordering::Relaxed);
        let found = if fresh { None } else { existing(context, &context.step.id).await? };
        let volume = if let Some(volume) = found {
            volume
        } else {
            let request = CreateVolume {
                snapshot: snapshot.clone(),
                zone: zone.clone(),
                spec: spec.clone(),
                tags: all_tags.clone(),
                token: rehome_model::names::client_token(context.run(), &context.step.id, role, attempt),
            };
            match context.cloud().create_volume(&request).await? {
                Ok(volume) => volume,
                Err(error) if error.code == "IdempotentParameterMismatch" => {
                    next_attempt(context, attempt, &error.to_string()).await?;
                    continue;
                }
                // Nobody raises a quota while production is down. Tried once more, since describes and quotas may be behind: one
                // that this step has made may not be shown, and what was deleted may still count.
                Err(error) if error.code == "VolumeLimitExceeded" => {
                    if full {
                        return Err(StepError::failed(&error.code, error.to_string()));
                    }
                    full = true;
                    context.pause(SETTLE, &error.message).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
        };
        match available(context, &volume.id).await? {
            Ok(()) => return Ok(Outputs::from([(outputs::VOLUME.to_owned(), volume.id.to_string())])),
            Err(dead) => next_attempt(context, attempt, &dead).await?,
        }
    }
}

async fn next_attempt(context: &StepContext, attempt: u32, why: &str) -> Result<(), StepError> {
    if attempt >= VOLUME_ATTEMPTS {
        return Err(StepError::failed("VolumeFailed", format!("{attempt} attempts failed; the last: {why}")));
    }
    context.note(format!("{}: attempt {attempt} failed ({why}); trying once more", context.step.id));
    context.record_attempt(attempt + 1, Outputs::new()).await
}

/// The oldest live volume that a step of this run made.
async fn existing(context: &StepContext, step: &StepId) -> Result<Option<Volume>, StepError> {
    let found = context.cloud().tagged_volumes(&made_by(context, step)).await?;
    let alive = found
        .into_iter()
        .filter(|volume| matches!(volume.state, VolumeState::Creating | VolumeState::Available | VolumeState::InUse));
    Ok(alive.min_by_key(|volume| (volume.created_at_ms, volume.id.clone())))
}

/// Waits until the volume is available; `Err` says why it is dead.
async fn available(context: &StepContext, id: &VolumeId) -> Result<Result<(), String>, StepError> {
    let started = Instant::now();
    let mut seen = false;
    context
        .wait_at(Pace { kind: Some("create-volume"), ..Pace::QUICK }, async || {
            let found = context.cloud().volumes(std::slice::from_ref(id)).await?;
            let Some(volume) = found.first() else {
                let vanished = seen || started.elapsed() > NOT_FOUND_GRACE;
                return Ok(if vanished {
                    Ok(Err(format!("{id} vanished")))
                } else {
                    Err(format!("{id} not shown yet"))
                });
            };
            seen = true;
            Ok(match volume.state {
                // In use: a pod has it already, from before a restart of this driver.
                VolumeState::Available | VolumeState::InUse => Ok(Ok(())),
                VolumeState::Creating => Err(format!("{id} is being created")),
                VolumeState::Error | VolumeState::Deleting | VolumeState::Deleted => {
                    Ok(Err(format!("{id} is {:?}", volume.state)))
                }
            })
        })
        .await
}

/// The snapshot that a step of the plan makes its volume from, as the record names it. Tags travel: backup tools copy those
/// of a volume to its snapshots, and to what is restored from them. What a run made it made from what it captured.
pub(super) fn source(context: &StepContext, step: &StepId) -> Option<SnapshotId> {
    match &context.plan().step(step)?.action {
        // A step whose input is not recorded has made nothing.
        Action::CreateVolume { snapshot, .. } => context.input(snapshot).ok(),
        _ => None,
    }
}

/// Whether a volume was made from this snapshot.
pub(super) fn made_from(volume: &Volume, source: Option<&SnapshotId>) -> bool {
    volume.snapshot.is_some() && volume.snapshot.as_ref() == source
}

/// What is said of a volume that bears the tags of one that this run made, and was made by somebody else.
pub(super) fn note_foreign(context: &StepContext, volume: &Volume) {
    let from = volume.snapshot.as_ref().map_or("no snapshot", SnapshotId::as_str);
    context.note(format!(
        "{} bears this run's tags and was made from {from}, which is none of its: a restored backup, perhaps; it was left",
        volume.id
    ));
}

/// Deletes what a step of this run made, once nothing holds it.
pub(super) async fn delete(context: &StepContext, step: &StepId) -> Result<Outputs, StepError> {
    let (tags, source) = (made_by(context, step), source(context, step));
    let mut told = BTreeSet::new();
    let mut refusals = Refusals::default();
    context
        .wait(async || {
            let found = context.cloud().tagged_volumes(&tags).await?;
            let there =
                found.iter().filter(|volume| !matches!(volume.state, VolumeState::Deleted | VolumeState::Deleting));
            let (left, foreign): (Vec<&Volume>, Vec<&Volume>) =
                there.partition(|volume| made_from(volume, source.as_ref()));
            for volume in foreign {
                if told.insert(volume.id.clone()) {
                    note_foreign(context, volume);
                }
            }
            // A pod may still write to it: that is never left.
            let held = left.iter().find_map(|volume| Some((volume, volume.attachments.first()?)));
            if let Some((volume, attachment)) = held {
                return Ok(Err(format!("{} is still attached to {}", volume.id, attachment.instance)));
            }
            if refusals.are_all(left.iter().map(|volume| volume.id.as_str())) {
                return Ok(Ok(()));
            }
            let mut waits = None;
            for volume in &left {
                if let Err(error) = context.cloud().delete_volume(&volume.id).await? {
                    waits = waits.or(refusals.take(context, &volume.id, error).await?);
                }
            }
            Ok(Err(waits.unwrap_or_else(|| format!("{} volumes go", left.len()))))
        })
        .await?;
    Ok(refusals.outputs(context))
}
