//! The in-process face keeps the contract of the port `Cloud`.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::{NO_INSTANCE, NO_VOLUME, tags, xfs, zone};
use rehome_ec2_emulator::core::{Config, Consistency, Timing};
use rehome_ec2_emulator::face::Emulator;
use rehome_model::cloud::{AttachmentState, InstanceState, SnapshotState, VolumeSpec, VolumeState};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use rehome_ports::{
    Cloud, CloudError, CreateSnapshots, CreateVolume, ErrorClass, InstanceFilter, InstanceProtection, Intended,
    ResourceId, SnapshotFilter, Tap, VolumeFilter,
};

const EPOCH_MS: u64 = 1_767_225_600_000;
const LATENCY: Duration = Duration::from_millis(50);
/// More than anything here takes.
const HOUR: Duration = Duration::from_hours(1);

fn spec() -> VolumeSpec {
    VolumeSpec {
        volume_type: "gp3".to_owned(),
        size_gib: 10,
        iops: Some(3000),
        throughput_mib_s: Some(125),
        encrypted: false,
        kms_key_id: None,
    }
}

struct Scene {
    ec2: Emulator,
    member: InstanceId,
    data: VolumeId,
}

fn scene() -> Scene {
    let consistency = Consistency::strong();
    let config = Config { timing: Timing::default().exact(), consistency, ..Config::default() };
    let ec2 = Emulator::new(config, EPOCH_MS, LATENCY);
    let (member, data) = ec2.with(|inner, now| {
        let (core, disks) = (&mut inner.core, &mut inner.disks);
        let member = core.add_instance(disks, now, &zone("a"), "10.0.0.5", "m5.large", tags(&[("cluster", "prod")]));
        let data = core.add_volume(disks, now, &member, "/dev/xvdf", spec(), xfs(&[("a", "1")]), true);
        (member, data)
    });
    Scene { ec2, member, data }
}

fn capture(instance: &InstanceId) -> CreateSnapshots {
    CreateSnapshots {
        instance: instance.clone(),
        exclude: Vec::new(),
        include_root: false,
        description: "base".to_owned(),
        tags: tags(&[("run", "1")]),
    }
}

impl Scene {
    async fn volume(&self, id: &VolumeId) -> rehome_model::cloud::Volume {
        self.ec2.describe_volumes(&VolumeFilter::Ids(vec![id.clone()])).await.expect("shown").remove(0)
    }

    async fn instance(&self) -> rehome_model::cloud::Instance {
        self.ec2.describe_instances(&InstanceFilter::Ids(vec![self.member.clone()])).await.expect("shown").remove(0)
    }

    async fn captured(&self) -> SnapshotId {
        let request = capture(&self.member);
        let made = self.ec2.create_snapshots(&request).await.expect("taken");
        assert_eq!(made.len(), 1);
        tokio::time::sleep(HOUR).await;
        made[0].id.clone()
    }
}

fn volume_from(snapshot: &SnapshotId) -> CreateVolume {
    CreateVolume {
        snapshot: snapshot.clone(),
        zone: zone("b"),
        spec: spec(),
        tags: tags(&[("run", "1")]),
        token: "run/step/1".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_adopted_into_another_zone() {
    let scene = scene();
    let snapshot = scene.captured().await;
    let found = scene.ec2.describe_snapshots(&SnapshotFilter::Tags(tags(&[("run", "1")]))).await.unwrap();
    assert_eq!((found[0].id.clone(), found[0].state), (snapshot.clone(), SnapshotState::Completed));
    let made = scene.ec2.create_volume(&volume_from(&snapshot)).await.unwrap();
    assert_eq!(scene.ec2.create_volume(&volume_from(&snapshot)).await.unwrap().id, made.id, "by its token");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let made = scene.volume(&made.id).await;
    assert_eq!(
        (made.state, made.zone.clone(), made.snapshot.clone()),
        (VolumeState::Available, zone("b"), Some(snapshot))
    );
    assert_eq!(made.spec, spec());
}

#[tokio::test(start_paused = true)]
async fn what_is_so_already_is_ok() {
    let scene = scene();
    let (ec2, member, data) = (&scene.ec2, &scene.member, &scene.data);
    ec2.attach_volume(data, member, "/dev/xvdf").await.unwrap();
    for _ in 0..2 {
        ec2.detach_volume(data, member).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    for _ in 0..2 {
        ec2.stop_instance(member).await.unwrap();
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    for _ in 0..2 {
        ec2.start_instance(member).await.unwrap();
        ec2.protect_instance(member, InstanceProtection::Stop, true).await.unwrap();
    }
    assert!(ec2.is_protected(member, InstanceProtection::Stop).await.unwrap());
    assert!(!ec2.is_protected(member, InstanceProtection::Termination).await.unwrap());
    for _ in 0..2 {
        ec2.delete_volume(data).await.unwrap();
        ec2.delete_snapshot(&SnapshotId::from(common::NO_SNAPSHOT)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_held_elsewhere_is_in_use() {
    let scene = scene();
    let other = scene.ec2.with(|inner, now| {
        inner.core.add_instance(&mut inner.disks, now, &zone("a"), "10.0.0.6", "m5.large", tags(&[]))
    });
    let error = scene.ec2.attach_volume(&scene.data, &other, "/dev/xvdf").await.unwrap_err();
    assert_eq!((error.code.as_str(), error.class()), ("VolumeInUse", ErrorClass::Wait));
}

#[tokio::test(start_paused = true)]
async fn what_ec2_does_not_know_is_left_out() {
    let scene = scene();
    let ids = VolumeFilter::Ids(vec![scene.data.clone(), VolumeId::from(NO_VOLUME)]);
    assert_eq!(scene.ec2.describe_volumes(&ids).await.unwrap().len(), 1);
    assert_eq!(scene.ec2.describe_volumes(&VolumeFilter::Ids(Vec::new())).await.unwrap(), Vec::new());
    let ids = InstanceFilter::Ids(vec![InstanceId::from(NO_INSTANCE), scene.member.clone()]);
    assert_eq!(scene.ec2.describe_instances(&ids).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn standby_of_a_group_is_seen_at_the_instance() {
    let scene = scene();
    scene.ec2.with(|inner, _| {
        let group = inner.core.groups.entry("db".to_owned()).or_default();
        group.members.insert(scene.member.clone(), "InService".to_owned());
    });
    let by_group = InstanceFilter::AutoScalingGroup("db".to_owned());
    assert_eq!(scene.ec2.describe_instances(&by_group).await.unwrap()[0].id, scene.member);
    for (standby, state) in [(true, "Standby"), (false, "InService")] {
        // At once again, while the change is on its way, and when it is over.
        scene.ec2.set_standby("db", &scene.member, standby).await.unwrap();
        scene.ec2.set_standby("db", &scene.member, standby).await.unwrap();
        tokio::time::sleep(Duration::from_mins(1)).await;
        scene.ec2.set_standby("db", &scene.member, standby).await.unwrap();
        assert_eq!(scene.instance().await.auto_scaling.unwrap().lifecycle_state, state);
    }
    let elsewhere = scene.ec2.set_standby("nothing", &scene.member, true).await.unwrap_err();
    assert_eq!(elsewhere.code, "ValidationError");
}

#[tokio::test(start_paused = true)]
async fn marks_and_tags_are_set() {
    let scene = scene();
    let devices = BTreeMap::from([("/dev/xvdf".to_owned(), false)]);
    scene.ec2.set_delete_on_termination(&scene.member, &devices).await.unwrap();
    scene.ec2.set_delete_on_termination(&scene.member, &BTreeMap::new()).await.unwrap();
    let marks: Vec<bool> = scene.instance().await.block_devices.iter().map(|d| d.delete_on_termination).collect();
    assert_eq!(marks, [true, false], "the root and the data volume");
    scene.ec2.tag(&ResourceId::Volume(scene.data.clone()), &tags(&[("role", "data")])).await.unwrap();
    let by_tag = VolumeFilter::Tags(tags(&[("role", "data")]));
    assert_eq!(scene.ec2.describe_volumes(&by_tag).await.unwrap()[0].id, scene.data);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_may_not_do_is_listed_and_nothing_is_done() {
    let scene = scene();
    scene.ec2.with(|inner, _| {
        inner.core.config.denied.extend(["CreateSnapshots".to_owned(), "ModifyInstanceAttribute".to_owned()]);
    });
    let intended = Intended {
        instances: vec![scene.member.clone()],
        capture: capture(&scene.member),
        originals: vec![scene.volume(&scene.data).await],
        volume_tags: tags(&[("role", "data")]),
        only: None,
    };
    let denied = scene.ec2.denied_actions(&intended).await.unwrap();
    assert_eq!(denied, ["ec2:CreateSnapshots", "ec2:ModifyInstanceAttribute"]);
    assert_eq!(scene.instance().await.state, InstanceState::Running);
    assert_eq!(scene.volume(&scene.data).await.attachments[0].state, AttachmentState::Attached);
}

#[tokio::test(start_paused = true)]
async fn each_call_takes_its_latency_on_the_runtimes_clock() {
    let scene = scene();
    assert_eq!(scene.ec2.now(), EPOCH_MS);
    let caller = scene.ec2.caller().await.unwrap();
    assert_eq!((caller.account.as_str(), caller.region.as_str()), ("123456789012", "us-east-1"));
    assert_eq!(scene.ec2.now(), EPOCH_MS + 50);
}

/// Loses the reply of one action, once.
struct Loses(&'static str, Mutex<bool>);

#[async_trait]
impl Tap for Loses {
    async fn before(&self, _call: &'static str, _mutates: bool) -> Result<u64, String> {
        Ok(0)
    }

    async fn after(&self, _ticket: u64, call: &'static str, _mutates: bool) -> Result<(), String> {
        let mut done = self.1.lock().expect("nothing panicked");
        if call == self.0 && !*done {
            *done = true;
            return Err("Unavailable".to_owned());
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_tap_loses_a_reply_and_the_second_attach_is_ok() {
    let scene = scene();
    scene.ec2.detach_volume(&scene.data, &scene.member).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let tapped = scene.ec2.tapped(Arc::new(Loses("AttachVolume", Mutex::new(false))));
    let lost: CloudError = tapped.attach_volume(&scene.data, &scene.member, "/dev/xvdf").await.unwrap_err();
    assert_eq!(lost.class(), ErrorClass::Retry);
    tapped.attach_volume(&scene.data, &scene.member, "/dev/xvdf").await.unwrap();
    assert_eq!(scene.volume(&scene.data).await.attachments.len(), 1);
}
