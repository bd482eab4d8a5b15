//! The sweep: what a lost reply made twice is found by tag and collected (invariants I7, I8).

use std::collections::BTreeSet;

use rehome_model::cloud::{Tags, VolumeState};
use rehome_model::labels;
use rehome_model::plan::Input;
use rehome_ports::{SnapshotFilter, VolumeFilter};

use crate::context::{Outputs, StepContext};
use crate::error::StepError;

pub(super) async fn sweep(context: &StepContext, keep: &[Input<String>]) -> Result<Outputs, StepError> {
    let keep: BTreeSet<String> = keep.iter().map(|input| context.input(input)).collect::<Result<_, _>>()?;
    let tags = Tags::from([
        (labels::MIGRATION.to_owned(), context.plan().migration.clone()),
        (labels::RUN.to_owned(), context.run().to_string()),
    ]);
    for volume in context.cloud().describe_volumes(&VolumeFilter::Tags(tags.clone())).await? {
        let going = matches!(volume.state, VolumeState::Deleting | VolumeState::Deleted);
        if keep.contains(volume.id.as_str()) || going {
            continue;
        }
        context.note(format!("{} was made twice and is deleted", volume.id));
        context.may_act()?;
        context.cloud().delete_volume(&volume.id).await?;
    }
    for snapshot in context.cloud().describe_snapshots(&SnapshotFilter::Tags(tags)).await? {
        if keep.contains(snapshot.id.as_str()) {
            continue;
        }
        context.note(format!("{} was made twice and is deleted", snapshot.id));
        context.may_act()?;
        context.cloud().delete_snapshot(&snapshot.id).await?;
    }
    Ok(Outputs::new())
}
