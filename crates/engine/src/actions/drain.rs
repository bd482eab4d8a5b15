//! Draining members in pods before these are stopped for good.

use rehome_model::plan::PodTarget;
use rehome_model::task::PodTask;

use super::gate;
use crate::context::StepContext;
use crate::error::{StepError, StepErrorKind};
use crate::kubernetes::paths;
use crate::limits::CLOSE;

/// Brings what the members of a set have taken to their volumes while nothing ends them. The kubelet kills what takes longer than
/// the pod's grace period, and what a compressed commit log has not synced yet would be lost, of all replicas at the same time.
pub(super) async fn drain(context: &StepContext, set: &str) -> Result<(), StepError> {
    context.may_act()?;
    let all = gate::targets(context.plan(), set).map(|pod| drain_pod(context, pod));
    // Each to its end: one that does not answer must not break off another's.
    futures::future::join_all(all).await.into_iter().collect()
}

/// One that cannot be asked must not keep production from coming back: it does not start, or its node is dead.
async fn drain_pod(context: &StepContext, target: &PodTarget) -> Result<(), StepError> {
    let error = match context.pod(target, PodTask::Drain).await {
        Ok(_) => return Ok(()),
        Err(error) if error.kind == StepErrorKind::Interrupted => return Err(error),
        Err(error) => error,
    };
    let pod = context.kube().get(&paths::pod(&context.plan().namespace, &target.pod)).await?;
    if pod.is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null()) {
        return Ok(());
    }
    if error.kind == StepErrorKind::Again && context.elapsed() < CLOSE {
        return Err(error);
    }
    context.note(format!("pod {} was not drained before it is stopped: {error}", target.pod));
    Ok(())
}
