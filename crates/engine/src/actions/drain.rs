//! Draining members in pods before these are stopped for good.

use futures::stream::{self, StreamExt};
use rehome_model::plan::PodTarget;
use rehome_model::task::PodTask;
use tokio::time::Instant;

use super::gate;
use crate::context::StepContext;
use crate::error::{StepError, StepErrorKind};
use crate::kubernetes::paths;
use crate::limits::{CLOSE, RETRY_MAX, SCRIPTS_AT_ONCE};

/// Brings what the members of a set have taken to their volumes while nothing ends them. The kubelet kills what takes longer than
/// the pod's grace period, and what a compressed commit log has not synced yet would be lost, of all replicas at the same time.
pub(super) async fn drain(context: &StepContext, set: &str) -> Result<(), StepError> {
    context.may_act()?;
    // No more at once than scripts may run: the time in their line would be added up, and the step would have no end. Each to its
    // end: one that does not answer must not break off another's.
    let all = stream::iter(gate::targets(context.plan(), set)).map(|pod| drain_pod(context, pod));
    let all: Vec<Result<(), StepError>> = all.buffer_unordered(SCRIPTS_AT_ONCE).collect().await;
    all.into_iter().collect()
}

/// One that cannot be asked must not keep production from coming back: it does not start, or its node is dead.
async fn drain_pod(context: &StepContext, target: &PodTarget) -> Result<(), StepError> {
    let began = Instant::now();
    loop {
        let error = match context.pod(target, PodTask::Drain).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind == StepErrorKind::Interrupted => return Err(error),
            Err(error) => error,
        };
        let pod = context.kube().get(&paths::pod(&context.plan().namespace, &target.pod)).await?;
        if pod.is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null()) {
            return Ok(());
        }
        if error.kind != StepErrorKind::Again || began.elapsed() >= CLOSE {
            context.note(format!("pod {} was not drained before it is stopped: {error}", target.pod));
            return Ok(());
        }
        context.pause(RETRY_MAX, &error.message).await?;
    }
}
