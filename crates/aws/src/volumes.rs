//! Volumes.

use std::time::Duration;

use aws_sdk_ec2::operation::create_volume::CreateVolumeOutput;
use aws_sdk_ec2::types::{self as ec2, ResourceType, VolumeType};
use rehome_model::cloud::{Attachment, AttachmentState, Volume, VolumeSpec};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_ports::{CloudError, CreateVolume, VolumeFilter};

use crate::cloud::AwsCloud;
use crate::convert;
use crate::error::cloud_error;
use crate::filters::{IDS_PER_CALL, PAGE, carries, id_filter, tag_filters, tag_specifications};
use crate::retry::read;

const DESCRIBE: &str = "DescribeVolumes";
const CREATE: &str = "CreateVolume";
/// How often, and how far apart, a describe is asked again that cannot be right yet (EC2 "Eventual consistency").
const STALE_LOOKS: u32 = 6;
const STALE_PAUSE: Duration = Duration::from_millis(500);

impl AwsCloud {
    /// Volumes in the order of ids. Ids go into a filter: asked by id, EC2 fails the whole call for an unknown one.
    pub(crate) async fn volumes(&self, wanted: &VolumeFilter) -> Result<Vec<Volume>, CloudError> {
        let mut found = Vec::new();
        match wanted {
            VolumeFilter::Ids(ids) => {
                for ids in ids.chunks(IDS_PER_CALL) {
                    self.volume_pages(vec![id_filter("volume-id", ids)], &mut found).await?;
                }
            }
            VolumeFilter::Tags(tags) => {
                self.volume_pages(tag_filters(tags), &mut found).await?;
                found.retain(|volume| carries(&volume.tags, tags));
            }
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        found.dedup_by(|one, other| one.id == other.id);
        Ok(found)
    }

    /// The key of new volumes that nobody asked to be encrypted.
    pub(crate) async fn key_by_default(&self) -> Result<Option<String>, CloudError> {
        let on = read(|| async {
            let sent = self.ec2.get_ebs_encryption_by_default().send().await;
            sent.map_err(|error| cloud_error("GetEbsEncryptionByDefault", &error))
        })
        .await?;
        if !on.ebs_encryption_by_default().unwrap_or(false) {
            return Ok(None);
        }
        let key = read(|| async {
            let sent = self.ec2.get_ebs_default_kms_key_id().send().await;
            sent.map_err(|error| cloud_error("GetEbsDefaultKmsKeyId", &error))
        })
        .await?;
        // EC2 has one for every account; without its name somebody must still look whether they may use it.
        Ok(Some(key.kms_key_id().unwrap_or("unknown").to_owned()))
    }

    async fn volume_pages(&self, filters: Vec<ec2::Filter>, found: &mut Vec<Volume>) -> Result<(), CloudError> {
        let mut token = None;
        loop {
            let page = read(|| async {
                let call = self.ec2.describe_volumes().set_filters(Some(filters.clone())).max_results(PAGE);
                call.set_next_token(token.clone()).send().await.map_err(|error| cloud_error(DESCRIBE, &error))
            })
            .await?;
            for volume in page.volumes() {
                found.push(convert::volume(DESCRIBE, volume)?);
            }
            token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Encryption and key are not asked for: a volume from an encrypted snapshot has the snapshot's key.
    pub(crate) async fn volume_from_snapshot(&self, request: &CreateVolume) -> Result<Volume, CloudError> {
        let VolumeSpec { volume_type, size_gib, iops, throughput_mib_s, .. } = &request.spec;
        let too_large = |_| CloudError::new(CREATE, "InvalidParameterValue", "a number is out of EC2's range");
        let number = |value: Option<u32>| value.map(i32::try_from).transpose().map_err(too_large);
        let call = self.ec2.create_volume().snapshot_id(request.snapshot.as_str());
        let sent = call
            .availability_zone(request.zone.as_str())
            .volume_type(VolumeType::from(volume_type.as_str()))
            .set_size(number(Some(*size_gib))?)
            .set_iops(number(*iops)?)
            .set_throughput(number(*throughput_mib_s)?)
            .set_tag_specifications(tag_specifications(ResourceType::Volume, &request.tags))
            .client_token(&request.token)
            .send()
            .await;
        let made = sent.map_err(|error| cloud_error(CREATE, &error))?;
        convert::volume(CREATE, &as_volume(&made))
    }

    /// A lost reply and a second call meet an error here; whether the volume is there already only a describe tells.
    pub(crate) async fn attach(
        &self,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), CloudError> {
        let call = self.ec2.attach_volume().volume_id(volume.as_str()).instance_id(instance.as_str());
        let sent = call.device(device).send().await;
        let sent = sent.map_err(|error| cloud_error("AttachVolume", &error));
        let Err(error) = sent else { return Ok(()) };
        if !matches!(error.code.as_str(), "VolumeInUse" | "InvalidParameterValue" | "IncorrectState") {
            return Err(error);
        }
        for _ in 0..STALE_LOOKS {
            let shown = self.attachments(volume).await?;
            if let Some(there) = shown.iter().find(|attachment| attachment.instance == *instance) {
                let stays = matches!(there.state, AttachmentState::Attaching | AttachmentState::Attached);
                return if stays { Ok(()) } else { Err(error) };
            }
            if error.code != "VolumeInUse" || !shown.is_empty() {
                break;
            }
            // In use, and shown at no instance: the describe is behind.
            tokio::time::sleep(STALE_PAUSE).await;
        }
        Err(error)
    }

    /// Never forced. EC2 says IncorrectState both of a volume that is detached and of one it will not detach.
    pub(crate) async fn detach(&self, volume: &VolumeId, instance: &InstanceId) -> Result<(), CloudError> {
        let call = self.ec2.detach_volume().volume_id(volume.as_str()).instance_id(instance.as_str());
        let sent = call.send().await;
        let sent = sent.map_err(|error| cloud_error("DetachVolume", &error));
        let Err(error) = sent else { return Ok(()) };
        match error.code.as_str() {
            "InvalidAttachment.NotFound" | "InvalidVolume.NotFound" => Ok(()),
            "IncorrectState" => {
                let shown = self.attachments(volume).await?;
                let there = shown.iter().find(|attachment| attachment.instance == *instance);
                match there.map(|attachment| attachment.state) {
                    Some(AttachmentState::Attaching | AttachmentState::Attached) => Err(error),
                    _ => Ok(()),
                }
            }
            _ => Err(error),
        }
    }

    async fn attachments(&self, volume: &VolumeId) -> Result<Vec<Attachment>, CloudError> {
        let found = self.volumes(&VolumeFilter::Ids(vec![volume.clone()])).await?;
        Ok(found.into_iter().flat_map(|volume| volume.attachments).collect())
    }
}

/// CreateVolume answers a volume in a type of its own.
fn as_volume(made: &CreateVolumeOutput) -> ec2::Volume {
    ec2::Volume::builder()
        .set_volume_id(made.volume_id().map(str::to_owned))
        .set_state(made.state().cloned())
        .set_availability_zone(made.availability_zone().map(str::to_owned))
        .set_volume_type(made.volume_type().cloned())
        .set_size(made.size())
        .set_iops(made.iops())
        .set_throughput(made.throughput())
        .set_encrypted(made.encrypted())
        .set_kms_key_id(made.kms_key_id().map(str::to_owned))
        .set_multi_attach_enabled(made.multi_attach_enabled())
        .set_snapshot_id(made.snapshot_id().map(str::to_owned))
        .set_create_time(made.create_time().copied())
        .set_attachments(Some(made.attachments().to_vec()))
        .set_tags(Some(made.tags().to_vec()))
        .build()
}
