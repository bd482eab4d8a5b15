//! Snapshots are taken, followed, copied and deleted.

mod common;

use common::{
    HOUR, MINUTE, NO_SNAPSHOT, NO_VOLUME, SECOND, capture, code, completed, create, done, gp3, immediate,
    member_with_volume, refused, snapshot, snapshot_of, snapshots, snapshots_of, tagged, tags, timed, xfs,
};
use rehome_ec2_emulator::api::{
    Action, CopySnapshot, CreateSnapshot, CreateSnapshots, CreateVolume, DescribeSnapshots, Filter, Reply,
};
use rehome_ec2_emulator::core::{Ec2, Effect};
use rehome_ec2_emulator::disks::Content;
use rehome_model::cloud::SnapshotState;
use rehome_model::ids::{SnapshotId, VolumeId};

const GIB: u64 = 1 << 30;

fn taken(ec2: &mut Ec2, volume: &VolumeId) -> SnapshotId {
    match done(ec2, snapshot_of(volume)) {
        Reply::Snapshot(made) => made.id,
        other => panic!("{other:?}"),
    }
}

/// How long a snapshot is pending.
fn duration(ec2: &mut Ec2, volume: &VolumeId) -> u64 {
    let id = taken(ec2, volume);
    let from = ec2.now;
    while snapshot(ec2, &id).state == SnapshotState::Pending {
        assert!(ec2.now < from + 24 * HOUR, "{id} never completes");
        ec2.pass(SECOND);
    }
    ec2.now - from
}

#[test]
fn all_volumes_of_an_instance_are_captured_at_one_instant() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    let log = ec2.volume(&member, "/dev/xvdg", 5, xfs(&[("log", "1")]));
    let made = capture(&mut ec2, snapshots_of(&member));
    let of: Vec<&VolumeId> = made.iter().map(|snapshot| &snapshot.volume).collect();
    assert_eq!(of, [&data, &log], "without the root");
    assert!(made.iter().all(|snapshot| snapshot.started_at == ec2.now && snapshot.state == SnapshotState::Pending));
    assert_eq!(ec2.disks.snapshot(&made[0].id).unwrap().hash(), ec2.disks.volume(&data).unwrap().content.hash());
    ec2.pass(20 * SECOND);
    let whole = capture(&mut ec2, CreateSnapshots { exclude_boot_volume: false, ..snapshots_of(&member) });
    assert_eq!(whole.len(), 3, "with the root");
}

#[test]
fn volumes_can_be_left_out_but_not_strangers_the_root_or_all() {
    let mut ec2 = immediate();
    let (member, data) = member_with_volume(&mut ec2);
    let stranger = create(&mut ec2, gp3("a")).id;
    let root = common::instance(&mut ec2, &member).block_devices[0].volume.clone();
    let without = |ids: Vec<VolumeId>| {
        Action::CreateSnapshots(CreateSnapshots { exclude_data_volume_ids: ids, ..snapshots_of(&member) })
    };
    assert_eq!(code(&mut ec2, without(vec![stranger])), "InvalidParameterValue");
    assert_eq!(code(&mut ec2, without(vec![root])), "InvalidParameterValue");
    assert_eq!(code(&mut ec2, without(vec![data.clone()])), "InvalidParameterValue", "nothing is left");
    assert_eq!(code(&mut ec2, without(vec![data; 41])), "InvalidParameterValue", "too many");
}

#[test]
fn progress_grows_and_sticks_at_99() {
    let mut ec2 = timed();
    let (_, data) = member_with_volume(&mut ec2);
    let id = taken(&mut ec2, &data);
    let mut seen = Vec::new();
    loop {
        let found = snapshot(&mut ec2, &id);
        seen.push(found.progress_percent);
        if found.state == SnapshotState::Completed {
            assert_eq!(found.progress_text(), "100%");
            assert!(found.completed_at.is_some_and(|at| at <= ec2.now && at + 100 > ec2.now));
            break;
        }
        ec2.pass(100);
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.iter().position(|percent| *percent == 99).is_some_and(|at| at + 6 < seen.len()), "{seen:?}");
    assert!(seen[seen.len() / 2] > 60, "fast at first, then slower: {seen:?}");
}

#[test]
fn the_first_snapshot_takes_all_data_and_the_next_only_what_changed() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    ec2.disks.fill(&data, xfs(&[("a", "1")]).with_ballast(100 * GIB));
    let first = duration(&mut ec2, &data);
    assert!(first > 10 * MINUTE, "{first}");
    ec2.disks.mount(&data, member.as_str(), ec2.now);
    ec2.disks.write(&data, "b", vec![0; 1_000]);
    ec2.disks.sync(&data);
    let second = duration(&mut ec2, &data);
    assert!(second < 30 * SECOND, "{second}");
    assert_eq!(ec2.core.counters.snapshot_bytes, 100 * GIB + 2 * 512 * 1024, "in blocks of 512 KiB");
    let full: Vec<u64> =
        snapshots(&mut ec2, DescribeSnapshots::default()).iter().map(|found| found.full_snapshot_size_bytes).collect();
    assert!(full.iter().all(|bytes| *bytes > 100 * GIB), "the full size is not the increment: {full:?}");
}

#[test]
fn a_volume_made_from_a_snapshot_goes_on_with_its_lineage() {
    let mut ec2 = timed();
    let (_, data) = member_with_volume(&mut ec2);
    ec2.disks.fill(&data, Content::default().with_ballast(100 * GIB));
    let base = completed(&mut ec2, &data);
    let made = create(&mut ec2, CreateVolume { snapshot_id: Some(base.clone()), ..gp3("b") }).id;
    ec2.pass(MINUTE);
    assert!(duration(&mut ec2, &made) < 30 * SECOND);
    done(&mut ec2, Action::DeleteSnapshot(base));
    let orphan = ec2.core.snapshots.iter().find(|(_, found)| found.volume == made).map(|(id, _)| id.clone());
    done(&mut ec2, Action::DeleteSnapshot(orphan.unwrap()));
    assert!(duration(&mut ec2, &made) > 10 * MINUTE, "nothing older is left to be incremental to");
}

#[test]
fn only_what_reached_the_device_is_captured() {
    let mut ec2 = immediate();
    let (member, data) = member_with_volume(&mut ec2);
    ec2.disks.mount(&data, member.as_str(), ec2.now);
    ec2.disks.write(&data, "first", b"1".to_vec());
    ec2.disks.sync(&data);
    ec2.disks.write(&data, "second", b"2".to_vec());
    ec2.disks.remove(&data, "data");
    let id = taken(&mut ec2, &data);
    let files = &ec2.disks.snapshot(&id).unwrap().files;
    assert!(files.contains_key("first") && !files.contains_key("second") && files.contains_key("data"));
    ec2.disks.unmount(&data, member.as_str());
    assert_eq!(ec2.disks.snapshot(&id).unwrap().files.len(), 2, "a snapshot does not change afterwards");
    assert_eq!(ec2.disks.volume(&data).unwrap().content.files.len(), 2, "first and second, without data");
}

#[test]
fn called_twice_it_captures_twice_but_not_within_15_seconds() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    capture(&mut ec2, snapshots_of(&member));
    ec2.pass(14_999);
    let (found, message) = refused(&mut ec2, Action::CreateSnapshots(snapshots_of(&member)));
    assert_eq!(found, "SnapshotCreationPerVolumeRateExceeded");
    assert!(message.contains(data.as_str()), "{message}");
    ec2.pass(1);
    capture(&mut ec2, snapshots_of(&member));
    assert_eq!(snapshots(&mut ec2, DescribeSnapshots::default()).len(), 2, "there is no token to tell them apart");
}

#[test]
fn five_may_be_pending_and_deleting_one_makes_no_room() {
    let mut ec2 = timed();
    let (_, data) = member_with_volume(&mut ec2);
    ec2.disks.fill(&data, Content::default().with_ballast(100 * GIB));
    for nth in 0..5 {
        ec2.core.faults.at("CreateSnapshot", 1, Effect::Slow(HOUR));
        taken(&mut ec2, &data);
        ec2.pass(16 * SECOND);
        assert_eq!(ec2.core.snapshots.len(), nth + 1);
    }
    assert_eq!(code(&mut ec2, snapshot_of(&data)), "ConcurrentSnapshotLimitExceeded");
    let first = ec2.core.snapshots.keys().next().unwrap().clone();
    done(&mut ec2, Action::DeleteSnapshot(first));
    assert_eq!(code(&mut ec2, snapshot_of(&data)), "ConcurrentSnapshotLimitExceeded");
    ec2.pass(3 * HOUR);
    taken(&mut ec2, &data);
}

#[test]
fn a_slow_disk_may_have_one_pending_snapshot() {
    let mut ec2 = timed();
    let request = CreateVolume { volume_type: Some("st1".into()), size: Some(125), ..gp3("a") };
    let slow = create(&mut ec2, request).id;
    ec2.pass(2 * SECOND);
    taken(&mut ec2, &slow);
    ec2.pass(16 * SECOND);
    assert_eq!(code(&mut ec2, snapshot_of(&slow)), "ConcurrentSnapshotLimitExceeded");
}

#[test]
fn a_failed_snapshot_says_so_and_counts_until_it_is_deleted() {
    let mut ec2 = timed();
    ec2.core.config.limits.pending_snapshots_per_volume = 1;
    let (_, data) = member_with_volume(&mut ec2);
    ec2.core.faults.at("CreateSnapshot", 1, Effect::FailLater);
    let id = taken(&mut ec2, &data);
    ec2.pass(HOUR);
    let found = snapshot(&mut ec2, &id);
    assert_eq!(found.state, SnapshotState::Error);
    assert!(found.state_message.is_some());
    assert_eq!(code(&mut ec2, snapshot_of(&data)), "ConcurrentSnapshotLimitExceeded");
    done(&mut ec2, Action::DeleteSnapshot(id));
    taken(&mut ec2, &data);
}

#[test]
fn tags_come_with_the_call_and_from_the_volume_if_asked() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    ec2.core.volumes.get_mut(&data).unwrap().tags = tags(&[("team", "db"), ("run", "old"), ("aws:x", "y")]);
    let request = CreateSnapshots {
        tag_specifications: tagged("snapshot", &[("run", "new")]),
        copy_tags_from_volume: true,
        ..snapshots_of(&member)
    };
    let made = capture(&mut ec2, request);
    assert_eq!(made[0].tags, tags(&[("team", "db"), ("run", "new")]));
    let by_tag = |value: &str| DescribeSnapshots {
        filters: vec![Filter::new("tag:run", value)],
        ..DescribeSnapshots::default()
    };
    assert_eq!(snapshots(&mut ec2, by_tag("n*")).len(), 1);
    assert_eq!(snapshots(&mut ec2, by_tag("old")).len(), 0);
}

#[test]
fn owners_are_told_apart() {
    let mut ec2 = immediate();
    let (_, data) = member_with_volume(&mut ec2);
    completed(&mut ec2, &data);
    let mut by = |owner: &str| {
        let owners = vec![owner.to_owned()];
        snapshots(&mut ec2, DescribeSnapshots { owners, ..DescribeSnapshots::default() }).len()
    };
    assert_eq!((by("self"), by("123456789012"), by("amazon")), (1, 1, 0));
}

#[test]
fn a_copy_has_the_content_another_key_and_no_volume() {
    let mut ec2 = timed();
    let (_, data) = member_with_volume(&mut ec2);
    let pending = taken(&mut ec2, &data);
    let copy = |id: &SnapshotId| CopySnapshot::of("us-east-1", id.clone());
    assert_eq!(code(&mut ec2, Action::CopySnapshot(copy(&pending))), "IncorrectState");
    ec2.pass(HOUR);
    let request = CopySnapshot { encrypted: Some(true), kms_key_id: Some("key/two".into()), ..copy(&pending) };
    let Reply::SnapshotId(id) = done(&mut ec2, Action::CopySnapshot(request)) else { panic!("a copy") };
    assert_eq!(snapshot(&mut ec2, &id).state, SnapshotState::Pending);
    ec2.pass(HOUR);
    let made = snapshot(&mut ec2, &id);
    assert_eq!((made.state, made.volume.as_str()), (SnapshotState::Completed, "vol-ffffffff"));
    assert_eq!((made.encrypted, made.kms_key_id.as_deref()), (true, Some("key/two")));
    assert_eq!(ec2.disks.snapshot(&id).unwrap().hash(), ec2.disks.snapshot(&pending).unwrap().hash());
    ec2.core.config.bad_keys.insert("key/bad".into());
    let bad = CopySnapshot { encrypted: Some(true), kms_key_id: Some("key/bad".into()), ..copy(&pending) };
    let Reply::SnapshotId(id) = done(&mut ec2, Action::CopySnapshot(bad)) else { panic!("accepted") };
    ec2.pass(HOUR);
    assert_eq!(snapshot(&mut ec2, &id).state, SnapshotState::Error);
    let elsewhere = CopySnapshot::of("eu-west-1", pending);
    assert_eq!(code(&mut ec2, Action::CopySnapshot(elsewhere)), "InvalidParameterValue");
}

#[test]
fn what_does_not_exist_is_named() {
    let mut ec2 = immediate();
    let no_volume = Action::CreateSnapshot(CreateSnapshot::of(VolumeId::from(NO_VOLUME)));
    assert_eq!(refused(&mut ec2, no_volume).1, format!("The volume '{NO_VOLUME}' does not exist."));
    let missing = Action::DeleteSnapshot(SnapshotId::from(NO_SNAPSHOT));
    assert_eq!(code(&mut ec2, missing), "InvalidSnapshot.NotFound");
    let malformed = Action::DeleteSnapshot(SnapshotId::from("snap-x"));
    assert_eq!(code(&mut ec2, malformed), "InvalidSnapshotID.Malformed");
}

#[test]
fn a_volume_that_is_being_made_is_not_captured() {
    let mut ec2 = timed();
    let made = create(&mut ec2, gp3("a")).id;
    assert_eq!(code(&mut ec2, snapshot_of(&made)), "IncorrectState");
}
