//! What was prepared for the cutover, looked at once more right before it.

use std::collections::BTreeSet;

use super::{claims, gate, replicas};
use crate::context::StepContext;
use crate::error::{StepError, StepErrorKind};

/// Claims are parked and sets are closed, as this run has left them. Base snapshots take hours; what somebody deletes or deploys
/// anew meanwhile would end the run in the downtime, when each volume is released. Now it costs none, and whoever mends it in time
/// keeps the base snapshots: it is looked at again until the step's deadline.
pub(super) async fn still(context: &StepContext) -> Result<(), StepError> {
    look(context).await.map_err(|error| match error.kind {
        StepErrorKind::Failed => StepError::again(error.code, error.message),
        _ => error,
    })
}

async fn look(context: &StepContext) -> Result<(), StepError> {
    let members = &context.plan().members;
    let all = members.iter().flat_map(|member| &member.volumes);
    futures::future::try_join_all(all.map(|volume| claims::still_parked(context, &volume.claim))).await?;
    let sets: BTreeSet<&str> = members.iter().filter_map(|member| member.slot.set.as_deref()).collect();
    for set in sets {
        let found = gate::see_closed(context, set).await?;
        if let Some(found) = &found.set {
            replicas::see_not_more(context, set, found)?;
        }
    }
    Ok(())
}
