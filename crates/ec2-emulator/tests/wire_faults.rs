//! Faults on the wire: the admin endpoint, replies that do not come, SSM, and the example of `docs/emulator.md`.
#![cfg(feature = "wire")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::server::{EC2, STS, Server, text};
use common::{tags, zone};
use rehome_ec2_emulator::api::ACTIONS;
use rehome_ec2_emulator::core::{Config, Core, Effect};
use rehome_ec2_emulator::disks::MemoryDisks;
use rehome_ec2_emulator::face::{Emulator, StateFile};
use rehome_ec2_emulator::host::Guests;
use rehome_ec2_emulator::wire::parse_faults;
use serde_json::{Value, json};

const EPOCH_MS: u64 = 1_767_225_600_000;
const FAULTS: &str = "/_emulator/faults";
const CREATE: &str = "Action=CreateVolume&AvailabilityZone=us-east-1a&Size=1&VolumeType=gp3";
const DOCUMENT: &str = include_str!("../../../docs/emulator.md");

fn account() -> Emulator {
    let ec2 = Emulator::new(Config::immediate(), EPOCH_MS, Duration::ZERO);
    ec2.with(|inner, now| {
        let named = tags(&[("Name", "db-0")]);
        inner.core.add_instance(&mut inner.disks, now, &zone("a"), "10.0.0.5", "m5.large", named);
    });
    ec2
}

async fn ask(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, body) = server.http(method, path, &[], body).await.expect("a reply");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[tokio::test]
async fn faults_are_set_looked_at_and_taken_away() {
    let server = Server::start(account(), None).await;
    assert_eq!(ask(&server, "GET", FAULTS, "").await, (200, json!({"faults": []})));
    let rule = r#"{"faults": [{"name": "busy", "action": "Describe*", "calls": {"every": 2}, "effect": "throttle"}]}"#;
    let (status, set) = ask(&server, "POST", FAULTS, rule).await;
    assert_eq!((status, &set["faults"][0]["name"], &set["faults"][0]["pending"]), (200, &json!("busy"), &json!(true)));
    for expected in [200, 503, 200, 503] {
        assert_eq!(server.post(EC2, "Action=DescribeRegions").await.0, expected);
    }
    let (_, found) = ask(&server, "GET", FAULTS, "").await;
    let found = &found["faults"][0];
    assert_eq!((&found["seen"], &found["fired"], &found["effect"]), (&json!(4), &json!(2), &json!("throttle")));
    assert!(found["lastFiredAtMs"].as_u64() >= found["setAtMs"].as_u64(), "{found}");

    let other = "faults:\n- {name: other, action: RunInstances, effect: insufficientCapacity}\n";
    let (_, both) = ask(&server, "POST", FAULTS, other).await;
    assert_eq!(both["faults"].as_array().map(Vec::len), Some(2), "YAML is taken too, and added");
    let (status, left) = ask(&server, "DELETE", "/_emulator/faults/busy", "").await;
    assert_eq!((status, &left["faults"][0]["name"]), (200, &json!("other")));
    let (status, error) = ask(&server, "DELETE", "/_emulator/faults/busy", "").await;
    assert_eq!((status, &error["errors"][0]), (404, &json!("no fault is called \"busy\"; there are: other")));
    let (_, replaced) = ask(&server, "PUT", FAULTS, rule).await;
    assert_eq!(replaced["faults"].as_array().map(Vec::len), Some(1));
    assert_eq!(ask(&server, "DELETE", FAULTS, "").await, (200, json!({"faults": []})));
    let (_, calls) = ask(&server, "GET", "/_emulator/calls", "").await;
    assert_eq!(calls, json!({"calls": {"DescribeRegions": 4}, "dryRuns": {}}));
    server.post(EC2, &format!("{CREATE}&DryRun=true")).await;
    let (_, calls) = ask(&server, "GET", "/_emulator/calls", "").await;
    assert_eq!((&calls["calls"]["CreateVolume"], &calls["dryRuns"]), (&json!(1), &json!({"CreateVolume": 1})));
}

#[tokio::test]
async fn what_is_wrong_is_said_with_place_and_known_values_and_nothing_is_set() {
    let server = Server::start(account(), None).await;
    let good = "faults:\n- {name: good, effect: deny}\n";
    ask(&server, "POST", FAULTS, good).await;
    for (method, body, says) in [
        ("POST", "faults:\n- {action: AttachVolume, efect: deny}\n", vec!["efect", "effect", "2:"]),
        ("POST", "faults:\n- {effect: explode}\n", vec!["explode", "noReply", "stuck", "2:"]),
        ("PUT", "faults:\n- {effect: {error: {kode: X}}}\n", vec!["kode", "code"]),
        ("PUT", "faults:\n- {calls: {nth: two}, effect: deny}\n", vec!["2:"]),
        ("PUT", "faults:\n- {action: Attach, effect: deny}\n", vec!["faults[0]", "AttachVolume"]),
        ("PUT", "", vec!["faults"]),
    ] {
        let (status, errors) = ask(&server, method, FAULTS, body).await;
        assert_eq!(status, 400, "{body}");
        let told = errors["errors"].to_string();
        assert!(says.iter().all(|word| told.contains(word)), "{says:?} in {told}");
    }
    let (_, left) = ask(&server, "GET", FAULTS, "").await;
    assert_eq!(left["faults"].as_array().map(Vec::len), Some(1), "{left}");
    assert_eq!(server.http("GET", "/_emulator/other", &[], "").await.map(|reply| reply.0), Some(404));
}

#[tokio::test]
async fn a_lost_reply_is_a_closed_connection_after_the_effect() {
    let server = Server::start(account(), None).await;
    let rule = r#"{"faults": [{"action": "CreateVolume", "calls": {"nth": 1}, "effect": "noReply"}]}"#;
    ask(&server, "POST", FAULTS, rule).await;
    let form = format!("Version={EC2}&{CREATE}&ClientToken=t");
    assert_eq!(server.http("POST", "/", &[], &form).await, None, "not a byte comes");
    let (status, made) = server.post(EC2, &format!("{CREATE}&ClientToken=t")).await;
    let (_, found) = server.post(EC2, "Action=DescribeVolumes&Filter.1.Name=size&Filter.1.Value.1=1").await;
    assert_eq!((status, found.matches("<volumeId>").count()), (200, 1), "the second call meets the first one's effect");
    assert_eq!(text(&found, "volumeId"), text(&made, "volumeId"));
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_comes_after_an_effect_at_once() {
    let ec2 = account();
    ec2.with(|inner, _| inner.core.faults.at("CreateVolume", 1, Effect::DelayMs(60_000)));
    let server = Server::start(ec2.clone(), None).await;
    let before = ec2.now();
    let (sent, seen) = tokio::join!(server.post(EC2, CREATE), async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        ec2.with(|inner, _| inner.core.volumes.len())
    });
    assert_eq!((sent.0, seen), (200, 2), "the volume is there before the reply is");
    assert!(ec2.now() >= before + 60_000);
}

fn guests(directory: &std::path::Path) -> Guests {
    use std::os::unix::fs::PermissionsExt;
    let program = directory.join("guest");
    let script = "#!/bin/sh\ncase $1 in exec) exec timeout \"$3\" sh ;; esac\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Guests::new(program)
}

async fn ssm(server: &Server, operation: &str, request: Value) -> (u16, Value) {
    let target = format!("X-Amz-Target: AmazonSSM.{operation}");
    let (status, body) = server.http("POST", "/", &[&target], &request.to_string()).await.expect("a reply");
    (status, serde_json::from_str(&body).unwrap())
}

/// The invocation of a script, once it has ended.
async fn run(server: &Server, instance: &str, script: &str) -> Value {
    let command = json!({"DocumentName": "AWS-RunShellScript", "InstanceIds": [instance],
        "Parameters": {"commands": [script]}});
    let (status, sent) = ssm(server, "SendCommand", command).await;
    assert_eq!(status, 200, "{sent}");
    let asked = json!({"CommandId": sent["Command"]["CommandId"], "InstanceId": instance});
    loop {
        let (_, found) = ssm(server, "GetCommandInvocation", asked.clone()).await;
        if found["Status"] != "InProgress" {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn scripts_are_given_up_while_they_go_on_and_their_output_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let ec2 = account();
    let instance = ec2.with(|inner, _| inner.core.instances.keys().next().unwrap().to_string());
    let server = Server::start(ec2, Some(guests(directory.path()))).await;
    let rules = "faults:\n- {action: SendCommand, calls: {nth: 1}, effect: {commandTimesOutMs: 0}}\n\
                 - {action: SendCommand, calls: {nth: 2}, effect: {cutOutput: 4}}\n\
                 - {action: SendCommand, calls: {nth: 3}, effect: deny}\n\
                 - {action: DescribeInstanceInformation, calls: {nth: 2}, effect: agentGone}\n";
    ask(&server, "POST", FAULTS, rules).await;
    let witness = directory.path().join("done");
    let late = run(&server, &instance, &format!("echo x > {}", witness.display())).await;
    assert_eq!((&late["Status"], &late["StatusDetails"]), (&json!("TimedOut"), &json!("ExecutionTimedOut")));
    while !witness.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cut = run(&server, &instance, "echo 123456").await;
    assert_eq!((&cut["Status"], &cut["StandardOutputContent"]), (&json!("Success"), &json!("1234")));
    let command = json!({"DocumentName": "AWS-RunShellScript", "InstanceIds": [instance]});
    let (status, denied) = ssm(&server, "SendCommand", command).await;
    assert_eq!((status, &denied["__type"]), (400, &json!("AccessDeniedException")));
    assert!(denied["message"].as_str().unwrap_or_default().contains("ssm:SendCommand"), "{denied}");
    for expected in [1, 0, 1] {
        let (_, known) = ssm(&server, "DescribeInstanceInformation", json!({})).await;
        assert_eq!(known["InstanceInformationList"].as_array().map(Vec::len), Some(expected));
    }
}

#[tokio::test]
async fn an_emulator_that_is_started_again_knows_its_faults_and_how_scripts_ended() {
    let directory = tempfile::tempdir().unwrap();
    let file = || StateFile::new(directory.path().join("account.json"));
    let ec2 = account().saved_in(file()).unwrap();
    let instance = ec2.with(|inner, _| inner.core.instances.keys().next().unwrap().to_string());
    let server = Server::start(ec2, Some(guests(directory.path()))).await;
    ask(&server, "POST", FAULTS, "faults:\n- {name: third, action: DescribeRegions, calls: {nth: 3}, effect: deny}\n")
        .await;
    server.post(EC2, "Action=DescribeRegions").await;
    let ended = run(&server, &instance, "echo kept").await;

    let core: Core = file().load().unwrap().expect("a state");
    let again = Emulator::on(core, MemoryDisks::default(), EPOCH_MS, Duration::ZERO).saved_in(file()).unwrap();
    let server = Server::start(again, None).await;
    let asked = json!({"CommandId": ended["CommandId"], "InstanceId": instance});
    let (_, found) = ssm(&server, "GetCommandInvocation", asked).await;
    assert_eq!(found["StandardOutputContent"], "kept\n");
    assert_eq!(server.post(EC2, "Action=DescribeRegions").await.0, 200);
    assert_eq!(server.post(EC2, "Action=DescribeRegions").await.0, 403, "the third, counted over both");
}

#[tokio::test]
async fn an_endpoint_takes_what_was_signed_for_its_region_only() {
    let ec2 = account();
    ec2.with(|inner, _| "eu-west-1".clone_into(&mut inner.core.config.region));
    let server = Server::start(ec2.clone(), None).await;
    for (version, form, expected) in [
        (EC2, "Action=DescribeInstances", (401, "AuthFailure")),
        (STS, "Action=GetCallerIdentity", (403, "SignatureDoesNotMatch")),
    ] {
        let (status, body) = server.post(version, form).await;
        assert_eq!((status, text(&body, "Code")), expected);
        assert!(text(&body, "Message").contains("not 'us-east-1'"), "{body}");
    }
    let (status, error) = ssm(&server, "DescribeInstanceInformation", json!({})).await;
    assert_eq!((status, &error["__type"]), (400, &json!("InvalidSignatureException")));
    assert!(ec2.with(|inner, _| inner.core.calls.is_empty()), "none was carried out");
}

/// The file in `docs/emulator.md`.
fn example() -> &'static str {
    let after = DOCUMENT.split_once("```yaml\nfaults:").expect("an example").1;
    let length = after.find("```").expect("it ends");
    let start = DOCUMENT.len() - after.len() - "faults:".len();
    &DOCUMENT[start..start + "faults:".len() + length]
}

#[tokio::test]
async fn the_documents_example_does_what_the_document_says() {
    let rules = parse_faults(example()).unwrap();
    let ec2 = account();
    ec2.with(|inner, now| inner.core.faults.set(now, rules)).unwrap();
    let server = Server::start(ec2.clone(), None).await;
    let (_, described) = server.post(EC2, "Action=DescribeInstances").await;
    let instance = text(&described, "instanceId").to_owned();
    let (_, made) = server.post(EC2, CREATE).await;
    let attach = format!(
        "Version={EC2}&Action=AttachVolume&VolumeId={}&InstanceId={instance}&Device=/dev/xvdf",
        text(&made, "volumeId")
    );
    assert_eq!(server.http("POST", "/", &[], &attach).await, None);
    let (status, again) = server.http("POST", "/", &[], &attach).await.unwrap();
    assert_eq!((status, text(&again, "Code")), (400, "VolumeInUse"));
    let snapshot = format!("Action=CreateSnapshots&InstanceSpecification.InstanceId={instance}");
    assert_eq!(server.post(EC2, &snapshot).await.0, 200);
    let (_, captured) = server.post(EC2, "Action=DescribeSnapshots&Owner.1=self").await;
    assert_eq!(text(&captured, "status"), "error");
    let throttled = (0..200).map(|_| server.post(STS, "Action=GetCallerIdentity"));
    let mut refused = 0;
    for answer in throttled {
        refused += u32::from(answer.await.0 == 400);
    }
    assert!((1..200).contains(&refused), "{refused}");
    let (status, error) = server.post(EC2, &format!("Action=StopInstances&InstanceId.1={instance}")).await;
    assert_eq!((status, text(&error, "Code")), (403, "UnauthorizedOperation"));
}

#[test]
fn the_document_names_every_effect_and_no_other() {
    let named: Vec<&str> =
        DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
    // As the parser itself lists them, to one that is not known.
    let error = parse_faults("faults:\n- {effect: explode}\n").unwrap_err();
    let known: Vec<&str> = error
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| ["error", "throttle", "deny", "stuck"].contains(word) || word.chars().any(char::is_uppercase))
        .filter(|word| word.chars().next().is_some_and(char::is_lowercase))
        .collect();
    for name in &known {
        assert!(named.contains(name), "{name} is not in the document");
    }
    assert!(known.len() >= 15, "{known:?}");
    assert!(ACTIONS.len() > 30);
}
