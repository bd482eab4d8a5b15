//! Scripts through a real `ssh` to a real `sshd` on loopback. Skipped, with a word, where there is none or no root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rehome_model::ids::InstanceId;
use rehome_model::migration::SshAccess;
use rehome_model::task::HostTask;
use rehome_ports::{HostScript, Hosts, ScriptError, ScriptOutput};
use rehome_ssh::OpenSsh;
use tempfile::TempDir;
use tokio::time::Instant;

const SSHD: &str = "/usr/sbin/sshd";
/// How long sshd may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A server with keys of its own, and an ssh configuration that reaches it.
struct Server {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// None, with a word, if there can be none here.
    fn start() -> Option<Self> {
        let user = Command::new("id").arg("-u").output().unwrap().stdout;
        if !Path::new(SSHD).exists() || user != b"0\n" {
            eprintln!("skipped: needs {SSHD} and root");
            return None;
        }
        // sshd's own directory for its unprivileged child (Debian makes it at boot).
        fs::create_dir_all("/run/sshd").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["host", "user"] {
            keygen(&path(name));
        }
        fs::copy(path("user.pub"), path("authorized")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let here = directory.path().display();
        let settings = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {here}/host\nAuthorizedKeysFile {here}/authorized\n\
             StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nLogLevel INFO\n"
        );
        fs::write(path("sshd_config"), settings).unwrap();
        let key = fs::read_to_string(path("host.pub")).unwrap();
        fs::write(path("known"), format!("[127.0.0.1]:{port} {key}")).unwrap();
        let client = format!(
            "Host *\nUser root\nIdentityFile {here}/user\nIdentitiesOnly yes\nIdentityAgent none\n\
             UserKnownHostsFile {here}/known\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
        );
        fs::write(path("config"), client).unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let mut sshd = Command::new(SSHD);
        sshd.args(["-D", "-e", "-f"]).arg(path("sshd_config")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = sshd.spawn().unwrap();
        Some(Self { directory, port, process })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn hosts(&self) -> OpenSsh {
        let access = SshAccess {
            user: None,
            config_file: Some(self.path("config").display().to_string()),
            port: Some(self.port),
        };
        OpenSsh::new(access, BTreeMap::from([(InstanceId::from("i-1"), "127.0.0.1".to_owned())]))
    }

    /// Runs a script as soon as the server listens.
    async fn first(&self, hosts: &OpenSsh, text: &str) -> Result<ScriptOutput, ScriptError> {
        let started = Instant::now();
        loop {
            match run(hosts, text, 30).await {
                Err(ScriptError::Unreachable { .. }) if started.elapsed() < START_LIMIT => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                end => return end,
            }
        }
    }
}

fn keygen(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(made.success());
}

async fn run(hosts: &OpenSsh, text: &str, limit_s: u32) -> Result<ScriptOutput, ScriptError> {
    let script = HostScript { task: HostTask::Flush, text: text.to_owned(), limit_s };
    hosts.run(&InstanceId::from("i-1"), &script).await
}

#[tokio::test]
async fn scripts_run_as_root_over_one_kept_connection() {
    let Some(server) = Server::start() else { return };
    let hosts = server.hosts();
    let output = server.first(&hosts, "id -u\ncat\necho err >&2\nexit 7").await.unwrap();
    let expected = ScriptOutput { exit_code: 7, stdout: "0\n".to_owned(), stderr: "err\n".to_owned() };
    assert_eq!(output, expected);
    for number in 0..3 {
        assert_eq!(run(&hosts, &format!("echo {number}"), 30).await.unwrap().stdout, format!("{number}\n"));
    }
    hosts.close().await;
    let log = fs::read_to_string(server.path("log")).unwrap();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");
}

#[tokio::test]
async fn a_large_output_arrives_whole() {
    let Some(server) = Server::start() else { return };
    let hosts = server.hosts();
    let output = server.first(&hosts, "head -c 1000000 /dev/zero | tr '\\0' x").await.unwrap();
    hosts.close().await;
    assert_eq!(output.stdout.len(), 1_000_000);
}

#[tokio::test]
async fn a_script_over_its_limit_is_ended_on_the_far_side() {
    let Some(server) = Server::start() else { return };
    let hosts = server.hosts();
    server.first(&hosts, "true").await.unwrap();
    let mark = server.path("asked");
    let text = format!("trap 'touch {}; exit 1' TERM\nwhile :; do sleep 0.1; done", mark.display());
    let error = run(&hosts, &text, 1).await.unwrap_err();
    hosts.close().await;
    assert!(matches!(error, ScriptError::TimedOut { .. }), "{error:?}");
    assert!(mark.exists());
}

#[tokio::test]
async fn a_server_with_another_key_than_the_known_one_is_refused() {
    let Some(server) = Server::start() else { return };
    keygen(&server.path("other"));
    let key = fs::read_to_string(server.path("other.pub")).unwrap();
    fs::write(server.path("known"), format!("[127.0.0.1]:{} {key}", server.port)).unwrap();
    let error = server.first(&server.hosts(), "true").await.unwrap_err();
    let ScriptError::Refused { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("Host key verification failed"), "{reason}");
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_not_let_in() {
    let Some(server) = Server::start() else { return };
    fs::write(server.path("authorized"), "").unwrap();
    let error = server.first(&server.hosts(), "true").await.unwrap_err();
    let ScriptError::NotLetIn { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("Permission denied (publickey)"), "{reason}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_unreachable() {
    let Some(mut server) = Server::start() else { return };
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let error = run(&server.hosts(), "true", 30).await.unwrap_err();
    let ScriptError::Unreachable { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("Connection refused"), "{reason}");
}
