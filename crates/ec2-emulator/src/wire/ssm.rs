//! Systems Manager's Run Command (AWS JSON 1.1): scripts that run inside instances.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use rehome_model::ids::InstanceId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::ApiError;
use crate::core::{CommandState, Invocation, SsmAction, SsmReply};
use crate::disks::Disks;
use crate::face::Emulator;
use crate::host::{Guests, Output};

/// The most of each output that GetCommandInvocation shows (SSM API reference: 24,000 and 8,000 characters).
const STDOUT_CHARACTERS: usize = 24_000;
const STDERR_CHARACTERS: usize = 8_000;
/// `executionTimeout` of AWS-RunShellScript where the request says nothing, in seconds.
const EXECUTION_LIMIT_S: u64 = 3_600;
/// An error, by SSM's name of it.
struct Refusal {
    status: u16,
    code: String,
    message: String,
}

impl Refusal {
    fn new(code: &str, message: impl Into<String>) -> Self {
        ApiError::new(code, message).into()
    }

    /// Errors that all operations share have a `message`, SSM's own a `Message`, if they have one at all.
    fn body(&self) -> Value {
        let Self { code, message, .. } = self;
        match code.as_str() {
            "InvocationDoesNotExist" => json!({"__type": code}),
            "InvalidInstanceId" | "InvalidDocument" => json!({"__type": code, "Message": message}),
            _ => json!({"__type": code, "message": message}),
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { status: error.status, code: error.code, message: error.message }
    }
}

/// What comes of a request: none if the reply is lost.
type Answered = Result<Option<Value>, Refusal>;

/// SSM. What it knows of commands is the core's.
#[derive(Clone)]
pub(super) struct Ssm {
    guests: Option<Guests>,
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
        Self { guests }
    }

    /// Status and body of the reply to a target, `AmazonSSM.SendCommand`; none if the reply is lost.
    pub(super) async fn answer<D: Disks + Send + 'static>(
        &self,
        emulator: &Emulator<D>,
        here: Result<(), ApiError>,
        target: &str,
        body: &[u8],
    ) -> Option<(StatusCode, String)> {
        let answered = match target.strip_prefix("AmazonSSM.") {
            _ if here.is_err() => here.map(|()| None).map_err(Refusal::from),
            Some("SendCommand") => match parse(body) {
                Ok(request) => self.send(emulator, &request).await,
                Err(refusal) => Err(refusal),
            },
            Some("GetCommandInvocation") => match parse(body) {
                Ok(request) => invocation(emulator, &request).await,
                Err(refusal) => Err(refusal),
            },
            Some("DescribeInstanceInformation") => match parse(body) {
                Ok(request) => self.instances(emulator, &request).await,
                Err(refusal) => Err(refusal),
            },
            _ => Err(Refusal::new("UnknownOperationException", format!("{target} is not known here"))),
        };
        match answered {
            Ok(body) => body.map(|body| (StatusCode::OK, body.to_string())),
            Err(refusal) => {
                let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
                Some((status, refusal.body().to_string()))
            }
        }
    }

    async fn send<D: Disks + Send + 'static>(&self, emulator: &Emulator<D>, request: &SendCommand) -> Answered {
        if request.document_name != "AWS-RunShellScript" {
            return Err(Refusal::new("InvalidDocument", format!("{} is not known here", request.document_name)));
        }
        let Some(guests) = self.guests.clone() else {
            return Err(Refusal::new("InvalidInstanceId", "no instance has an agent"));
        };
        let instances: Vec<InstanceId> = request.instance_ids.iter().cloned().map(InstanceId).collect();
        let command = next_id();
        let action = SsmAction::SendCommand { command: command.clone(), instances: instances.clone() };
        let answer = emulator.ask_ssm(&action).await;
        let lost = answer.lost;
        // An error after the effect: the script runs.
        let begun = |id: &InstanceId| emulator.with(|inner, _| inner.core.commands.get(&command, id).is_some());
        let script = request.parameters.get("commands").map(|lines| lines.join("\n")).unwrap_or_default();
        let given = request.parameters.get("executionTimeout").and_then(|values| values.first());
        let limit = Duration::from_secs(given.and_then(|text| text.parse().ok()).unwrap_or(EXECUTION_LIMIT_S));
        for instance in instances.into_iter().filter(begun) {
            let (emulator, guests, command, script) =
                (emulator.clone(), guests.clone(), command.clone(), script.clone());
            tokio::spawn(async move {
                let ended = ending(guests.exec(&instance, &script, limit).await);
                if let Err(error) = emulator.script_ended(&command, &instance, ended) {
                    tracing::error!("the state: {error}");
                }
            });
        }
        answer.reply?;
        Ok((!lost).then(|| {
            json!({"Command": {
                "CommandId": command, "DocumentName": request.document_name, "InstanceIds": request.instance_ids,
                "Status": "Pending", "StatusDetails": "Pending",
            }})
        }))
    }

    async fn instances<D: Disks>(&self, emulator: &Emulator<D>, request: &DescribeInstanceInformation) -> Answered {
        let named = request.filters.iter().filter(|filter| filter.key == "InstanceIds");
        let instances = named.flat_map(|filter| filter.values.iter().cloned().map(InstanceId)).collect();
        let answer = emulator.ask_ssm(&SsmAction::DescribeInstanceInformation { instances }).await;
        let lost = answer.lost;
        let SsmReply::Online(running) = answer.reply? else { return Ok(None) };
        let mut listed = Vec::new();
        for id in &running {
            let Some(guests) = &self.guests else { continue };
            if guests.has_agent(id).await {
                listed.push(json!({"InstanceId": id.as_str(), "PingStatus": "Online", "PlatformType": "Linux"}));
            }
        }
        Ok((!lost).then(|| json!({"InstanceInformationList": listed})))
    }
}

async fn invocation<D: Disks>(emulator: &Emulator<D>, request: &GetCommandInvocation) -> Answered {
    let instance = InstanceId(request.instance_id.clone());
    let answer =
        emulator.ask_ssm(&SsmAction::GetCommandInvocation { command: request.command_id.clone(), instance }).await;
    let lost = answer.lost;
    let SsmReply::Invocation(found) = answer.reply? else { return Ok(None) };
    let (status, details) = match found.state {
        CommandState::InProgress => ("InProgress", "InProgress"),
        CommandState::Success => ("Success", "Success"),
        CommandState::Failed => ("Failed", "Failed"),
        CommandState::Undeliverable => ("Failed", "Undeliverable"),
        CommandState::TimedOut => ("TimedOut", "ExecutionTimedOut"),
    };
    let first = |text: &str, most| text.chars().take(most).collect::<String>();
    Ok((!lost).then(|| {
        json!({
            "CommandId": request.command_id, "InstanceId": request.instance_id,
            "Status": status, "StatusDetails": details, "ResponseCode": found.exit_code,
            "StandardOutputContent": first(&found.stdout, STDOUT_CHARACTERS),
            "StandardErrorContent": first(&found.stderr, STDERR_CHARACTERS),
        })
    }))
}

/// Shaped as a UUID, from the time and counted: an emulator that is started again makes others.
fn next_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let (seconds, part) = (since_1970.as_secs(), since_1970.subsec_nanos() >> 14);
    format!("{seconds:08x}-{part:04x}-4000-8000-{:012x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new("ValidationException", error.to_string()))
}

fn ending(ended: std::io::Result<Output>) -> Invocation {
    let without = |state, stderr| Invocation::ended(state, -1, String::new(), stderr);
    match ended {
        Ok(Output::Ended { exit_code, stdout, stderr }) => {
            let state = if exit_code == 0 { CommandState::Success } else { CommandState::Failed };
            Invocation::ended(state, exit_code, stdout, stderr)
        }
        Ok(Output::TimedOut) => without(CommandState::TimedOut, String::new()),
        Ok(Output::Unreachable) => without(CommandState::Undeliverable, String::new()),
        Err(error) => without(CommandState::Failed, error.to_string()),
    }
}
