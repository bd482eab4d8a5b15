//! What EC2 does and simpler emulators do not: each of these bites somebody who relies on the simpler kind.

use std::collections::BTreeMap;
use std::time::Duration;

use rehome_ec2_emulator::api::{
    Action, ApiError, AttachVolume, Caller, CreateSnapshots, CreateVolume, DescribeById, DescribeSnapshots,
    DetachVolume, InstanceChange, ModifyInstanceAttribute, Reply, StandbyRequest, StopInstances, TagSpecification,
    TagsRequest, Volume,
};
use rehome_ec2_emulator::core::{Config, Consistency};
use rehome_ec2_emulator::disks::Content;
use rehome_ec2_emulator::face::Emulator;
use rehome_model::cloud::{AttachmentState, InstanceState, SnapshotState, Tags, VolumeSpec, VolumeState};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId, Zone};

const MINUTE: Duration = Duration::from_mins(1);
/// A volume that never was.
const GONE: &str = "vol-0123456789abcdef0";

struct Scene {
    ec2: Emulator,
    instance: InstanceId,
    volume: VolumeId,
}

fn spec(size_gib: u32) -> VolumeSpec {
    VolumeSpec {
        volume_type: "gp3".to_owned(),
        size_gib,
        iops: None,
        throughput_mib_s: None,
        encrypted: false,
        kms_key_id: None,
    }
}

fn zone(letter: &str) -> Zone {
    Zone(format!("us-east-1{letter}"))
}

/// One running instance in zone a with an attached, mounted data volume.
fn scene_with(config: Config) -> Scene {
    let ec2 = Emulator::new(config, 1_000_000, Duration::from_millis(50));
    let (instance, volume) = ec2.with(|inner, now| {
        let id = inner.core.add_instance(&mut inner.disks, now, &zone("a"), "10.0.0.5", "m5.large", Tags::new());
        let content = Content::with_files("xfs", BTreeMap::from([("a".to_owned(), vec![1; 1000])]));
        let volume = inner.core.add_volume(&mut inner.disks, now, &id, "/dev/xvdf", spec(10), content, true);
        inner.disks.mount(&volume, id.as_str(), now);
        (id, volume)
    });
    Scene { ec2, instance, volume }
}

fn scene() -> Scene {
    scene_with(Config::default())
}

fn stop(instance: &InstanceId) -> Action {
    Action::StopInstances(StopInstances { instance_ids: vec![instance.clone()], ..StopInstances::default() })
}

impl Scene {
    async fn call(&self, action: Action) -> Result<Reply, ApiError> {
        self.ec2.request(&action, false).await
    }

    async fn refused(&self, action: Action) -> (String, String) {
        let error = self.call(action).await.expect_err("EC2 refuses this");
        (error.code, error.message)
    }

    async fn snapshot(&self) -> Result<SnapshotId, ApiError> {
        let tags = Tags::from([("run".to_owned(), "1".to_owned())]);
        let request = CreateSnapshots {
            exclude_boot_volume: true,
            tag_specifications: vec![TagSpecification::new("snapshot", tags)],
            ..CreateSnapshots::of(self.instance.clone())
        };
        match self.call(Action::CreateSnapshots(request)).await? {
            Reply::SnapshotSet(made) => Ok(made[0].id.clone()),
            other => panic!("{other:?}"),
        }
    }

    async fn create(&self, request: CreateVolume) -> Result<Volume, ApiError> {
        match self.call(Action::CreateVolume(request)).await? {
            Reply::Volume(made) => Ok(made),
            other => panic!("{other:?}"),
        }
    }

    async fn volumes(&self, by: DescribeById) -> Vec<Volume> {
        match self.call(Action::DescribeVolumes(by)).await {
            Ok(Reply::Volumes(page)) => page.items,
            other => panic!("{other:?}"),
        }
    }

    async fn volume(&self, id: &VolumeId) -> Volume {
        self.volumes(DescribeById::filter("volume-id", id.as_str())).await.remove(0)
    }
}

fn blank(zone: Zone, size_gib: i64, token: &str) -> CreateVolume {
    CreateVolume {
        availability_zone: Some(zone),
        size: Some(size_gib),
        volume_type: Some("gp3".to_owned()),
        client_token: Some(token.to_owned()),
        ..CreateVolume::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_pending_first_and_no_volume_is_made_from_it_until_it_is_completed() {
    let scene = scene_with(Config { consistency: Consistency::strong(), ..Config::default() });
    let snapshot = scene.snapshot().await.expect("taken");
    let mut request = blank(zone("a"), 10, "t");
    request.snapshot_id = Some(snapshot.clone());
    let error = scene.create(request.clone()).await.expect_err("it is pending");
    assert_eq!(error.code, "IncorrectState");
    assert_eq!(error.message, format!("Snapshot '{snapshot}' is not 'completed'."));
    tokio::time::sleep(MINUTE).await;
    scene.create(request).await.expect("it is completed");
}

#[tokio::test(start_paused = true)]
async fn two_snapshots_of_a_volume_within_15_seconds_are_refused() {
    let scene = scene();
    scene.snapshot().await.expect("the first");
    assert_eq!(scene.snapshot().await.expect_err("too soon").code, "SnapshotCreationPerVolumeRateExceeded");
    tokio::time::sleep(Duration::from_secs(15)).await;
    scene.snapshot().await.expect("the second");
}

#[tokio::test(start_paused = true)]
async fn the_sixth_pending_snapshot_of_a_volume_is_refused() {
    let mut config = Config::default();
    config.timing.snapshot_ms = 3_600_000;
    let scene = scene_with(config);
    for _ in 0..5 {
        scene.snapshot().await.expect("fewer than five are pending");
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(scene.snapshot().await.expect_err("five are pending").code, "ConcurrentSnapshotLimitExceeded");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_has_what_was_synced_and_not_what_is_in_memory() {
    let scene = scene();
    scene.ec2.with(|inner, _| {
        inner.disks.write(&scene.volume, "synced", vec![1]);
        inner.disks.sync(&scene.volume);
        inner.disks.write(&scene.volume, "in-memory", vec![2]);
    });
    let snapshot = scene.snapshot().await.expect("taken");
    scene.ec2.with(|inner, _| {
        let files = &inner.disks.snapshot(&snapshot).expect("it is there").files;
        assert!(files.contains_key("synced") && !files.contains_key("in-memory"));
    });
}

#[tokio::test(start_paused = true)]
async fn what_was_just_created_is_not_shown_for_a_moment() {
    let scene = scene();
    let snapshot = scene.snapshot().await.expect("taken");
    let by_tag = || {
        let filters = DescribeById::filter("tag:run", "1").filters;
        Action::DescribeSnapshots(DescribeSnapshots { filters, ..DescribeSnapshots::default() })
    };
    let shown = |reply: Result<Reply, ApiError>| match reply {
        Ok(Reply::Snapshots(page)) => page.items,
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(scene.call(by_tag()).await), Vec::new(), "a negative look proves nothing");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let found = shown(scene.call(by_tag()).await);
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].id, found[0].state), (&snapshot, SnapshotState::Pending));
}

#[tokio::test(start_paused = true)]
async fn a_token_answers_the_same_volume_and_refuses_other_parameters() {
    let scene = scene();
    let first = scene.create(blank(zone("a"), 10, "token")).await.expect("made");
    assert_eq!(first.state, VolumeState::Creating);
    let again = scene.create(blank(zone("a"), 10, "token")).await.expect("the same");
    assert_eq!(first.id, again.id);
    let other = scene.create(blank(zone("a"), 11, "token")).await.expect_err("other parameters");
    assert_eq!(other.code, "IdempotentParameterMismatch");
}

#[tokio::test(start_paused = true)]
async fn a_volume_under_a_bad_key_fails_after_it_was_accepted_and_burns_its_token() {
    let mut config = Config::default();
    config.bad_keys.insert("key/bad".to_owned());
    let scene = scene_with(config);
    let mut request = blank(zone("a"), 10, "burned");
    request.encrypted = Some(true);
    request.kms_key_id = Some("key/bad".to_owned());
    let volume = scene.create(request.clone()).await.expect("accepted");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(scene.volume(&volume.id).await.state, VolumeState::Error);
    assert_eq!(scene.create(request.clone()).await.expect_err("burned").code, "IdempotentParameterMismatch");
    request.client_token = Some("burned-2".to_owned());
    scene.create(request).await.expect("a new token is accepted");
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_attached_in_its_zone_only_once_and_at_a_free_device() {
    let scene = scene_with(Config { consistency: Consistency::strong(), ..Config::default() });
    let elsewhere = scene.create(blank(zone("b"), 10, "b")).await.expect("made");
    let here = scene.create(blank(zone("a"), 10, "a")).await.expect("made");
    let attach = |volume: &VolumeId, device: &str| {
        Action::AttachVolume(AttachVolume {
            volume_id: volume.clone(),
            instance_id: scene.instance.clone(),
            device: device.to_owned(),
        })
    };
    let (code, message) = scene.refused(attach(&here.id, "/dev/xvdg")).await;
    assert_eq!((code.as_str(), message), ("IncorrectState", format!("{} is not 'available'.", here.id)));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(scene.refused(attach(&elsewhere.id, "/dev/xvdg")).await.0, "InvalidVolume.ZoneMismatch");
    let (code, message) = scene.refused(attach(&here.id, "/dev/xvdf")).await;
    assert_eq!(code, "InvalidParameterValue");
    assert!(message.contains("Attachment point /dev/xvdf is already in use"), "{message}");
    assert_eq!(scene.refused(attach(&scene.volume, "/dev/xvdh")).await.0, "VolumeInUse");
    scene.call(attach(&here.id, "/dev/xvdg")).await.expect("attaching");
    assert_eq!(scene.volume(&here.id).await.attachments[0].state, AttachmentState::Attaching);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(scene.volume(&here.id).await.attachments[0].state, AttachmentState::Attached);
}

#[tokio::test(start_paused = true)]
async fn a_mounted_volume_stays_busy_until_it_is_unmounted() {
    let scene = scene();
    let detach = Action::DetachVolume(DetachVolume::of(scene.volume.clone()));
    scene.call(detach.clone()).await.expect("begun");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(scene.volume(&scene.volume).await.attachments[0].state, AttachmentState::Busy);
    scene.ec2.with(|inner, _| inner.disks.unmount(&scene.volume, scene.instance.as_str()));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(scene.volume(&scene.volume).await.state, VolumeState::Available);
    let (code, message) = scene.refused(detach).await;
    assert_eq!(code, "IncorrectState");
    assert_eq!(message, format!("Volume '{}' is in the 'available' state.", scene.volume));
}

#[tokio::test(start_paused = true)]
async fn an_attached_volume_is_not_deleted_and_one_that_is_gone_is_named() {
    let scene = scene();
    let delete = |volume: &VolumeId| Action::DeleteVolume(volume.clone());
    assert_eq!(scene.refused(delete(&scene.volume)).await.0, "VolumeInUse");
    let (code, message) = scene.refused(delete(&VolumeId::from(GONE))).await;
    assert_eq!((code.as_str(), message), ("InvalidVolume.NotFound", format!("The volume '{GONE}' does not exist.")));
}

#[tokio::test(start_paused = true)]
async fn a_volume_smaller_than_its_snapshot_an_unknown_zone_and_too_many_iops_are_refused() {
    let scene = scene();
    let snapshot = scene.snapshot().await.expect("taken");
    tokio::time::sleep(MINUTE).await;
    let mut small = blank(zone("a"), 9, "small");
    small.snapshot_id = Some(snapshot);
    assert_eq!(scene.create(small).await.expect_err("too small").code, "InvalidParameterValue");
    assert_eq!(scene.create(blank(zone("z"), 9, "z")).await.expect_err("no such zone").code, "InvalidZone.NotFound");
    let mut fast = blank(zone("a"), 9, "fast");
    fast.iops = Some(2_147_483_647);
    let error = scene.create(fast).await.expect_err("too fast");
    assert!(error.message.contains("iops of 2147483647 is too high; maximum is 80000"), "{}", error.message);
}

#[tokio::test(start_paused = true)]
async fn describes_and_changes_are_throttled_by_buckets_of_their_own() {
    let scene = scene();
    let now = || Action::DescribeVolumes(DescribeById::filter("status", "*"));
    scene.ec2.with(|inner, at| {
        let mut asked = 0;
        while inner.core.handle(at, &Caller::default(), &mut inner.disks, &now(), false).is_ok() {
            asked += 1;
        }
        assert_eq!(asked, 100, "the bucket of describes holds 100");
        let tags = TagsRequest { resources: vec![scene.volume.to_string()], ..TagsRequest::default() };
        assert_eq!(inner.call(at, &Action::CreateTags(tags)), Ok(Reply::Done));
    });
    assert_eq!(scene.refused_at_once(&now()), "RequestLimitExceeded");
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.call(now()).await.expect("20 tokens a second come back");
}

impl Scene {
    /// The code of a refusal without the latency in which tokens come back.
    fn refused_at_once(&self, action: &Action) -> String {
        self.ec2.with(|inner, now| inner.call(now, action).expect_err("refused").code)
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_permission_only() {
    let mut config = Config::default();
    config.denied.insert("DeleteVolume".to_owned());
    let scene = scene_with(config);
    let dry = |action: Action| async move { scene_error(&scene, action).await };
    async fn scene_error(scene: &Scene, action: Action) -> (u16, String) {
        let error = scene.ec2.request(&action, true).await.expect_err("a dry run never succeeds");
        (error.status, error.code)
    }
    // The volume does not even exist: permission is looked at first.
    let delete = Action::DeleteVolume(VolumeId::from(GONE));
    assert_eq!(dry(delete).await, (403, "UnauthorizedOperation".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_keeps_its_address_and_its_volumes_and_protection_holds() {
    let scene = scene();
    let instance = scene.instance.clone();
    let change = InstanceChange::DisableApiTermination(true);
    let protect = ModifyInstanceAttribute { instance_id: instance.clone(), change };
    scene.call(Action::ModifyInstanceAttribute(protect)).await.expect("set");
    assert_eq!(scene.refused(Action::TerminateInstances(vec![instance.clone()])).await.0, "OperationNotPermitted");
    scene.call(stop(&instance)).await.expect("begun");
    let start = Action::StartInstances(vec![instance.clone()]);
    assert_eq!(scene.refused(start.clone()).await.0, "IncorrectInstanceState", "it is still stopping");
    tokio::time::sleep(MINUTE).await;
    let describe = Action::DescribeInstances(DescribeById::ids([&instance]));
    let Ok(Reply::Instances(page)) = scene.call(describe).await else { panic!("it is described") };
    let found = page.items;
    assert_eq!(found[0].state, InstanceState::Stopped);
    assert_eq!(found[0].private_ip.as_deref(), Some("10.0.0.5"));
    assert!(found[0].block_devices.iter().any(|device| device.volume == scene.volume));
    scene.call(start).await.expect("a stopped one starts");
}

#[tokio::test(start_paused = true)]
async fn an_auto_scaling_group_terminates_a_stopped_member_and_its_volume_goes_with_it() {
    let scene = scene();
    scene.ec2.with(|inner, _| {
        let group = inner.core.groups.entry("g".to_owned()).or_default();
        group.members.insert(scene.instance.clone(), "InService".to_owned());
    });
    scene.call(stop(&scene.instance)).await.expect("begun");
    // Groups look as time passes: a look a minute.
    for _ in 0..5 {
        tokio::time::sleep(MINUTE).await;
        scene.ec2.with(|_, _| ());
    }
    assert_eq!(scene.volumes(DescribeById::filter("volume-id", scene.volume.as_str())).await, Vec::new());
}

#[tokio::test(start_paused = true)]
async fn in_standby_it_does_not() {
    let scene = scene();
    scene.ec2.with(|inner, _| {
        let group = inner.core.groups.entry("g".to_owned()).or_default();
        group.members.insert(scene.instance.clone(), "InService".to_owned());
    });
    let enter = StandbyRequest {
        auto_scaling_group_name: "g".to_owned(),
        instance_ids: vec![scene.instance.clone()],
        should_decrement_desired_capacity: true,
    };
    scene.call(Action::EnterStandby(enter)).await.expect("begun");
    tokio::time::sleep(MINUTE).await;
    scene.call(stop(&scene.instance)).await.expect("begun");
    for _ in 0..60 {
        tokio::time::sleep(MINUTE).await;
        scene.ec2.with(|_, _| ());
    }
    assert_eq!(scene.volume(&scene.volume).await.state, VolumeState::InUse);
}
