//! Snapshots. EC2 has no client token for them: what was made is found by tag, and made twice it is collected (I7, I8).

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::cloud::{Snapshot, SnapshotState, Tags};
use rehome_model::ids::{RoleName, SnapshotId, StepId, VolumeId};
use rehome_model::labels;
use rehome_model::plan::{Action, Input, LAUNCHED_AT, SnapshotPhase, outputs};
use rehome_model::record::StepState;
use rehome_ports::{CreateSnapshots, ResourceId};
use tokio::time::Instant;

use super::instances;
use super::left::Refusals;
use crate::cloud::Pace;
use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::limits::{NOT_FOUND_GRACE, SNAPSHOT_POLL, SNAPSHOT_POLL_MAX};

/// The tags by which a step's work is found again.
pub(super) fn made_by(context: &StepContext, step: &StepId) -> Tags {
    Tags::from([
        (labels::MIGRATION.to_owned(), context.plan().migration.clone()),
        (labels::RUN.to_owned(), context.run().to_string()),
        (labels::STEP.to_owned(), step.to_string()),
    ])
}

/// One snapshot a volume, all at one instant; adopts the oldest complete set if there is one.
pub(super) async fn create(context: &StepContext, action: &Action) -> Result<Outputs, StepError> {
    let Action::SnapshotInstance { instance, volumes, excluded, phase, tags } = action else {
        return Err(StepError::failed("Plan", "not a snapshot"));
    };
    let by_step = made_by(context, &context.step.id);
    // An attempt is recorded before it is sent: where none is, nobody has made a snapshot for this step.
    let never_sent = context.record().is_some_and(|record| record.state == StepState::Intended && record.attempt <= 1);
    let found = if never_sent { None } else { look(context, &by_step, volumes).await? };
    let set = if let Some(set) = found {
        set
    } else {
        // One call, one set of tags: what all roles share. For a member of one volume that is all of them.
        let mut common = shared(tags);
        common.extend(by_step);
        if let Some(member) = &context.step.member {
            common.insert(labels::MEMBER.to_owned(), member.to_string());
        }
        let request = CreateSnapshots {
            instance: instance.clone(),
            exclude: excluded.clone(),
            include_root: false,
            description: format!("rehome {}: {}", context.plan().migration, context.step.title),
            tags: common,
        };
        let attempt = context.record().map_or(1, |record| record.attempt + 1);
        // What the fence compares: one that is started after this has served what nobody captures.
        let launched = match phase {
            SnapshotPhase::Final => instances::describe(context, instance).await?.launched_at_s,
            SnapshotPhase::Base => None,
        };
        let launched = launched.map(|at| (LAUNCHED_AT.to_owned(), at.to_string()));
        context.cloud().turn_to_create_snapshots().await;
        context.record_attempt(attempt, launched.into_iter().collect()).await?;
        let made = match context.cloud().create_snapshots(&request).await? {
            Err(error) if error.may_have_effect() => {
                // It may have had its effect as late as now: from here on it is looked for.
                context.record_attempt(attempt, Outputs::new()).await?;
                context.hear();
                return Err(error.into());
            }
            answer => answer,
        };
        context.hear();
        let made = made?;
        complete_set(&made, volumes).ok_or_else(|| {
            StepError::failed("IncompleteSnapshot", format!("CreateSnapshots of {instance} left volumes out"))
        })?
    };
    let mut tagging = Vec::new();
    for (role, snapshot) in &set {
        // Only what is missing: that is the same for many snapshots, and one call tags them all.
        let missing = |(key, value): &(&String, &String)| snapshot.tags.get(*key) != Some(*value);
        let wanted: Tags = tags.get(role).into_iter().flatten().filter(missing).map(owned).collect();
        if !wanted.is_empty() {
            tagging.push((ResourceId::Snapshot(snapshot.id.clone()), wanted));
        }
    }
    shown(context, &tagging).await?;
    let cloud = context.cloud();
    futures::future::try_join_all(tagging.iter().map(|(snapshot, tags)| cloud.tag(snapshot, tags))).await?;
    Ok(set.into_iter().map(|(role, snapshot)| (outputs::snapshot(&role), snapshot.id.to_string())).collect())
}

/// Waits until describes show the snapshots: EC2 would refuse to tag them before, and with them all others that are
/// tagged by the same call.
async fn shown(context: &StepContext, tagging: &[(ResourceId, Tags)]) -> Result<(), StepError> {
    let id = |(resource, _): &(ResourceId, Tags)| match resource {
        ResourceId::Snapshot(id) => Some(id.clone()),
        _ => None,
    };
    let ids: Vec<SnapshotId> = tagging.iter().filter_map(id).collect();
    context
        .wait(async || {
            let found = context.cloud().snapshots(&ids).await?;
            let missing = ids.len().saturating_sub(found.len());
            Ok(if missing == 0 { Ok(()) } else { Err(format!("{missing} new snapshots are not shown yet")) })
        })
        .await
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// The tags that every role has.
fn shared(tags: &BTreeMap<RoleName, Tags>) -> Tags {
    let mut roles = tags.values();
    let mut common = roles.next().cloned().unwrap_or_default();
    for other in roles {
        common.retain(|key, value| other.get(key) == Some(value));
    }
    common
}

/// The oldest complete set that this step made, if any. If an earlier attempt may have made one that is not shown yet,
/// looks for as long as describes may lag before it answers none.
async fn look(
    context: &StepContext,
    tags: &Tags,
    volumes: &BTreeMap<RoleName, VolumeId>,
) -> Result<Option<BTreeMap<RoleName, Snapshot>>, StepError> {
    let uncertain = context.record().is_some_and(|record| record.state == StepState::Intended && record.attempt > 1);
    // Counted from the attempt: a driver that is killed again and again while it looks would else never be done looking.
    let until = Instant::now() + if uncertain { context.unsettled() } else { std::time::Duration::ZERO };
    context
        .wait(async || {
            let found = context.cloud().tagged_snapshots(tags).await?;
            let mut by_instant: BTreeMap<u64, Vec<Snapshot>> = BTreeMap::new();
            for snapshot in found.into_iter().filter(|snapshot| snapshot.state != SnapshotState::Error) {
                by_instant.entry(snapshot.started_at_ms).or_default().push(snapshot);
            }
            let oldest = by_instant.values().find_map(|set| complete_set(set, volumes));
            Ok(match oldest {
                Some(set) => Ok(Some(set)),
                None if Instant::now() >= until => Ok(None),
                None => Err("looking for snapshots of an attempt whose reply was lost".to_owned()),
            })
        })
        .await
}

fn complete_set(found: &[Snapshot], volumes: &BTreeMap<RoleName, VolumeId>) -> Option<BTreeMap<RoleName, Snapshot>> {
    volumes
        .iter()
        .map(|(role, volume)| {
            found.iter().find(|snapshot| snapshot.volume == *volume).map(|found| (role.clone(), found.clone()))
        })
        .collect()
}

/// Waits until the snapshots can be used.
pub(super) async fn completed(
    context: &StepContext,
    snapshots: &BTreeMap<RoleName, Input<SnapshotId>>,
) -> Result<Outputs, StepError> {
    let ids: BTreeSet<SnapshotId> = snapshots.values().map(|input| context.input(input)).collect::<Result<_, _>>()?;
    let started = Instant::now();
    let wanted: Vec<SnapshotId> = ids.iter().cloned().collect();
    // Base and final snapshots take very different times: a kind is what its steps are called.
    let kind = if context.step.group.is_some() { "final-snapshot" } else { "base-snapshot" };
    let pace =
        Pace { kind: Some(kind), soonest: SNAPSHOT_POLL, first: SNAPSHOT_POLL, longest: SNAPSHOT_POLL_MAX, part: 10 };
    context
        .wait_at(pace, async || {
            let found = context.cloud().snapshots(&wanted).await?;
            let mut progress = Vec::new();
            for id in &ids {
                let Some(snapshot) = found.iter().find(|snapshot| snapshot.id == *id) else {
                    if started.elapsed() > NOT_FOUND_GRACE {
                        return Err(StepError::failed("InvalidSnapshot.NotFound", format!("snapshot {id} is gone")));
                    }
                    progress.push(format!("{id} not shown yet"));
                    continue;
                };
                match snapshot.state {
                    SnapshotState::Completed => {}
                    SnapshotState::Error => {
                        return Err(StepError::failed("SnapshotError", format!("snapshot {id} failed in EC2")));
                    }
                    _ => progress.push(format!("{id} at {} %", snapshot.progress_percent)),
                }
            }
            Ok(if progress.is_empty() { Ok(()) } else { Err(progress.join(", ")) })
        })
        .await?;
    Ok(Outputs::new())
}

/// Deletes what a step of this run made, and nothing else. What is not shown is not deleted: see `StepContext::settle`.
pub(super) async fn delete(context: &StepContext, step: &StepId) -> Result<Outputs, StepError> {
    let tags = made_by(context, step);
    let mut refusals = Refusals::default();
    context
        .wait(async || {
            let mut found = context.cloud().tagged_snapshots(&tags).await?;
            found.retain(|snapshot| !snapshot.is_copy());
            if refusals.are_all(found.iter().map(|snapshot| snapshot.id.as_str())) {
                return Ok(Ok(()));
            }
            let mut waits = None;
            for snapshot in &found {
                if let Err(error) = context.cloud().delete_snapshot(&snapshot.id).await? {
                    waits = waits.or(refusals.take(context, &snapshot.id, error).await?);
                }
            }
            Ok(Err(waits.unwrap_or_else(|| format!("{} snapshots go", found.len()))))
        })
        .await?;
    Ok(refusals.outputs(context))
}
