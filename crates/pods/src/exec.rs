//! Running a script in a container.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use rehome_ports::{PodScript, Pods, ScriptError, ScriptOutput};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// The most that is kept of each output stream; scripts say what matters in far less.
const OUTPUT_MAX_BYTES: usize = 1 << 20;

/// Exec does not end what it started when the connection ends: `timeout` does, where the image has one
/// that can kill (old ones of busybox cannot).
const ENDED_AT_LIMIT: &str =
    r#"if timeout -k 10 5 true 2>/dev/null; then exec timeout -k 10 "$1" sh -c "$2"; else exec sh -c "$2"; fi"#;
/// How long after the script's own limit its end may take to arrive. More than `timeout` waits before it kills.
const REPORT_LIMIT: Duration = Duration::from_secs(15);
/// Exit codes of a script that `timeout` ended: its own, the shell's for a kill, and busybox' for a plain signal.
const ENDED: [i32; 3] = [124, 137, 143];

/// Pods of a real cluster.
#[derive(Clone)]
pub struct KubePods {
    client: kube::Client,
}

impl KubePods {
    /// The pods that a client reaches.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        script: &PodScript,
    ) -> Result<ScriptOutput, ScriptError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let options = AttachParams::default().container(container).stdout(true).stderr(true);
        let limit = script.limit_s.max(1).to_string();
        let command = ["sh", "-c", ENDED_AT_LIMIT, "sh", limit.as_str(), script.text.as_str()];
        let mut process = pods.exec(pod, command, &options).await.map_err(|error| not_started(pod, &error))?;
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        let status = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        let reading = async { tokio::join!(read(stdout), read(stderr)) };
        tokio::pin!(status, reading);
        let (stdout, stderr, status) = tokio::select! {
            biased;
            (stdout, stderr) = &mut reading => (stdout, stderr, status.await),
            told = &mut status => match told {
                // The streams of a connection that broke do not end by themselves.
                None => (String::new(), String::new(), None),
                told => {
                    let (stdout, stderr) = reading.await;
                    (stdout, stderr, told)
                }
            },
        };
        match exit_code(status.as_ref()) {
            Some(exit_code) => Ok(ScriptOutput { exit_code, stdout, stderr }),
            None if never_began(status.as_ref()) => Err(unreachable(pod, message(status.as_ref()))),
            // The connection broke, or the container died under the script: it may or may not have ended.
            None => Err(ScriptError::EndUnknown {
                target: format!("pod {pod}"),
                task: script.task.name().to_owned(),
                reason: message(status.as_ref()),
            }),
        }
    }
}

#[async_trait]
impl Pods for KubePods {
    async fn run(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        script: &PodScript,
    ) -> Result<ScriptOutput, ScriptError> {
        let limit = Duration::from_secs(u64::from(script.limit_s));
        let started = Instant::now();
        let exec = Box::pin(self.exec(namespace, pod, container, script));
        let end = tokio::time::timeout(limit + REPORT_LIMIT, exec).await;
        match end {
            Ok(Ok(output)) if ENDED.contains(&output.exit_code) && started.elapsed() >= limit => {
                Err(timed_out(pod, script))
            }
            Ok(Err(ScriptError::EndUnknown { .. })) if started.elapsed() >= limit => Err(timed_out(pod, script)),
            Ok(end) => end,
            Err(_) => Err(timed_out(pod, script)),
        }
    }
}

fn timed_out(pod: &str, script: &PodScript) -> ScriptError {
    let task = script.task.name().to_owned();
    ScriptError::TimedOut { target: format!("pod {pod}"), task, limit_s: script.limit_s }
}

fn unreachable(pod: &str, reason: String) -> ScriptError {
    ScriptError::Unreachable { target: format!("pod {pod}"), reason }
}

/// Forbidden stays so; who is not known may be with other credentials; a pod or container that is not there yet may come.
fn not_started(pod: &str, error: &kube::Error) -> ScriptError {
    let target = || format!("pod {pod}");
    match error {
        kube::Error::Api(status) if status.code == 401 => {
            ScriptError::Credentials { target: target(), reason: status.message.clone() }
        }
        kube::Error::Api(status) if status.code == 403 => {
            ScriptError::Refused { target: target(), reason: status.message.clone() }
        }
        other => unreachable(pod, other.to_string()),
    }
}

/// Reads a stream to its end, and keeps the first part. A stream that is not read holds up the others and the status.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        let mut buffer = [0; 8192];
        // A broken stream ends the text; whether the script ended is told by the status.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let room = OUTPUT_MAX_BYTES.saturating_sub(kept.len()).min(count);
            kept.extend_from_slice(&buffer[..room]);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The exit code of exec's final status: 0 for Success, else in the cause `ExitCode` (kubelet's remotecommand).
fn exit_code(status: Option<&Status>) -> Option<i32> {
    let status = status?;
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let cause = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    cause.message.as_ref()?.parse().ok()
}

/// Whether the kubelet or the container's runtime says that the shell could not even be started. Their errors are all
/// `InternalError`, also those of a script that was cut off, so the words decide (kubelet server.go; containerd, CRI-O).
fn never_began(status: Option<&Status>) -> bool {
    const WORDS: [&str; 4] = ["container not found", "not running", "failed to start exec", "OCI runtime exec failed"];
    let message = status.and_then(|status| status.message.as_deref()).unwrap_or_default();
    WORDS.iter().any(|words| message.contains(words))
}

fn message(status: Option<&Status>) -> String {
    status.and_then(|status| status.message.clone()).unwrap_or_else(|| "the connection ended".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(value: serde_json::Value) -> Status {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn a_success_is_exit_code_0() {
        assert_eq!(exit_code(Some(&status(json!({"status": "Success"})))), Some(0));
    }

    #[test]
    fn a_failed_command_tells_its_exit_code() {
        let failed = status(json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]},
        }));
        assert_eq!(exit_code(Some(&failed)), Some(7));
    }

    #[test]
    fn without_an_exit_code_the_end_is_not_known() {
        assert_eq!(exit_code(None), None);
        assert_eq!(exit_code(Some(&status(json!({"status": "Failure", "reason": "InternalError"})))), None);
    }

    #[test]
    fn a_forbidden_exec_is_refused_and_a_missing_pod_may_come() {
        let api = |code: u16| {
            let status = serde_json::from_value(json!({"status": "Failure", "code": code})).expect("a status");
            kube::Error::Api(Box::new(status))
        };
        assert!(matches!(not_started("p", &api(403)), ScriptError::Refused { .. }));
        assert!(matches!(not_started("p", &api(401)), ScriptError::Credentials { .. }));
        assert!(matches!(not_started("p", &api(404)), ScriptError::Unreachable { .. }));
    }
}
