//! Scripts through an `ssh` that is a shell script: it runs the remote command here, or fails as ssh fails.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rehome_model::ids::InstanceId;
use rehome_model::migration::SshAccess;
use rehome_model::task::HostTask;
use rehome_ports::{ErrorClass, HostScript, Hosts, ScriptError, ScriptOutput};
use rehome_ssh::OpenSsh;
use tempfile::TempDir;

/// Runs the last argument, as a login shell would.
const WORKS: &str = r#"for last; do :; done
exec sh -c "$last"
"#;

struct Machine {
    directory: TempDir,
}

impl Machine {
    /// A machine whose `ssh` is this script. `$HERE` in it is a directory of its own, and `sudo` needs no password.
    fn with(ssh: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().display();
        fs::create_dir(directory.path().join("bin")).unwrap();
        let prelude = format!("HERE='{here}'\nPATH=\"$HERE/bin:$PATH\"\nprintf '%s\\n' \"$@\" >\"$HERE/arguments\"");
        for (name, text) in [("ssh", format!("{prelude}\n{ssh}")), ("bin/sudo", "shift\nexec \"$@\"\n".to_owned())] {
            let path = directory.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn run(&self, text: &str, limit_s: u32) -> Result<ScriptOutput, ScriptError> {
        run(&self.path("ssh"), "i-1", text, limit_s).await
    }
}

async fn run(program: &std::path::Path, instance: &str, text: &str, limit_s: u32) -> Result<ScriptOutput, ScriptError> {
    let addresses = BTreeMap::from([(InstanceId::from("i-1"), "10.0.0.1".to_owned())]);
    let hosts = OpenSsh::new(SshAccess::default(), addresses).with_program(program);
    let script = HostScript { task: HostTask::Flush, text: text.to_owned(), limit_s };
    hosts.run(&InstanceId::from(instance), &script).await
}

#[tokio::test]
async fn a_script_runs_and_its_output_and_exit_code_come_back() {
    let output = Machine::with(WORKS).run("echo out; echo err >&2; exit 7", 30).await.unwrap();
    let expected = ScriptOutput { exit_code: 7, stdout: "out\n".to_owned(), stderr: "err\n".to_owned() };
    assert_eq!(output, expected);
}

#[tokio::test]
async fn the_address_stands_after_two_dashes_so_that_it_is_never_an_option() {
    let machine = Machine::with(WORKS);
    machine.run("true", 30).await.unwrap();
    let arguments = fs::read_to_string(machine.path("arguments")).unwrap();
    assert!(arguments.contains("\n--\n10.0.0.1\n"), "{arguments}");
    assert!(arguments.contains("BatchMode=yes"), "{arguments}");
}

#[tokio::test]
async fn a_command_that_reads_its_standard_input_does_not_eat_the_rest_of_the_script() {
    let output = Machine::with(WORKS).run("cat\necho 'still here'", 30).await.unwrap();
    assert_eq!(output.stdout, "still here\n");
}

#[tokio::test]
async fn a_script_that_arrives_in_part_runs_not_at_all() {
    let machine = Machine::with("for last; do :; done\nhead -n 3 | sh -c \"$last\" || exit 255\n");
    let text = format!("touch '{}'\ntrue\n", machine.path("ran").display());
    let error = machine.run(&text, 30).await.unwrap_err();
    assert!(matches!(error, ScriptError::Unreachable { .. }), "{error:?}");
    assert!(!machine.path("ran").exists());
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_unreachable() {
    let machine = Machine::with("echo 'ssh: connect to host 10.0.0.1 port 22: Connection refused' >&2; exit 255\n");
    let error = machine.run("true", 30).await.unwrap_err();
    let ScriptError::Unreachable { target, reason } = error else { panic!("{error:?}") };
    assert_eq!(target, "i-1 (10.0.0.1)");
    assert_eq!(reason, "ssh: connect to host 10.0.0.1 port 22: Connection refused");
}

#[tokio::test]
async fn a_host_that_takes_none_of_our_keys_is_a_matter_of_credentials() {
    for said in [
        "admin@10.0.0.1: Permission denied (publickey).",
        "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures",
    ] {
        let error = Machine::with(&format!("echo '{said}' >&2; exit 255\n")).run("true", 30).await.unwrap_err();
        assert!(matches!(&error, ScriptError::NotLetIn { reason, .. } if reason == said), "{error:?}");
        assert_eq!((error.class(), error.may_pass_after_boot()), (ErrorClass::Credentials, true));
    }
}

#[tokio::test]
async fn a_host_that_is_another_one_is_refused_for_good_whatever_else_it_says() {
    for said in
        ["Host key verification failed.", "Host key verification failed.\nadmin@jump: Permission denied (publickey)."]
    {
        let error = Machine::with(&format!("echo '{said}' >&2; exit 255\n")).run("true", 30).await.unwrap_err();
        assert_eq!((error.class(), error.may_pass_after_boot()), (ErrorClass::Stop, false), "{error:?}");
    }
}

#[tokio::test]
async fn a_sudo_that_wants_a_password_is_told_as_it_says_it() {
    let machine = Machine::with("cat >/dev/null; echo 'sudo: a password is required' >&2; exit 1\n");
    let error = machine.run("true", 30).await.unwrap_err();
    assert_eq!(error.to_string(), "i-1 (10.0.0.1): sudo: a password is required");
    assert_eq!((error.class(), error.may_pass_after_boot()), (ErrorClass::Stop, true));
}

#[tokio::test]
async fn a_connection_lost_while_the_script_runs_leaves_a_script_that_may_run() {
    let machine = Machine::with("for last; do :; done\nsh -c \"$last\"\necho 'closed by remote host' >&2\nexit 255\n");
    let error = machine.run("true", 30).await.unwrap_err();
    // Its time was not over.
    let ScriptError::EndUnknown { reason, .. } = &error else { panic!("{error:?}") };
    assert_eq!(reason, "closed by remote host");
}

#[tokio::test]
async fn a_connection_lost_when_the_scripts_time_is_over_timed_out() {
    let machine = Machine::with("for last; do :; done\nsh -c \"$last\"\nsleep 1\nexit 255\n");
    let error = machine.run("true", 1).await.unwrap_err();
    assert!(matches!(error, ScriptError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn a_scripts_own_255_is_not_taken_for_sshs() {
    assert_eq!(Machine::with(WORKS).run("exit 255", 30).await.unwrap().exit_code, 254);
}

#[tokio::test]
async fn a_script_over_its_limit_is_asked_to_end_where_it_runs() {
    let machine = Machine::with(WORKS);
    let text = format!("trap 'touch {}; exit 1' TERM\nwhile :; do sleep 0.1; done", machine.path("asked").display());
    let error = machine.run(&text, 1).await.unwrap_err();
    assert!(matches!(&error, ScriptError::TimedOut { limit_s: 1, .. }), "{error:?}");
    assert!(machine.path("asked").exists());
}

#[tokio::test]
async fn a_background_process_that_keeps_the_pipe_open_does_not_hold_the_answer_up() {
    // As the process that keeps a connection does in some versions of ssh.
    let machine = Machine::with(&format!("sleep 600 >&2 &\necho $! >\"$HERE/background\"\n{WORKS}"));
    let end = tokio::time::timeout(Duration::from_secs(60), machine.run("echo out", 30)).await;
    let background = fs::read_to_string(machine.path("background")).unwrap();
    Command::new("kill").arg(background.trim()).status().unwrap();
    assert_eq!(end.unwrap().unwrap().stdout, "out\n");
}

#[tokio::test]
async fn an_instance_without_an_address_is_refused_by_name() {
    let error = run(&Machine::with(WORKS).path("ssh"), "i-2", "true", 1).await.unwrap_err();
    assert_eq!(error.to_string(), "i-2: no address of it is known");
}

#[tokio::test]
async fn a_missing_ssh_is_told() {
    let error = run(std::path::Path::new("/nonexistent/ssh"), "i-1", "true", 1).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ssh cannot be run here"), "{error}");
}
