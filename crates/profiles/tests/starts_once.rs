//! What lets Cassandra start once and never again: the survey tells it, and where a start would take it from.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use common::{cassandra, command_line, run};
use rehome_model::task::{HostAnswer, HostTask};
use rehome_profiles::ScriptContext;

/// A host whose Cassandra has run for an hour, with files that are a day old.
struct Host(tempfile::TempDir);

impl Host {
    fn new(arguments: &[&str], files: &[(&str, &str)]) -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        host.write("conf/cassandra.yaml", "cluster_name: prod\n");
        for (file, text) in files {
            host.write(file, text);
            let day_ago = SystemTime::now() - Duration::from_secs(86_400);
            std::fs::File::options().append(true).open(host.path(file)).unwrap().set_modified(day_ago).unwrap();
        }
        let each: Vec<String> = arguments.iter().map(|argument| host.at(argument)).collect();
        host.write("proc/7/cmdline", &command_line(&each));
        host
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// `ROOT` is where the host's folders are.
    fn at(&self, text: &str) -> String {
        text.replace("ROOT", &self.0.path().display().to_string())
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        std::fs::write(self.path(file), text).unwrap();
    }

    fn starts_once(&self) -> Vec<String> {
        let settings = BTreeMap::from([("configFile".to_owned(), self.at("ROOT/conf/cassandra.yaml"))]);
        let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
        let script = cassandra().host_script(&HostTask::Survey, &context);
        let script = ["/proc/", "/etc/default/"].iter().fold(script, |script, folder| {
            assert!(script.contains(&format!("\"{folder}")), "{folder}");
            script.replace(&format!("\"{folder}"), &self.at(&format!("\"ROOT{folder}")))
        });
        let tools = self.at(r#"
lsblk() { echo '{}'; }
findmnt() { echo '{}'; }
ps() { echo '   3600'; }
systemctl() {
  case "$*" in
    *FragmentPath*) echo FragmentPath=ROOT/units/cassandra.service ;;
    *DropInPaths*) echo 'DropInPaths=ROOT/units/a.conf ROOT/units/b.conf' ;;
  esac
}
"#);
        let (code, stdout, stderr) = run(&format!("{tools}{script}"));
        assert_eq!(code, 0, "{stderr}");
        let answer = cassandra().read_host_answer(&HostTask::Survey, &stdout).unwrap();
        let HostAnswer::Report(report) = answer else { panic!("{answer:?}") };
        report.starts_once.iter().map(|line| line.replace(&self.at("ROOT"), "ROOT")).collect()
    }
}

const REPLACES: &[&str] = &["-cp", "ROOT/own:JARS", "-Dcassandra.replace_address=10.0.0.9"];
const LINE: &str =
    "# JVM_OPTS=\"-Dcassandra.replace_address=old\"\nJVM_OPTS=\"$JVM_OPTS -Dcassandra.replace_address=10.0.0.9\"\n";

#[test]
fn a_member_that_replaced_another_tells_the_line_that_still_says_so() {
    for file in [
        "conf/cassandra-env.sh",
        "conf/jvm-server.options",
        "own/cassandra-env.sh",
        "etc/default/cassandra",
        "units/b.conf",
    ] {
        let told = Host::new(REPLACES, &[(file, LINE)]).starts_once();
        assert_eq!(told, [format!("ROOT/{file} line 2: -Dcassandra.replace_address=10.0.0.9")]);
    }
}

#[test]
fn a_line_that_was_deleted_since_the_process_began_is_no_obstacle() {
    let host = Host::new(REPLACES, &[("conf/cassandra-env.sh", LINE), ("conf/jvm11-server.options", "-Xmx4G\n")]);
    assert_eq!(host.starts_once().len(), 1);
    host.write("conf/cassandra-env.sh", "#JVM_OPTS=\"$JVM_OPTS -Dcassandra.replace_address=10.0.0.9\"\n");
    assert_eq!(host.starts_once(), [""; 0]);
}

#[test]
fn an_argument_that_comes_from_nobody_knows_where_is_told_of_the_process() {
    let told = Host::new(REPLACES, &[("conf/cassandra-env.sh", "JVM_OPTS=-Xmx4G\n")]).starts_once();
    assert_eq!(told, ["the running process: -Dcassandra.replace_address=10.0.0.9"]);
}

#[test]
fn a_replacement_at_the_first_boot_only_is_no_obstacle_and_neither_is_what_no_start_takes() {
    let first = "JVM_OPTS=\"$JVM_OPTS -Dcassandra.replace_address_first_boot=10.0.0.9\"\n";
    let arguments = ["-Dcassandra.replace_address_first_boot=10.0.0.9"];
    assert_eq!(Host::new(&arguments, &[("conf/cassandra-env.sh", first)]).starts_once(), [""; 0]);
    // With both a member that has joined starts.
    let both = [REPLACES, &["-Dcassandra.replace_address_first_boot=10.0.0.9"]].concat();
    assert_eq!(Host::new(&both, &[("conf/cassandra-env.sh", LINE)]).starts_once(), [""; 0]);
    // A line that the running process was not started with is below a condition.
    assert_eq!(Host::new(&["-Xmx4G"], &[("conf/cassandra-env.sh", LINE)]).starts_once(), [""; 0]);
}
