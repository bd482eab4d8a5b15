//! Volumes and snapshots.

use crate::api::{Attachment, Snapshot, Volume, VolumeModification, VolumeStatus};

use super::super::xml::Xml;
use super::{tags, time, word};

pub(super) fn volume(xml: &mut Xml, volume: &Volume) {
    xml.text("volumeId", &volume.id).value("size", volume.spec.size_gib);
    xml.text("snapshotId", volume.snapshot.as_ref().map_or("", |id| id.as_str()));
    xml.optional("sourceVolumeId", volume.source_volume.as_ref());
    xml.text("availabilityZone", &volume.zone).text("availabilityZoneId", &volume.zone_id);
    xml.text("status", word(volume.state)).text("createTime", time(volume.created_at));
    xml.text("volumeType", &volume.spec.volume_type);
    xml.optional("iops", volume.spec.iops).optional("throughput", volume.spec.throughput_mib_s);
    xml.optional("volumeInitializationRate", volume.volume_initialization_rate);
    xml.value("encrypted", volume.spec.encrypted).optional("kmsKeyId", volume.spec.kms_key_id.as_ref());
    xml.value("multiAttachEnabled", volume.multi_attach);
    xml.list("attachmentSet", &volume.attachments, attachment);
    tags(xml, &volume.tags);
}

pub(super) fn attachment(xml: &mut Xml, found: &Attachment) {
    xml.text("volumeId", &found.volume).text("instanceId", &found.instance).text("device", &found.device);
    xml.text("status", word(found.state)).text("attachTime", time(found.attached_at));
    xml.value("deleteOnTermination", found.delete_on_termination);
}

pub(super) fn volume_status(xml: &mut Xml, found: &VolumeStatus) {
    xml.text("volumeId", &found.volume).text("availabilityZone", &found.zone);
    xml.element("volumeStatus", |xml| {
        xml.text("status", &found.status);
        xml.list("details", &found.details, |xml, (name, status)| {
            xml.text("name", name).text("status", status);
        });
    });
    if let Some(initialization) = &found.initialization {
        xml.element("initializationStatusDetails", |xml| {
            xml.text("initializationType", initialization.kind.as_str()).value("progress", initialization.progress);
            xml.optional("estimatedTimeToCompleteInSeconds", initialization.estimated_seconds);
        });
    }
}

pub(super) fn modification(xml: &mut Xml, found: &VolumeModification) {
    let (before, after) = (&found.original, &found.target);
    xml.text("volumeId", &found.volume).text("modificationState", word(found.state));
    xml.value("originalSize", before.size_gib).value("targetSize", after.size_gib);
    xml.text("originalVolumeType", &before.volume_type).text("targetVolumeType", &after.volume_type);
    xml.optional("originalIops", before.iops).optional("targetIops", after.iops);
    xml.optional("originalThroughput", before.throughput_mib_s).optional("targetThroughput", after.throughput_mib_s);
    xml.value("originalMultiAttachEnabled", found.original_multi_attach);
    xml.value("targetMultiAttachEnabled", found.target_multi_attach);
    xml.value("progress", found.progress).text("startTime", time(found.started_at));
    xml.optional("endTime", found.ended_at.map(time));
}

pub(super) fn snapshot(xml: &mut Xml, found: &Snapshot) {
    xml.text("status", word(found.state));
    xml.optional("statusMessage", found.state_message.as_ref());
    xml.text("storageTier", "standard").value("fullSnapshotSizeInBytes", found.full_snapshot_size_bytes);
    xml.optional("completionTime", found.completed_at.map(time));
    xml.optional("kmsKeyId", found.kms_key_id.as_ref());
    common(xml, found);
}

/// An item of CreateSnapshots: it says `state` where others say `status`.
pub(super) fn snapshot_info(xml: &mut Xml, found: &Snapshot) {
    xml.text("state", word(found.state));
    common(xml, found);
}

fn common(xml: &mut Xml, found: &Snapshot) {
    xml.text("snapshotId", &found.id).text("volumeId", &found.volume).text("startTime", time(found.started_at));
    xml.text("progress", found.progress_text())
        .text("ownerId", &found.owner)
        .value("volumeSize", found.volume_size_gib);
    xml.text("description", &found.description).value("encrypted", found.encrypted);
    tags(xml, &found.tags);
}
