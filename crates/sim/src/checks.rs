//! The checkers: what must hold of a world, whatever was done in it. They know nothing of scenarios.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::answer::MemberIdentity;
use rehome_model::cloud::{InstanceState, VolumeState};
use rehome_model::ids::VolumeId;
use rehome_model::{labels, names};
use serde_json::Value;

use crate::database::{IDENTITY, Side};
use crate::world::World;

/// What is broken, each line beginning with the invariant's name. Empty if all holds.
pub fn violations(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    world.with(|state, _| {
        found.extend(state.database.violations.clone());
        world.ec2.with(|inner, _| found.extend(inner.disks.violations.clone()));
        found.extend(wrong_place(world, &state.cluster));
        found.extend(not_retained(&state.cluster));
    });
    found
}

/// I2: acknowledged writes that a quorum of the running members does not hold.
pub fn lost_writes(world: &World) -> Vec<String> {
    world.with(|state, _| {
        let lost = world.ec2.with(|inner, _| state.database.lost(&inner.disks));
        lost.into_iter().map(|row| format!("I2: acknowledged row {row} is lost")).collect()
    })
}

/// I3: legacy volumes that differ from what the newest snapshot of them captured, or are mounted, while their
/// instance is stopped, or after they gave way to a volume that came back.
pub fn originals_changed(world: &World) -> Vec<String> {
    world.with(|state, _| {
        world.ec2.with(|inner, _| {
            let mut found = Vec::new();
            for (id, host) in &state.hosts {
                let state = inner.core.instances.get(id).map(|record| record.state);
                for volume in &host.originals {
                    let Some(record) = inner.core.volumes.get(volume).filter(|r| r.state != VolumeState::Deleted)
                    else {
                        found.push(format!("I3: legacy volume {volume} is gone"));
                        continue;
                    };
                    let in_service = record.attachments.iter().any(|attachment| attachment.instance == *id);
                    if state != Some(InstanceState::Stopped) && in_service {
                        continue;
                    }
                    if inner.disks.is_mounted(volume) {
                        found.push(format!("I3: legacy volume {volume} is mounted after its capture"));
                    }
                    let captured = record.latest_snapshot.as_ref().and_then(|snapshot| inner.disks.snapshot(snapshot));
                    let now = inner.disks.volume(volume).map(|disk| disk.content.hash());
                    if let Some(captured) = captured
                        && now != Some(captured.hash())
                    {
                        found.push(format!("I3: legacy volume {volume} differs from what was captured"));
                    }
                }
            }
            found
        })
    })
}

/// Legacy members that run and let clients in.
pub fn legacy_serving(world: &World) -> usize {
    count(world, Side::Legacy)
}

/// Pods in which a member runs.
pub fn pods_running(world: &World) -> usize {
    count(world, Side::Pods)
}

fn count(world: &World, side: Side) -> usize {
    world.with(|state, _| state.database.processes.values().filter(|process| process.side == side).count())
}

/// I4: every bound claim of ours has the volume of its member and role, and no volume serves two.
fn wrong_place(world: &World, cluster: &crate::kubernetes::Cluster) -> Vec<String> {
    let mut found = Vec::new();
    let mut handles: BTreeSet<String> = BTreeSet::new();
    for volume in cluster.all("persistentvolumes") {
        let name = string(&volume, "/metadata/name");
        let handle = string(&volume, "/spec/csi/volumeHandle");
        if !handles.insert(handle.clone()) {
            found.push(format!("I4: {handle} is behind two PersistentVolumes, one is {name}"));
        }
        let Some(member) = volume["metadata"]["labels"][labels::MEMBER].as_str() else { continue };
        if !volume["metadata"]["deletionTimestamp"].is_null() && volume["status"]["phase"] != "Bound" {
            // Nothing binds to it any more; what holds it is the attacher's.
            continue;
        }
        let on_disk = world.ec2.with(|inner, _| {
            let record = inner.core.volumes.get(&VolumeId::from(handle.as_str()))?;
            let tagged = record.tags.get(labels::MEMBER).cloned();
            let bytes = inner.disks.read(&VolumeId::from(handle.as_str()), IDENTITY)?;
            let identity: MemberIdentity = serde_json::from_slice(&bytes).ok()?;
            Some((tagged, identity.id))
        });
        let legacy = string(&volume, "/metadata/annotations/rehome.dev~1legacy-volume");
        let original = world.ec2.with(|inner, _| {
            let bytes = inner.disks.read(&VolumeId::from(legacy.as_str()), IDENTITY)?;
            serde_json::from_slice::<MemberIdentity>(&bytes).ok().map(|identity| identity.id)
        });
        let exists = world.ec2.with(|inner, _| inner.core.volumes.contains_key(&VolumeId::from(handle.as_str())));
        match on_disk {
            // What a driver that stood still made after all was taken back: neither its volume is there nor the claim that it is for.
            None if !exists && binds_to_nothing(cluster, &volume) => {}
            Some((tagged, id)) if tagged.as_deref() == Some(member) && Some(&id) == original.as_ref() => {}
            other => found.push(format!("I4: {name} should hold {member} ({original:?}) and holds {other:?}")),
        }
        let claim = string(&volume, "/spec/claimRef/name");
        let namespace = string(&volume, "/spec/claimRef/namespace");
        if names::persistent_volume(&namespace, &claim) != name {
            found.push(format!("I4: {name} is reserved for {claim}, which parks another volume"));
        }
    }
    found
}

/// Whether a PersistentVolume is for a claim that is gone; one that came after it has another uid.
fn binds_to_nothing(cluster: &crate::kubernetes::Cluster, volume: &Value) -> bool {
    let uid = string(volume, "/spec/claimRef/uid");
    !uid.is_empty() && cluster.all("persistentvolumeclaims").iter().all(|claim| string(claim, "/metadata/uid") != uid)
}

/// I6: adopted volumes are Retain, and nothing owns their claims.
fn not_retained(cluster: &crate::kubernetes::Cluster) -> Vec<String> {
    let ours = |object: &Value| object["metadata"]["labels"][labels::MIGRATION].is_string();
    let mut found = Vec::new();
    for volume in cluster.all("persistentvolumes").iter().filter(|volume| ours(volume)) {
        if volume["spec"]["persistentVolumeReclaimPolicy"] != "Retain" {
            found.push(format!("I6: {} is not Retain", string(volume, "/metadata/name")));
        }
    }
    for claim in cluster.all("persistentvolumeclaims").iter().filter(|claim| ours(claim)) {
        if !claim["metadata"]["ownerReferences"].is_null() {
            found.push(format!("I6: claim {} has an owner", string(claim, "/metadata/name")));
        }
    }
    found
}

/// I7, I8: how many snapshots and volumes carry a run's tag, by run, step and member: one each, none without all tags.
pub fn duplicates(world: &World, snapshots_per_member: usize, volumes_per_member: usize) -> Vec<String> {
    let mut found = Vec::new();
    world.ec2.with(|inner, _| {
        let mut made: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for (id, record) in &inner.core.snapshots {
            match record.tags.get(labels::MEMBER) {
                Some(member) if record.tags.contains_key(labels::RUN) && record.tags.contains_key(labels::STEP) => {
                    *made.entry(("snapshots", member.clone())).or_default() += 1;
                }
                _ => found.push(format!("I7: snapshot {id} does not say whose it is")),
            }
        }
        for record in inner.core.volumes.values().filter(|record| record.state != VolumeState::Deleted) {
            if record.tags.contains_key(labels::RUN)
                && let Some(member) = record.tags.get(labels::MEMBER)
            {
                *made.entry(("volumes", member.clone())).or_default() += 1;
            }
        }
        for ((what, member), count) in made {
            let wanted = if what == "snapshots" { snapshots_per_member } else { volumes_per_member };
            if count != wanted {
                found.push(format!("I8: member {member} has {count} {what}, not {wanted}"));
            }
        }
    });
    found
}

fn string(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
