//! What the Cassandra profile makes of nodetool's words, and the scripts that bring them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;

use common::{HOST_ID, cassandra, fixture, run};
use rehome_model::task::{HostAnswer, HostTask, PodTask};
use rehome_profiles::{Parts, ScriptContext};

#[test]
fn a_view_shows_all_members_up_one_schema_and_open_clients() {
    let view = cassandra().read_pod_view(&String::from_utf8(fixture("view.txt")).unwrap()).unwrap();
    assert_eq!(view.address, "10.78.1.10");
    assert!(view.clients_open);
    assert_eq!(view.schema_versions, ["d03783d7-b468-3c1a-82f1-8e30b2edde8b"]);
    let members: Vec<(&str, bool)> = view.members.iter().map(|m| (m.address.as_str(), m.up)).collect();
    assert_eq!(members, [("10.78.1.12", true), ("10.78.1.10", true), ("10.78.1.11", true)]);
}

/// The script of `view` where nodetool prints what the fixture has, with this as the cluster's description; and which
/// commands it was called with.
fn view_where_describecluster_prints(cluster: &str) -> (rehome_model::answer::MemberView, String) {
    let root = tempfile::tempdir().unwrap();
    let view = String::from_utf8(fixture("view.txt")).unwrap();
    for section in view.split("@@ ").skip(1) {
        let (name, text) = section.split_once('\n').unwrap();
        std::fs::write(root.path().join(name), text).unwrap();
    }
    std::fs::write(root.path().join("describecluster"), cluster).unwrap();
    std::fs::write(root.path().join("version"), "ReleaseVersion: 3.11.19\n").unwrap();
    let nodetool = format!("nodetool() {{ cat \"{0}/$1\"; echo \"$1\" >> {0}/called; }}", root.path().display());
    let (code, stdout, stderr) =
        run(&format!("{nodetool}\n{}", cassandra().pod_script(&PodTask::View, &BTreeMap::new())));
    assert_eq!(code, 0, "{stderr}");
    let called = std::fs::read_to_string(root.path().join("called")).unwrap();
    (cassandra().read_pod_view(&stdout).unwrap(), called)
}

#[test]
fn the_version_is_the_members_own_in_the_middle_of_an_upgrade() {
    let view = String::from_utf8(fixture("view.txt")).unwrap();
    let (_, cluster) = view.split_once("@@ describecluster\n").unwrap();
    let all = "5.0.9: [10.78.1.12:7000, 10.78.1.10:7000, 10.78.1.11:7000]";
    let some = "4.1.5: [10.78.1.12:7000, 10.78.1.11:7000, 110.78.1.10:7000]\n\t5.0.9: [10.78.1.10:7000]";
    assert!(cluster.contains(all));
    let (seen, called) = view_where_describecluster_prints(&cluster.replace(all, some));
    assert_eq!(seen.identity.version.as_deref(), Some("5.0.9"));
    assert_eq!(called, "info\nstatus\ndescribecluster\n");
}

#[test]
fn names_that_are_not_ascii_are_told_as_the_disk_has_them() {
    // As Java does by its locale.
    let java = r#"nodetool() { case $LC_ALL in *UTF-8) echo "ID : Münster" ;; *) echo "ID : M?nster" ;; esac; }"#;
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let host = cassandra().host_script(&HostTask::View { part: 0 }, &context).replace("| packed", "");
    for script in [host, cassandra().pod_script(&PodTask::View, &settings)] {
        let (code, stdout, stderr) = run(&format!("{java}\n{script}"));
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("Münster") && !stdout.contains('?'), "{stdout}");
    }
}

#[test]
fn tokens_of_another_partitioner_are_not_taken_for_none() {
    let view = String::from_utf8(fixture("view.txt")).unwrap();
    let number = view.lines().find(|line| line.starts_with("Token ")).unwrap().split_once(": ").unwrap().1;
    let random = view.replace(number, "170141183460469231731687303715884105727").replace("Murmur3P", "RandomP");
    let error = cassandra().read_pod_view(&random).unwrap_err().to_string();
    assert!(error.contains("RandomPartitioner, which cannot be moved yet"), "{error}");
    let none: Vec<&str> = view.lines().filter(|line| !line.starts_with("Token ")).collect();
    let error = cassandra().read_pod_view(&none.join("\n")).unwrap_err().to_string();
    assert!(error.contains("has not joined"), "{error}");
}

#[test]
fn cassandra_3_is_asked_for_its_version() {
    let cluster = "Cluster Information:\n\tName: prod\n\tSchema versions:\n\t\tx: [10.78.1.10]\n\n";
    let (seen, called) = view_where_describecluster_prints(cluster);
    assert_eq!(seen.identity.version.as_deref(), Some("3.11.19"));
    assert_eq!(called, "info\nstatus\ndescribecluster\nversion\n");
}

#[test]
fn why_a_member_cannot_be_asked_is_told() {
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let refused = "nodetool() { echo \"nodetool: Failed to connect to '127.0.0.1:7199'\" >&2; return 1; }";
    let fakes = "systemctl() { :; }\nlsblk() { echo '{}'; }\nfindmnt() { echo '{}'; }";
    let of = |task: &HostTask| run(&format!("{refused}\n{fakes}\n{}", cassandra().host_script(task, &context)));
    let (code, stdout, stderr) = of(&HostTask::Survey);
    assert_eq!(code, 0, "{stderr}");
    let HostAnswer::Report(report) = cassandra().read_host_answer(&HostTask::Survey, &stdout).unwrap() else {
        panic!()
    };
    let said = report.view_error.as_deref().unwrap();
    assert!(
        report.view.is_none() && said.contains("127.0.0.1:7199") && said.contains("nodetool info failed"),
        "{said}"
    );
    let (code, stdout, stderr) = of(&HostTask::View { part: 0 });
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("127.0.0.1:7199"), "{stderr}");
}

/// What nodetool prints in a cluster of so many members, with loads that grow from call to call, as a shell function.
fn nodetool_of(members: u64, root: &std::path::Path) -> String {
    let (mut status, mut addresses) = (String::new(), Vec::new());
    for member in 0..members {
        // Host ids are random, and so do not shrink.
        let half = |salt: u64| {
            (member * 2 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        let hex = format!("{:016x}{:016x}", half(1), half(2));
        let id = if member == 0 {
            HOST_ID.to_owned()
        } else {
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        };
        let address = format!("10.78.{}.{}", member / 250, 1 + member % 250);
        status.push_str(&format!("UN  {address}  LOAD.{} GiB  16  0.6%  {id}  a\n", member % 89));
        addresses.push(address);
    }
    let cluster = format!(
        "Cluster Information:\n\tName: prod\n\tSchema versions:\n\t\tx: [{}]\n\nStats for all nodes:\n\tLive: {members}\n\nDatabase versions:\n\t5.0.9: [{}:7000]\n\nKeyspaces:\n\tk -> Replication class: SimpleStrategy\n",
        addresses.join(", "),
        addresses.join(":7000, ")
    );
    let view = String::from_utf8(fixture("view.txt")).unwrap();
    let info = view.split("@@ ").nth(1).unwrap().strip_prefix("info\n").unwrap().replace("80.06 KiB", "LOAD.06 KiB");
    for (name, text) in [("info", info.as_str()), ("status", &status), ("describecluster", &cluster)] {
        std::fs::write(root.join(name), text).unwrap();
    }
    // Each nodetool counts the calls in a file, and has a larger load than the one before.
    let root = root.display();
    format!("nodetool() {{ echo >> {root}/calls; sed \"s/LOAD/$(wc -l < {root}/calls)/\" \"{root}/$1\"; }}")
}

/// The view that a host brings in parts, and how many they were. No part is cut by Run Command.
fn view_in_parts(nodetool: &str) -> (rehome_model::answer::MemberView, u32) {
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let mut parts = Parts::view();
    for count in 1.. {
        let task = parts.task();
        let (code, stdout, stderr) = run(&format!("{nodetool}\n{}", cassandra().host_script(&task, &context)));
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.len() < 24_000, "{} characters", stdout.len());
        if let Some(packed) = parts.add(cassandra().read_host_answer(&task, &stdout).unwrap()).unwrap() {
            return (cassandra().host_view(&packed).unwrap(), count);
        }
    }
    unreachable!()
}

#[test]
fn a_view_of_a_thousand_members_comes_in_parts_though_their_loads_change() {
    for (members, expected) in [(1, 1), (3, 1), (400, 1), (1_000, 2)] {
        let root = tempfile::tempdir().unwrap();
        let (view, parts) = view_in_parts(&nodetool_of(members, root.path()));
        assert_eq!((view.members.len() as u64, parts), (members, expected));
        assert!(view.members.iter().all(|member| member.up));
        assert_eq!(
            (view.identity.version.as_deref(), view.schema_versions.as_slice()),
            (Some("5.0.9"), &["x".to_owned()][..])
        );
    }
}

#[test]
fn what_lasts_of_a_view_is_all_that_is_read() {
    let view = String::from_utf8(fixture("view.txt")).unwrap();
    let root = tempfile::tempdir().unwrap();
    for section in view.split("@@ ").skip(1) {
        let (name, text) = section.split_once('\n').unwrap();
        std::fs::write(root.path().join(name), text).unwrap();
    }
    let (seen, parts) = view_in_parts(&format!("nodetool() {{ cat \"{}/$1\"; }}", root.path().display()));
    assert_eq!((seen, parts), (cassandra().read_pod_view(&view).unwrap(), 1));
}

#[test]
fn a_view_too_long_for_a_survey_is_left_to_be_asked_for() {
    let fakes = "systemctl() { :; }\nlsblk() { echo '{}'; }\nfindmnt() { echo '{}'; }";
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let script = cassandra().host_script(&HostTask::Survey, &context);
    for (members, comes) in [(100, true), (1_000, false)] {
        let root = tempfile::tempdir().unwrap();
        let (code, stdout, stderr) = run(&format!("{}\n{fakes}\n{script}", nodetool_of(members, root.path())));
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.len() < 24_000, "{} characters", stdout.len());
        let answer = cassandra().read_host_answer(&HostTask::Survey, &stdout).unwrap();
        let HostAnswer::Report(report) = answer else { panic!("{answer:?}") };
        assert_eq!((report.view.is_some(), report.view_error), (comes, None));
    }
}

/// A program that says how it was called, and the words that call it.
fn a_nodetool_elsewhere() -> (tempfile::TempDir, String) {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("nodetool'6");
    std::fs::write(&program, "#!/bin/sh\necho \"called with: $*\" >&2\nexit 7\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let words = format!("{} -u $HOME -pwf  /etc/jmx.pw;id", program.display());
    (root, words)
}

#[test]
fn hosts_and_pods_call_nodetool_as_their_settings_say_and_no_shell_reads_the_words() {
    let (_root, words) = a_nodetool_elsewhere();
    let called = |command: &str| format!("called with: -u $HOME -pwf /etc/jmx.pw;id {command}");
    let settings = BTreeMap::from([("nodetool".to_owned(), words.clone())]);
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let (code, _, stderr) = run(&cassandra().host_script(&HostTask::Flush, &context));
    assert!(code == 1 && stderr.contains(&called("flush")), "{stderr}");
    let (_, _, stderr) = run(&cassandra().host_script(&HostTask::View { part: 0 }, &context));
    assert!(stderr.contains(&called("info -T")), "{stderr}");
    // Each side has its own.
    let (code, _, stderr) = run(&cassandra().pod_script(&PodTask::Open, &settings));
    assert!(code == 127 && !stderr.contains("called with"), "{stderr}");
    let settings = BTreeMap::from([("podNodetool".to_owned(), words)]);
    for (task, command) in [
        (PodTask::View, "info -T"),
        (PodTask::Open, "enablebinary"),
        (PodTask::Close, "disablebinary"),
        (PodTask::Drain, "drain"),
    ] {
        let (code, _, stderr) = run(&cassandra().pod_script(&task, &settings));
        assert!(code != 0 && stderr.contains(&called(command)), "{task:?}: {stderr}");
    }
}

#[test]
fn a_nodetool_that_is_not_there_is_named() {
    let settings = BTreeMap::from([("podNodetool".to_owned(), "/opt/none/nodetool -p 7299".to_owned())]);
    let (code, _, stderr) = run(&cassandra().pod_script(&PodTask::View, &settings));
    assert!(code == 1 && stderr.contains("/opt/none/nodetool is not in PATH"), "{stderr}");
}

#[test]
fn a_password_on_nodetools_command_line_is_refused() {
    for name in ["nodetool", "podNodetool"] {
        let check = |value: &str| cassandra().check_setting(name, value);
        for value in ["nodetool -u x -pw y", "nodetool --password y", "nodetool --password=y"] {
            let why = check(value).unwrap_err();
            assert!(why.contains("-pwf FILE") && !why.contains(" y"), "{why}");
        }
        assert!(check(" ").is_err());
        assert_eq!(check("/opt/c/bin/nodetool -u x -pwf /etc/jmx.pw --ssl"), Ok(()));
    }
    assert_eq!(cassandra().check_setting("unit", "-pw"), Ok(()));
}
