//! What the caller may not do, by dry runs.

use std::collections::BTreeMap;
use std::error::Error;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::create_volume::builders::CreateVolumeFluentBuilder;
use aws_sdk_ec2::types::{InstanceAttributeName, ResourceType, VolumeType};
use rehome_model::cloud::{Tags, Volume};
use rehome_ports::{CloudError, ErrorClass, InstanceProtection, Intended};

use crate::cloud::AwsCloud;
use crate::error::cloud_error;
use crate::filters::{IDS_PER_CALL, tag_specifications, to_tags};
use crate::retry::read;

/// A snapshot that cannot be there: permission is asked before existence.
const NO_SNAPSHOT: &str = "snap-00000000000000000";
/// A device name for dry runs.
const DEVICE: &str = "/dev/xvdzz";
/// The smallest page of a describe.
const FEWEST: i32 = 5;

/// What is asked, and what is known to be denied.
struct Asked<'a> {
    intended: &'a Intended,
    denied: Vec<String>,
}

/// Sends a dry run (again, while throttled: it has no effect) and notes the action if it is denied. Where the action
/// is known to be denied already, or not asked about, nothing is sent.
async fn probe<T, E, F>(
    asked: &mut Asked<'_>,
    operation: &'static str,
    mut call: impl FnMut() -> F,
) -> Result<(), CloudError>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let action = format!("ec2:{operation}");
    if asked.denied.contains(&action) || !asked.intended.asks(operation) {
        return Ok(());
    }
    let end = read(|| {
        let sent = call();
        async { sent.await.map(|_| ()).map_err(|error| cloud_error(operation, &error)) }
    });
    if is_denied(end.await)? {
        asked.denied.push(action);
    }
    Ok(())
}

impl AwsCloud {
    /// Auto Scaling has no dry run: EnterStandby and ExitStandby are not among the answers. Nor are TagSpecifications an
    /// action of their own: who may not CreateTags with a creation is denied the creation.
    pub(crate) async fn denied(&self, intended: &Intended) -> Result<Vec<String>, CloudError> {
        let mut asked = Asked { intended, denied: Vec::new() };
        self.probe_instances(&mut asked).await?;
        self.probe_capture(&mut asked).await?;
        for original in &intended.originals {
            self.probe_volume(original, &mut asked).await?;
        }
        asked.denied.sort();
        Ok(asked.denied)
    }

    async fn probe_instances(&self, asked: &mut Asked<'_>) -> Result<(), CloudError> {
        let (ec2, intended) = (&self.ec2, asked.intended);
        for ids in intended.instances.chunks(IDS_PER_CALL) {
            let ids = || Some(ids.iter().map(ToString::to_string).collect());
            let stop = || ec2.stop_instances().set_instance_ids(ids()).dry_run(true).send();
            probe(asked, "StopInstances", stop).await?;
            let start = || ec2.start_instances().set_instance_ids(ids()).dry_run(true).send();
            probe(asked, "StartInstances", start).await?;
        }
        Ok(())
    }

    /// What is done to one instance, and to snapshots.
    async fn probe_capture(&self, asked: &mut Asked<'_>) -> Result<(), CloudError> {
        let (ec2, intended) = (&self.ec2, asked.intended);
        let instance = &intended.capture.instance;
        let id = instance.as_str();
        let capture = || self.capture(&intended.capture).dry_run(true).send();
        probe(asked, "CreateSnapshots", capture).await?;
        // One action, but a policy may tell its attributes apart (condition key ec2:Attribute): all that a run changes.
        for protection in [InstanceProtection::Termination, InstanceProtection::Stop] {
            let protect = || self.protection(instance, protection, true).dry_run(true).send();
            probe(asked, "ModifyInstanceAttribute", protect).await?;
        }
        let devices = BTreeMap::from([(intended.device().unwrap_or(DEVICE).to_owned(), false)]);
        let keep = || self.deletion(instance, &devices).dry_run(true).send();
        probe(asked, "ModifyInstanceAttribute", keep).await?;
        let hold = || {
            let tags = Some(to_tags(&intended.instance_tags()));
            ec2.create_tags().resources(id).set_tags(tags).dry_run(true).send()
        };
        // A way back goes on without it.
        if intended.only.is_none() {
            probe(asked, "CreateTags", hold).await?;
        }
        let attribute = || {
            let call = ec2.describe_instance_attribute().instance_id(id);
            call.attribute(InstanceAttributeName::DisableApiTermination).dry_run(true).send()
        };
        probe(asked, "DescribeInstanceAttribute", attribute).await?;
        let describe = || ec2.describe_snapshots().owner_ids("self").max_results(FEWEST).dry_run(true).send();
        probe(asked, "DescribeSnapshots", describe).await?;
        let delete = || ec2.delete_snapshot().snapshot_id(NO_SNAPSHOT).dry_run(true).send();
        probe(asked, "DeleteSnapshot", delete).await
    }

    /// What is done to a volume that moves, and for it. CreateVolume has no snapshot yet; all else is as a run sends it.
    async fn probe_volume(&self, original: &Volume, asked: &mut Asked<'_>) -> Result<(), CloudError> {
        let intended = asked.intended;
        let (ec2, id, instance) = (&self.ec2, original.id.as_str(), intended.capture.instance.as_str());
        let create = || self.like(original, &intended.volume_tags).dry_run(true).send();
        probe(asked, "CreateVolume", create).await?;
        let tag = || {
            let tags = Some(to_tags(&intended.original_tags()));
            ec2.create_tags().resources(id).set_tags(tags).dry_run(true).send()
        };
        probe(asked, "CreateTags", tag).await?;
        let detach = || ec2.detach_volume().volume_id(id).instance_id(instance).dry_run(true).send();
        probe(asked, "DetachVolume", detach).await?;
        let attach = || ec2.attach_volume().volume_id(id).instance_id(instance).device(DEVICE).dry_run(true).send();
        probe(asked, "AttachVolume", attach).await?;
        probe(asked, "DeleteVolume", || ec2.delete_volume().volume_id(id).dry_run(true).send()).await
    }

    /// CreateVolume of a blank volume like another. A policy may demand encryption or a tag of every new volume, so it is
    /// asked with those it will have.
    fn like(&self, original: &Volume, tags: &Tags) -> CreateVolumeFluentBuilder {
        let spec = &original.spec;
        let number = |value: Option<u32>| value.and_then(|value| i32::try_from(value).ok());
        self.ec2
            .create_volume()
            .availability_zone(original.zone.as_str())
            .volume_type(VolumeType::from(spec.volume_type.as_str()))
            .set_size(number(Some(spec.size_gib)))
            .set_iops(number(spec.iops))
            .set_throughput(number(spec.throughput_mib_s))
            .set_encrypted(spec.encrypted.then_some(true))
            .set_kms_key_id(spec.kms_key_id.clone())
            .set_tag_specifications(tag_specifications(ResourceType::Volume, tags))
    }
}

/// Permission is checked before all else: any other refusal means that it was given. The organisation's tag policies are
/// part of it: what they do not take of a dry run's tags, they do not take of the run's.
fn is_denied(end: Result<(), CloudError>) -> Result<bool, CloudError> {
    let Err(error) = end else { return Ok(false) };
    match error.code.as_str() {
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" | "TagPolicyViolation" => Ok(true),
        "AuthFailure" | "RequestNotSent" => Err(error),
        _ if matches!(error.class(), ErrorClass::Retry | ErrorClass::Credentials) => Err(error),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::config::BehaviorVersion;
    use rehome_model::cloud::{VolumeSpec, VolumeState};

    use super::*;

    /// A cloud that is never asked anything.
    fn cloud() -> AwsCloud {
        let config = aws_config::SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        AwsCloud::new(&config, "us-east-1".to_owned())
    }

    #[tokio::test]
    async fn a_volume_is_asked_for_with_the_encryption_and_the_tags_that_it_will_have() {
        let spec = VolumeSpec {
            volume_type: "gp3".to_owned(),
            size_gib: 100,
            iops: Some(6000),
            throughput_mib_s: Some(250),
            encrypted: true,
            kms_key_id: Some("arn:aws:kms:us-east-1:1:key/k".to_owned()),
        };
        let original = Volume {
            id: "vol-1".into(),
            state: VolumeState::InUse,
            zone: "us-east-1a".into(),
            spec,
            multi_attach: false,
            snapshot: None,
            attachments: Vec::new(),
            created_at_ms: 0,
            tags: Tags::new(),
        };
        let tags = Tags::from([("rehome.dev/migration".to_owned(), "cassandra".to_owned())]);
        let asked = cloud().like(&original, &tags);
        assert_eq!((asked.get_encrypted(), asked.get_size()), (&Some(true), &Some(100)));
        assert_eq!(asked.get_kms_key_id().as_deref(), Some("arn:aws:kms:us-east-1:1:key/k"));
        let tags = asked.get_tag_specifications().as_ref().map(|given| given[0].tags().to_vec());
        assert_eq!(tags, Some(to_tags(&Tags::from([("rehome.dev/migration".to_owned(), "cassandra".to_owned())]))));
    }

    fn end(code: &str) -> Result<bool, String> {
        is_denied(Err(CloudError::new("StopInstances", code, ""))).map_err(|error| error.code)
    }

    #[test]
    fn only_a_denial_is_a_denial_and_silence_is_no_permission() {
        assert_eq!(end("UnauthorizedOperation"), Ok(true));
        assert_eq!(end("TagPolicyViolation"), Ok(true));
        assert_eq!(end("DryRunOperation"), Ok(false));
        assert_eq!(end("InvalidVolume.NotFound"), Ok(false));
        assert_eq!(end("Timeout"), Err("Timeout".to_owned()));
        assert_eq!(end("NoCredentials"), Err("NoCredentials".to_owned()));
    }
}
