//! Volumes are attached and detached.

mod common;

use common::{
    MINUTE, NO_INSTANCE, SECOND, attach, attachment, code, create, detach, done, gp3, immediate, instance,
    member_with_volume, refused, stop, timed, volume, zone,
};
use rehome_ec2_emulator::api::{Action, CreateVolume, DetachVolume, Reply};
use rehome_ec2_emulator::core::{Ec2, Effect};
use rehome_model::cloud::{AttachmentState, VolumeState};
use rehome_model::ids::{InstanceId, VolumeId};

fn shared(ec2: &mut Ec2) -> VolumeId {
    let request =
        CreateVolume { volume_type: Some("io2".into()), iops: Some(1000), multi_attach_enabled: true, ..gp3("a") };
    create(ec2, request).id
}

#[test]
fn attaching_takes_two_seconds_and_the_device_is_there_before_it_is_attached() {
    let mut ec2 = timed();
    let member = ec2.member(0, "db-0");
    let made = create(&mut ec2, gp3("a")).id;
    assert_eq!(
        refused(&mut ec2, attach(&made, &member, "/dev/xvdf")),
        ("IncorrectState".into(), format!("{made} is not 'available'.")),
        "it is still creating"
    );
    ec2.pass(2 * SECOND);
    let Reply::Attachment(begun) = done(&mut ec2, attach(&made, &member, "/dev/xvdf")) else { panic!("begun") };
    assert_eq!((begun.state, begun.device.as_str()), (AttachmentState::Attaching, "/dev/xvdf"));
    assert_eq!(volume(&mut ec2, &made).state, VolumeState::InUse);
    ec2.pass(1_999);
    assert_eq!(attachment(&mut ec2, &made), Some(AttachmentState::Attaching));
    assert!(ec2.disks.volume(&made).unwrap().attached.is_empty());
    ec2.pass(1);
    assert_eq!(attachment(&mut ec2, &made), Some(AttachmentState::Attached));
    assert_eq!(ec2.disks.volume(&made).unwrap().attached.get(member.as_str()).unwrap(), "/dev/xvdf");
    let listed = instance(&mut ec2, &member).block_devices.pop().unwrap();
    assert_eq!((listed.volume, listed.delete_on_termination), (made, false));
}

#[test]
fn an_attached_volume_is_not_stolen() {
    let mut ec2 = immediate();
    let (member, data) = member_with_volume(&mut ec2);
    let other = ec2.member(0, "db-1");
    let in_use = ("VolumeInUse".to_owned(), format!("{data} is already attached to an instance"));
    assert_eq!(refused(&mut ec2, attach(&data, &other, "/dev/xvdf")), in_use);
    assert_eq!(refused(&mut ec2, attach(&data, &member, "/dev/xvdg")), in_use, "nor attached twice to its own");
    assert_eq!(volume(&mut ec2, &data).attachments[0].instance, member);
}

#[test]
fn zones_are_not_crossed() {
    let mut ec2 = immediate();
    let member = ec2.member(1, "db-1");
    let made = create(&mut ec2, gp3("a"));
    assert_ne!(instance(&mut ec2, &member).zone, zone("a"));
    assert_eq!(
        refused(&mut ec2, attach(&made.id, &member, "/dev/xvdf")),
        (
            "InvalidVolume.ZoneMismatch".into(),
            format!("The volume '{}' is not in the same availability zone as instance '{member}'", made.id)
        )
    );
}

#[test]
fn a_device_name_is_used_once_and_must_be_one() {
    let mut ec2 = immediate();
    let (member, _) = member_with_volume(&mut ec2);
    let made = create(&mut ec2, gp3("a")).id;
    assert_eq!(
        refused(&mut ec2, attach(&made, &member, "/dev/xvdf")),
        (
            "InvalidParameterValue".into(),
            "Invalid value '/dev/xvdf' for unixDevice. Attachment point /dev/xvdf is already in use".into()
        )
    );
    for name in ["/dev/nvme1n1", "xyz", "/dev/xvd", "/dev/sdf999"] {
        assert_eq!(code(&mut ec2, attach(&made, &member, name)), "InvalidParameterValue", "{name}");
    }
    done(&mut ec2, attach(&made, &member, "/dev/xvdaa"));
}

#[test]
fn an_instance_must_be_running_or_stopped() {
    let mut ec2 = timed();
    let member = ec2.member(0, "db-0");
    let made = create(&mut ec2, gp3("a")).id;
    ec2.pass(2 * SECOND);
    done(&mut ec2, stop(&member));
    assert_eq!(
        refused(&mut ec2, attach(&made, &member, "/dev/xvdf")),
        ("IncorrectState".into(), format!("Instance '{member}' is not 'running'."))
    );
    ec2.pass(MINUTE);
    done(&mut ec2, attach(&made, &member, "/dev/xvdf"));
    let nobody = InstanceId::from(NO_INSTANCE);
    assert_eq!(
        refused(&mut ec2, attach(&made, &nobody, "/dev/xvdf")),
        ("InvalidInstanceID.NotFound".into(), format!("The instance ID '{NO_INSTANCE}' does not exist"))
    );
}

#[test]
fn an_instance_type_holds_only_so_many_volumes() {
    let mut ec2 = immediate();
    let member = ec2.member(0, "db-0");
    let mut attached = 1;
    let error = loop {
        let made = create(&mut ec2, gp3("a")).id;
        let device = format!("/dev/xvd{}{}", (b'b' + attached / 26) as char, (b'a' + attached % 26) as char);
        match ec2.call(&attach(&made, &member, &device)) {
            Ok(_) => attached += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.code.as_str(), attached), ("AttachmentLimitExceeded", 28), "m5.large, with its root volume");
}

#[test]
fn detaching_takes_two_seconds_and_detached_is_no_attachment() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    let Reply::Attachment(begun) = done(&mut ec2, detach(&data)) else { panic!("begun") };
    assert_eq!(begun.state, AttachmentState::Detaching);
    assert_eq!(volume(&mut ec2, &data).state, VolumeState::InUse);
    ec2.pass(2 * SECOND);
    assert_eq!((attachment(&mut ec2, &data), volume(&mut ec2, &data).state), (None, VolumeState::Available));
    assert_eq!(instance(&mut ec2, &member).block_devices.len(), 1, "only the root is left");
    assert_eq!(
        refused(&mut ec2, detach(&data)),
        ("IncorrectState".into(), format!("Volume '{data}' is in the 'available' state."))
    );
}

#[test]
fn a_mounted_volume_is_busy_until_it_is_unmounted_and_loses_nothing() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    ec2.disks.mount(&data, member.as_str(), ec2.now);
    ec2.disks.write(&data, "late", b"kept".to_vec());
    done(&mut ec2, detach(&data));
    ec2.pass(10 * MINUTE);
    assert_eq!(attachment(&mut ec2, &data), Some(AttachmentState::Busy));
    let listed = instance(&mut ec2, &member).block_devices.pop().unwrap();
    assert_eq!(listed.state, AttachmentState::Detaching, "an instance's list has no word for busy");
    ec2.disks.unmount(&data, member.as_str());
    assert_eq!(attachment(&mut ec2, &data), None);
    assert_eq!(ec2.disks.read(&data, "late"), Some(b"kept".to_vec()));
}

#[test]
fn force_takes_a_mounted_volume_and_loses_what_was_in_memory() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    ec2.disks.mount(&data, member.as_str(), ec2.now);
    ec2.disks.write(&data, "late", b"lost".to_vec());
    done(&mut ec2, detach(&data));
    ec2.pass(MINUTE);
    done(&mut ec2, Action::DetachVolume(DetachVolume { force: true, ..DetachVolume::of(data.clone()) }));
    ec2.pass(2 * SECOND);
    assert_eq!((attachment(&mut ec2, &data), ec2.disks.is_mounted(&data)), (None, false));
    assert_eq!(ec2.disks.read(&data, "late"), None);
}

#[test]
fn a_detach_that_overtakes_an_attach_wins() {
    let mut ec2 = timed();
    let member = ec2.member(0, "db-0");
    let made = create(&mut ec2, gp3("a")).id;
    ec2.pass(2 * SECOND);
    ec2.core.faults.at("AttachVolume", 1, Effect::Slow(10 * MINUTE));
    done(&mut ec2, attach(&made, &member, "/dev/xvdf"));
    ec2.pass(90 * SECOND);
    assert_eq!(attachment(&mut ec2, &made), Some(AttachmentState::Attaching), "it hangs");
    done(&mut ec2, detach(&made));
    ec2.pass(2 * SECOND);
    assert_eq!(attachment(&mut ec2, &made), None);
    ec2.pass(20 * MINUTE);
    assert_eq!(attachment(&mut ec2, &made), None, "the slow attach does not come back");
}

#[test]
fn an_attachment_that_is_not_there_is_not_detached() {
    let mut ec2 = immediate();
    let (_, data) = member_with_volume(&mut ec2);
    let other = ec2.member(0, "db-1");
    let elsewhere = DetachVolume { instance_id: Some(other.clone()), ..DetachVolume::of(data.clone()) };
    assert_eq!(
        refused(&mut ec2, Action::DetachVolume(elsewhere)),
        ("InvalidAttachment.NotFound".into(), format!("Volume '{data}' is not attached to '{other}'."))
    );
    let otherwise = DetachVolume { device: Some("/dev/xvdz".into()), ..DetachVolume::of(data) };
    assert_eq!(code(&mut ec2, Action::DetachVolume(otherwise)), "InvalidAttachment.NotFound");
}

#[test]
fn the_root_volume_is_detached_only_from_a_stopped_instance() {
    let mut ec2 = immediate();
    let member = ec2.member(0, "db-0");
    let root = instance(&mut ec2, &member).block_devices[0].volume.clone();
    assert_eq!(
        refused(&mut ec2, detach(&root)),
        ("OperationNotPermitted".into(), format!("Unable to detach root volume '/dev/xvda' from instance '{member}'"))
    );
    done(&mut ec2, stop(&member));
    done(&mut ec2, detach(&root));
}

#[test]
fn a_multi_attach_volume_is_attached_twice_and_detached_by_name() {
    let mut ec2 = immediate();
    let (one, two) = (ec2.member(0, "db-0"), ec2.member(0, "db-1"));
    let made = shared(&mut ec2);
    done(&mut ec2, attach(&made, &one, "/dev/xvdf"));
    done(&mut ec2, attach(&made, &two, "/dev/xvdf"));
    assert_eq!(code(&mut ec2, attach(&made, &two, "/dev/xvdg")), "VolumeInUse");
    assert_eq!(code(&mut ec2, detach(&made)), "InvalidParameterCombination", "from which?");
    let from_one = DetachVolume { instance_id: Some(one), ..DetachVolume::of(made.clone()) };
    done(&mut ec2, Action::DetachVolume(from_one));
    let left = volume(&mut ec2, &made);
    assert_eq!((left.state, left.attachments.len()), (VolumeState::InUse, 1));
    assert_eq!(left.attachments[0].instance, two);
}

#[test]
fn two_writers_on_one_volume_are_noticed() {
    let mut ec2 = immediate();
    let (one, two) = (ec2.member(0, "db-0"), ec2.member(0, "db-1"));
    let made = shared(&mut ec2);
    done(&mut ec2, attach(&made, &one, "/dev/xvdf"));
    ec2.disks.mount(&made, one.as_str(), ec2.now);
    ec2.disks.mount_read_only(&made, two.as_str(), ec2.now);
    assert_eq!(ec2.disks.violations, [format!("I1: {two} mounted {made}, which is not attached there")]);
    ec2.disks.violations.clear();
    done(&mut ec2, attach(&made, &two, "/dev/xvdf"));
    ec2.disks.crash(&made, two.as_str());
    ec2.disks.mount(&made, two.as_str(), ec2.now);
    assert_eq!(ec2.disks.violations, [format!("I1: {made} mounted by {two} while {one} has it")]);
}
