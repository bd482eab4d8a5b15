//! Strangers: what somebody else does to the cloud and the cluster meanwhile.

use std::time::Duration;

use rehome_ec2_emulator::api::{
    Action, AttachVolume, CopySnapshot, CreateSnapshot, DetachVolume, ModifyVolume, Reply, TagSpecification,
    TagsRequest,
};
use rehome_model::cloud::{Tags, VolumeState};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use rehome_model::{labels, names};
use serde_json::{Value, json};

use super::stage::{NAME, Stage};
use super::trouble::{Stranger, Trouble};
use crate::kubernetes::Key;
use crate::world::{State, World};

/// Between two looks of GitOps.
const GITOPS: Duration = Duration::from_secs(20);
/// How often GitOps looks before somebody switches it off.
const GITOPS_TIMES: u32 = 30;
/// How long a set is away that is installed anew.
const REPLACED: Duration = Duration::from_secs(60);
/// How long a borrowed volume is away.
const BORROWED: Duration = Duration::from_secs(60);
/// The tag of strangers' things.
pub const STRANGERS_TAG: (&str, &str) = ("owner", "somebody-else");

/// Does at their times what strangers do. Ends when the last has acted.
pub async fn strangers(stage: &Stage, troubles: &[Trouble], members: u32) {
    let acts = troubles.iter().filter_map(|trouble| match trouble {
        Trouble::Stranger { at_s, what } => Some((*at_s, *what)),
        _ => None,
    });
    let all = acts.map(|(at_s, what)| async move {
        tokio::time::sleep(Duration::from_secs(at_s)).await;
        act(stage, what, members).await;
    });
    let nodes = troubles.iter().filter_map(|trouble| match trouble {
        Trouble::NodeLost { node, at_s } => Some((*node, *at_s)),
        _ => None,
    });
    let lost = nodes.map(|(node, at_s)| async move {
        tokio::time::sleep(Duration::from_secs(at_s)).await;
        stage.tally.note(|| format!("node {node} is lost"));
        stage.world.lose_node(&format!("node-{node}"));
    });
    futures::join!(futures::future::join_all(all), futures::future::join_all(lost));
}

/// One act.
pub async fn act(stage: &Stage, what: Stranger, members: u32) {
    stage.tally.note(|| format!("a stranger {what}"));
    let world = &stage.world;
    match what {
        Stranger::Scales(replicas) => scale(world, replicas),
        Stranger::KeepsScaling => {
            for _ in 0..GITOPS_TIMES {
                scale(world, members);
                tokio::time::sleep(GITOPS).await;
            }
        }
        Stranger::EvictsPod(n) => delete(world, "pods", &names::pod(NAME, n)),
        Stranger::DeletesClaim(n) => delete(world, "persistentvolumeclaims", &names::claim("data", NAME, n)),
        Stranger::StealsLease => change(world, "leases", &names::record(NAME), |lease| {
            lease["spec"]["holderIdentity"] = json!("thief");
        }),
        Stranger::StartsService(n) => start_service(world, n, false),
        Stranger::SetsUpService(n) => start_service(world, n, true),
        Stranger::TagsVolume(n) => tag_volume(world, n),
        Stranger::DeletesVolume(n) => {
            if let Some(id) = new_volume(world, n) {
                call(world, &Action::DeleteVolume(id));
            }
        }
        Stranger::DeletesSnapshot(n) => {
            if let Some(id) = newest_snapshot(world, n) {
                call(world, &Action::DeleteSnapshot(id));
            }
        }
        Stranger::BorrowsVolume(n) => borrow(world, n).await,
        Stranger::TakesSnapshot(n) => {
            let tags = Tags::from([(STRANGERS_TAG.0.to_owned(), STRANGERS_TAG.1.to_owned())]);
            if let Some(volume) = legacy_volume(world, n) {
                let tag_specifications = vec![TagSpecification::new("snapshot", tags)];
                let request = CreateSnapshot { tag_specifications, ..CreateSnapshot::of(volume) };
                if let Some(Reply::Snapshot(made)) = call(world, &Action::CreateSnapshot(request)) {
                    stage.tally.strangers_snapshot(made.id);
                }
            }
        }
        Stranger::BacksUpVolume(n) => back_up(stage, n),
        Stranger::GrowsVolume(n) => {
            if let Some(volume) = legacy_volume(world, n) {
                let size = world.ec2.with(|inner, _| inner.core.volumes.get(&volume).map(|v| v.spec.size_gib));
                let size = size.map(|size| i64::from(size) + 50);
                call(world, &Action::ModifyVolume(ModifyVolume { size, ..ModifyVolume::of(volume) }));
            }
        }
        Stranger::OpensGate => change(world, "configmaps", &names::gate(NAME), |gate| {
            gate["data"] = json!({"REFDB_CLIENTS": "open"});
        }),
        Stranger::UngatesSet => change(world, "statefulsets", NAME, |set| {
            let variables = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut();
            for variable in variables.into_iter().flatten().filter(|variable| variable["name"] == "REFDB_CLIENTS") {
                *variable = json!({"name": "REFDB_CLIENTS", "value": "open"});
            }
        }),
        Stranger::DeploysImage => change(world, "statefulsets", NAME, |set| {
            set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("refdb:1-mended");
        }),
        Stranger::ExitsStandby => world.ec2.with(|inner, _| {
            let states = inner.core.groups.values_mut().flat_map(|group| group.members.values_mut());
            for state in states.filter(|state| *state == "Standby") {
                "InService".clone_into(state);
            }
        }),
        Stranger::DeletesSet => {
            delete_set(world, members);
        }
        Stranger::ReplacesSet(replicas) => {
            let Some(set) = delete_set(world, members) else { return };
            tokio::time::sleep(REPLACED).await;
            install(world, &set, replicas);
        }
    }
}

/// Deletes the set, and its pods as the garbage collector does: what the set was.
fn delete_set(world: &World, members: u32) -> Option<Value> {
    let set = world.with(|state, now| {
        let set = state.cluster.get(&Key::new("statefulsets", NAME, NAME)).cloned()?;
        let path = format!("/apis/apps/v1/namespaces/{NAME}/statefulsets/{NAME}");
        state.cluster.handle(now, "DELETE", &path, "", "", b"");
        Some(set)
    })?;
    for n in 0..members {
        delete(world, "pods", &names::pod(NAME, n));
    }
    Some(set)
}

/// Installs a set as it was, with so many replicas. If there is one by now, that stays.
pub(super) fn install(world: &World, set: &Value, replicas: u32) {
    let mut spec = set["spec"].clone();
    spec["replicas"] = json!(replicas);
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {}, "spec": spec});
    world.with(|state, now| {
        let _ = state.cluster.put_new(now, &Key::new("statefulsets", NAME, NAME), set);
    });
}

/// Brings the legacy side back by hand, as docs/without-a-record.md tells: what keeps the services down is taken away, and the
/// instances are started. Not while pods run or are wanted: members that meet their copies are a mistake that no tool takes back.
pub(super) fn restore(stage: &Stage) -> bool {
    let world = &stage.world;
    let wanted = world.with(|state, _| {
        let set = state.cluster.get(&Key::new("statefulsets", NAME, NAME));
        set.is_some_and(|set| set["spec"]["replicas"] != 0)
    });
    if wanted || crate::checks::pods_running(world) > 0 {
        return false;
    }
    stage.tally.note(|| "somebody brings the legacy side back by hand".to_owned());
    world.let_services_go();
    let hosts: Vec<InstanceId> = world.with(|state, _| state.hosts.keys().cloned().collect());
    call(world, &Action::StartInstances(hosts));
    world.start_services();
    true
}

/// A call of somebody else's. It may be refused: that is their trouble.
fn call(world: &World, action: &Action) -> Option<Reply> {
    world.with(|_, now| world.ec2.with_at(now, |inner, now| inner.call(now, action).ok()))
}

fn scale(world: &World, replicas: u32) {
    change(world, "statefulsets", NAME, |set| set["spec"]["replicas"] = json!(replicas));
}

fn change(world: &World, plural: &'static str, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
    world.with(|state, _| {
        let key = Key::new(plural, NAME, name);
        if let Some(object) = state.cluster.objects.get_mut(&key) {
            change(object);
            // The object is there.
            let _ = state.cluster.changed(&key);
        }
    });
}

fn delete(world: &World, plural: &'static str, name: &str) {
    world.with(|state, now| {
        let path = format!("/api/v1/namespaces/{NAME}/{plural}/{name}");
        state.cluster.handle(now, "DELETE", &path, "", "", b"");
    });
}

/// Where the n-th member lived.
pub(super) fn instance(world: &World, n: u32) -> Option<InstanceId> {
    let address = crate::scene::address(n);
    world.with(|state, _| state.hosts.iter().find(|(_, host)| host.address == address).map(|(id, _)| id.clone()))
}

fn legacy_volume(world: &World, n: u32) -> Option<VolumeId> {
    let id = instance(world, n)?;
    world.with(|state, _| state.hosts.get(&id)?.file_systems.first().map(|(_, volume, _)| volume.clone()))
}

fn of_member(tags: &Tags, n: u32) -> bool {
    let theirs = tags.get(STRANGERS_TAG.0).is_some_and(|owner| owner == STRANGERS_TAG.1);
    !theirs && tags.get(labels::MEMBER) == Some(&format!("{NAME}-{n}"))
}

fn new_volume(world: &World, n: u32) -> Option<VolumeId> {
    world.with(|_, _| {
        world.ec2.with(|inner, _| {
            let mut live = inner.core.volumes.iter().filter(|(_, v)| of_member(&v.tags, n));
            live.find(|(_, v)| !matches!(v.state, VolumeState::Deleted | VolumeState::Deleting))
                .map(|(id, _)| id.clone())
        })
    })
}

fn newest_snapshot(world: &World, n: u32) -> Option<SnapshotId> {
    world.with(|_, _| {
        world.ec2.with(|inner, _| {
            let by_snapshot = |tags: &Tags| tags.get(labels::STEP).is_some_and(|step| step.contains("snapshot"));
            let of_member = inner.core.snapshots.iter().filter(|(_, s)| of_member(&s.tags, n) && by_snapshot(&s.tags));
            // A backup tool's copy has these tags too; it is of no volume that is there.
            let taken = of_member.filter(|(_, snapshot)| inner.core.volumes.contains_key(&snapshot.volume));
            taken.max_by_key(|(_, snapshot)| snapshot.started_at).map(|(id, _)| id.clone())
        })
    })
}

fn tag_volume(world: &World, n: u32) {
    let Some(volume) = new_volume(world, n) else { return };
    let tags = [("cost-centre".to_owned(), Some("7".to_owned()))].into();
    call(world, &Action::CreateTags(TagsRequest { resources: vec![volume.to_string()], tags }));
}

/// Configuration management finds the service masked, and mends that: it mounts what fstab says first.
fn start_service(world: &World, n: u32, takes_drop_ins_away: bool) {
    let Some(id) = instance(world, n) else { return };
    world.with(|state, now| {
        let State { hosts, database, .. } = state;
        // A host that is down is left alone.
        let Some(host) = hosts.get_mut(&id).filter(|host| host.up) else { return };
        world.ec2.with(|inner, _| {
            host.mount(inner, now, &id);
            host.masked = false;
            host.held &= !takes_drop_ins_away;
            if !host.held {
                // systemd says why it does not start.
                let _ = host.start(database, &mut inner.disks, now, &id);
            }
        });
    });
}

/// A backup tool that copies tags: its snapshot says of itself what rehome wrote on the volume; and its copy of the one
/// that the volume was made from, what rehome wrote on that.
fn back_up(stage: &Stage, n: u32) {
    let world = &stage.world;
    let Some(volume) = new_volume(world, n) else { return };
    let tags = world.ec2.with(|inner, _| inner.core.volumes.get(&volume).map(|volume| volume.tags.clone()));
    let tag_specifications = vec![TagSpecification::new("snapshot", tags.unwrap_or_default())];
    let source = volume.clone();
    let request = CreateSnapshot { tag_specifications, ..CreateSnapshot::of(volume) };
    if let Some(Reply::Snapshot(made)) = call(world, &Action::CreateSnapshot(request)) {
        stage.tally.strangers_snapshot(made.id);
    }
    let source = world.ec2.with(|inner, _| {
        let id = inner.core.volumes.get(&source)?.snapshot.clone()?;
        let tags = inner.core.snapshots.get(&id)?.tags.clone();
        Some((inner.core.config.region.clone(), id, tags))
    });
    let Some((region, id, tags)) = source else { return };
    let tag_specifications = vec![TagSpecification::new("snapshot", tags)];
    let request = CopySnapshot { tag_specifications, ..CopySnapshot::of(&region, id) };
    if let Some(Reply::SnapshotId(copy)) = call(world, &Action::CopySnapshot(request)) {
        stage.tally.strangers_snapshot(copy);
    }
}

async fn borrow(world: &World, n: u32) {
    let Some(volume) = new_volume(world, n) else { return };
    let nodes: Vec<InstanceId> = world.with(|state, _| state.nodes.values().cloned().collect());
    // EC2 refuses all but the one in the volume's zone.
    let borrower = nodes.into_iter().find(|node| {
        let (volume_id, instance_id) = (volume.clone(), node.clone());
        call(world, &Action::AttachVolume(AttachVolume { volume_id, instance_id, device: "/dev/sdz".to_owned() }))
            .is_some()
    });
    if let Some(node) = borrower {
        tokio::time::sleep(BORROWED).await;
        call(world, &Action::DetachVolume(DetachVolume { instance_id: Some(node), ..DetachVolume::of(volume) }));
    }
}
