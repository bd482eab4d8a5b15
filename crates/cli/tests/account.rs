//! What is wrong with the account, told by the real binary over the wire: `rehome plan` against `rehome emulate ec2`, each
//! a process of its own. Exit code, place, cause, next step; and no call that changes anything, as the emulator counted.
#![cfg(all(feature = "aws", feature = "emulate"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const USAGE: i32 = 2;
const UNREACHABLE: i32 = 4;
/// EC2's version of the Query protocol.
const EC2: &str = "2016-11-15";

/// An emulator with one instance, `db-0`, tagged `cluster=prod`.
struct Account {
    directory: tempfile::TempDir,
    process: Child,
    url: String,
}

impl Account {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (process, url) = serve(directory.path());
        let account = Self { directory, process, url };
        let run = "Action=RunInstances&ImageId=ami-0123456789abcdef0&MinCount=1&MaxCount=1&InstanceType=m5.large\
                   &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=cluster\
                   &TagSpecification.1.Tag.1.Value=prod&TagSpecification.1.Tag.2.Key=Name\
                   &TagSpecification.1.Tag.2.Value=db-0";
        account.ask("POST", "/", &format!("Version={EC2}&{run}"));
        account.until("running");
        account
    }

    /// Waits until the instance shows this state: describes are late, as EC2's are.
    fn until(&self, state: &str) {
        while !self.ask("POST", "/", &format!("Version={EC2}&Action=DescribeInstances")).contains(state) {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The same account, as if it were another region's.
    fn in_region(mut self, region: &str) -> Self {
        self.end();
        let path = self.directory.path().join("account.json");
        let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        state["config"]["region"] = region.into();
        std::fs::write(&path, state.to_string()).unwrap();
        (self.process, self.url) = serve(self.directory.path());
        self
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: ec2\r\nConnection: close\r\nContent-Length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "{path}: {reply}");
        reply.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn fault(&self, rule: &str) {
        self.ask("PUT", "/_emulator/faults", &format!("faults:\n- {rule}\n"));
    }

    /// Calls so far, by action; reads and dry runs are left out.
    fn changes(&self) -> BTreeMap<String, u64> {
        let counted: Value = serde_json::from_str(&self.ask("GET", "/_emulator/calls", "")).unwrap();
        let counts = |name: &str| -> BTreeMap<String, u64> { serde_json::from_value(counted[name].clone()).unwrap() };
        let dry = counts("dryRuns");
        let real =
            counts("calls").into_iter().map(|(name, calls)| (name.clone(), calls - dry.get(&name).unwrap_or(&0)));
        real.filter(|(name, calls)| *calls > 0 && !name.starts_with("Describe") && !name.starts_with("Get")).collect()
    }

    fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// `rehome plan` of a migration of the instances tagged so is refused with this code, says all of this, and has
    /// changed nothing.
    fn refused(&self, region: &str, code: i32, says: &[&str]) {
        let before = self.changes();
        let home = tempfile::tempdir().unwrap();
        let rehome = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rehome"));
            command.args(arguments).env_clear().env("HOME", home.path()).env("KUBECONFIG", home.path().join("config"));
            command.env("AWS_ENDPOINT_URL", &self.url).env("AWS_EC2_METADATA_DISABLED", "true");
            command.env("AWS_ACCESS_KEY_ID", "AKIDUSER").env("AWS_SECRET_ACCESS_KEY", "any").output().unwrap()
        };
        // A cluster that is away.
        let nowhere = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "c", "user": {}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}"#;
        std::fs::write(home.path().join("config"), nowhere).unwrap();
        let tag = ["--tag", "cluster=prod"];
        let init = ["init", "--name", "c", "--region", region, "--namespace", "c", "--set", "c", tag[0], tag[1]];
        let migration = home.path().join("move.yaml");
        std::fs::write(&migration, rehome(&init).stdout).unwrap();
        let ended = rehome(&["plan", "-f", migration.to_str().unwrap()]);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(code), "{said}");
        assert_eq!(ended.stdout, b"", "nothing is data here");
        for words in says.iter().chain(&["hint: ", "Nothing was changed"]) {
            assert!(said.contains(words), "{words:?} is not in:\n{said}");
        }
        assert_eq!(self.changes(), before, "{said}");
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves the account in a directory; where.
fn serve(directory: &Path) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rehome"));
    command.args(["emulate", "ec2", "--port", "0", "--time-scale", "0", "--state"]).arg(directory);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
    (process, url.trim().to_owned())
}

#[test]
fn an_account_whose_instances_are_in_another_region_is_told_where_it_was_looked() {
    let account = Account::new().in_region("eu-west-1");
    account.until("running");
    let other = tempfile::tempdir().unwrap();
    let (process, url) = serve(other.path());
    let empty = Account { directory: other, process, url };
    empty.refused("us-east-1", USAGE, &["no instance matches", "region us-east-1", "spec.source.region"]);
}

#[test]
fn an_endpoint_of_another_region_is_told_as_such() {
    let account = Account::new().in_region("eu-west-1");
    let says = ["GetCallerIdentity", "not 'us-east-1'", "AWS_ENDPOINT_URL", "one of region us-east-1"];
    account.refused("us-east-1", UNREACHABLE, &says);
}

#[test]
fn an_instance_that_was_terminated_is_no_member() {
    let account = Account::new();
    account.fault("{action: DescribeInstances, calls: {nth: 1}, effect: {instanceGone: db-0}}");
    account.until("<name>terminated</name>");
    account.refused("us-east-1", USAGE, &["no instance matches", "terminated ones do not count"]);
}

#[test]
fn a_describe_that_is_denied_is_told_with_the_policy_line() {
    for action in ["DescribeInstances", "DescribeVolumes"] {
        let account = Account::new();
        account.fault(&format!("{{action: {action}, effect: deny}}"));
        let line = format!(r#"{{"Effect": "Allow", "Action": "ec2:{action}", "Resource": "*"}}"#);
        account.refused("us-east-1", UNREACHABLE, &["UnauthorizedOperation", "user/AKIDUSER", &line]);
    }
}

#[test]
fn a_denied_auto_scaling_describe_is_told_in_its_own_services_name() {
    let account = Account::new();
    account.fault("{action: DescribeAutoScalingInstances, effect: deny}");
    account.refused("us-east-1", UNREACHABLE, &["AccessDenied", "\"autoscaling:DescribeAutoScalingInstances\""]);
}

#[test]
fn a_cluster_that_is_away_is_told_after_describes_only() {
    let account = Account::new();
    account.refused("us-east-1", UNREACHABLE, &["the cluster was asked for", "kubectl"]);
    let counted: Value = serde_json::from_str(&account.ask("GET", "/_emulator/calls", "")).unwrap();
    // Making the scene took RunInstances; what the caller may do is asked when all else is there.
    let asked: Vec<&String> = counted["calls"].as_object().unwrap().keys().collect();
    let looks =
        |call: &&String| call.starts_with("Describe") || matches!(call.as_str(), "GetCallerIdentity" | "RunInstances");
    assert!(asked.contains(&&"DescribeVolumes".to_owned()) && asked.iter().all(looks), "{counted}");
    assert_eq!(counted["dryRuns"], serde_json::json!({}));
}
