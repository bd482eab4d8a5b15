//! What the caller may not do, by dry runs.

use std::error::Error;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{AttributeBooleanValue, InstanceSpecification, Tag, VolumeType};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_ports::{CloudError, ErrorClass};

use crate::cloud::AwsCloud;
use crate::error::cloud_error;
use crate::filters::IDS_PER_CALL;
use crate::retry::read;

/// A snapshot that cannot be there: permission is asked before existence.
const NO_SNAPSHOT: &str = "snap-00000000000000000";
/// A device name for dry runs.
const DEVICE: &str = "/dev/xvdzz";

/// Sends a dry run (again, while throttled: it has no effect) and notes the action if it is denied. Where the action
/// is known to be denied already, nothing is sent.
async fn probe<T, E, F>(
    denied: &mut Vec<String>,
    operation: &'static str,
    mut call: impl FnMut() -> F,
) -> Result<(), CloudError>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let action = format!("ec2:{operation}");
    if denied.contains(&action) {
        return Ok(());
    }
    let end = read(|| {
        let sent = call();
        async { sent.await.map(|_| ()).map_err(|error| cloud_error(operation, &error)) }
    });
    if is_denied(end.await)? {
        denied.push(action);
    }
    Ok(())
}

impl AwsCloud {
    /// Auto Scaling has no dry run: EnterStandby and ExitStandby are not among the answers.
    pub(crate) async fn denied(
        &self,
        instances: &[InstanceId],
        volumes: &[VolumeId],
    ) -> Result<Vec<String>, CloudError> {
        let mut denied = Vec::new();
        self.probe_instances(instances, &mut denied).await?;
        self.probe_volumes(instances.first(), volumes, &mut denied).await?;
        let delete = || self.ec2.delete_snapshot().snapshot_id(NO_SNAPSHOT).dry_run(true).send();
        probe(&mut denied, "DeleteSnapshot", delete).await?;
        denied.sort();
        Ok(denied)
    }

    async fn probe_instances(&self, instances: &[InstanceId], denied: &mut Vec<String>) -> Result<(), CloudError> {
        let ec2 = &self.ec2;
        for ids in instances.chunks(IDS_PER_CALL) {
            let ids = || Some(ids.iter().map(ToString::to_string).collect());
            let stop = || ec2.stop_instances().set_instance_ids(ids()).dry_run(true).send();
            probe(denied, "StopInstances", stop).await?;
            let start = || ec2.start_instances().set_instance_ids(ids()).dry_run(true).send();
            probe(denied, "StartInstances", start).await?;
            let tag = || ec2.create_tags().set_resources(ids()).tags(any_tag()).dry_run(true).send();
            probe(denied, "CreateTags", tag).await?;
        }
        for id in instances {
            let capture = || {
                let instance = InstanceSpecification::builder().instance_id(id.as_str()).build();
                ec2.create_snapshots().instance_specification(instance).dry_run(true).send()
            };
            probe(denied, "CreateSnapshots", capture).await?;
            let protect = || {
                let on = AttributeBooleanValue::builder().value(true).build();
                let call = ec2.modify_instance_attribute().instance_id(id.as_str());
                call.disable_api_termination(on).dry_run(true).send()
            };
            probe(denied, "ModifyInstanceAttribute", protect).await?;
        }
        Ok(())
    }

    async fn probe_volumes(
        &self,
        instance: Option<&InstanceId>,
        volumes: &[VolumeId],
        denied: &mut Vec<String>,
    ) -> Result<(), CloudError> {
        let ec2 = &self.ec2;
        for ids in volumes.chunks(IDS_PER_CALL) {
            let ids = || Some(ids.iter().map(ToString::to_string).collect());
            let tag = || ec2.create_tags().set_resources(ids()).tags(any_tag()).dry_run(true).send();
            probe(denied, "CreateTags", tag).await?;
        }
        if let Some(volume) = volumes.first()
            && let Some(zone) = self.zone_of(volume).await?
        {
            let create = || {
                let call = ec2.create_volume().availability_zone(&zone).size(1).volume_type(VolumeType::Gp3);
                call.dry_run(true).send()
            };
            probe(denied, "CreateVolume", create).await?;
        }
        for volume in volumes {
            let id = volume.as_str();
            probe(denied, "DetachVolume", || ec2.detach_volume().volume_id(id).dry_run(true).send()).await?;
            probe(denied, "DeleteVolume", || ec2.delete_volume().volume_id(id).dry_run(true).send()).await?;
            if let Some(instance) = instance {
                let attach = || {
                    let call = ec2.attach_volume().volume_id(id).instance_id(instance.as_str()).device(DEVICE);
                    call.dry_run(true).send()
                };
                probe(denied, "AttachVolume", attach).await?;
            }
        }
        Ok(())
    }
}

fn any_tag() -> Tag {
    Tag::builder().key("rehome").value("dry-run").build()
}

/// Permission is checked before all else: any other refusal means that it was given.
fn is_denied(end: Result<(), CloudError>) -> Result<bool, CloudError> {
    let Err(error) = end else { return Ok(false) };
    match error.code.as_str() {
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => Ok(true),
        "AuthFailure" | "RequestNotSent" => Err(error),
        _ if matches!(error.class(), ErrorClass::Retry | ErrorClass::Credentials) => Err(error),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: &str) -> Result<bool, String> {
        is_denied(Err(CloudError::new("StopInstances", code, ""))).map_err(|error| error.code)
    }

    #[test]
    fn only_a_denial_is_a_denial_and_silence_is_no_permission() {
        assert_eq!(end("UnauthorizedOperation"), Ok(true));
        assert_eq!(end("DryRunOperation"), Ok(false));
        assert_eq!(end("InvalidVolume.NotFound"), Ok(false));
        assert_eq!(end("Timeout"), Err("Timeout".to_owned()));
        assert_eq!(end("NoCredentials"), Err("NoCredentials".to_owned()));
    }
}
