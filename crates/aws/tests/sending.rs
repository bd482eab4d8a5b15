//! How calls are sent: what is repeated and what is not, how much goes into one, and what no reply means.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::future::ProvideCredentials as ProvidesCredentials;
use common::{Account, CALL_LIMIT, connect};
use rehome_aws::{AwsCloud, ConnectError, with_config};
use rehome_ec2_emulator::core::{Config, Consistency, Effect};
use rehome_model::cloud::{InstanceState, Tags};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_ports::contract::CloudWorld;
use rehome_ports::{Cloud, CreateSnapshots, ErrorClass, InstanceFilter, NOT_SENT_IN_TIME, VolumeFilter};
use tokio::net::TcpListener;

/// An account where a change shows at once.
async fn account() -> Account {
    Account::start(Config { consistency: Consistency::strong(), ..Config::default() }).await
}

async fn fault(account: &Account, action: &'static str, nth: u64, effect: Effect) {
    account.with(move |inner, _| inner.core.faults.at(action, nth, effect)).await;
}

fn capture(instance: &InstanceId) -> CreateSnapshots {
    CreateSnapshots {
        instance: instance.clone(),
        exclude: Vec::new(),
        include_root: false,
        description: String::new(),
        tags: Tags::new(),
    }
}

#[tokio::test]
async fn a_capture_whose_reply_is_lost_is_not_sent_again() {
    let account = account().await;
    let (cloud, _) = account.connect().await;
    let instance = account.instance(&Tags::new()).await;
    account.volume(&instance, "/dev/xvdf", 1).await;
    fault(&account, "CreateSnapshots", 1, Effect::lost_reply()).await;
    let error = cloud.create_snapshots(&capture(&instance)).await.unwrap_err();
    assert_eq!(
        (error.operation, error.code.as_str(), error.class()),
        ("CreateSnapshots", "Unavailable", ErrorClass::Retry)
    );
    assert_eq!(account.calls("CreateSnapshots").await, 1);
}

/// Credentials that are there once, and then have to be waited for.
#[derive(Debug, Default)]
struct SlowlyRenewed(AtomicU32);

impl ProvideCredentials for SlowlyRenewed {
    fn provide_credentials<'a>(&'a self) -> ProvidesCredentials<'a>
    where
        Self: 'a,
    {
        let at_once = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        ProvidesCredentials::new(async move {
            if !at_once {
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
            Ok(Credentials::new("AKIDTEST", "secret", None, None, "test"))
        })
    }
}

async fn slowly_renewed(account: &Account) -> AwsCloud {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(SlowlyRenewed::default())
        .endpoint_url(&account.url)
        .load()
        .await;
    with_config(&config).await.unwrap().0
}

#[tokio::test]
async fn what_changes_something_and_waited_for_credentials_is_not_sent() {
    let account = account().await;
    let instance = [account.instance(&Tags::new()).await];
    let by_id = InstanceFilter::Ids(instance.to_vec());
    let clouds = [slowly_renewed(&account).await, slowly_renewed(&account).await, slowly_renewed(&account).await];
    let (stopped, standby, looked) = tokio::join!(
        clouds[0].stop_instances(&instance),
        clouds[1].set_standby("group", &instance[0], true),
        clouds[2].describe_instances(&by_id)
    );
    for error in [stopped.unwrap_err(), standby.unwrap_err()] {
        assert_eq!((error.code.as_str(), error.may_have_effect()), (NOT_SENT_IN_TIME, false), "{error}");
    }
    assert_eq!((account.calls("StopInstances").await, account.calls("EnterStandby").await), (0, 0));
    assert_eq!(looked.unwrap().len(), 1, "what only looks is asked again");
    // Now they are there.
    clouds[0].stop_instances(&instance).await.unwrap();
    assert_eq!(account.calls("StopInstances").await, 1);
}

#[tokio::test]
async fn a_read_that_fails_is_sent_again() {
    let account = account().await;
    let (cloud, _) = account.connect().await;
    let instance = account.instance(&Tags::new()).await;
    let volume = account.volume(&instance, "/dev/xvdf", 1).await;
    fault(&account, "DescribeVolumes", 1, Effect::unavailable()).await;
    fault(&account, "DescribeVolumes", 2, Effect::unavailable()).await;
    let found = cloud.describe_volumes(&VolumeFilter::Ids(vec![volume])).await.unwrap();
    assert_eq!((found.len(), account.calls("DescribeVolumes").await), (1, 3));
}

#[tokio::test]
async fn an_attach_whose_reply_was_lost_succeeds_when_it_is_sent_again() {
    let account = Account::start(Config::default()).await;
    let (cloud, _) = account.connect().await;
    let instance = account.instance(&Tags::new()).await;
    let volume = account.volume(&instance, "/dev/xvdf", 1).await;
    account.settle().await;
    cloud.detach_volume(&volume, &instance).await.unwrap();
    account.settle().await;
    fault(&account, "AttachVolume", 1, Effect::lost_reply()).await;
    let error = cloud.attach_volume(&volume, &instance, "/dev/xvdf").await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry);
    // Describes do not show the attachment yet; EC2 refuses the second call because of it.
    cloud.attach_volume(&volume, &instance, "/dev/xvdf").await.unwrap();
    assert_eq!(account.calls("AttachVolume").await, 2);
}

#[tokio::test]
async fn hundreds_of_ids_go_in_batches_and_hundreds_of_volumes_come_in_pages() {
    let account = account().await;
    let (cloud, _) = account.connect().await;
    let mut ids = Vec::new();
    for number in 0..13 {
        let instance = account.instance(&Tags::from([("Name".to_owned(), number.to_string())])).await;
        for device in 0..40 {
            ids.push(account.volume(&instance, &format!("/dev/sd{device}"), 1).await);
        }
    }
    ids.push(VolumeId::from("vol-00000000000000001"));
    let found = cloud.describe_volumes(&VolumeFilter::Ids(ids)).await.unwrap();
    assert_eq!((found.len(), account.calls("DescribeVolumes").await), (520, 3));
    // 520 of ours and 13 root volumes, 500 a page.
    let all = cloud.describe_volumes(&VolumeFilter::Tags(Tags::new())).await.unwrap();
    assert_eq!((all.len(), account.calls("DescribeVolumes").await), (533, 5));
}

#[tokio::test]
async fn a_group_is_told_with_its_load_balancers() {
    let account = account().await;
    let (cloud, _) = account.connect().await;
    let instance = account.instance(&Tags::new()).await;
    account.join_group(&instance, "db").await;
    let attach = |inner: &mut rehome_ec2_emulator::face::Inner| {
        let group = inner.core.groups.get_mut("db").unwrap();
        group.target_group_arns = vec!["arn:one".to_owned(), "arn:two".to_owned()];
        group.load_balancer_names = vec!["classic".to_owned()];
    };
    account.with(move |inner, _| attach(inner)).await;
    let names = ["db".to_owned()];
    let found = cloud.describe_auto_scaling_groups(&names).await.unwrap();
    assert_eq!(found[0].load_balancers, ["arn:one", "arn:two", "classic"]);
    let in_process = account.emulator.clone();
    assert_eq!(
        account.on_its_clock(async move { in_process.describe_auto_scaling_groups(&names).await }).await.unwrap(),
        found
    );
}

#[tokio::test]
async fn a_missing_auto_scaling_permission_is_told_by_its_name() {
    let account = account().await;
    let (cloud, _) = account.connect().await;
    let instance = account.instance(&Tags::new()).await;
    account.set_denied("DescribeAutoScalingInstances", true).await;
    let error = cloud.describe_instances(&InstanceFilter::Ids(vec![instance])).await.unwrap_err();
    assert_eq!((error.operation, error.class()), ("DescribeAutoScalingInstances", ErrorClass::Stop));
}

#[tokio::test]
async fn a_server_that_is_silent_is_a_timeout() {
    // Accepts and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (cloud, _) = connect(&url, Duration::from_millis(300)).await;
    let error = cloud.stop_instance(&InstanceId::from("i-1")).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.class()), ("Timeout", ErrorClass::Retry));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failed_transport() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (cloud, _) = connect(&url, CALL_LIMIT).await;
    let error = cloud.stop_instance(&InstanceId::from("i-1")).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.class()), ("Transport", ErrorClass::Retry));
}

#[tokio::test]
async fn a_started_stop_is_seen() {
    let account = account().await;
    let (cloud, _) = account.connect().await;
    let instance = account.instance(&Tags::new()).await;
    cloud.stop_instance(&instance).await.unwrap();
    let found = cloud.describe_instances(&InstanceFilter::Ids(vec![instance])).await.unwrap();
    assert_eq!(found[0].state, InstanceState::Stopping);
}

#[tokio::test]
async fn without_a_region_or_credentials_nothing_begins() {
    let version = aws_config::BehaviorVersion::v2026_01_12();
    let nowhere = aws_config::SdkConfig::builder().behavior_version(version).build();
    assert!(matches!(with_config(&nowhere).await, Err(ConnectError::NoRegion)));
    let region = aws_config::Region::new("us-east-1");
    let nobody = aws_config::SdkConfig::builder().behavior_version(version).region(region).build();
    assert!(matches!(with_config(&nobody).await, Err(ConnectError::NoCredentials { .. })));
}
