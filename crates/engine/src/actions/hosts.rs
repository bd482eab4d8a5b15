//! What is done inside the legacy instances.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rehome_model::answer::MemberIdentity;
use rehome_model::ids::InstanceId;
use rehome_model::task::{HostAnswer, HostTask};

use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::limits::IDENTITY_MAX_CHARS;

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
    let mut encoded = String::new();
    for part in 0.. {
        let HostAnswer::IdentityPart { text, total_chars } =
            context.host(instance, &HostTask::ReadIdentity { part }).await?
        else {
            return Err(StepError::failed("Answer", format!("read-identity on {instance} gave no identity")));
        };
        if total_chars > IDENTITY_MAX_CHARS {
            return Err(StepError::failed(
                "IdentityTooLarge",
                format!(
                    "the identity files of {instance} are {total_chars} characters, more than {IDENTITY_MAX_CHARS}"
                ),
            ));
        }
        if text.is_empty() && encoded.len() < total_chars {
            return Err(StepError::again("Answer", format!("read-identity on {instance} ended early")));
        }
        encoded.push_str(&text);
        if encoded.len() >= total_chars {
            break;
        }
    }
    let archive =
        STANDARD.decode(encoded.trim()).map_err(|error| StepError::again("Answer", format!("base64: {error}")))?;
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
