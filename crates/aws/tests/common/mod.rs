//! An emulated account that serves the wire on loopback, on a clock of its own.

#![allow(dead_code, clippy::unwrap_used, reason = "shared by tests that each need a part; a test has failed by then")]

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use rehome_aws::{AwsCloud, SsmHosts, with_config};
use rehome_ec2_emulator::core::{AutoScalingGroup, Config};
use rehome_ec2_emulator::disks::Content;
use rehome_ec2_emulator::face::{Emulator, Inner};
use rehome_ec2_emulator::wire;
use rehome_model::cloud::{Tags, VolumeSpec};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_ports::contract::{BrokenPromise, CloudWorld, contract};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// 2026-01-01T00:00:00Z.
const EPOCH_MS: u64 = 1_767_225_600_000;
/// What a call takes on the emulator's clock, which else stands still: it is paused, in a thread of its own, so that
/// no test depends on how fast this machine is.
const LATENCY: Duration = Duration::from_millis(200);
/// Longer than anything in the default timing takes, and than any token bucket takes to fill.
const SETTLE: Duration = Duration::from_secs(120);
/// Longer than a call takes on any machine that passes tests.
pub const CALL_LIMIT: Duration = Duration::from_secs(60);

/// The account.
#[derive(Clone)]
pub struct Account {
    pub emulator: Emulator,
    clock: Handle,
    pub url: String,
}

impl Account {
    /// Starts it. It ends with the test's process.
    pub async fn start(config: Config) -> Self {
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            runtime.unwrap().block_on(async move {
                let emulator = Emulator::new(config, EPOCH_MS, LATENCY);
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let url = format!("http://{}", listener.local_addr().unwrap());
                let account = Account { emulator: emulator.clone(), clock: Handle::current(), url };
                assert!(tell.send(account).is_ok(), "the test waits for it");
                wire::serve(listener, emulator, None).await.unwrap();
            });
        });
        told.await.unwrap()
    }

    /// The ports of a caller of this account.
    pub async fn connect(&self) -> (AwsCloud, SsmHosts) {
        connect(&self.url, CALL_LIMIT).await
    }

    /// Looks into the account, at its time.
    pub async fn with<T: Send + 'static>(&self, look: impl FnOnce(&mut Inner, u64) -> T + Send + 'static) -> T {
        let emulator = self.emulator.clone();
        self.clock.spawn(async move { emulator.with(look) }).await.unwrap()
    }

    /// What the account answers in process, on its own clock.
    pub async fn on_its_clock<T: Send + 'static>(&self, asks: impl Future<Output = T> + Send + 'static) -> T {
        self.clock.spawn(asks).await.unwrap()
    }

    /// Runs the contract in process, on the account's own clock.
    pub async fn contract_in_process(&self) -> Vec<BrokenPromise> {
        let account = self.clone();
        self.clock.spawn(async move { contract(&account.emulator, &account).await }).await.unwrap()
    }

    /// Calls of an action so far.
    pub async fn calls(&self, action: &'static str) -> u64 {
        self.with(move |inner, _| inner.core.calls.get(action).copied().unwrap_or(0)).await
    }
}

/// The ports of a caller with some credentials, at a URL. The retries it is given must not happen.
pub async fn connect(url: &str, call_limit: Duration) -> (AwsCloud, SsmHosts) {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIDTEST", "secret", None, None, "test"))
        .retry_config(RetryConfig::standard())
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(call_limit).build())
        .endpoint_url(url)
        .load()
        .await;
    with_config(&config).await.unwrap()
}

#[async_trait]
impl CloudWorld for Account {
    async fn instance(&self, tags: &Tags) -> InstanceId {
        let tags = tags.clone();
        let made = self.with(|inner, now| {
            let zone = inner.core.config.zones[0].clone();
            let count = inner.core.instances.len();
            let address = format!("10.0.{}.{}", count / 200, count % 200 + 10);
            inner.core.add_instance(&mut inner.disks, now, &zone, &address, "m5.large", tags)
        });
        made.await
    }

    async fn volume(&self, instance: &InstanceId, device: &str, size_gib: u32) -> VolumeId {
        let (instance, device) = (instance.clone(), device.to_owned());
        let spec = VolumeSpec {
            volume_type: "gp3".to_owned(),
            size_gib,
            iops: Some(3000),
            throughput_mib_s: Some(125),
            encrypted: false,
            kms_key_id: None,
        };
        let made = self.with(move |inner, now| {
            let content = Content::with_files("xfs", BTreeMap::new());
            inner.core.add_volume(&mut inner.disks, now, &instance, &device, spec, content, true)
        });
        made.await
    }

    async fn set_mounted(&self, volume: &VolumeId, instance: &InstanceId, mounted: bool) {
        let (volume, instance) = (volume.clone(), instance.to_string());
        let change = self.with(move |inner, now| {
            if mounted {
                inner.disks.mount(&volume, &instance, now);
            } else {
                inner.disks.unmount(&volume, &instance);
            }
        });
        change.await;
    }

    async fn join_group(&self, instance: &InstanceId, group: &str) {
        let (instance, group) = (instance.clone(), group.to_owned());
        let change = self.with(move |inner, _| {
            let members = BTreeMap::from([(instance, "InService".to_owned())]);
            inner.core.groups.insert(group, AutoScalingGroup { members, ..AutoScalingGroup::default() });
        });
        change.await;
    }

    async fn set_denied(&self, action: &str, denied: bool) {
        let action = action.to_owned();
        let change = self.with(move |inner, _| {
            if denied {
                inner.core.config.denied.insert(action);
            } else {
                inner.core.config.denied.remove(&action);
            }
        });
        change.await;
    }

    async fn set_encrypting(&self, on: bool) {
        self.with(move |inner, _| inner.core.config.encrypts_by_default = on).await;
    }

    async fn settle(&self) {
        let emulator = self.emulator.clone();
        let pass = async move {
            tokio::time::advance(SETTLE).await;
            emulator.with(|_, _| ());
        };
        self.clock.spawn(pass).await.unwrap();
    }
}
