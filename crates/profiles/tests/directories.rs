//! Where Cassandra keeps what: the survey's script tells it, and a stop without a drain depends on it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::{cassandra, command_line, run};
use rehome_model::host::{Holds, HostProcess, HostReport};
use rehome_model::task::{HostAnswer, HostTask};
use rehome_profiles::ScriptContext;

/// A host: a folder with a configuration, maybe a running Cassandra with these arguments, and mounts at `d1`, `d2` and `log`.
struct Host {
    root: tempfile::TempDir,
    /// systemd's ActiveState of the unit.
    state: &'static str,
    /// What `nodetool` does.
    nodetool: &'static str,
    /// Shell functions in the place of others.
    more: &'static str,
}

impl Host {
    fn new(config: &str, arguments: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["d1/ks", "d2", "log", "elsewhere/ks2", "units", "proc/7"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let host = Self { root, state: "active", nodetool: "true", more: "" };
        host.write("cassandra.yaml", config);
        if !arguments.is_empty() {
            let each: Vec<String> = arguments.iter().map(|argument| host.at(argument)).collect();
            std::fs::write(host.path("proc/7/cmdline"), command_line(&each)).unwrap();
        }
        std::os::unix::fs::symlink("/", host.path("proc/7/root")).unwrap();
        // Somebody who looks for it.
        host.write("proc/9/cmdline", "grep\0-f\0org.apache.cassandra.service.CassandraDaemon.*\0");
        host
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        std::fs::write(self.path(file), self.at(text)).unwrap();
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// `ROOT` is where the host's folders are.
    fn at(&self, text: &str) -> String {
        text.replace("ROOT", &self.root.path().display().to_string())
    }

    fn run(&self, task: &HostTask, mounts: &[&str]) -> (i32, String, String) {
        let settings = BTreeMap::from([("configFile".to_owned(), self.path("cassandra.yaml").display().to_string())]);
        let points: Vec<String> = mounts.iter().map(|mount| self.at(mount)).collect();
        let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &points };
        let script = cassandra().host_script(task, &context);
        let script = script.replace("\"/proc/", &self.at("\"ROOT/proc/"));
        let script = script.replace("/etc/systemd/system", &self.at("ROOT/units"));
        let tools = self.at(r#"
lsblk() { echo '{"blockdevices":[]}'; }
findmnt() {
  for last; do :; done
  case "$*" in *-J*) echo '{"filesystems":[]}'; return ;; esac
  case $last in ROOT/d1*) echo ROOT/d1 ;; ROOT/d2*) echo ROOT/d2 ;; ROOT/log*) echo ROOT/log ;; *) echo / ;; esac
}
systemctl() {
  case "$*" in
    *LoadState*) echo LoadState=masked ;;
    *ActiveState*) if [ -e ROOT/stopped ]; then echo ActiveState=inactive; else echo "ActiveState=$(cat ROOT/state)"; fi ;;
    is-active*) [ "$(cat ROOT/state)" = active ] && [ ! -e ROOT/stopped ] ;;
    stop*) : > ROOT/stopped; : > ROOT/was-stopped; rm -f ROOT/proc/7/cmdline ;;
    start*) : > ROOT/started; rm -f ROOT/stopped ;;
  esac
}
"#);
        std::fs::write(self.path("state"), self.state).unwrap();
        let nodetool = format!("nodetool() {{ echo \"$1\" >> {}; {}; }}\n", self.at("ROOT/asked"), self.nodetool);
        run(&format!("{tools}{nodetool}{}{script}", self.at(self.more)))
    }

    /// Purpose, mount point, path and what is lost, of each directory that the survey tells; `ROOT` as above.
    fn directories(&self) -> Vec<(String, String, String, Holds)> {
        let report = self.report();
        let root = self.root.path().display().to_string();
        let told = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned()).replace(&root, "ROOT");
        report.directories.into_iter().map(|d| (d.purpose, told(d.mount_point), told(d.path), d.holds)).collect()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        self.report().settings
    }

    fn report(&self) -> HostReport {
        let (code, stdout, stderr) = self.run(&HostTask::Survey, &[]);
        assert_eq!(code, 0, "{stderr}");
        let answer = cassandra().read_host_answer(&HostTask::Survey, &stdout).unwrap();
        let HostAnswer::Report(report) = answer else { panic!("no report: {stdout}") };
        *report
    }

    fn has(&self, purpose: &str, mount: &str, path: &str) {
        let found = self.directories();
        assert!(
            found.iter().any(|d| (d.0.as_str(), d.1.as_str(), d.2.as_str()) == (purpose, mount, path)),
            "{found:?}"
        );
    }

    fn asked(&self) -> String {
        std::fs::read_to_string(self.path("asked")).unwrap_or_default()
    }

    fn was_stopped(&self) -> bool {
        self.path("stopped").exists()
    }
}

const JBOD: &str = "data_file_directories:\n    - \"ROOT/d1\" # the first\n    # - ROOT/d3\n    - ROOT/d2\n\
                    commitlog_directory: 'ROOT/log/segments' # not there yet\n";
const RUNNING: &[&str] = &["-Dcassandra.storagedir=ROOT/elsewhere", "-cp", "ROOT:JARS"];

#[test]
fn every_directory_of_the_configuration_is_told_with_its_mount_and_what_it_holds() {
    let host = Host::new(JBOD, RUNNING);
    let told: Vec<(String, String, String, Holds)> = [
        ("data", "ROOT/d1", "ROOT/d1", Holds::Writes),
        ("data", "ROOT/d2", "ROOT/d2", Holds::Writes),
        ("commitlog", "ROOT/log", "ROOT/log/segments", Holds::Writes),
        ("hints", "/", "ROOT/elsewhere/hints", Holds::Deliveries),
        ("saved_caches", "/", "ROOT/elsewhere/saved_caches", Holds::Nothing),
    ]
    .map(|(purpose, mount, path, holds)| (purpose.to_owned(), mount.to_owned(), path.to_owned(), holds))
    .into();
    assert_eq!(host.directories(), told);
}

#[test]
fn what_is_commented_out_lies_below_the_running_process_storage_directory_or_nobody_knows_where() {
    let commented = "# data_file_directories:\n#     - ROOT/d2\n# commitlog_directory: ROOT/log\n";
    let running = Host::new(commented, &["-Dcassandra.storagedir=ROOT/d1/", "-cp", "ROOT/:JARS"]);
    running.has("data", "ROOT/d1", "ROOT/d1/data");
    running.has("commitlog", "ROOT/d1", "ROOT/d1/commitlog");
    let stopped = Host::new(commented, &[]);
    stopped.has("data", "?", "?");
    stopped.has("commitlog", "?", "?");
}

#[test]
fn the_file_that_the_process_was_started_with_counts() {
    let host = Host::new(
        "data_file_directories: [ROOT/d1]\n",
        &["-Dcassandra.config=file://ROOT/other.yaml", "-cp", "ROOT:JARS"],
    );
    std::fs::write(host.path("other.yaml"), host.at("data_file_directories: [ ROOT/d2, 'ROOT/elsewhere' ]\n")).unwrap();
    host.has("data", "ROOT/d2", "ROOT/d2");
    host.has("data", "/", "ROOT/elsewhere");
    assert_eq!(host.directories().iter().filter(|d| d.0 == "data").count(), 2);
}

#[test]
fn a_list_that_this_does_not_understand_is_not_taken_for_the_default() {
    Host::new("data_file_directories: [ROOT/d1,\n  ROOT/d2]\n", RUNNING).has("data", "?", "?");
}

/// SnakeYAML takes the last of two, and allows what nobody writes by hand.
#[test]
fn a_key_that_is_there_twice_or_written_otherwise_is_not_known_or_read_right() {
    let stock = "data_file_directories:\n    - ROOT/d1\ncommitlog_directory: ROOT/log\n";
    let twice = Host::new(&format!("{stock}data_file_directories: [ROOT/d1, ROOT/d2]\n"), RUNNING);
    twice.has("data", "?", "?");
    twice.has("commitlog", "ROOT/log", "ROOT/log");
    let log = Host::new(&format!("{stock}commitlog_directory: ROOT/d2/log\n"), RUNNING);
    log.has("commitlog", "?", "?");
    log.has("data", "ROOT/d1", "ROOT/d1");
    for written in ["commitlog_directory : ROOT/log\n", "\"commitlog_directory\": \"ROOT/log\"\r\n"] {
        Host::new(written, RUNNING).has("commitlog", "ROOT/log", "ROOT/log");
    }
    for unsure in [
        "commitlog_directory:\n  ROOT/log\n",
        "commitlog_directory: &log ROOT/log\n",
        "{commitlog_directory: ROOT/log}\n",
        "  commitlog_directory: ROOT/log\n",
        "? commitlog_directory\n: ROOT/log\n",
        "commitlog_directory: ROOT/log\n  of-ours\n",
    ] {
        let found = Host::new(unsure, RUNNING).directories();
        assert!(found.iter().any(|d| d.0 == "commitlog" && d.2 == "?"), "{unsure}: {found:?}");
    }
}

#[test]
fn a_file_that_is_not_the_processs_is_not_read_for_it() {
    let other = "data_file_directories: [ROOT/d2]\n";
    // The launcher of a tar ball names its own folder, and the migration the file of a package that was there before.
    let left = Host::new(JBOD, &["-Dcassandra.storagedir=ROOT/elsewhere", "-cp", "ROOT/tar/conf:JARS"]);
    left.write("tar/conf/cassandra.yaml", other);
    left.has("data", "ROOT/d2", "ROOT/d2");
    left.has("commitlog", "/", "ROOT/elsewhere/commitlog");
    assert!(left.directories().iter().all(|d| d.2 != "ROOT/d1"));
    // So does one that was started with a path from where it stood.
    let stood = Host::new(JBOD, &["-cp", "../conf:JARS"]);
    stood.write("tar/conf/cassandra.yaml", other);
    std::fs::create_dir(stood.path("tar/bin")).unwrap();
    std::os::unix::fs::symlink(stood.path("tar/bin"), stood.path("proc/7/cwd")).unwrap();
    stood.has("data", "ROOT/d2", "ROOT/d2");
    // And one whose file is gone, or nowhere to be found, has taken nobody knows which.
    for arguments in
        [&["-cp", "ROOT/tar/conf:JARS"][..], &["-Dcassandra.config=file:conf/x", "-cp", "ROOT:JARS"], &["-Xmx4G"]]
    {
        let unknown = Host::new(JBOD, arguments);
        unknown.has("data", "?", "?");
        unknown.has("commitlog", "?", "?");
        assert!(unknown.settings().values().all(|value| value == "?"));
    }
}

#[test]
fn in_a_container_the_path_of_a_file_means_another_one() {
    let host = Host::new(JBOD, RUNNING);
    std::fs::remove_file(host.path("proc/7/root")).unwrap();
    std::os::unix::fs::symlink(host.path("elsewhere"), host.path("proc/7/root")).unwrap();
    host.has("data", "?", "?");
}

#[test]
fn a_file_that_cannot_be_read_says_not_that_all_is_as_usual() {
    let host = Host::new(JBOD, &[]);
    std::fs::remove_file(host.path("cassandra.yaml")).unwrap();
    host.has("data", "?", "?");
    assert_eq!(host.settings().get("authenticator").map(String::as_str), Some("?"));
}

#[test]
fn links_are_followed_and_a_keyspace_that_was_linked_elsewhere_is_told_too() {
    let host = Host::new("data_file_directories:\n- ROOT/d1\ncommitlog_directory: ROOT/d1/log\n", RUNNING);
    std::os::unix::fs::symlink(host.path("log"), host.path("d1/log")).unwrap();
    std::os::unix::fs::symlink(host.path("elsewhere/ks2"), host.path("d1/ks2")).unwrap();
    host.has("commitlog", "ROOT/log", "ROOT/log");
    host.has("data", "/", "ROOT/elsewhere/ks2");
}

#[test]
fn cassandras_own_tables_and_its_log_of_changes_have_directories_where_they_are_in_use() {
    let config = "local_system_data_file_directory: ROOT/d2/own\ncdc_enabled: true\ncdc_raw_directory: ROOT/log/cdc\n";
    let host = Host::new(config, RUNNING);
    host.has("data", "ROOT/d2", "ROOT/d2/own");
    host.has("cdc_raw", "ROOT/log", "ROOT/log/cdc");
}

#[test]
fn a_failed_drain_ends_the_stop_where_the_commit_log_would_stay_behind() {
    let mut host = Host::new(JBOD, RUNNING);
    host.nodetool = "return 1";
    let (code, stdout, stderr) = host.run(&HostTask::StopService, &["ROOT/d1", "ROOT/d2"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("would be lost") && stderr.contains("log/segments"), "{stderr}");
    assert!(!host.was_stopped());
    let (code, _, stderr) = host.run(&HostTask::StopService, &["ROOT/d1", "ROOT/log"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("replays the commit log, which moves") && host.was_stopped(), "{stderr}");
}

#[test]
fn a_drain_that_succeeds_leaves_nothing_in_the_commit_log() {
    let host = Host::new(JBOD, RUNNING);
    let (code, _, stderr) = host.run(&HostTask::StopService, &["ROOT/d1"]);
    assert_eq!((code, stderr.as_str(), host.asked().trim()), (0, "", "drain"));
}

#[test]
fn a_service_that_failed_or_is_ending_is_not_drained_and_needs_its_commit_log() {
    for state in ["failed", "deactivating"] {
        let mut host = Host::new(JBOD, RUNNING);
        host.state = state;
        let (code, _, stderr) = host.run(&HostTask::StopService, &["ROOT/d1"]);
        assert!(code == 1 && stderr.contains("would be lost"), "{state}: {stderr}");
        let (code, _, stderr) = host.run(&HostTask::StopService, &["ROOT/log"]);
        assert_eq!((code, host.asked().as_str()), (0, ""), "{state}: {stderr}");
    }
}

#[test]
fn a_service_that_is_still_activating_may_serve_and_is_drained() {
    let mut host = Host::new(JBOD, RUNNING);
    host.state = "activating";
    let (code, _, stderr) = host.run(&HostTask::StopService, &["ROOT/d1"]);
    assert_eq!((code, host.asked().trim()), (0, "drain"), "{stderr}");
}

#[test]
fn a_stop_that_was_done_before_asks_nothing_more() {
    let mut host = Host::new(JBOD, &[]);
    host.state = "inactive";
    let (code, _, stderr) = host.run(&HostTask::StopService, &["ROOT/d1"]);
    assert_eq!((code, stderr.as_str(), host.asked().as_str()), (0, "", ""));
}

#[test]
fn a_member_that_a_failed_stop_left_drained_is_started_anew_and_one_that_serves_is_not() {
    for (mode, stops) in [("NORMAL", false), ("DRAINED", true), ("DRAINING", true)] {
        let mut host = Host::new(JBOD, RUNNING);
        host.nodetool = match mode {
            "NORMAL" => "echo 'Mode: NORMAL'",
            "DRAINED" => "echo 'Mode: DRAINED'",
            _ => "echo 'Mode: DRAINING'",
        };
        let (code, _, stderr) = host.run(&HostTask::StartService, &[]);
        assert_eq!(code, 0, "{stderr}");
        assert!(host.path("started").exists());
        assert_eq!(host.path("was-stopped").exists(), stops, "{mode}");
    }
}

#[test]
fn a_drained_process_that_its_unit_does_not_have_is_ended_before_the_start() {
    let mut host = Host::new(JBOD, RUNNING);
    host.state = "inactive";
    // A unit that is not active stops nothing; `kill` ends the process, and no other.
    host.more = "kill() { echo \"killed $*\" >> ROOT/log-of-kill; rm ROOT/proc/7/cmdline; }\nsystemctl() { case $1 in start) : > ROOT/started ;; is-active) return 3 ;; esac; }\n";
    for (mode, killed) in [("NORMAL", ""), ("DRAINED", "killed 7\n")] {
        host.nodetool = if mode == "NORMAL" { "echo 'Mode: NORMAL'" } else { "echo 'Mode: DRAINED'" };
        let (code, _, stderr) = host.run(&HostTask::StartService, &[]);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(std::fs::read_to_string(host.path("log-of-kill")).unwrap_or_default(), killed);
        assert!(host.path("started").exists());
    }
}

#[test]
fn of_two_processes_none_is_ended_and_nothing_is_started() {
    let mut host = Host::new(JBOD, RUNNING);
    (host.state, host.nodetool) = ("inactive", "echo 'Mode: DRAINED'");
    std::fs::create_dir(host.path("proc/8")).unwrap();
    std::fs::copy(host.path("proc/7/cmdline"), host.path("proc/8/cmdline")).unwrap();
    host.more = "kill() { : > ROOT/log-of-kill; }\nsystemctl() { case $1 in start) : > ROOT/started ;; is-active) return 3 ;; esac; }\n";
    let (code, _, stderr) = host.run(&HostTask::StartService, &[]);
    assert!(code == 1 && stderr.contains("which one was drained"), "{stderr}");
    assert!(!host.path("log-of-kill").exists() && !host.path("started").exists());
}

#[test]
fn a_processs_control_group_is_told_as_systemd_has_it() {
    for (groups, wanted) in [
        ("0::/system.slice/cassandra.service\n", "/system.slice/cassandra.service"),
        ("9:memory:/x\n1:name=systemd:/system.slice/docker-0a.scope\n0::/y\n", "/system.slice/docker-0a.scope"),
    ] {
        let host = Host::new(JBOD, RUNNING);
        host.write("proc/7/cgroup", groups);
        let found = host.report().service.processes;
        assert_eq!(found, Some(vec![HostProcess { pid: 7, control_group: wanted.to_owned() }]));
    }
    assert_eq!(Host::new(JBOD, &[]).report().service.processes, Some(Vec::new()));
}

#[test]
fn the_identity_is_read_where_cassandras_own_tables_are() {
    let host = Host::new("data_file_directories:\n  - ROOT/d1\n", &[]);
    let absent = |dir: &str| host.at(&format!("no system.local in ROOT/{dir}"));
    let read = HostTask::ReadIdentity { part: 0 };
    assert!(host.run(&read, &[]).2.contains(&absent("d1")));
    let config = host.at("data_file_directories: [ROOT/d1]\nlocal_system_data_file_directory: ROOT/d2\n");
    std::fs::write(host.path("cassandra.yaml"), config).unwrap();
    assert!(host.run(&read, &[]).2.contains(&absent("d2")));
}

#[test]
fn who_may_come_in_and_what_is_encrypted_is_told_as_each_version_writes_it() {
    let all = |pairs: [(&str, &str); 8]| pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let (server, client) = ("server_encryption_options.internode_encryption", "client_encryption_options.enabled");
    let old = "authenticator: PasswordAuthenticator\nauthorizer: org.apache.cassandra.auth.CassandraAuthorizer # ours\n\
               role_manager: CassandraRoleManager\ncommitlog_sync: batch\ncdc_enabled: Yes\nnetwork_authorizer: CassandraNetworkAuthorizer\n\
               server_encryption_options:\n    # none, dc, rack, all\n    \
               internode_encryption: all\n    keystore: conf/.keystore\nclient_encryption_options:\n    enabled: True\n    optional: false\n";
    let new = "authenticator:\n  class_name : org.apache.cassandra.auth.PasswordAuthenticator\n  parameters:\n    - x: y\nauthorizer:\n  \
               class_name: CassandraAuthorizer\nrole_manager:\n  - class_name: CassandraRoleManager\ncommitlog_sync: batch\ncdc_enabled: true\n\
               network_authorizer:\n  class_name: CassandraNetworkAuthorizer\n\
               server_encryption_options:\n  internode_encryption: \"all\"\nclient_encryption_options:\n  #enabled: false\n  enabled: true\n";
    for config in [old, new] {
        let wanted: BTreeMap<String, String> = all([
            ("authenticator", "PasswordAuthenticator"),
            ("authorizer", "CassandraAuthorizer"),
            ("role_manager", "CassandraRoleManager"),
            ("commitlog_sync", "batch"),
            ("cdc_enabled", "true"),
            ("network_authorizer", "CassandraNetworkAuthorizer"),
            (server, "all"),
            (client, "true"),
        ]);
        assert_eq!(Host::new(config, RUNNING).settings(), wanted, "{config}");
    }
    assert_eq!(Host::new("#authenticator: PasswordAuthenticator\n", RUNNING).settings(), BTreeMap::new());
}
