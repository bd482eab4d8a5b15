//! The contract of the cloud, over both faces of the emulator: in process, and over HTTP through the AWS SDK.

mod common;

use common::Account;
use rehome_ec2_emulator::core::{Config, Effect};
use rehome_ports::contract::{BrokenPromise, contract};

fn told(broken: &[BrokenPromise]) -> String {
    broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_aws_sdk_keeps_the_contract_over_the_wire() {
    let account = Account::start(Config::default()).await;
    let (cloud, _) = account.connect().await;
    let broken = contract(&cloud, &account).await;
    assert!(broken.is_empty(), "{}", told(&broken));
}

#[tokio::test]
async fn the_emulator_keeps_the_contract_in_process() {
    let account = Account::start(Config::default()).await;
    let broken = account.contract_in_process().await;
    assert!(broken.is_empty(), "{}", told(&broken));
}

#[tokio::test]
async fn a_promise_that_is_broken_is_named_and_the_others_are_still_kept() {
    let account = Account::start(Config::default()).await;
    // The first one is made when the sizes of groups are looked at.
    account.with(|inner, _| inner.core.faults.at("EnterStandby", 2, Effect::unavailable())).await;
    let (cloud, _) = account.connect().await;
    let broken: Vec<&str> = contract(&cloud, &account).await.into_iter().map(|broken| broken.promise).collect();
    assert_eq!(broken, ["standby is entered and left"]);
}
