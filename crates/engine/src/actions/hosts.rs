//! What is done inside the legacy instances.

use rehome_model::answer::{MemberIdentity, MemberView};
use rehome_model::ids::InstanceId;
use rehome_model::task::{HostAnswer, HostTask};
use rehome_profiles::{Parts, PartsError};

use crate::context::{Outputs, StepContext};
use crate::error::StepError;

/// Runs an idempotent task.
pub(super) async fn task(context: &StepContext, instance: &InstanceId, task: &HostTask) -> Result<Outputs, StepError> {
    context.may_act()?;
    match context.host(instance, task).await? {
        HostAnswer::Done => Ok(Outputs::new()),
        other => Err(StepError::failed("Answer", format!("{} on {instance} answered {other:?}", task.name()))),
    }
}

/// Reads the stopped member's identity from its disk; a stranger's, or none, never reaches a pod.
pub(super) async fn inspect(
    context: &StepContext,
    instance: &InstanceId,
    expected: &MemberIdentity,
) -> Result<Outputs, StepError> {
    let found = read_identity(context, instance, expected).await?;
    Ok(Outputs::from([("identity".to_owned(), found.id)]))
}

/// The same of a disk that comes back, and that no newer version has written to it than is installed.
pub(super) async fn inspect_returned(
    context: &StepContext,
    instance: &InstanceId,
    expected: &MemberIdentity,
) -> Result<Outputs, StepError> {
    let found = read_identity(context, instance, expected).await?;
    match (&found.version, &expected.version) {
        (Some(wrote), Some(installed)) if wrote != installed => Err(StepError::failed(
            "WrongVersion",
            format!("version {wrote} has written to the disk of {instance}, which has {installed} installed"),
        )),
        _ => Ok(Outputs::from([("identity".to_owned(), found.id)])),
    }
}

async fn read_identity(
    context: &StepContext,
    instance: &InstanceId,
    expected: &MemberIdentity,
) -> Result<MemberIdentity, StepError> {
    let archive = whole(context, instance, Parts::identity()).await?;
    let found = context
        .profile()
        .disk_identity(&archive)
        .map_err(|error| StepError::failed("NoIdentity", format!("the disk of {instance} holds no member: {error}")))?;
    let differences = expected.differences(&found);
    if !differences.is_empty() {
        return Err(StepError::failed(
            "WrongIdentity",
            format!("the disk of {instance} is not its member's: {}", differences.join("; ")),
        ));
    }
    Ok(found)
}

/// How a member sees its cluster.
pub(super) async fn view(context: &StepContext, instance: &InstanceId) -> Result<MemberView, StepError> {
    let packed = whole(context, instance, Parts::view()).await?;
    let view = context.profile().host_view(&packed);
    view.map_err(|error| StepError::again("Answer", format!("{instance}: {error}")))
}

/// An answer that comes in parts.
async fn whole(context: &StepContext, instance: &InstanceId, mut parts: Parts) -> Result<Vec<u8>, StepError> {
    loop {
        let answer = context.host(instance, &parts.task()).await?;
        match parts.add(answer) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(torn @ PartsError::Torn(_)) => return Err(StepError::again("Answer", format!("{instance}: {torn}"))),
            Err(error) => return Err(StepError::failed("Answer", format!("{instance}: {error}"))),
        }
    }
}
