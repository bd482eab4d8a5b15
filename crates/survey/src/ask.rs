//! How hosts are asked: more than once where that may help, and in parts.

use std::time::Duration;

use rehome_model::ids::InstanceId;
use rehome_ports::{HostScript, Hosts, ScriptError, ScriptOutput};
use rehome_profiles::{Parts, Profile, ScriptContext};

/// How long a host may take to be looked at, in seconds.
pub(crate) const HOST_SURVEY_S: u32 = 120;
/// Hosts asked at the same time.
pub(crate) const HOSTS_AT_ONCE: usize = 16;
/// Before a host that could not be asked is asked again.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9)];
/// Before what changed while it was read is read once more.
const CHANGED_WITHIN: Duration = Duration::from_secs(2);

/// Runs a script that only looks, and may have run before. A call that was throttled, a connection that broke, or a reply that
/// was lost is no reason to call a member unseen. One that took all its time is not asked again.
pub(crate) async fn ask(
    hosts: &dyn Hosts,
    instance: &InstanceId,
    script: &HostScript,
) -> Result<ScriptOutput, ScriptError> {
    for pause in PAUSES {
        match hosts.run(instance, script).await {
            Err(ScriptError::Unreachable { .. } | ScriptError::EndUnknown { .. }) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    hosts.run(instance, script).await
}

/// Asks for an answer that comes in parts.
pub(crate) async fn whole(
    hosts: &dyn Hosts,
    profile: &dyn Profile,
    context: &ScriptContext<'_>,
    instance: &InstanceId,
    mut parts: Parts,
) -> Result<Vec<u8>, String> {
    loop {
        let task = parts.task();
        let text = profile.host_script(&task, context);
        let script = HostScript { task, text, limit_s: HOST_SURVEY_S };
        let output = ask(hosts, instance, &script).await.map_err(|error| error.to_string())?;
        if output.exit_code != 0 {
            return Err(format!("the script ended with exit code {}: {}", output.exit_code, output.stderr.trim()));
        }
        let answer = profile.read_host_answer(&script.task, &output.stdout).map_err(|error| error.to_string())?;
        if let Some(answer) = parts.add(answer).map_err(|error| error.to_string())? {
            return Ok(answer);
        }
    }
}

/// Reads once more what could not be read: it may have changed while it was.
pub(crate) async fn twice<T>(read: impl AsyncFn() -> Result<T, String>) -> Result<T, String> {
    match read().await {
        Err(_) => {
            tokio::time::sleep(CHANGED_WITHIN).await;
            read().await
        }
        found => found,
    }
}
