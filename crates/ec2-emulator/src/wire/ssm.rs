//! Systems Manager's Run Command (AWS JSON 1.1): scripts that run inside instances.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use rehome_model::ids::InstanceId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::disks::Disks;
use crate::face::Emulator;
use crate::host::{Guests, Output};

/// The most of each output that GetCommandInvocation shows (SSM API reference: 24,000 and 8,000 characters).
const STDOUT_CHARACTERS: usize = 24_000;
const STDERR_CHARACTERS: usize = 8_000;
/// `executionTimeout` of AWS-RunShellScript where the request says nothing, in seconds.
const EXECUTION_LIMIT_S: u64 = 3_600;
/// The most invocations that are remembered; SSM forgets them after 30 days.
const REMEMBERED: usize = 10_000;

/// Where a script in an instance stands.
#[derive(Clone, Debug)]
struct Invocation {
    status: &'static str,
    details: &'static str,
    exit_code: i32,
    stdout: String,
    stderr: String,
}

impl Invocation {
    fn running() -> Self {
        Self {
            status: "InProgress",
            details: "InProgress",
            exit_code: -1,
            stdout: String::new(),
            stderr: String::new(),
        }
    }
}

/// An error, by SSM's name of it.
struct Refusal(&'static str, String);

impl Refusal {
    /// Errors that all operations share have a `message`, SSM's own a `Message`, if they have one at all.
    fn body(&self) -> Value {
        let Self(code, message) = self;
        match *code {
            "ValidationException" | "UnknownOperationException" => json!({"__type": code, "message": message}),
            "InvocationDoesNotExist" => json!({"__type": code}),
            _ => json!({"__type": code, "Message": message}),
        }
    }
}

type Answer = Result<Value, Refusal>;

/// SSM. What it knows of commands is in memory: an emulator that restarts forgets them, as an agent that restarts does.
#[derive(Clone)]
pub(super) struct Ssm {
    guests: Option<Guests>,
    invocations: Arc<Mutex<BTreeMap<(String, String), Invocation>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendCommand {
    document_name: String,
    #[serde(default)]
    instance_ids: Vec<String>,
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetCommandInvocation {
    command_id: String,
    instance_id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeInstanceInformation {
    #[serde(default)]
    filters: Vec<StringFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StringFilter {
    key: String,
    values: Vec<String>,
}

impl Ssm {
    pub(super) fn new(guests: Option<Guests>) -> Self {
        Self { guests, invocations: Arc::default() }
    }

    /// Status and body of the reply to a target, `AmazonSSM.SendCommand`.
    pub(super) async fn answer<D: Disks>(
        &self,
        emulator: &Emulator<D>,
        target: &str,
        body: &[u8],
    ) -> (StatusCode, String) {
        let answer = match target.strip_prefix("AmazonSSM.") {
            Some("SendCommand") => match parse(body) {
                Ok(request) => self.send(emulator, &request),
                Err(refusal) => Err(refusal),
            },
            Some("GetCommandInvocation") => parse(body).and_then(|request| self.invocation(&request)),
            Some("DescribeInstanceInformation") => match parse(body) {
                Ok(request) => self.instances(emulator, &request).await,
                Err(refusal) => Err(refusal),
            },
            _ => Err(Refusal("UnknownOperationException", format!("{target} is not known here"))),
        };
        let (status, body) = match answer {
            Ok(body) => (StatusCode::OK, body),
            Err(refusal) => (StatusCode::BAD_REQUEST, refusal.body()),
        };
        (status, body.to_string())
    }

    fn send<D: Disks>(&self, emulator: &Emulator<D>, request: &SendCommand) -> Answer {
        if request.document_name != "AWS-RunShellScript" {
            return Err(Refusal("InvalidDocument", format!("{} is not known here", request.document_name)));
        }
        let Some(guests) = self.guests.clone() else {
            return Err(Refusal("InvalidInstanceId", "no instance has an agent".to_owned()));
        };
        for id in &request.instance_ids {
            let id = InstanceId(id.clone());
            if !emulator.with(|inner, _| inner.core.is_online(&id)) {
                return Err(Refusal("InvalidInstanceId", format!("Instances {id} not in a valid state for account")));
            }
        }
        let script = request.parameters.get("commands").map(|lines| lines.join("\n")).unwrap_or_default();
        let given = request.parameters.get("executionTimeout").and_then(|values| values.first());
        let limit = Duration::from_secs(given.and_then(|text| text.parse().ok()).unwrap_or(EXECUTION_LIMIT_S));
        let command = next_id();
        for instance in &request.instance_ids {
            let key = (command.clone(), instance.clone());
            self.note(key.clone(), Invocation::running());
            let (ssm, guests, instance, script) =
                (self.clone(), guests.clone(), InstanceId(instance.clone()), script.clone());
            tokio::spawn(async move {
                let ended = guests.exec(&instance, &script, limit).await;
                ssm.note(key, ending(ended));
            });
        }
        Ok(json!({"Command": {
            "CommandId": command, "DocumentName": request.document_name, "InstanceIds": request.instance_ids,
            "Status": "Pending", "StatusDetails": "Pending",
        }}))
    }

    fn note(&self, key: (String, String), invocation: Invocation) {
        let mut known = self.invocations.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, invocation);
        while known.len() > REMEMBERED {
            known.pop_first();
        }
    }

    fn invocation(&self, request: &GetCommandInvocation) -> Answer {
        let known = self.invocations.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&(request.command_id.clone(), request.instance_id.clone()));
        let found = found.ok_or_else(|| Refusal("InvocationDoesNotExist", String::new()))?;
        let first = |text: &str, most| text.chars().take(most).collect::<String>();
        Ok(json!({
            "CommandId": request.command_id, "InstanceId": request.instance_id,
            "Status": found.status, "StatusDetails": found.details, "ResponseCode": found.exit_code,
            "StandardOutputContent": first(&found.stdout, STDOUT_CHARACTERS),
            "StandardErrorContent": first(&found.stderr, STDERR_CHARACTERS),
        }))
    }

    async fn instances<D: Disks>(&self, emulator: &Emulator<D>, request: &DescribeInstanceInformation) -> Answer {
        let running: Vec<InstanceId> = emulator.with(|inner, _| {
            let ids = inner.core.instances.keys().filter(|id| inner.core.is_online(id));
            ids.cloned().collect()
        });
        let asked = |id: &InstanceId| {
            request.filters.iter().filter(|f| f.key == "InstanceIds").all(|f| f.values.iter().any(|v| v == id.as_str()))
        };
        let mut listed = Vec::new();
        for id in running.iter().filter(|id| asked(id)) {
            let Some(guests) = &self.guests else { continue };
            if guests.has_agent(id).await {
                listed.push(json!({"InstanceId": id.as_str(), "PingStatus": "Online", "PlatformType": "Linux"}));
            }
        }
        Ok(json!({"InstanceInformationList": listed}))
    }
}

/// Shaped as a UUID, and counted: the first are the oldest.
fn next_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    format!("{since_1970:08x}-0000-4000-8000-{:012x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal("ValidationException", error.to_string()))
}

fn ending(ended: std::io::Result<Output>) -> Invocation {
    let failed = |details, stderr| Invocation { status: "Failed", details, stderr, ..Invocation::running() };
    match ended {
        Ok(Output::Ended { exit_code, stdout, stderr }) => {
            let status = if exit_code == 0 { "Success" } else { "Failed" };
            Invocation { status, details: status, exit_code, stdout, stderr }
        }
        Ok(Output::TimedOut) => {
            Invocation { status: "TimedOut", details: "ExecutionTimedOut", ..Invocation::running() }
        }
        Ok(Output::Unreachable) => failed("Undeliverable", String::new()),
        Err(error) => failed("Failed", error.to_string()),
    }
}
