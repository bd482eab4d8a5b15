//! What a run would ask of the cloud: permissions are asked about with just that.

use std::collections::BTreeSet;

use rehome_model::cloud::{Tags, Volume};
use rehome_model::host::HostReport;
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::labels;
use rehome_model::migration::Migration;
use rehome_model::survey::MemberSurvey;
use rehome_ports::{CreateSnapshots, Intended};

/// Stands for what is only known once there is a run.
const UNKNOWN: &str = "dry-run";

/// The first member stands for all: a policy tells members apart by what they have in common, and a dry run for each of a
/// thousand would take the rates that production's own volumes are attached with. None if there is nothing to ask about.
pub fn intended(migration: &Migration, members: &[MemberSurvey], volumes: &[Volume]) -> Option<Intended> {
    let moved: Vec<(&MemberSurvey, Vec<&Volume>)> =
        members.iter().map(|member| (member, moved(migration, member, volumes))).collect();
    let (sample, moved) = moved.iter().find(|(_, moved)| !moved.is_empty()).or(moved.first())?;
    let root = sample.instance.root_device.as_ref();
    let attached = sample.instance.block_devices.iter().filter(|device| Some(&device.device) != root);
    let exclude: Vec<VolumeId> = attached
        .map(|device| device.volume.clone())
        .filter(|attached| !moved.iter().any(|volume| volume.id == *attached))
        .collect();
    let volume_tags = volume_tags(migration, sample);
    let capture = CreateSnapshots {
        instance: sample.instance.id.clone(),
        exclude,
        include_root: false,
        description: format!("rehome {}: {UNKNOWN}", migration.metadata.name),
        tags: snapshot_tags(&volume_tags),
    };
    // A policy may tell encrypted volumes from others, and nothing else of them that one run mixes.
    let mut kinds = BTreeSet::new();
    let originals = moved.iter().filter(|volume| kinds.insert(volume.spec.encrypted)).map(|volume| (*volume).clone());
    let instances: Vec<InstanceId> = members.iter().map(|member| member.instance.id.clone()).collect();
    Some(Intended { instances, capture, originals: originals.collect(), volume_tags, only: None })
}

/// The volumes of a member that the migration names; all but the root volume where its host does not tell.
fn moved<'a>(migration: &Migration, member: &MemberSurvey, volumes: &'a [Volume]) -> Vec<&'a Volume> {
    let at = |host: &HostReport, path: &str| {
        let mount = host.mounts.iter().find(|mount| mount.target == path)?;
        host.block_devices.iter().find(|device| device.path == mount.source)?.volume.clone()
    };
    let roles = &migration.spec.source.volumes;
    let told = member.host.as_ref().map(|host| roles.iter().filter_map(|role| at(host, &role.mount_path)).collect());
    let root = member.instance.root_device.as_ref();
    let attached = member.instance.block_devices.iter().filter(|device| Some(&device.device) != root);
    let ids: Vec<VolumeId> = told.unwrap_or_else(|| attached.map(|device| device.volume.clone()).collect());
    volumes.iter().filter(|volume| ids.contains(&volume.id)).collect()
}

/// All tags that a run gives a volume. Their keys are the run's; a test holds them to what a run really sends.
fn volume_tags(migration: &Migration, sample: &MemberSurvey) -> Tags {
    let role = migration.spec.source.volumes.first().map_or(UNKNOWN.to_owned(), |volume| volume.role.to_string());
    let pairs = [
        (labels::MIGRATION, migration.metadata.name.clone()),
        (labels::RUN, UNKNOWN.to_owned()),
        (labels::STEP, UNKNOWN.to_owned()),
        (labels::MEMBER, sample.name.to_string()),
        (labels::ROLE, role),
        (labels::CSI_CLUSTER.0, labels::CSI_CLUSTER.1.to_owned()),
        (labels::CSI_CLAIM_NAME, UNKNOWN.to_owned()),
        (labels::CSI_CLAIM_NAMESPACE, migration.spec.target.namespace.clone()),
        (labels::CSI_VOLUME_NAME, UNKNOWN.to_owned()),
        (labels::NAME, UNKNOWN.to_owned()),
    ];
    let mut tags = migration.spec.tags.clone();
    tags.extend(pairs.map(|(key, value)| (key.to_owned(), value)));
    tags
}

/// Of them those that a snapshot gets.
fn snapshot_tags(volume: &Tags) -> Tags {
    volume
        .iter()
        .filter(|(key, _)| labels::is_snapshots_tag(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
