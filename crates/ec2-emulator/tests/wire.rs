//! EC2 on the wire: status, shape and paging of replies. What they mean is tested on the core.
#![cfg(feature = "wire")]

mod common;

use std::time::Duration;

use common::server::{AUTO_SCALING, EC2, STS, Server, text};
use common::{NO_VOLUME, tags, zone};
use rehome_ec2_emulator::core::{Config, Effect};
use rehome_ec2_emulator::face::Emulator;

/// Serves an account with one member and a group on a free port of loopback.
async fn server() -> Server {
    let ec2 = Emulator::new(Config::immediate(), 1_767_225_600_000, Duration::ZERO);
    ec2.with(|inner, now| {
        let named = tags(&[("Name", "a <b> & c")]);
        let id = inner.core.add_instance(&mut inner.disks, now, &zone("a"), "10.0.0.5", "m5.large", named);
        let group = inner.core.groups.entry("db".to_owned()).or_default();
        group.members.insert(id, "InService".to_owned());
    });
    Server::start(ec2, None).await
}

#[tokio::test]
async fn a_reply_has_its_actions_name_and_escapes_text() {
    let server = server().await;
    let (status, body) = server.post(EC2, "Action=DescribeInstances").await;
    assert_eq!(status, 200);
    assert!(body.contains("<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"), "{body}");
    assert_eq!(text(&body, "value"), "a &lt;b&gt; &amp; c");
    assert_eq!(text(&body, "availabilityZone"), "us-east-1a");
}

#[tokio::test]
async fn the_caller_is_the_access_key() {
    let (status, body) = server().await.post(STS, "Action=GetCallerIdentity").await;
    assert_eq!((status, text(&body, "Arn")), (200, "arn:aws:iam::123456789012:user/AKIATEST"));
}

#[tokio::test]
async fn errors_have_status_code_and_message_where_the_sdks_look() {
    let server = server().await;
    for (form, status, code) in [
        ("Action=DescribeVolumes&DryRun=true".to_owned(), 412, "DryRunOperation"),
        ("Action=DescribeVpcs".to_owned(), 400, "InvalidAction"),
        (String::new(), 400, "MissingAction"),
        ("Action=AttachVolume".to_owned(), 400, "MissingParameter"),
        ("Action=DescribeVolumes&MaxResults=many".to_owned(), 400, "InvalidParameterValue"),
        ("Action=DescribeVolumes&DryRun=yes".to_owned(), 400, "InvalidParameterValue"),
        ("Action=DescribeVolumes&VolumeIds.1=all".to_owned(), 400, "UnknownParameter"),
        ("Action=DescribeVolumes&Filter.1.Name=status&Filter.1.Values.1=x".to_owned(), 400, "UnknownParameter"),
        ("Action=GetCallerIdentity".to_owned(), 400, "InvalidAction"),
        ("Action=EnterStandby".to_owned(), 400, "InvalidAction"),
        (format!("Action=DescribeVolumes&VolumeId.1={NO_VOLUME}"), 400, "InvalidVolume.NotFound"),
    ] {
        let (found, body) = server.post(EC2, &form).await;
        assert_eq!((found, text(&body, "Code")), (status, code), "{form}");
        assert!(body.contains("<Response><Errors><Error><Code>"), "{body}");
    }
    let (_, body) = server.post(EC2, &format!("Action=DeleteVolume&VolumeId={NO_VOLUME}")).await;
    assert_eq!(text(&body, "Message"), format!("The volume '{NO_VOLUME}' does not exist."));
}

#[tokio::test]
async fn auto_scaling_has_another_shape_of_lists_and_errors() {
    let server = server().await;
    let (_, body) =
        server.post(AUTO_SCALING, "Action=DescribeAutoScalingGroups&AutoScalingGroupNames.member.1=db").await;
    assert!(text(&body, "AutoScalingGroups").starts_with("<member><AutoScalingGroupName>db<"), "{body}");
    let form = "Action=EnterStandby&AutoScalingGroupName=none&ShouldDecrementDesiredCapacity=true";
    let (status, body) = server.post(AUTO_SCALING, form).await;
    assert_eq!((status, text(&body, "Code")), (400, "ValidationError"));
    assert!(body.contains("<ErrorResponse"), "{body}");
}

#[tokio::test]
async fn an_action_without_a_result_has_no_element_for_it() {
    let server = server().await;
    for action in ["SuspendProcesses", "ResumeProcesses"] {
        let (status, body) = server.post(AUTO_SCALING, &format!("Action={action}&AutoScalingGroupName=db")).await;
        assert_eq!(status, 200);
        assert!(!body.contains("Result"), "{body}");
        assert!(body.contains("<ResponseMetadata><RequestId>"), "{body}");
    }
}

#[tokio::test]
async fn an_error_says_whose_fault_it_is_in_its_services_namespace() {
    let ec2 = Emulator::new(Config::immediate(), 1_767_225_600_000, Duration::ZERO);
    ec2.with(|inner, _| inner.core.faults.at("GetCallerIdentity", 1, Effect::unavailable()));
    let server = Server::start(ec2, None).await;
    let form = "Action=EnterStandby&AutoScalingGroupName=none&ShouldDecrementDesiredCapacity=true";
    for (version, form, status, kind, namespace) in [
        (AUTO_SCALING, form, 400, "Sender", "http://autoscaling.amazonaws.com/doc/2011-01-01/"),
        (STS, "Action=GetCallerIdentity", 503, "Receiver", "https://sts.amazonaws.com/doc/2011-06-15/"),
        (STS, "Action=DescribeVolumes", 400, "Sender", "http://webservices.amazon.com/AWSFault/2005-15-09"),
    ] {
        let (found, body) = server.post(version, form).await;
        assert_eq!((found, text(&body, "Type")), (status, kind), "{form}");
        assert!(body.contains(&format!("<ErrorResponse xmlns=\"{namespace}\">")), "{body}");
    }
}

#[tokio::test]
async fn lists_filters_tags_and_pages_are_read() {
    let server = server().await;
    for index in 0..7 {
        let form = format!(
            "Action=CreateVolume&AvailabilityZone=us-east-1a&Size=1&VolumeType=gp3&ClientToken=t{index}\
             &TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=run&TagSpecification.1.Tag.1.Value=r1"
        );
        assert_eq!(server.post(EC2, &form).await.0, 200);
    }
    let form = "Action=DescribeVolumes&Filter.1.Name=tag%3Arun&Filter.1.Value.1=r%2A&MaxResults=5";
    let (_, first) = server.post(EC2, form).await;
    let (_, second) = server.post(EC2, &format!("{form}&NextToken={}", text(&first, "nextToken"))).await;
    let count = |body: &str| body.matches("<volumeId>").count();
    assert_eq!((count(&first), count(&second), second.contains("nextToken")), (5, 2, false));
}

#[tokio::test]
async fn create_snapshots_says_state_where_describe_snapshots_says_status() {
    let server = server().await;
    let (_, described) = server.post(EC2, "Action=DescribeInstances").await;
    let form = format!("Action=CreateSnapshots&InstanceSpecification.InstanceId={}", text(&described, "instanceId"));
    let (_, made) = server.post(EC2, &form).await;
    assert_eq!(text(&made, "state"), "pending");
    let (_, found) = server.post(EC2, "Action=DescribeSnapshots&Owner.1=self").await;
    assert_eq!((text(&found, "status"), text(&found, "progress")), ("completed", "100%"));
    assert!(text(&found, "startTime").starts_with("2026-01-01T00:00:0"), "{found}");
}
