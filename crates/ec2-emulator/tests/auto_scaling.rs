//! Auto Scaling groups terminate what they find stopped.

mod common;

use common::{
    HOUR, MINUTE, SECOND, code, done, instance, instances, member_with_volume, refused, start, stop, timed, volumes,
};
use rehome_ec2_emulator::api::{
    Action, AutoScalingInstance, DescribeAutoScaling, DescribeById, InstanceChange, ModifyInstanceAttribute,
    ProcessesRequest, Reply, StandbyRequest,
};
use rehome_ec2_emulator::core::Ec2;
use rehome_model::cloud::InstanceState;
use rehome_model::ids::{InstanceId, VolumeId};

const GROUP: &str = "db";

/// A group with one member, whose data volume goes with it.
fn scene() -> (Ec2, InstanceId, VolumeId) {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    for device in &mut ec2.core.instances.get_mut(&member).expect("it is there").block_devices {
        device.delete_on_termination = true;
    }
    ec2.core.groups.entry(GROUP.to_owned()).or_default().members.insert(member.clone(), "InService".to_owned());
    (ec2, member, data)
}

fn standby(member: &InstanceId) -> StandbyRequest {
    StandbyRequest {
        auto_scaling_group_name: GROUP.to_owned(),
        instance_ids: vec![member.clone()],
        should_decrement_desired_capacity: true,
    }
}

fn processes(names: &[&str]) -> ProcessesRequest {
    let scaling_processes = names.iter().map(ToString::to_string).collect();
    ProcessesRequest { auto_scaling_group_name: GROUP.to_owned(), scaling_processes }
}

fn member(ec2: &mut Ec2, id: &InstanceId) -> AutoScalingInstance {
    let by = DescribeAutoScaling { names: vec![id.to_string()], ..DescribeAutoScaling::default() };
    match done(ec2, Action::DescribeAutoScalingInstances(by)) {
        Reply::AutoScalingInstances(mut page) => page.items.remove(0),
        other => panic!("{other:?}"),
    }
}

fn data_is_there(ec2: &mut Ec2, data: &VolumeId) -> bool {
    !volumes(ec2, DescribeById::filter("volume-id", data.as_str())).is_empty()
}

#[test]
fn a_stopped_member_is_terminated_with_its_volumes_whatever_its_protection_says() {
    let (mut ec2, id, data) = scene();
    let change = InstanceChange::DisableApiTermination(true);
    done(&mut ec2, Action::ModifyInstanceAttribute(ModifyInstanceAttribute { instance_id: id.clone(), change }));
    done(&mut ec2, stop(&id));
    assert_eq!(member(&mut ec2, &id).health_status, "Unhealthy");
    ec2.pass(29 * SECOND);
    assert_eq!(instance(&mut ec2, &id).state, InstanceState::Stopped);
    ec2.pass(SECOND);
    assert_eq!(instance(&mut ec2, &id).state, InstanceState::ShuttingDown);
    ec2.pass(MINUTE);
    assert!(!data_is_there(&mut ec2, &data));
    let replacement = instances(&mut ec2, DescribeById::filter("tag:aws:autoscaling:groupName", GROUP)).remove(0);
    assert_eq!((replacement.state, replacement.block_devices.len()), (InstanceState::Running, 1), "and it is empty");
}

#[test]
fn time_that_passes_without_a_call_counts() {
    let (mut ec2, id, data) = scene();
    done(&mut ec2, stop(&id));
    ec2.pass(HOUR);
    assert!(!data_is_there(&mut ec2, &data));
}

#[test]
fn a_member_that_runs_again_in_time_is_kept() {
    let (mut ec2, id, data) = scene();
    done(&mut ec2, stop(&id));
    ec2.pass(20 * SECOND);
    done(&mut ec2, start(&id));
    ec2.pass(HOUR);
    assert_eq!(instance(&mut ec2, &id).state, InstanceState::Running);
    assert!(data_is_there(&mut ec2, &data));
}

#[test]
fn standby_takes_a_moment_and_keeps_a_stopped_member() {
    let (mut ec2, id, data) = scene();
    let Reply::AutoScalingActivities(begun) = done(&mut ec2, Action::EnterStandby(standby(&id))) else {
        panic!("begun")
    };
    assert_eq!(begun[0].status, "InProgress");
    assert_eq!(member(&mut ec2, &id).lifecycle_state, "EnteringStandby");
    assert_eq!(
        refused(&mut ec2, Action::EnterStandby(standby(&id))),
        ("ValidationError".into(), format!("The instance {id} is not in InService."))
    );
    ec2.pass(10 * SECOND);
    assert_eq!(member(&mut ec2, &id).lifecycle_state, "Standby");
    done(&mut ec2, stop(&id));
    ec2.pass(HOUR);
    assert_eq!(instance(&mut ec2, &id).state, InstanceState::Stopped);
    assert!(data_is_there(&mut ec2, &data));
    done(&mut ec2, start(&id));
    ec2.pass(MINUTE);
    done(&mut ec2, Action::ExitStandby(standby(&id)));
    assert_eq!(member(&mut ec2, &id).lifecycle_state, "Pending");
    ec2.pass(MINUTE);
    assert_eq!(member(&mut ec2, &id).lifecycle_state, "InService");
}

#[test]
fn suspended_processes_keep_a_stopped_member_until_they_are_resumed() {
    for process in ["Terminate", "ReplaceUnhealthy", "HealthCheck"] {
        let (mut ec2, id, data) = scene();
        done(&mut ec2, Action::SuspendProcesses(processes(&[process])));
        done(&mut ec2, stop(&id));
        ec2.pass(HOUR);
        assert!(data_is_there(&mut ec2, &data), "{process}");
        done(&mut ec2, Action::ResumeProcesses(processes(&[])));
        ec2.pass(HOUR);
        assert!(!data_is_there(&mut ec2, &data), "{process}");
    }
}

#[test]
fn what_was_found_stopped_is_replaced_when_that_is_resumed_though_it_runs_again() {
    for (suspended, kept) in [(vec!["Terminate", "ReplaceUnhealthy"], false), (vec!["Terminate", "HealthCheck"], true)]
    {
        let (mut ec2, id, data) = scene();
        done(&mut ec2, Action::SuspendProcesses(processes(&suspended)));
        done(&mut ec2, stop(&id));
        ec2.pass(HOUR);
        done(&mut ec2, start(&id));
        ec2.pass(HOUR);
        assert_eq!(member(&mut ec2, &id).health_status, if kept { "Healthy" } else { "Unhealthy" });
        done(&mut ec2, Action::ResumeProcesses(processes(&[])));
        ec2.pass(HOUR);
        assert_eq!(data_is_there(&mut ec2, &data), kept, "{suspended:?}");
    }
}

#[test]
fn a_group_is_not_taken_below_its_least_size() {
    let (mut ec2, id, _) = scene();
    ec2.core.groups.get_mut(GROUP).unwrap().min_size = 1;
    let (found, message) = refused(&mut ec2, Action::EnterStandby(standby(&id)));
    assert_eq!(found, "ValidationError");
    assert!(message.contains("min-size=1"), "{message}");
}

#[test]
fn strangers_unknown_groups_and_unknown_processes_are_refused() {
    let (mut ec2, id, _) = scene();
    let stranger = ec2.member(0, "other");
    let (found, message) = refused(&mut ec2, Action::EnterStandby(standby(&stranger)));
    assert_eq!(found, "ValidationError");
    assert!(message.contains("is not part of Auto Scaling group"), "{message}");
    let elsewhere = StandbyRequest { auto_scaling_group_name: "nothing".into(), ..standby(&id) };
    assert_eq!(code(&mut ec2, Action::EnterStandby(elsewhere)), "ValidationError");
    assert_eq!(code(&mut ec2, Action::SuspendProcesses(processes(&["Dance"]))), "ValidationError");
}

#[test]
fn a_group_shows_its_members_and_what_is_suspended() {
    let (mut ec2, id, _) = scene();
    done(&mut ec2, Action::SuspendProcesses(processes(&["Terminate"])));
    let by = DescribeAutoScaling { names: vec![GROUP.to_owned(), "nothing".into()], ..DescribeAutoScaling::default() };
    let Reply::AutoScalingGroups(page) = done(&mut ec2, Action::DescribeAutoScalingGroups(by)) else {
        panic!("groups")
    };
    assert_eq!(page.items.len(), 1, "unknown names are left out");
    assert_eq!(page.items[0].instances[0].instance, id);
    assert_eq!(page.items[0].suspended_processes[0].0, "Terminate");
}
