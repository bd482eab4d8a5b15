//! What must hold at the end of a run, whatever its story was.

use std::collections::BTreeMap;

use rehome_model::answer::MemberIdentity;
use rehome_model::cloud::{InstanceState, Tags, VolumeState};
use rehome_model::ids::{SnapshotId, VolumeId};
use rehome_model::{labels, names};
use serde_json::json;

use super::meddle::STRANGERS_TAG;
use super::person::Over;
use super::stage::{NAME, Stage};
use super::story::Story;
use crate::checks;
use crate::database::{IDENTITY, Side};
use crate::kubernetes::Key;
use crate::world::World;

/// Things of others that look much like a run's, and must be as they were at the end (invariants I7 and I9).
pub struct Bystanders {
    volume: VolumeId,
    snapshot: SnapshotId,
    before: Vec<String>,
}

/// Another migration's claims, volumes and record in the same account and namespace.
const BYSTANDERS: [(&str, &str); 3] = [
    ("persistentvolumeclaims", "data-other-0"),
    ("persistentvolumes", "rehome-data-other-0"),
    ("configmaps", "rehome-run-other"),
];

impl Bystanders {
    /// Puts them into a world.
    pub fn enter(world: &World) -> Self {
        let pairs = [
            (labels::MIGRATION, "other"),
            (labels::RUN, "other-00000000"),
            (labels::STEP, "final-snapshot:refdb-0"),
            (labels::MEMBER, "refdb-0"),
            (labels::ROLE, "data"),
            STRANGERS_TAG,
        ];
        let tags: Tags = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let (volume, snapshot) = (VolumeId::from("vol-bystander"), SnapshotId::from("snap-bystander"));
        world.with(|state, now| {
            for (plural, name) in BYSTANDERS {
                let namespace = if plural == "persistentvolumes" { "" } else { NAME };
                let labels = json!({labels::MIGRATION: "other", labels::RUN: "other-00000000"});
                let object = json!({
                    "metadata": {"labels": labels},
                    "spec": {
                        "volumeName": "rehome-data-other-0", "storageClassName": "",
                        "persistentVolumeReclaimPolicy": "Retain", "capacity": {"storage": "1Gi"},
                        "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-bystander"},
                        "claimRef": {"namespace": NAME, "name": "data-other-1"},
                    },
                });
                // The world is new: none of these names is taken.
                let _ = state.cluster.put_new(now, &Key::new(plural, namespace, name), object);
            }
            world.ec2.with_at(now, |inner, _| {
                // Copies of records that EC2 itself made: of the first member's volume.
                let like = inner.core.volumes.values().next().cloned();
                if let Some(like) = like {
                    let record = rehome_ec2_emulator::core::VolumeRecord {
                        state: VolumeState::Available,
                        attachments: Vec::new(),
                        tags: tags.clone(),
                        ..like
                    };
                    inner.core.volumes.insert(volume.clone(), record);
                }
                let record = rehome_ec2_emulator::core::SnapshotRecord {
                    volume: volume.clone(),
                    state: rehome_model::cloud::SnapshotState::Completed,
                    state_message: None,
                    started_at: now,
                    completes_at: now,
                    fails: false,
                    volume_size_gib: 1,
                    description: String::new(),
                    encrypted: false,
                    kms_key_id: None,
                    full_bytes: 0,
                    tags,
                };
                inner.core.snapshots.insert(snapshot.clone(), record);
            });
        });
        let mut bystanders = Self { volume, snapshot, before: Vec::new() };
        bystanders.before = bystanders.look(world);
        bystanders
    }

    fn look(&self, world: &World) -> Vec<String> {
        world.with(|state, _| {
            let object = |(plural, name): (&'static str, &str)| {
                let namespace = if plural == "persistentvolumes" { "" } else { NAME };
                let found = state.cluster.get(&Key::new(plural, namespace, name));
                found.map_or_else(String::new, |found| {
                    let metadata = &found["metadata"];
                    let spec = if plural == "persistentvolumes" { &found["spec"]["csi"] } else { &found["spec"] };
                    format!("{}{}{}{spec}", metadata["uid"], metadata["labels"], metadata["deletionTimestamp"])
                })
            };
            let mut seen: Vec<String> = BYSTANDERS.into_iter().map(object).collect();
            world.ec2.with(|inner, _| {
                seen.push(format!("{:?}", inner.core.volumes.get(&self.volume)));
                seen.push(format!("{:?}", inner.core.snapshots.get(&self.snapshot)));
            });
            seen
        })
    }

    fn violations(&self, stage: &Stage) -> Vec<String> {
        let now = self.look(&stage.world);
        let names = ["claim", "PersistentVolume", "ConfigMap", "volume", "snapshot"];
        let changed = names.iter().zip(self.before.iter().zip(&now)).filter(|(_, (before, now))| before != now);
        let mut found: Vec<String> =
            changed.map(|(what, _)| format!("I7: another migration's {what} was changed or deleted")).collect();
        for id in stage.tally.strangers_snapshots() {
            if stage.world.ec2.with(|inner, _| !inner.core.snapshots.contains_key(&id)) {
                found.push(format!("I7: {id} is somebody else's and was deleted"));
            }
        }
        found
    }
}

/// Everything that is broken at the end of a run.
pub fn at_the_end(stage: &Stage, story: &Story, over: &Over, bystanders: &Bystanders) -> Vec<String> {
    let world = &stage.world;
    let mut found = stage.tally.violations();
    found.extend(checks::violations(world));
    found.extend(bystanders.violations(stage));
    found.extend(wrong_member(world, story));
    found.extend(checks::originals_changed(world));
    match over {
        Over::Completed => {
            found.extend(lost(stage));
            found.extend(left(stage, story, 2, 1));
            if checks::pods_running(world) != story.members as usize {
                found.push(format!("I8: {} of {} pods run", checks::pods_running(world), story.members));
            }
            if checks::legacy_serving(world) != 0 {
                found.push("I1: the run is completed and legacy members serve".to_owned());
            }
        }
        Over::RolledBack { .. } => {
            found.extend(left(stage, story, 0, 0));
            found.extend(lost(stage));
            if checks::legacy_serving(world) != story.members as usize {
                found.push(format!("I8: {} of {} members serve", checks::legacy_serving(world), story.members));
            }
            if checks::pods_running(world) != 0 {
                found.push("I5: the run is rolled back and pods run".to_owned());
            }
        }
        Over::Returned => {
            found.extend(left(stage, story, 2, 1));
            found.extend(not_returned(world));
            found.extend(lost(stage));
            if checks::legacy_serving(world) != story.members as usize {
                found.push(format!("I8: {} of {} members serve", checks::legacy_serving(world), story.members));
            }
            if checks::pods_running(world) != 0 {
                found.push("I5: the run is rolled back and pods run".to_owned());
            }
        }
        Over::Stuck(_) if story.is_damaged() => {}
        Over::Stuck(why) => found.push(format!("I8: stuck for good though nothing was taken away: {why}")),
        Over::Refused(_) => {
            found.extend(lost(stage));
            found.extend(left(stage, story, 0, 0));
            if checks::legacy_serving(world) != story.members as usize {
                found.push(format!("I8: {} of {} members serve", checks::legacy_serving(world), story.members));
            }
        }
        Over::Endless(why) => found.push(format!("I8: tried again and again and never over: {why}")),
    }
    found
}

/// After a rollback that kept the writes: the set is closed by parked claims (I5), each legacy host has another volume
/// than in the beginning (I2), which a termination does not take along, and the originals are attached nowhere (I3).
fn not_returned(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    world.with(|state, _| {
        for volume in state.cluster.all("persistentvolumes") {
            if volume["metadata"]["labels"][labels::MIGRATION] == NAME {
                found.push(format!("I5: {} still binds its claim", volume["metadata"]["name"]));
            }
        }
        world.ec2.with(|inner, _| {
            for (id, host) in &state.hosts {
                for (_, volume, _) in host.file_systems.iter().filter(|(_, v, _)| host.originals.contains(v)) {
                    found.push(format!("I2: {id} serves on {volume}, which has no new writes"));
                }
                let devices = inner.core.instances.get(id).map(|record| record.block_devices.clone());
                let goes = |volume: &VolumeId| host.file_systems.iter().any(|(_, held, _)| held == volume);
                for device in devices.unwrap_or_default().iter().filter(|d| d.delete_on_termination && goes(&d.volume))
                {
                    found.push(format!("I2: terminating {id} would delete {}", device.volume));
                }
                for original in &host.originals {
                    let record = inner.core.volumes.get(original);
                    if record.is_some_and(|record| !record.attachments.is_empty()) {
                        found.push(format!("I3: {original} is attached still"));
                    }
                }
            }
        });
    });
    found
}

/// I4, by the scene and not by what rehome wrote down: pod n holds member n.
fn wrong_member(world: &World, story: &Story) -> Vec<String> {
    let mut found = Vec::new();
    world.with(|state, _| {
        for n in 0..story.members {
            let wanted = crate::scene::member_id(story.seed, n);
            let address = crate::scene::address(n);
            let on_host = state.hosts.iter().find(|(_, host)| host.address == address);
            let on_host = on_host.and_then(|(id, _)| state.database.processes.get(id.as_str()));
            if let Some(process) = on_host.filter(|process| process.identity.id != wanted) {
                found.push(format!("I4: the host of member {n} holds member {}, not {wanted}", process.identity.id));
            }
            let pod = names::pod(NAME, n);
            if let Some(process) = state.database.processes.get(&pod)
                && process.identity.id != wanted
            {
                found.push(format!("I4: pod {pod} holds member {}, not {wanted}", process.identity.id));
            }
            let claim = state.cluster.get(&Key::new("persistentvolumeclaims", NAME, &names::claim("data", NAME, n)));
            let volume = claim.and_then(|claim| claim["spec"]["volumeName"].as_str());
            let volume = volume.and_then(|name| state.cluster.get(&Key::new("persistentvolumes", "", name)));
            let handle = volume.and_then(|volume| volume["spec"]["csi"]["volumeHandle"].as_str());
            let bytes =
                handle.and_then(|id| world.ec2.with(|inner, _| inner.disks.read(&VolumeId::from(id), IDENTITY)));
            let on_disk = bytes.and_then(|bytes| serde_json::from_slice::<MemberIdentity>(&bytes).ok());
            if let Some(on_disk) = on_disk
                && on_disk.id != wanted
            {
                found.push(format!("I4: claim {n} is bound to the volume of member {}, not {wanted}", on_disk.id));
            }
        }
    });
    found
}

/// I2: what pods acknowledged is given up by the user who rolls back, and by nobody else.
fn lost(stage: &Stage) -> Vec<String> {
    let given_up = stage.tally.given_up();
    let lost = stage.world.with(|state, _| stage.world.ec2.with(|inner, _| state.database.lost(&inner.disks)));
    let lost: Vec<u64> = lost.into_iter().filter(|row| !given_up.contains(row)).collect();
    let Some(first) = lost.first() else { return Vec::new() };
    vec![format!("I2: {} acknowledged rows are lost, the first is {first}", lost.len())]
}

/// I7 and I8: what a run made and is still there says whose it is, and is there once. What a driver sent long after
/// its check (I10) may be there too, by its tags; what strangers took away need not.
fn left(stage: &Stage, story: &Story, snapshots: usize, volumes: usize) -> Vec<String> {
    let late = stage.tally.late();
    // What an earlier run made and gave to the legacy side stays there.
    let recorded = stage.last_run();
    let earlier: Vec<String> = stage.tally.all_returned().into_iter().map(|run| run.to_string()).collect();
    let earlier =
        |tags: &Tags| tags.get(labels::RUN).is_some_and(|run| earlier.contains(run) && recorded.as_ref() != Some(run));
    let late = |name: &str| late.iter().filter(|call| **call == name).count();
    let mut found = Vec::new();
    let mut count: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let mut look = |kind: &'static str, id: &str, tags: &Tags| {
        if tags.get(STRANGERS_TAG.0).is_some_and(|owner| owner == STRANGERS_TAG.1) || tags.contains_key("cluster") {
            return;
        }
        if earlier(tags) {
            return;
        }
        // The role of a snapshot is a second call, which a driver that has lost its lease does not make.
        let without_role = kind == "snapshot" && late("CreateSnapshots") > 0;
        let missing: Vec<&str> = [labels::MIGRATION, labels::RUN, labels::STEP, labels::MEMBER, labels::ROLE]
            .into_iter()
            .filter(|key| !tags.contains_key(*key) && (*key != labels::ROLE || !without_role))
            .collect();
        if !missing.is_empty() {
            found.push(format!("I7: {kind} {id} lacks {}", missing.join(", ")));
        }
        *count.entry((kind, tags.get(labels::MEMBER).cloned().unwrap_or_default())).or_default() += 1;
    };
    stage.world.ec2.with(|inner, _| {
        for (id, record) in &inner.core.snapshots {
            look("snapshot", id.as_str(), &record.tags);
        }
        let made = inner.core.volumes.iter().filter(|(_, v)| v.snapshot.is_some() || v.source_volume.is_some());
        for (id, record) in made.filter(|(_, v)| !matches!(v.state, VolumeState::Deleted | VolumeState::Deleting)) {
            look("volume", id.as_str(), &record.tags);
        }
    });
    for n in 0..story.members {
        for (kind, wanted, late) in
            [("snapshot", snapshots, late("CreateSnapshots")), ("volume", volumes, late("CreateVolume"))]
        {
            let there = count.get(&(kind, format!("{NAME}-{n}"))).copied().unwrap_or(0);
            let too_few = there < wanted && !story.is_damaged();
            if there > wanted + late || too_few {
                found.push(format!("I8: member {n} has {there} {kind}s, not {wanted}"));
            }
        }
    }
    found
}

/// What must hold at every act of a driver.
pub fn meanwhile(world: &World, call: &str) -> Vec<String> {
    let mut found: Vec<String> = unfenced(world).into_iter().collect();
    if matches!(call, "CreateVolume" | "DeleteVolume") {
        found.extend(made_twice(world));
    }
    if call == "kube patch" {
        // A volume was just released: the run may fail of this very mistake, and take it back before its end.
        found.extend(checks::violations(world).into_iter().filter(|violation| violation.contains("behind two")));
    }
    found
}

/// I1: no member runs in a pod while a legacy instance is anything but stopped.
fn unfenced(world: &World) -> Option<String> {
    world.with(|state, _| {
        let pods = state.database.processes.values().filter(|process| process.side == Side::Pods).count();
        if pods == 0 {
            return None;
        }
        let stopped = |id| {
            world.ec2.with(|inner, _| inner.core.instances.get(id).map(|i| i.state)) == Some(InstanceState::Stopped)
        };
        let up = state.hosts.keys().filter(|id| !stopped(*id)).count();
        (up > 0).then(|| format!("I1: {pods} members run in pods while {up} legacy instances are not stopped"))
    })
}

/// I8: a client token keeps a step from ever having two live volumes.
fn made_twice(world: &World) -> Vec<String> {
    world.ec2.with(|inner, _| {
        let mut live: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for record in inner.core.volumes.values() {
            let alive = matches!(record.state, VolumeState::Creating | VolumeState::Available | VolumeState::InUse);
            if alive && let (Some(run), Some(step)) = (record.tags.get(labels::RUN), record.tags.get(labels::STEP)) {
                *live.entry((run, step)).or_default() += 1;
            }
        }
        live.iter()
            .filter(|(_, count)| **count > 1)
            .map(|((_, step), count)| format!("I8: {step} has {count} live volumes at once"))
            .collect()
    })
}
