//! What must hold at the end of a run, whatever its story was.

use std::collections::BTreeMap;

use rehome_model::answer::MemberIdentity;
use rehome_model::cloud::{InstanceState, Tags, VolumeState};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::{labels, names};

use super::bystanders::Bystanders;
use super::meddle::STRANGERS_TAG;
use super::person::Over;
use super::seat::LEASE_MS;
use super::stage::{NAME, Stage};
use super::story::Story;
use super::wider;
use crate::checks;
use crate::database::{IDENTITY, Side};
use crate::kubernetes::Key;
use crate::world::{Host, World};

/// Everything that is broken at the end of a run.
pub fn at_the_end(stage: &Stage, story: &Story, over: &Over, bystanders: &Bystanders) -> Vec<String> {
    let world = &stage.world;
    let mut found = stage.tally.violations();
    found.extend(checks::violations(world));
    found.extend(bystanders.violations(stage));
    found.extend(wrong_member(world, story));
    found.extend(torn(world));
    found.extend(checks::originals_changed(world));
    match over {
        Over::Completed => {
            found.extend(lost(stage));
            found.extend(left(stage, story, 2 * roles(story).len(), roles(story).len()));
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
            found.extend(left(stage, story, 2 * roles(story).len(), roles(story).len()));
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

/// The roles of the members' volumes.
fn roles(story: &Story) -> &'static [&'static str] {
    if story.weather.commitlogs { &wider::ROLES } else { &wider::ROLES[..1] }
}

/// I2: the volumes of one instance were captured at one instant, or a commit log lacks what the data has not got yet.
fn torn(world: &World) -> Vec<String> {
    world.ec2.with(|inner, _| {
        let mut at: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
        for record in inner.core.volumes.values().filter(|record| record.state == VolumeState::InUse) {
            let snapshot = record.snapshot.as_ref().and_then(|id| inner.core.snapshots.get(id));
            if let (Some(snapshot), Some(run), Some(member)) =
                (snapshot, record.tags.get(labels::RUN), record.tags.get(labels::MEMBER))
            {
                at.entry((run, member)).or_default().push(snapshot.started_at);
            }
        }
        let torn = at.into_iter().filter(|(_, instants)| instants.iter().any(|at| *at != instants[0]));
        torn.map(|((_, member), _)| format!("I2: the volumes of {member} were captured at different instants"))
            .collect()
    })
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
            for role in roles(story) {
                let key = Key::new("persistentvolumeclaims", NAME, &names::claim(role, NAME, n));
                let volume = state.cluster.get(&key).and_then(|claim| claim["spec"]["volumeName"].as_str());
                let volume = volume.and_then(|name| state.cluster.get(&Key::new("persistentvolumes", "", name)));
                let handle = volume.and_then(|volume| volume["spec"]["csi"]["volumeHandle"].as_str());
                let bytes =
                    handle.and_then(|id| world.ec2.with(|inner, _| inner.disks.read(&VolumeId::from(id), IDENTITY)));
                let on_disk = bytes.and_then(|bytes| serde_json::from_slice::<MemberIdentity>(&bytes).ok());
                if let Some(on_disk) = on_disk
                    && on_disk.id != wanted
                {
                    found.push(format!("I4: {} has the volume of member {}, not {wanted}", key.name, on_disk.id));
                }
            }
        }
    });
    found
}

/// I2: what pods acknowledged is given up by the user who rolls back, and by nobody else.
fn lost(stage: &Stage) -> Vec<String> {
    let given_up = stage.tally.given_up();
    let lost = stage.world.with(|state, _| stage.world.ec2.with(|inner, _| state.database.lost(&inner.disks)));
    let lost: Vec<u64> = lost.into_iter().filter(|row| !given_up.contains(*row)).collect();
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
    let theirs = stage.tally.strangers_snapshots();
    let mut look = |kind: &'static str, id: &str, tags: &Tags| {
        if theirs.iter().any(|snapshot| snapshot.as_str() == id) {
            return;
        }
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
    // One call captures all volumes of an instance.
    let late_snapshots = late("CreateSnapshots") * roles(story).len();
    for n in 0..story.members {
        for (kind, wanted, late) in [("snapshot", snapshots, late_snapshots), ("volume", volumes, late("CreateVolume"))]
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

/// I1: no member runs in a pod while a legacy instance is anything but stopped or gone. EC2 keeps nobody from starting one: what a
/// driver that stood still starts has its service kept down, and the run stops it again.
fn unfenced(world: &World) -> Option<String> {
    world.with(|state, now| {
        let pods = state.database.processes.values().filter(|process| process.side == Side::Pods).count();
        if pods == 0 {
            return None;
        }
        let stopped = |id: &InstanceId| {
            match world.ec2.with(|inner, _| inner.core.instances.get(id).map(|i| i.state)) {
                Some(InstanceState::Stopped | InstanceState::Terminated) => true,
                // One that a group terminates never runs again, and an hour later EC2 shows it no more.
                Some(InstanceState::ShuttingDown) | None => !state.database.processes.contains_key(id.as_str()),
                Some(_) => false,
            }
        };
        let late = |id: &InstanceId| state.starting.get(id).is_some_and(|since| since + LEASE_MS <= now);
        let excused = |id: &InstanceId, host: &Host| host.is_kept_down() && late(id);
        let up = state.hosts.iter().filter(|(id, host)| !stopped(id) && !excused(id, host)).count();
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
