//! What was prepared for the cutover, looked at once more right before it.

use std::collections::BTreeSet;

use super::{claims, gate, replicas};
use crate::context::StepContext;
use crate::error::StepError;

/// Claims are parked and sets are closed, as this run has left them. Base snapshots take hours; what somebody deletes or deploys
/// anew meanwhile would end the run in the downtime, when each volume is released. Now it costs none.
pub(super) async fn still(context: &StepContext) -> Result<(), StepError> {
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
