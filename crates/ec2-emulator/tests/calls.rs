//! What holds for every call: tokens, permission, dry runs, throttling, faults, and a state that can be saved.

mod common;

use common::{
    HOUR, MINUTE, NO_VOLUME, SECOND, attach, code, create, done, gp3, immediate, member_with_volume, refused, snapshot,
    snapshots_of, stop, timed, volume, volumes, zone,
};
use rehome_ec2_emulator::api::ModificationState;
use rehome_ec2_emulator::api::{
    Action, ApiError, Caller, CopyVolumes, CreateVolume, DescribeById, DescribeSnapshots, ModifyVolume, Page, Reply,
    RunInstances, TagsRequest, VolumeModification,
};
use rehome_ec2_emulator::core::{Config, Core, Ec2, Effect};
use rehome_model::cloud::{SnapshotState, VolumeState};
use rehome_model::ids::VolumeId;

fn with_token(token: &str) -> CreateVolume {
    CreateVolume { client_token: Some(token.to_owned()), ..gp3("a") }
}

#[test]
fn a_token_answers_the_same_volume_for_the_same_parameters_only() {
    let mut ec2 = immediate();
    let first = create(&mut ec2, with_token("t"));
    let again = create(&mut ec2, with_token("t"));
    assert_eq!(first.id, again.id);
    assert_eq!(again.state, VolumeState::Available, "as it is now");
    let larger = CreateVolume { size: Some(11), ..with_token("t") };
    assert_eq!(code(&mut ec2, Action::CreateVolume(larger)), "IdempotentParameterMismatch");
    assert_eq!(volumes(&mut ec2, DescribeById::default()).len(), 1);
    assert_ne!(create(&mut ec2, with_token("t-2")).id, first.id);
    let copy = CopyVolumes { client_token: Some("t".into()), ..CopyVolumes::of(first.id) };
    done(&mut ec2, Action::CopyVolumes(copy));
    assert_eq!(volumes(&mut ec2, DescribeById::default()).len(), 3, "each action has tokens of its own");
    let long = CreateVolume { client_token: Some("x".repeat(65)), ..gp3("a") };
    assert_eq!(code(&mut ec2, Action::CreateVolume(long)), "InvalidParameterValue");
}

#[test]
fn a_token_is_burned_for_12_hours_once_its_volume_failed_or_is_gone() {
    let mut ec2 = timed();
    ec2.core.faults.at("CreateVolume", 1, Effect::FailLater);
    let failed = create(&mut ec2, with_token("a"));
    let deleted = create(&mut ec2, with_token("b"));
    ec2.pass(MINUTE);
    assert_eq!(volume(&mut ec2, &failed.id).state, VolumeState::Error);
    done(&mut ec2, Action::DeleteVolume(deleted.id));
    for token in ["a", "b"] {
        let again = Action::CreateVolume(with_token(token));
        assert_eq!(code(&mut ec2, again), "IdempotentParameterMismatch", "{token}");
    }
    ec2.pass(12 * HOUR);
    assert_ne!(create(&mut ec2, with_token("a")).id, failed.id, "EC2 forgot it");
}

#[test]
fn at_its_limit_the_account_does_not_learn_what_a_token_made() {
    let mut ec2 = immediate();
    ec2.core.config.limits.volumes = 1;
    create(&mut ec2, with_token("t"));
    assert_eq!(code(&mut ec2, Action::CreateVolume(with_token("t"))), "VolumeLimitExceeded");
}

#[test]
fn a_launch_with_a_token_happens_once() {
    let mut ec2 = immediate();
    let request = RunInstances {
        image_id: "ami-0123456789abcdef0".into(),
        instance_type: Some("m5.large".into()),
        min_count: 1,
        max_count: 1,
        client_token: Some("launch".into()),
        ..RunInstances::default()
    };
    let mut launch = || match done(&mut ec2, Action::RunInstances(request.clone())) {
        Reply::Instances(page) => page.items.into_iter().map(|found| found.id).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(launch(), launch());
}

#[test]
fn what_a_caller_may_not_do_is_403_for_that_caller_only() {
    let mut ec2 = immediate();
    ec2.core.config.denied_to.insert("reader".into(), ["CreateVolume".into(), "EnterStandby".into()].into());
    ec2.caller = Caller::new("reader");
    let error = ec2.call(&Action::CreateVolume(gp3("a"))).unwrap_err();
    assert_eq!((error.status, error.code.as_str()), (403, "UnauthorizedOperation"));
    assert!(error.message.contains("user/reader is not authorized to perform: ec2:CreateVolume"), "{}", error.message);
    let dry = ec2.dry_run(&Action::CreateVolume(gp3("a"))).unwrap_err();
    assert_eq!(dry.code, "UnauthorizedOperation", "a dry run tells it");
    let standby = ec2.call(&Action::EnterStandby(rehome_ec2_emulator::api::StandbyRequest::default())).unwrap_err();
    assert_eq!((standby.status, standby.code.as_str()), (403, "AccessDenied"));
    ec2.caller = Caller::new("writer");
    create(&mut ec2, gp3("a"));
    ec2.core.config.denied.insert("*".into());
    assert_eq!(code(&mut ec2, Action::GetCallerIdentity), "AccessDenied");
}

#[test]
fn the_caller_is_known_by_name() {
    let mut ec2 = immediate();
    ec2.caller = Caller::new("somebody");
    let Reply::CallerIdentity(found) = done(&mut ec2, Action::GetCallerIdentity) else { panic!("an identity") };
    assert_eq!(
        (found.account.as_str(), found.arn.as_str()),
        ("123456789012", "arn:aws:iam::123456789012:user/somebody")
    );
}

#[test]
fn a_dry_run_checks_parameters_and_existence_but_no_state_and_changes_nothing() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    let actions = [
        Action::CreateVolume(gp3("a")),
        Action::CreateSnapshots(snapshots_of(&member)),
        Action::DeleteVolume(data.clone()),
        attach(&data, &member, "/dev/xvdf"),
        stop(&member),
        Action::DescribeVolumes(DescribeById::default()),
        Action::DescribeAvailabilityZones(DescribeById::default()),
        Action::CreateTags(TagsRequest { resources: vec![data.to_string()], ..TagsRequest::default() }),
    ];
    let before = serde_json::to_value(&ec2.core.volumes).unwrap();
    for action in actions {
        let error = ec2.dry_run(&action).unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (412, "DryRunOperation"), "{}", action.name());
        assert_eq!(error.message, "Request would have succeeded, but DryRun flag is set.");
    }
    assert_eq!(serde_json::to_value(&ec2.core.volumes).unwrap(), before);
    assert!(ec2.core.snapshots.is_empty());
    let missing = Action::DeleteVolume(VolumeId::from(NO_VOLUME));
    assert_eq!(ec2.dry_run(&missing).unwrap_err().code, "InvalidVolume.NotFound");
}

#[test]
fn each_family_of_calls_has_a_bucket() {
    let taken = |action: Action| {
        let mut ec2 = timed();
        let mut count = 0;
        while ec2.call(&action).err().is_none_or(|error: ApiError| error.code != "RequestLimitExceeded") {
            count += 1;
        }
        assert_eq!(ec2.call(&action).unwrap_err().status, 503);
        ec2.pass(SECOND);
        let mut refilled = 0;
        while ec2.call(&action).err().is_none_or(|error| error.code != "RequestLimitExceeded") {
            refilled += 1;
        }
        (count, refilled)
    };
    let paged = DescribeById { page: Page { max_results: Some(5), next_token: None }, ..DescribeById::default() };
    for (action, expected) in [
        (Action::DescribeVolumes(DescribeById::filter("status", "error")), (100, 20)),
        (Action::DescribeVolumes(paged), (100, 20)),
        (Action::DescribeVolumes(DescribeById::default()), (50, 10)),
        (Action::DescribeSnapshots(DescribeSnapshots::default()), (50, 10)),
        (Action::CreateVolume(gp3("a")), (100, 5)),
        (Action::StartInstances(Vec::new()), (5, 2)),
        (Action::CreateTags(TagsRequest::default()), (100, 10)),
        (Action::ModifyVolume(ModifyVolume::of(VolumeId::from(NO_VOLUME))), (50, 5)),
    ] {
        let name = action.name();
        assert_eq!(taken(action), expected, "{name}");
    }
}

#[test]
fn throttling_can_be_switched_off() {
    let mut ec2 = immediate();
    for _ in 0..1_000 {
        done(&mut ec2, Action::DescribeVolumes(DescribeById::default()));
    }
}

#[test]
fn a_call_fails_before_its_effect_or_loses_its_reply_after_it() {
    let mut ec2 = immediate();
    let member = ec2.member(0, "db-0");
    let made = create(&mut ec2, gp3("a")).id;
    ec2.core.faults.at("AttachVolume", 1, Effect::unavailable());
    ec2.core.faults.at("AttachVolume", 2, Effect::lost_reply());
    assert_eq!(code(&mut ec2, attach(&made, &member, "/dev/xvdf")), "Unavailable");
    assert_eq!(volume(&mut ec2, &made).attachments, Vec::new());
    assert_eq!(code(&mut ec2, attach(&made, &member, "/dev/xvdf")), "Unavailable");
    assert_eq!(volume(&mut ec2, &made).attachments.len(), 1, "503, and it attached");
    assert_eq!(code(&mut ec2, attach(&made, &member, "/dev/xvdf")), "VolumeInUse", "what the second call meets");
    assert!(ec2.core.faults.pending().is_empty());
}

#[test]
fn a_slow_call_takes_longer_and_a_wildcard_hits_any_action() {
    let mut ec2 = timed();
    let (member, _) = member_with_volume(&mut ec2);
    ec2.core.faults.at("CreateSnapshots", 1, Effect::Slow(HOUR));
    let id = common::capture(&mut ec2, snapshots_of(&member)).remove(0).id;
    ec2.pass(59 * MINUTE);
    let found = snapshot(&mut ec2, &id);
    assert_eq!((found.state, found.progress_percent), (SnapshotState::Pending, 99));
    ec2.core.faults.at("*", 2, Effect::unavailable());
    done(&mut ec2, Action::GetCallerIdentity);
    assert_eq!(code(&mut ec2, Action::DescribeRegions(DescribeById::default())), "Unavailable");
}

#[test]
fn calls_and_errors_are_counted() {
    let mut ec2 = immediate();
    create(&mut ec2, gp3("a"));
    code(&mut ec2, Action::DeleteVolume(VolumeId::from(NO_VOLUME)));
    assert_eq!((ec2.core.calls["CreateVolume"], ec2.core.calls["DeleteVolume"]), (1, 1));
    assert_eq!(ec2.core.counters.errors["InvalidVolume.NotFound"], 1);
}

#[test]
fn a_saved_state_goes_on_where_it_was() {
    let mut ec2 = Ec2::new(Config::default());
    let (member, data) = member_with_volume(&mut ec2);
    ec2.disks.mount(&data, member.as_str(), ec2.now);
    create(&mut ec2, with_token("t"));
    ec2.pass(2 * SECOND);
    done(&mut ec2, common::detach(&data));
    done(&mut ec2, Action::CreateSnapshots(snapshots_of(&member)));
    ec2.core.faults.at("*", 1, Effect::unavailable());
    let text = serde_json::to_string(&(&ec2.core, &ec2.disks)).unwrap();
    let (core, disks): (Core, _) = serde_json::from_str(&text).unwrap();
    let mut restored = Ec2 { core, disks, ..ec2.clone() };
    for world in [&mut ec2, &mut restored] {
        world.pass(MINUTE);
        assert_eq!(code(world, Action::GetCallerIdentity), "Unavailable");
        world.disks.unmount(&data, member.as_str());
        create(world, with_token("t"));
        world.pass(HOUR);
    }
    let all = |ec2: &Ec2| serde_json::to_value((&ec2.core, &ec2.disks)).unwrap();
    assert_eq!(all(&ec2), all(&restored));
    assert_eq!(volume(&mut restored, &data).attachments, Vec::new());
}

#[test]
fn the_same_seed_and_calls_give_the_same_world() {
    let world = |seed| {
        let mut ec2 = Ec2::new(Config { seed, ..Config::default() });
        let (member, data) = member_with_volume(&mut ec2);
        done(&mut ec2, Action::CreateSnapshots(snapshots_of(&member)));
        done(&mut ec2, common::detach(&data));
        ec2.pass(MINUTE);
        serde_json::to_string(&ec2.core).unwrap()
    };
    assert_eq!(world(3), world(3));
    assert_ne!(world(3), world(4));
}

fn modification(ec2: &mut Ec2, id: &VolumeId) -> VolumeModification {
    match done(ec2, Action::DescribeVolumesModifications(DescribeById::ids([id]))) {
        Reply::VolumeModifications(mut page) => page.items.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_modified_volume_grows_at_once_optimizes_for_a_while_and_never_shrinks() {
    let mut ec2 = timed();
    let made = create(&mut ec2, gp3("a")).id;
    ec2.pass(2 * SECOND);
    let describe = Action::DescribeVolumesModifications(DescribeById::ids([&made]));
    assert_eq!(code(&mut ec2, describe), "InvalidVolumeModification.NotFound");
    let to = |size| Action::ModifyVolume(ModifyVolume { size: Some(size), ..ModifyVolume::of(made.clone()) });
    assert_eq!(code(&mut ec2, to(9)), "InvalidParameterValue");
    done(&mut ec2, to(20));
    assert_eq!(modification(&mut ec2, &made).state, ModificationState::Modifying);
    ec2.pass(3 * SECOND);
    assert_eq!(modification(&mut ec2, &made).state, ModificationState::Optimizing);
    assert_eq!(volume(&mut ec2, &made).spec.size_gib, 20);
    assert_eq!(code(&mut ec2, to(30)), "IncorrectModificationState");
    ec2.pass(HOUR);
    let finished = modification(&mut ec2, &made);
    assert_eq!((finished.state, finished.progress), (ModificationState::Completed, 100));
    assert!(finished.ended_at.is_some());
}

#[test]
fn four_modifications_a_day_are_enough() {
    let mut ec2 = timed();
    let made = create(&mut ec2, gp3("a")).id;
    ec2.pass(2 * SECOND);
    let to = |iops| Action::ModifyVolume(ModifyVolume { iops: Some(iops), ..ModifyVolume::of(made.clone()) });
    for nth in 0..4 {
        done(&mut ec2, to(3_100 + nth));
        ec2.pass(HOUR);
    }
    let (found, message) = refused(&mut ec2, to(3_200));
    assert_eq!(found, "VolumeModificationRateExceeded");
    assert!(message.contains(made.as_str()), "{message}");
    ec2.pass(24 * HOUR);
    done(&mut ec2, to(3_200));
}

#[test]
fn a_change_of_type_is_checked_against_the_new_type() {
    let mut ec2 = immediate();
    let made = create(&mut ec2, gp3("a")).id;
    let change = |kind: &str| ModifyVolume { volume_type: Some(kind.into()), ..ModifyVolume::of(made.clone()) };
    assert_eq!(code(&mut ec2, Action::ModifyVolume(change("io2"))), "MissingParameter", "io2 wants iops");
    assert_eq!(code(&mut ec2, Action::ModifyVolume(change("st1"))), "InvalidParameterValue", "st1 wants 125 GiB");
    done(&mut ec2, Action::ModifyVolume(change("gp2")));
    let shown = volume(&mut ec2, &made);
    assert_eq!((shown.spec.volume_type.as_str(), shown.spec.iops, shown.zone), ("gp2", Some(100), zone("a")));
}
