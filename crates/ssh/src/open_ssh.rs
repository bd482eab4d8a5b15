//! The port.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rehome_model::ids::InstanceId;
use rehome_model::migration::SshAccess;
use rehome_ports::{HostScript, Hosts, ScriptError, ScriptOutput};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::addresses::Addresses;
use crate::arguments::{CONNECT_LIMIT_S, options};
use crate::child;
use crate::ending::answer;
use crate::payload::{remote_command, standard_input};

/// How long after the script's own limit its end may take to arrive. More than the time between asking a script to
/// end and killing it.
const REPORT_LIMIT: Duration = Duration::from_secs(20);
/// How long closing a kept connection may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Scripts by the user's own `ssh`. Connections are kept for a while and shared between scripts.
pub struct OpenSsh {
    program: PathBuf,
    access: SshAccess,
    addresses: Addresses,
    known: Mutex<Known>,
}

/// Hosts that were asked for, and the directory of their connections' sockets.
#[derive(Default)]
struct Known {
    /// Only this user can enter it. Removed with this value.
    sockets: Option<TempDir>,
    hosts: BTreeMap<InstanceId, Host>,
}

#[derive(Clone)]
struct Host {
    address: String,
    /// Short: a socket's path has room for about a hundred characters.
    socket: PathBuf,
}

impl OpenSsh {
    /// Hosts at given addresses (a map), or at their private ones (a cloud).
    pub fn new(access: SshAccess, addresses: impl Into<Addresses>) -> Self {
        let program = PathBuf::from("ssh");
        Self { program, access, addresses: addresses.into(), known: Mutex::default() }
    }

    /// With another ssh program than the `ssh` of the `PATH`.
    #[must_use]
    pub fn with_program(self, program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), ..self }
    }

    /// Closes the kept connections now and not a minute later. A connection that is gone already is no error.
    pub async fn close(&self) {
        let hosts: Vec<Host> = self.known.lock().await.hosts.values().cloned().collect();
        for host in hosts.iter().filter(|host| host.socket.exists()) {
            let mut command = self.command(host);
            command.args(["-O", "exit", "--", &host.address]);
            if let Err(error) = child::run(&mut command, String::new(), CLOSE_LIMIT).await {
                tracing::debug!(address = host.address, %error, "a kept connection could not be closed");
            }
        }
    }

    fn command(&self, host: &Host) -> Command {
        let mut command = Command::new(&self.program);
        command.args(options(&self.access, &host.socket));
        command
    }

    async fn host(&self, instance: &InstanceId) -> Result<Host, ScriptError> {
        if let Some(host) = self.known.lock().await.hosts.get(instance) {
            return Ok(host.clone());
        }
        let address = self.addresses.find(instance).await?;
        let mut known = self.known.lock().await;
        let socket = known.socket().map_err(|error| {
            let reason = format!("no directory for sockets of ssh connections can be made here: {error}");
            ScriptError::Refused { target: instance.to_string(), reason }
        })?;
        // Two first scripts at once may both come here: the first one's socket stays.
        Ok(known.hosts.entry(instance.clone()).or_insert(Host { address, socket }).clone())
    }
}

impl Known {
    /// A socket for one more host.
    fn socket(&mut self) -> io::Result<PathBuf> {
        let sockets = match self.sockets.take() {
            Some(sockets) => sockets,
            None => tempfile::Builder::new().prefix("rehome-").tempdir()?,
        };
        Ok(self.sockets.insert(sockets).path().join(self.hosts.len().to_string()))
    }
}

#[async_trait]
impl Hosts for OpenSsh {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        let host = self.host(instance).await?;
        let mut command = self.command(&host);
        command.args(["--", &host.address, &remote_command(script.limit_s)]);
        let limit = Duration::from_secs(u64::from(CONNECT_LIMIT_S) + u64::from(script.limit_s)) + REPORT_LIMIT;
        let started = Instant::now();
        let ended = child::run(&mut command, standard_input(&script.text), limit).await;
        let ended = ended.map_err(|error| {
            let reason = format!("{} cannot be run here: {error}", self.program.display());
            ScriptError::Refused { target: instance.to_string(), reason }
        })?;
        answer(format!("{instance} ({})", host.address), script, started.elapsed(), ended)
    }
}
