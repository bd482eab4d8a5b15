//! How a stopped unit is held and let go again, and what a script says of whose it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{cassandra, run};
use rehome_model::task::HostTask;
use rehome_profiles::ScriptContext;

/// Runs a task's script on a host whose systemctl is this shell function's body, with its units in a folder of the test.
fn run_with_systemctl(task: &HostTask, units: &Path, systemctl: &str) -> (i32, String, String) {
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let script = cassandra().host_script(task, &context);
    let moved = script.replace("/etc/systemd/system", &units.display().to_string());
    assert_ne!(script, moved);
    run(&format!("systemctl() {{\n{systemctl}\n}}\n{moved}"))
}

/// A unit that is itself a file in /etc, which systemd refuses to mask; a drop-in is seen once it is there.
const UNMASKABLE: &str = r#"
case "$*" in
  mask*) return 1 ;;
  *LoadState*) echo LoadState=loaded ;;
  *DropInPaths*) echo DropInPaths=$(ls "$SYSTEMD/$UNIT.d"/* 2>/dev/null) ;;
  *ActiveState*) echo ActiveState=inactive ;;
  is-active*) return 3 ;;
esac"#;

#[test]
fn a_unit_that_cannot_be_masked_is_held_by_an_assertion_and_let_go_again() {
    let units = tempfile::tempdir().unwrap();
    let hold = units.path().join("cassandra.service.d/rehome-hold.conf");
    let (code, stdout, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), UNMASKABLE);
    assert_eq!((code, stdout.trim()), (0, r#"{"answer":"done"}"#), "{stderr}");
    assert!(std::fs::read_to_string(&hold).unwrap().contains("AssertPathExists=/nonexistent/"));
    let (code, _, stderr) = run_with_systemctl(&HostTask::StartService, units.path(), UNMASKABLE);
    assert_eq!(code, 0, "{stderr}");
    assert!(!hold.exists());
}

#[test]
fn whoever_else_uses_a_mount_point_is_named() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let process = |pid: u32, name: &str, link: &str, to: &Path| {
        let folder = root.path().join(format!("proc/{pid}"));
        std::fs::create_dir_all(folder.join("fd")).unwrap();
        std::fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
        std::fs::write(folder.join("cmdline"), name).unwrap();
        std::os::unix::fs::symlink(to, folder.join(link)).unwrap();
    };
    process(7, "bash", "cwd", &data);
    process(8, "agent", "fd/3", &data.join("logs/system.log"));
    process(9, "other", "fd/3", &root.path().join("data-of-others/file"));
    process(10, "sleep", "cwd", root.path());
    process(11, "java", "fd/3", &data.join("commitlog"));
    let arguments = ["java", "org.apache.cassandra.service.CassandraDaemon"].join("\0") + "\0";
    std::fs::write(root.path().join("proc/11/cmdline"), arguments).unwrap();
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let task = HostTask::Unmount { mount_points: vec![data.display().to_string()] };
    let script = cassandra().host_script(&task, &context);
    let script = script.replace("\"/proc/", &format!("\"{}/proc/", root.path().display()));
    let fakes = "systemctl() { :; }\nfindmnt() { echo xfs; }\numount() { return 32; }";
    let (code, _, stderr) = run(&format!("{fakes}\n{script}"));
    let data = data.display();
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("{data} is busy: 7 bash {data};8 agent {data}/logs/system.log;")), "{stderr}");
}

/// A unit that systemd masks.
const MASKABLE: &str = r#"
case "$*" in
  *LoadState*) echo LoadState=masked ;;
  *ActiveState*) echo ActiveState=inactive ;;
  is-active*) return 3 ;;
esac"#;

#[test]
fn a_masked_unit_is_held_too_for_the_day_that_somebody_unmasks_it() {
    let units = tempfile::tempdir().unwrap();
    let hold = units.path().join("cassandra.service.d/rehome-hold.conf");
    let (code, _, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), MASKABLE);
    assert_eq!(code, 0, "{stderr}");
    assert!(std::fs::read_to_string(&hold).unwrap().contains("AssertPathExists=/nonexistent/"));
    let (code, _, stderr) = run_with_systemctl(&HostTask::StartService, units.path(), MASKABLE);
    assert_eq!(code, 0, "{stderr}");
    assert!(!hold.exists());
}

/// A unit whose own ExecStop ends what its control group does not have: systemd forgets it once the unit is masked.
const STOPS_ITSELF: &str = r#"
case "$*" in
  mask*) : > "$SYSTEMD/masked" ;;
  unmask*) rm -f "$SYSTEMD/masked" ;;
  daemon-reload) [ ! -e "$SYSTEMD/masked" ] || : > "$SYSTEMD/forgotten" ;;
  *LoadState*) if [ -e "$SYSTEMD/masked" ]; then echo LoadState=masked; else echo LoadState=loaded; fi ;;
  *DropInPaths*) [ -e "$SYSTEMD/masked" ] || echo DropInPaths=$(ls "$SYSTEMD/$UNIT.d"/* 2>/dev/null) ;;
  *ActiveState*) if [ -e "$SYSTEMD/stopped" ]; then echo ActiveState=inactive; else echo ActiveState=active; fi ;;
  stop*) : > "$SYSTEMD/stopped"; [ -e "$SYSTEMD/forgotten" ] || rm "$SYSTEMD/process" ;;
esac"#;

#[test]
fn a_unit_is_stopped_as_its_own_file_says_and_held_all_the_while() {
    let units = tempfile::tempdir().unwrap();
    let hold = units.path().join("cassandra.service.d/rehome-hold.conf");
    std::fs::write(units.path().join("process"), "").unwrap();
    // What is asked to drain is held by then.
    let fakes = format!(
        "{STOPS_ITSELF}\n}}\nnodetool() {{ [ -s {0} ] && : > {1}; }}\ngrep() {{ case $1 in -lzx) [ ! -e {2} ] || echo /proc/7/cmdline ;; *) command grep \"$@\" ;; esac",
        hold.display(),
        units.path().join("drained").display(),
        units.path().join("process").display()
    );
    let (code, _, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), &fakes);
    assert_eq!(code, 0, "{stderr}");
    assert!(units.path().join("drained").exists() && !units.path().join("process").exists());
    assert!(units.path().join("masked").exists() && hold.exists());
}

#[test]
fn a_masked_unit_is_enough_where_no_drop_in_can_be_written() {
    let units = tempfile::tempdir().unwrap();
    // A file where the folder should be, as if the root volume were full.
    std::fs::write(units.path().join("cassandra.service.d"), "").unwrap();
    let (code, _, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), MASKABLE);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), UNMASKABLE);
    assert!(code == 1 && stderr.contains("rehome-hold.conf cannot be written"), "{stderr}");
}

/// Runs a task's script for a run, on a host whose folders are the test's.
fn run_for(task: &HostTask, of: &str, root: &Path) -> (i32, String, String) {
    let (settings, id) = (BTreeMap::new(), rehome_model::ids::RunId(of.to_owned()));
    let context = ScriptContext { run: Some(&id), step: None, settings: &settings, mount_paths: &[] };
    let mut script = cassandra().host_script(task, &context);
    for folder in ["/etc/systemd/system", "/var/lib/rehome", "/run/rehome"] {
        script = script.replace(folder, &format!("{}{folder}", root.display()));
    }
    script = script.replace("\nLOCK_S=300\n", "\nLOCK_S=1\n");
    std::fs::create_dir_all(root.join("etc/systemd/system")).unwrap();
    run(&format!("systemctl() {{\n{UNMASKABLE}\n}}\n{script}"))
}

#[test]
fn a_script_that_comes_after_its_run_was_taken_back_does_nothing() {
    let root = tempfile::tempdir().unwrap();
    let hold = root.path().join("etc/systemd/system/cassandra.service.d/rehome-hold.conf");
    for forward in [HostTask::StopService, HostTask::Unmount { mount_points: vec!["/nonexistent".to_owned()] }] {
        assert_eq!(run_for(&forward, "lab-1", root.path()).0, 0, "{forward:?}");
    }
    assert_eq!(run_for(&HostTask::StartService, "lab-1", root.path()).0, 0);
    for late in [HostTask::StopService, HostTask::Unmount { mount_points: Vec::new() }, HostTask::Flush] {
        let (code, stdout, stderr) = run_for(&late, "lab-1", root.path());
        assert_eq!((code, stdout.as_str()), (1, ""), "{late:?}");
        assert!(stderr.contains("run lab-1 was taken back here"), "{stderr}");
    }
    assert!(!hold.exists());
    // Another run of the same migration goes forward, and this one can be taken back once more.
    assert_eq!(run_for(&HostTask::StopService, "lab-2", root.path()).0, 0);
    assert_eq!(run_for(&HostTask::StartService, "lab-1", root.path()).0, 0);
}

#[test]
fn where_the_root_volume_is_full_the_word_lasts_until_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    // A file where the folder should be: it cannot be made.
    std::fs::create_dir_all(root.path().join("var/lib")).unwrap();
    std::fs::write(root.path().join("var/lib/rehome"), "").unwrap();
    assert_eq!(run_for(&HostTask::StartService, "lab-1", root.path()).0, 0);
    let (code, _, stderr) = run_for(&HostTask::StopService, "lab-1", root.path());
    assert!(code == 1 && stderr.contains("taken back"), "{stderr}");
}

#[test]
fn a_word_that_cannot_be_left_on_the_root_volume_does_not_end_the_script() {
    let root = tempfile::tempdir().unwrap();
    // A folder that is there, and takes no file: the root volume was mounted read-only after an error.
    let word = root.path().join("var/lib/rehome/lab-1.taken-back");
    std::fs::create_dir_all(word.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/nonexistent/word", &word).unwrap();
    let (code, _, stderr) = run_for(&HostTask::StartService, "lab-1", root.path());
    assert_eq!(code, 0, "{stderr}");
    assert!(root.path().join("run/rehome/lab-1.taken-back").exists());
}

#[test]
fn scripts_lock_in_a_directory_that_only_root_enters() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let own = root.path().join("run/rehome");
    let mode = || std::fs::metadata(&own).unwrap().permissions().mode() & 0o777;
    assert_eq!(run_for(&HostTask::StartService, "lab-1", root.path()).0, 0);
    assert_eq!(mode(), 0o700);
    // An older build made it for all to enter.
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(run_for(&HostTask::StartService, "lab-1", root.path()).0, 0);
    assert_eq!(mode(), 0o700);
    // What is not root's own is none of it: a link may lead to where all may write.
    std::fs::rename(&own, root.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(root.path().join("elsewhere"), &own).unwrap();
    let (code, stdout, stderr) = run_for(&HostTask::StartService, "lab-1", root.path());
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("run/rehome is not a directory of root's own"), "{stderr}");
}

#[test]
fn a_script_that_waits_for_another_in_vain_says_for_which() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
    let own = root.path().join("run/rehome");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("lock"), "process 7, stop-service of run lab-1\n").unwrap();
    let mut command = std::process::Command::new("flock");
    command.arg("--no-fork").arg(own.join("lock")).args(["sh", "-c", "echo; exec sleep 600"]);
    let mut holder = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    // It says a line once it has the lock.
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let answer = run_for(&HostTask::StartService, "lab-2", root.path());
    holder.kill().unwrap();
    holder.wait().unwrap();
    let (code, stdout, stderr) = answer;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("not at its end here after 1 s: process 7, stop-service of run lab-1"), "{stderr}");
}

#[test]
fn a_service_that_nothing_holds_is_not_called_stopped() {
    let units = tempfile::tempdir().unwrap();
    let blind = "case \"$*\" in *LoadState*) echo LoadState=loaded ;; mask*) return 1 ;; esac";
    let (code, stdout, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), blind);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("neither masked nor held"), "{stderr}");
}

#[test]
fn no_name_ends_the_comment_that_a_script_begins_with() {
    let (settings, step) = (BTreeMap::new(), "flush:db\ntouch /tmp/owned\r".into());
    let context = ScriptContext { run: None, step: Some(&step), settings: &settings, mount_paths: &[] };
    let script = cassandra().host_script(&HostTask::Flush, &context);
    assert!(script.starts_with("# rehome flush run survey step flush:db?touch /tmp/owned?\nUNIT="), "{script}");
}

#[test]
fn scripts_say_which_run_and_step_they_belong_to_and_quote_settings() {
    let settings = BTreeMap::from([("unit".to_owned(), "it's.service".to_owned())]);
    let (step, run) = ("stop-service:cassandra-0".into(), "run-1".into());
    let context = ScriptContext { run: Some(&run), step: Some(&step), settings: &settings, mount_paths: &[] };
    let script = cassandra().host_script(&HostTask::StopService, &context);
    assert!(script.starts_with("# rehome stop-service run run-1 step stop-service:cassandra-0\n"), "{script}");
    assert!(script.contains(r"UNIT='it'\''s.service'"));
    assert!(script.find("\nhold\n").unwrap() < script.find("systemctl stop").unwrap());
}
