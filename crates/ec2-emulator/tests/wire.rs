//! EC2 on the wire: status, shape and paging of replies. What they mean is tested on the core.
#![cfg(feature = "wire")]

mod common;

use std::time::Duration;

use common::{NO_VOLUME, tags, zone};
use rehome_ec2_emulator::core::Config;
use rehome_ec2_emulator::face::Emulator;
use rehome_ec2_emulator::wire::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const EC2: &str = "2016-11-15";
const AUTO_SCALING: &str = "2011-01-01";

struct Server {
    address: std::net::SocketAddr,
}

/// Serves an account with one member and a group on a free port of loopback.
async fn server() -> Server {
    let ec2 = Emulator::new(Config::immediate(), 1_767_225_600_000, Duration::ZERO);
    ec2.with(|inner, now| {
        let named = tags(&[("Name", "a <b> & c")]);
        let id = inner.core.add_instance(&mut inner.disks, now, &zone("a"), "10.0.0.5", "m5.large", named);
        let group = inner.core.groups.entry("db".to_owned()).or_default();
        group.members.insert(id, "InService".to_owned());
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
    let address = listener.local_addr().expect("it has an address");
    tokio::spawn(serve(listener, ec2, None));
    Server { address }
}

impl Server {
    /// Status and body of the reply to a form.
    async fn post(&self, version: &str, form: &str) -> (u16, String) {
        let body = format!("Version={version}&{form}");
        let request = format!(
            "POST / HTTP/1.1\r\nHost: ec2\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/ec2/aws4_request, Signature=0\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("answered");
        let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let body = reply.split_once("\r\n\r\n").expect("a body").1.to_owned();
        (status, body)
    }
}

/// The text of the first element of that name.
fn text<'a>(body: &'a str, name: &str) -> &'a str {
    let after = body.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {body}")).1;
    after.split_once(&format!("</{name}>")).expect("it ends").0
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
    let (status, body) = server().await.post("2011-06-15", "Action=GetCallerIdentity").await;
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
