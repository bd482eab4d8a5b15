//! The sweep: what a lost reply made twice is found by tag and collected (invariants I7, I8).

use std::collections::BTreeSet;

use rehome_model::cloud::{Tags, VolumeState};
use rehome_model::ids::StepId;
use rehome_model::labels;
use rehome_model::plan::{Action, Input};

use super::volumes;
use crate::context::{Outputs, StepContext};
use crate::error::StepError;

pub(super) async fn sweep(context: &StepContext, keep: &[Input<String>]) -> Result<Outputs, StepError> {
    let keep: BTreeSet<String> = keep.iter().map(|input| context.input(input)).collect::<Result<_, _>>()?;
    let tags = Tags::from([
        (labels::MIGRATION.to_owned(), context.plan().migration.clone()),
        (labels::RUN.to_owned(), context.run().to_string()),
    ]);
    for volume in context.cloud().tagged_volumes(&tags).await? {
        let going = matches!(volume.state, VolumeState::Deleting | VolumeState::Deleted);
        let ours = made_here(context, &volume.tags, |action| matches!(action, Action::CreateVolume { .. }));
        if keep.contains(volume.id.as_str()) || going || !ours {
            continue;
        }
        let step = volume.tags.get(labels::STEP).map(|step| StepId::from(step.as_str()));
        if !step.is_some_and(|step| volumes::made_from(&volume, volumes::source(context, &step).as_ref())) {
            volumes::note_foreign(context, &volume);
            continue;
        }
        // What somebody looks into goes with `gc` later: a run does not wait for them.
        if let Some(attachment) = volume.attachments.first() {
            context.note(format!("{} was made twice and is left: attached to {}", volume.id, attachment.instance));
            continue;
        }
        context.note(format!("{} was made twice and is deleted", volume.id));
        match context.cloud().delete_volume(&volume.id).await? {
            Err(error) if error.code == "VolumeInUse" => context.note(format!("{} was left: {error}", volume.id)),
            other => other?,
        }
    }
    for snapshot in context.cloud().tagged_snapshots(&tags).await? {
        let ours = made_here(context, &snapshot.tags, |action| matches!(action, Action::SnapshotInstance { .. }));
        if keep.contains(snapshot.id.as_str()) || snapshot.is_copy() || !ours {
            continue;
        }
        context.note(format!("{} was made twice and is deleted", snapshot.id));
        match context.cloud().delete_snapshot(&snapshot.id).await? {
            // An image was made of it.
            Err(error) if error.code == "InvalidSnapshot.InUse" => {
                context.note(format!("{} was left: {error}", snapshot.id));
            }
            other => other?,
        }
    }
    Ok(Outputs::new())
}

/// Whether the tags name a step of the plan that makes things of this kind. Tags travel: backup tools copy those of a
/// volume to its snapshots, which then carry this run's name and are not this run's to delete.
fn made_here(context: &StepContext, tags: &Tags, makes: impl Fn(&Action) -> bool) -> bool {
    let Some(id) = tags.get(labels::STEP) else { return false };
    context.plan().steps.iter().any(|step| step.id.as_str() == id && makes(&step.action))
}
