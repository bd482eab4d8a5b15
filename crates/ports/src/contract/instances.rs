//! Instances.

use std::collections::BTreeMap;

use rehome_model::cloud::{Instance, InstanceState, StateReason, Tags};
use rehome_model::ids::InstanceId;

use super::check::{Checked, Under, fails, holds, only, same, tags, unique};
use crate::cloud::{InstanceFilter, InstanceProtection, ResourceId};
use crate::error::ErrorClass;

pub(super) async fn unknown_ids(under: Under<'_>) -> Checked {
    let there = under.world.instance(&Tags::new()).await;
    let unknown = InstanceId::from("i-00000000000000001");
    let filter = InstanceFilter::Ids(vec![unknown.clone(), there.clone()]);
    same("the ids", &ids_of(&under.cloud.describe_instances(&filter).await?), &vec![there])?;
    let filter = InstanceFilter::Ids(vec![unknown]);
    same("the answer", &under.cloud.describe_instances(&filter).await?, &Vec::new())
}

/// As `describe_instances` by id, but for the groups.
pub(super) async fn alone(under: Under<'_>) -> Checked {
    let mut ids = vec![under.world.instance(&Tags::new()).await, under.world.instance(&Tags::new()).await];
    ids.sort();
    let asked = [ids[1].clone(), InstanceId::from("i-00000000000000001"), ids[0].clone()];
    let found = under.cloud.describe_instances_alone(&asked).await?;
    same("the ids", &ids_of(&found), &ids)?;
    holds(found.iter().all(|instance| !instance.zone.as_str().is_empty()), || format!("{found:?}"))?;
    same("the answer", &under.cloud.describe_instances_alone(&asked[1..2]).await?, &Vec::new())?;
    same("the answer", &under.cloud.describe_instances_alone(&[]).await?, &Vec::new())
}

fn ids_of(found: &[Instance]) -> Vec<InstanceId> {
    found.iter().map(|instance| instance.id.clone()).collect()
}

pub(super) async fn no_ids(under: Under<'_>) -> Checked {
    under.world.instance(&Tags::new()).await;
    same("the answer", &under.cloud.describe_instances(&InstanceFilter::Ids(Vec::new())).await?, &Vec::new())
}

pub(super) async fn described(under: Under<'_>) -> Checked {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(under.world.instance(&tags(&[("Name", "node")])).await);
    }
    let volume = under.world.volume(&ids[0], "/dev/xvdf", 3).await;
    let asked: Vec<InstanceId> = ids.iter().rev().cloned().collect();
    let found = under.cloud.describe_instances(&InstanceFilter::Ids(asked)).await?;
    let mut sorted = ids.clone();
    sorted.sort();
    same("the order", &found.iter().map(|instance| instance.id.clone()).collect(), &sorted)?;
    let first = under.instance(&ids[0]).await?;
    same("the state", &first.state, &InstanceState::Running)?;
    same("the tags", &first.tags, &tags(&[("Name", "node")]))?;
    same("the group", &first.auto_scaling, &None)?;
    same("the type", &first.instance_type, &"m5.large".to_owned())?;
    holds(first.private_ip.is_some() && !first.zone.as_str().is_empty(), || format!("{first:?}"))?;
    let root = first.block_devices.iter().find(|device| Some(&device.device) == first.root_device.as_ref());
    holds(root.is_some(), || format!("no root volume in {first:?}"))?;
    let data = first.block_devices.iter().find(|device| device.device == "/dev/xvdf");
    same("the data volume", &data.map(|device| (&device.volume, device.delete_on_termination)), &Some((&volume, true)))
}

pub(super) async fn by_tags(under: Under<'_>) -> Checked {
    let probe = under.world.instance(&Tags::new()).await;
    let cluster = unique("c", &probe);
    let both = under.world.instance(&tags(&[("cluster", &cluster), ("role", "db")])).await;
    under.world.instance(&tags(&[("cluster", &cluster), ("role", "web")])).await;
    let filter = InstanceFilter::Tags(tags(&[("cluster", &cluster), ("role", "db")]));
    same("the match", &only(under.cloud.describe_instances(&filter).await?)?.id, &both)
}

pub(super) async fn star_in_tag(under: Under<'_>) -> Checked {
    let probe = under.world.instance(&Tags::new()).await;
    under.world.instance(&tags(&[("cluster", &unique("star", &probe))])).await;
    let filter = InstanceFilter::Tags(tags(&[("cluster", "star-*")]));
    same("the match", &under.cloud.describe_instances(&filter).await?, &Vec::new())
}

pub(super) async fn types(under: Under<'_>) -> Checked {
    let names = ["m5.large", "m4.large", "x0.unknown"].map(str::to_owned);
    let found = under.cloud.describe_instance_types(&names).await?;
    let seen: BTreeMap<&str, bool> = found.iter().map(|kind| (kind.name.as_str(), kind.nitro)).collect();
    same("the types", &seen, &BTreeMap::from([("m4.large", false), ("m5.large", true)]))
}

pub(super) async fn stop_twice(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.cloud.stop_instance(&instance).await?;
    under.cloud.stop_instance(&instance).await?;
    under.world.settle().await;
    under.cloud.stop_instance(&instance).await?;
    let stopped = under.instance(&instance).await?;
    same("the state", &stopped.state, &InstanceState::Stopped)?;
    holds(stopped.state_reason.as_ref().is_some_and(StateReason::is_a_stop), || format!("{:?}", stopped.state_reason))
}

pub(super) async fn start_twice(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.cloud.start_instance(&instance).await?;
    under.cloud.stop_instance(&instance).await?;
    under.world.settle().await;
    under.cloud.start_instance(&instance).await?;
    under.cloud.start_instance(&instance).await?;
    under.world.settle().await;
    let started = under.instance(&instance).await?;
    same("the state", &started.state, &InstanceState::Running)?;
    same("why", &started.state_reason, &None)
}

pub(super) async fn start_while_stopping(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.cloud.stop_instance(&instance).await?;
    let error = fails("IncorrectInstanceState", under.cloud.start_instance(&instance).await)?;
    same("the class", &error.class(), &ErrorClass::Wait)
}

pub(super) async fn address_stays(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    let before = under.instance(&instance).await?.private_ip;
    under.cloud.stop_instance(&instance).await?;
    under.world.settle().await;
    same("the address", &under.instance(&instance).await?.private_ip, &before)
}

pub(super) async fn protections(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    for protection in [InstanceProtection::Termination, InstanceProtection::Stop] {
        for on in [false, true, true, false, false] {
            under.cloud.protect_instance(&instance, protection, on).await?;
            under.world.settle().await;
            same("the protection", &under.cloud.is_protected(&instance, protection).await?, &on)?;
        }
    }
    under.cloud.protect_instance(&instance, InstanceProtection::Termination, true).await?;
    under.world.settle().await;
    same("the other", &under.cloud.is_protected(&instance, InstanceProtection::Stop).await?, &false)
}

pub(super) async fn stop_protection_holds(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.cloud.protect_instance(&instance, InstanceProtection::Stop, true).await?;
    let error = fails("OperationNotPermitted", under.cloud.stop_instance(&instance).await)?;
    same("the class", &error.class(), &ErrorClass::Stop)?;
    under.world.settle().await;
    same("the state", &under.instance(&instance).await?.state, &InstanceState::Running)
}

pub(super) async fn deletion(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.world.volume(&instance, "/dev/xvdf", 1).await;
    under.world.volume(&instance, "/dev/xvdg", 1).await;
    under.cloud.set_delete_on_termination(&instance, &BTreeMap::new()).await?;
    let wanted = BTreeMap::from([("/dev/xvdf".to_owned(), false)]);
    for _ in 0..2 {
        under.cloud.set_delete_on_termination(&instance, &wanted).await?;
    }
    under.world.settle().await;
    let found = under.instance(&instance).await?;
    let data = found.block_devices.iter().filter(|device| device.device.starts_with("/dev/xvd"));
    let data = data.filter(|device| Some(&device.device) != found.root_device.as_ref());
    let seen: BTreeMap<&str, bool> =
        data.map(|device| (device.device.as_str(), device.delete_on_termination)).collect();
    same("delete-on-termination", &seen, &BTreeMap::from([("/dev/xvdf", false), ("/dev/xvdg", true)]))
}

pub(super) async fn tags_set(under: Under<'_>) -> Checked {
    let (described, snapshot) = under.completed_snapshot().await?;
    let volume = snapshot.volume.clone();
    let resources = [
        ResourceId::Instance(described.id.clone()),
        ResourceId::Volume(volume.clone()),
        ResourceId::Snapshot(snapshot.id.clone()),
    ];
    for resource in &resources {
        under.cloud.tag(resource, &tags(&[("a", "1"), ("b", "1")])).await?;
        for _ in 0..2 {
            under.cloud.tag(resource, &tags(&[("b", "2")])).await?;
        }
        under.cloud.tag(resource, &Tags::new()).await?;
    }
    under.world.settle().await;
    let shown = [
        under.instance(&described.id).await?.tags,
        under.volume(&volume).await?.tags,
        under.snapshot(&snapshot.id).await?.tags,
    ];
    for found in shown {
        let wanted = tags(&[("a", "1"), ("b", "2")]);
        holds(wanted.iter().all(|(key, value)| found.get(key) == Some(value)), || format!("{found:?}"))?;
    }
    Ok(())
}
