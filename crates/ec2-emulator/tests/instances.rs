//! Instances are launched, stopped, started and terminated.

mod common;

use std::collections::BTreeMap;

use common::{
    HOUR, MINUTE, NO_INSTANCE, SECOND, code, done, immediate, instance, instances, member_with_volume, refused, start,
    stop, tagged, terminate, timed, volume, volumes,
};
use rehome_ec2_emulator::api::{
    Action, DescribeById, DescribeInstanceTypes, Filter, InstanceAttribute, InstanceAttributeName, InstanceChange,
    ModifyInstanceAttribute, NewBlockDevice, Reply, RunInstances, StopInstances,
};
use rehome_ec2_emulator::core::Ec2;
use rehome_model::cloud::{InstanceState, VolumeState};
use rehome_model::ids::InstanceId;

/// What is wrong with a launch.
type Change = fn(&mut RunInstances);

fn state(ec2: &mut Ec2, id: &InstanceId) -> InstanceState {
    instance(ec2, id).state
}

fn modify(id: &InstanceId, change: InstanceChange) -> Action {
    Action::ModifyInstanceAttribute(ModifyInstanceAttribute { instance_id: id.clone(), change })
}

fn run() -> RunInstances {
    RunInstances {
        image_id: "ami-0123456789abcdef0".into(),
        instance_type: Some("m5.large".into()),
        min_count: 1,
        max_count: 1,
        ..RunInstances::default()
    }
}

fn launched(ec2: &mut Ec2, request: RunInstances) -> Vec<InstanceId> {
    match done(ec2, Action::RunInstances(request)) {
        Reply::Instances(page) => page.items.into_iter().map(|found| found.id).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_launched_instance_is_pending_then_running_with_its_volumes() {
    let mut ec2 = timed();
    let data = NewBlockDevice {
        device_name: "/dev/xvdf".into(),
        volume_size: Some(20),
        volume_type: Some("gp3".into()),
        ..NewBlockDevice::default()
    };
    let request = RunInstances {
        max_count: 2,
        block_device_mappings: vec![data],
        tag_specifications: tagged("instance", &[("cluster", "prod")]),
        ..run()
    };
    let ids = launched(&mut ec2, request);
    assert_eq!(state(&mut ec2, &ids[0]), InstanceState::Pending);
    assert!(!ec2.core.is_online(&ids[0]));
    ec2.pass(8 * SECOND);
    assert!(ec2.core.is_online(&ids[0]));
    let found = instances(&mut ec2, DescribeById::filter("tag:cluster", "prod"));
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].reservation, found[1].reservation);
    assert_ne!(found[0].private_ip, found[1].private_ip);
    let devices: Vec<_> = found[0].block_devices.iter().map(|device| device.device.as_str()).collect();
    assert_eq!(devices, ["/dev/xvda", "/dev/xvdf"]);
    assert!(found[0].block_devices.iter().all(|device| device.delete_on_termination), "made at launch");
}

#[test]
fn what_cannot_be_launched_is_refused() {
    let mut ec2 = immediate();
    ec2.member(0, "db-0");
    let cases: [(&str, Change, &str); 8] = [
        ("no image", |r| r.image_id.clear(), "MissingParameter"),
        ("no image id", |r| r.image_id = "image".into(), "InvalidAMIID.Malformed"),
        ("none", |r| r.min_count = 0, "InvalidParameterValue"),
        ("type", |r| r.instance_type = Some("m5.huge".into()), "InvalidParameterValue"),
        ("zone", |r| r.availability_zone = Some("us-east-1z".into()), "InvalidParameterValue"),
        ("address", |r| r.private_ip_address = Some("10.0.0.10".into()), "InvalidIPAddress.InUse"),
        (
            "devices",
            |r| {
                r.block_device_mappings = vec![
                    NewBlockDevice {
                        device_name: "/dev/xvdf".into(),
                        volume_size: Some(1),
                        ..NewBlockDevice::default()
                    };
                    2
                ];
            },
            "InvalidBlockDeviceMapping",
        ),
        ("tags", |r| r.tag_specifications = tagged("snapshot", &[("a", "b")]), "InvalidParameterValue"),
    ];
    for (what, change, expected) in cases {
        let mut request = run();
        change(&mut request);
        assert_eq!(code(&mut ec2, Action::RunInstances(request)), expected, "{what}");
    }
}

#[test]
fn stopping_is_clean_and_the_address_and_the_volumes_stay() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    let address = instance(&mut ec2, &member).private_ip;
    ec2.disks.mount(&data, member.as_str(), ec2.now);
    ec2.disks.write(&data, "late", b"1".to_vec());
    let Reply::InstanceStateChanges(changes) = done(&mut ec2, stop(&member)) else { panic!("begun") };
    assert_eq!((changes[0].previous, changes[0].current), (InstanceState::Running, InstanceState::Stopping));
    ec2.pass(15 * SECOND);
    let found = instance(&mut ec2, &member);
    assert_eq!((found.state, found.private_ip, found.block_devices.len()), (InstanceState::Stopped, address, 2));
    assert_eq!(ec2.disks.read(&data, "late"), Some(b"1".to_vec()));
    assert!(!ec2.disks.is_mounted(&data));
    let Reply::InstanceStateChanges(changes) = done(&mut ec2, stop(&member)) else { panic!("already so") };
    assert_eq!((changes[0].previous, changes[0].current), (InstanceState::Stopped, InstanceState::Stopped));
}

#[test]
fn a_forced_stop_loses_what_was_in_memory() {
    for (force, skip_os_shutdown) in [(true, false), (false, true)] {
        let mut ec2 = timed();
        let (member, data) = member_with_volume(&mut ec2);
        ec2.disks.mount(&data, member.as_str(), ec2.now);
        ec2.disks.write(&data, "late", b"1".to_vec());
        let request = StopInstances { instance_ids: vec![member], force, skip_os_shutdown };
        done(&mut ec2, Action::StopInstances(request));
        assert_eq!(ec2.disks.read(&data, "late"), None);
    }
}

#[test]
fn an_instance_starts_only_once_it_is_stopped() {
    let mut ec2 = timed();
    let member = ec2.member(0, "db-0");
    done(&mut ec2, stop(&member));
    assert_eq!(
        refused(&mut ec2, start(&member)),
        (
            "IncorrectInstanceState".into(),
            format!("The instance '{member}' is not in a state from which it can be started.")
        )
    );
    ec2.pass(MINUTE);
    done(&mut ec2, start(&member));
    assert_eq!(state(&mut ec2, &member), InstanceState::Pending);
    assert_eq!(code(&mut ec2, stop(&member)), "IncorrectInstanceState", "pending instances do not stop");
    ec2.pass(8 * SECOND);
    assert_eq!(state(&mut ec2, &member), InstanceState::Running);
}

#[test]
fn protection_holds_a_stop_and_a_termination_by_the_api() {
    let mut ec2 = immediate();
    let member = ec2.member(0, "db-0");
    let unprotected = ec2.member(1, "db-1");
    done(&mut ec2, modify(&member, InstanceChange::DisableApiStop(true)));
    done(&mut ec2, modify(&member, InstanceChange::DisableApiTermination(true)));
    let (found, message) = refused(&mut ec2, stop(&member));
    assert_eq!(found, "OperationNotPermitted");
    assert!(message.contains("'disableApiStop'") && message.contains(member.as_str()), "{message}");
    let both = Action::TerminateInstances(vec![unprotected.clone(), member.clone()]);
    let (found, message) = refused(&mut ec2, both);
    assert_eq!(found, "OperationNotPermitted");
    assert!(message.contains("'disableApiTermination'"), "{message}");
    assert_eq!(state(&mut ec2, &unprotected), InstanceState::Running, "a request is refused as a whole");
    for (name, expected) in [
        (InstanceAttributeName::DisableApiStop, InstanceAttribute::DisableApiStop(true)),
        (InstanceAttributeName::DisableApiTermination, InstanceAttribute::DisableApiTermination(true)),
        (InstanceAttributeName::InstanceType, InstanceAttribute::InstanceType("m5.large".into())),
        (InstanceAttributeName::RootDeviceName, InstanceAttribute::RootDeviceName("/dev/xvda".into())),
    ] {
        let describe = Action::DescribeInstanceAttribute { instance_id: member.clone(), attribute: name };
        assert_eq!(done(&mut ec2, describe), Reply::InstanceAttribute(member.clone(), expected));
    }
    done(&mut ec2, modify(&member, InstanceChange::DisableApiStop(false)));
    done(&mut ec2, stop(&member));
}

#[test]
fn termination_takes_the_volumes_that_are_marked_for_it_and_only_those() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    let log = ec2.volume(&member, "/dev/xvdg", 5, common::xfs(&[]));
    let devices = |name: &str, on| InstanceChange::DeleteOnTermination(BTreeMap::from([(name.to_owned(), on)]));
    done(&mut ec2, modify(&member, devices("/dev/xvdg", true)));
    assert_eq!(
        refused(&mut ec2, modify(&member, devices("/dev/xvdz", true))),
        ("InvalidInstanceAttributeValue".into(), "No device is currently mapped at /dev/xvdz".into())
    );
    ec2.disks.mount(&data, member.as_str(), ec2.now);
    done(&mut ec2, terminate(&member));
    assert_eq!(state(&mut ec2, &member), InstanceState::ShuttingDown);
    ec2.pass(30 * SECOND);
    let gone = instance(&mut ec2, &member);
    assert_eq!((gone.state, gone.private_ip, gone.block_devices), (InstanceState::Terminated, None, Vec::new()));
    assert_eq!(volume(&mut ec2, &data).state, VolumeState::Available);
    assert_eq!(volumes(&mut ec2, DescribeById::filter("volume-id", log.as_str())), Vec::new());
    assert!(ec2.disks.volume(&log).is_none() && ec2.disks.volume(&data).is_some());
    let late = modify(&member, InstanceChange::DisableApiStop(true));
    assert_eq!(code(&mut ec2, late), "IncorrectInstanceState");
    ec2.pass(2 * HOUR);
    assert_eq!(code(&mut ec2, Action::DescribeInstances(DescribeById::ids([&member]))), "InvalidInstanceID.NotFound");
}

#[test]
fn a_type_is_changed_only_while_stopped() {
    let mut ec2 = immediate();
    let member = ec2.member(0, "db-0");
    let larger = || modify(&member, InstanceChange::InstanceType("m7i.xlarge".into()));
    assert_eq!(code(&mut ec2, larger()), "IncorrectInstanceState");
    let unknown = modify(&member, InstanceChange::InstanceType("m5.huge".into()));
    assert_eq!(code(&mut ec2, unknown), "InvalidInstanceAttributeValue");
    done(&mut ec2, stop(&member));
    done(&mut ec2, larger());
    assert_eq!(instance(&mut ec2, &member).instance_type, "m7i.xlarge");
}

#[test]
fn types_say_what_they_hold() {
    let mut ec2 = immediate();
    let mut described = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        ec2.call(&Action::DescribeInstanceTypes(DescribeInstanceTypes { names, ..DescribeInstanceTypes::default() }))
    };
    let Ok(Reply::InstanceTypes(page)) = described(&["m7i.large", "m4.large", "i3en.large"]) else { panic!("types") };
    let shown: Vec<_> =
        page.items.iter().map(|t| (t.name.as_str(), t.nitro, t.attachment_limit, t.attachment_limit_shared)).collect();
    assert_eq!(shown, [("i3en.large", true, 28, true), ("m4.large", false, 39, false), ("m7i.large", true, 32, false)]);
    assert_eq!(page.items[0].instance_storage_gb, 1_250);
    assert_eq!(described(&["m5.large", "x9.huge"]).unwrap_err().code, "InvalidInstanceType");
    let filters = vec![Filter::new("instance-type", "x9.huge")];
    let by = DescribeInstanceTypes { filters, ..DescribeInstanceTypes::default() };
    let Ok(Reply::InstanceTypes(page)) = ec2.call(&Action::DescribeInstanceTypes(by)) else { panic!("types") };
    assert_eq!(page.items, Vec::new(), "a filter leaves out what is not known");
}

#[test]
fn status_is_of_running_instances_unless_all_are_asked_for() {
    let mut ec2 = immediate();
    let (one, two) = (ec2.member(0, "db-0"), ec2.member(1, "db-1"));
    done(&mut ec2, stop(&two));
    let mut shown = |include_all| {
        let by = DescribeById { include_all, ..DescribeById::default() };
        let Reply::InstanceStatuses(page) = done(&mut ec2, Action::DescribeInstanceStatus(by)) else {
            panic!("status")
        };
        page.items.into_iter().map(|found| (found.instance, found.status)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(shown(false), BTreeMap::from([(one.clone(), "ok".to_owned())]));
    assert_eq!(shown(true), BTreeMap::from([(one, "ok".to_owned()), (two, "not-applicable".to_owned())]));
}

#[test]
fn all_missing_instances_are_named() {
    let mut ec2 = immediate();
    let known = ec2.member(0, "db-0");
    let other = "i-0123456789abcdef1";
    let ids = || vec![known.clone(), InstanceId::from(NO_INSTANCE), InstanceId::from(other)];
    let expected =
        ("InvalidInstanceID.NotFound".to_owned(), format!("The instance IDs '{NO_INSTANCE}, {other}' do not exist"));
    assert_eq!(refused(&mut ec2, Action::DescribeInstances(DescribeById::ids(ids()))), expected);
    assert_eq!(refused(&mut ec2, Action::StartInstances(ids())), expected);
    assert_eq!(code(&mut ec2, Action::StartInstances(vec![InstanceId::from("i-1")])), "InvalidInstanceID.Malformed");
    assert_eq!(code(&mut ec2, Action::StartInstances(Vec::new())), "MissingParameter");
}
