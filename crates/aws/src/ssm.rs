//! Hosts by AWS Systems Manager Run Command.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ssm::operation::get_command_invocation::GetCommandInvocationOutput;
use aws_sdk_ssm::types::{CommandInvocationStatus, InstanceInformationStringFilter, PingStatus};
use rehome_model::ids::InstanceId;
use rehome_ports::{CloudError, ErrorClass, HostScript, Hosts, ScriptError, ScriptOutput};
use tokio::time::Instant;

use crate::error::cloud_error;
use crate::in_time::InTime;
use crate::retry::read;

/// AWS's document that runs shell lines as root.
const DOCUMENT: &str = "AWS-RunShellScript";
/// How long SSM tries to hand a command to the agent (SendCommand `TimeoutSeconds`; 30 is the least allowed).
const DELIVERY_LIMIT_S: i32 = 30;
/// How long after it was asked for a script that changes something may be sent: SSM is asked for the agent first. Less than
/// the time that a driver's lease must have left.
const SENT_WITHIN: Duration = Duration::from_secs(4);
/// How long after SendCommand its invocation may not be found yet.
const INVOCATION_APPEARS_WITHIN: Duration = Duration::from_secs(30);
/// How long after delivery and the script's own limit its end may take to be shown.
const REPORT_LIMIT: Duration = Duration::from_secs(20);
/// The first pause between two looks, and the longest.
const FIRST_POLL: Duration = Duration::from_millis(100);
const LONGEST_POLL: Duration = Duration::from_secs(3);

/// Runs scripts by SSM Run Command. The instance needs the SSM agent and a role that lets it talk to SSM.
#[derive(Clone, Debug)]
pub struct SsmHosts {
    ssm: aws_sdk_ssm::Client,
}

impl SsmHosts {
    pub(crate) fn new(config: &SdkConfig) -> Self {
        Self { ssm: aws_sdk_ssm::Client::new(config) }
    }

    /// A command sent to an agent that is away would wait for it; better to be told at once.
    async fn require_online(&self, instance: &InstanceId) -> Result<(), ScriptError> {
        let said = read(|| async {
            let filter = InstanceInformationStringFilter::builder().key("InstanceIds").values(instance.as_str());
            let filter = filter.build().map_err(|error| {
                CloudError::new("DescribeInstanceInformation", "InvalidParameterValue", error.to_string())
            })?;
            let sent = self.ssm.describe_instance_information().filters(filter).send().await;
            sent.map_err(|error| cloud_error("DescribeInstanceInformation", &error))
        })
        .await
        .map_err(|error| not_started(instance, &error))?;
        let known =
            said.instance_information_list().iter().find(|known| known.instance_id() == Some(instance.as_str()));
        let reason = match known.map(|known| known.ping_status()) {
            Some(Some(PingStatus::Online)) => return Ok(()),
            Some(status) => {
                format!("its SSM agent is {}", status.map_or("of unknown status", PingStatus::as_str))
            }
            None => "SSM does not know it: no agent, or no role that lets the agent register".to_owned(),
        };
        Err(ScriptError::Unreachable { target: instance.to_string(), reason })
    }

    /// Answers the command's id. A lost reply leaves a script that may run, and so does an error of the service itself. One
    /// that is throttled did not start.
    async fn send(&self, instance: &InstanceId, script: &HostScript, asked: Instant) -> Result<String, ScriptError> {
        const OPERATION: &str = "SendCommand";
        let lines = script.text.lines().map(str::to_owned).collect();
        let latest = if script.task.only_looks() { Duration::MAX } else { SENT_WITHIN };
        let sent = self
            .ssm
            .send_command()
            .document_name(DOCUMENT)
            .instance_ids(instance.as_str())
            .comment(format!("rehome {}", script.task.name()))
            .timeout_seconds(DELIVERY_LIMIT_S)
            .parameters("commands", lines)
            .parameters("executionTimeout", vec![script.limit_s.max(1).to_string()])
            .customize()
            .interceptor(InTime::since(asked, latest))
            .send()
            .await
            .map_err(|error| cloud_error(OPERATION, &error));
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) if error.may_have_effect() => {
                return Err(end_unknown(instance, script, format!("it was sent, and {error}")));
            }
            Err(error) => return Err(not_started(instance, &error)),
        };
        let id = sent.command().and_then(|command| command.command_id());
        id.map(str::to_owned)
            .ok_or_else(|| end_unknown(instance, script, "the reply to SendCommand has no command id".to_owned()))
    }

    async fn invocation(&self, instance: &InstanceId, command: &str) -> Result<GetCommandInvocationOutput, CloudError> {
        let call = self.ssm.get_command_invocation().command_id(command).instance_id(instance.as_str());
        call.send().await.map_err(|error| cloud_error("GetCommandInvocation", &error))
    }

    /// Looks at the command until it ends.
    async fn follow(
        &self,
        instance: &InstanceId,
        script: &HostScript,
        command: &str,
    ) -> Result<ScriptOutput, ScriptError> {
        let sent_at = Instant::now();
        let delivery = Duration::from_secs(DELIVERY_LIMIT_S.unsigned_abs().into());
        let limit = delivery + Duration::from_secs(script.limit_s.into()) + REPORT_LIMIT;
        let mut pause = FIRST_POLL;
        let mut was_there = false;
        while sent_at.elapsed() < limit {
            tokio::time::sleep(pause).await;
            pause = LONGEST_POLL.min(pause * 3 / 2);
            match self.invocation(instance, command).await {
                Ok(said) => {
                    was_there = true;
                    if let Some(end) = end_of(instance, script, &said) {
                        return end;
                    }
                }
                Err(error) if error.class() == ErrorClass::Retry => {}
                Err(error) if is_not_there(&error) && !was_there && sent_at.elapsed() < INVOCATION_APPEARS_WITHIN => {}
                // Its time is not over, but there is nothing to wait for.
                Err(error) if is_not_there(&error) => {
                    let reason = format!(
                        "SSM does not know the command {command} {}",
                        if was_there { "any more" } else { "it took" }
                    );
                    return Err(end_unknown(instance, script, reason));
                }
                // The script runs, but this caller may not know its end.
                Err(error) => {
                    self.cancel(instance, command).await;
                    return Err(refused(instance, &error));
                }
            }
        }
        self.cancel(instance, command).await;
        Err(timed_out(instance, script))
    }

    /// Asks the script to end. Whether it does is not known, and nothing depends on it.
    async fn cancel(&self, instance: &InstanceId, command: &str) {
        let call = self.ssm.cancel_command().command_id(command).instance_ids(instance.as_str());
        if let Err(error) = call.send().await {
            let error = cloud_error("CancelCommand", &error);
            tracing::warn!(%instance, command, %error, "the command could not be cancelled");
        }
    }
}

#[async_trait]
impl Hosts for SsmHosts {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        let asked = Instant::now();
        self.require_online(instance).await?;
        let command = self.send(instance, script, asked).await?;
        self.follow(instance, script, &command).await
    }
}

fn is_not_there(error: &CloudError) -> bool {
    error.code == "InvocationDoesNotExist"
}

/// An error from before the script could start.
fn not_started(instance: &InstanceId, error: &CloudError) -> ScriptError {
    if error.code == "InvalidInstanceId" || error.class() == ErrorClass::Retry {
        ScriptError::Unreachable { target: instance.to_string(), reason: error.to_string() }
    } else {
        refused(instance, error)
    }
}

/// An error that asking again does not mend: of the caller's credentials, or of what was asked.
fn refused(instance: &InstanceId, error: &CloudError) -> ScriptError {
    let (target, reason) = (instance.to_string(), error.to_string());
    match error.class() {
        ErrorClass::Credentials => ScriptError::Credentials { target, reason },
        _ => ScriptError::Refused { target, reason },
    }
}

/// It was sent, and may run or not.
fn end_unknown(instance: &InstanceId, script: &HostScript, reason: String) -> ScriptError {
    ScriptError::EndUnknown { target: instance.to_string(), task: script.task.name().to_owned(), reason }
}

fn timed_out(instance: &InstanceId, script: &HostScript) -> ScriptError {
    let task = script.task.name().to_owned();
    ScriptError::TimedOut { target: instance.to_string(), task, limit_s: script.limit_s }
}

/// The command's end, if it ended ("Understanding command statuses", SSM user guide: some of the statuses say that
/// the script never started, and only `StatusDetails` tells which).
fn end_of(
    instance: &InstanceId,
    script: &HostScript,
    said: &GetCommandInvocationOutput,
) -> Option<Result<ScriptOutput, ScriptError>> {
    let details = said.status_details().unwrap_or_default();
    let target = instance.to_string();
    let reason = format!("SSM says {details}");
    Some(match said.status()? {
        CommandInvocationStatus::Success => Ok(output(said)),
        CommandInvocationStatus::Failed => match details {
            "Undeliverable" | "Terminated" => Err(ScriptError::Unreachable { target, reason }),
            "InvalidPlatform" | "AccessDenied" => Err(ScriptError::Refused { target, reason }),
            _ => Ok(output(said)),
        },
        CommandInvocationStatus::TimedOut if is_delivery(details) => Err(ScriptError::Unreachable { target, reason }),
        CommandInvocationStatus::TimedOut => Err(timed_out(instance, script)),
        CommandInvocationStatus::Cancelled => {
            let reason = "the command was cancelled by someone; what it had begun may be half done".to_owned();
            Err(ScriptError::Refused { target, reason })
        }
        _ => return None,
    })
}

fn is_delivery(details: &str) -> bool {
    details.replace(' ', "").eq_ignore_ascii_case("DeliveryTimedOut")
}

fn output(said: &GetCommandInvocationOutput) -> ScriptOutput {
    ScriptOutput {
        exit_code: said.response_code(),
        stdout: said.standard_output_content().unwrap_or_default().to_owned(),
        stderr: said.standard_error_content().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rehome_model::task::HostTask;

    use super::*;

    fn end(status: &str, details: &str) -> Option<Result<i32, ErrorClass>> {
        let script = HostScript { task: HostTask::Flush, text: String::new(), limit_s: 7 };
        let said = GetCommandInvocationOutput::builder()
            .status(CommandInvocationStatus::from(status))
            .status_details(details)
            .response_code(3)
            .build();
        let end = end_of(&InstanceId::from("i-1"), &script, &said)?;
        Some(end.map(|output| output.exit_code).map_err(|error| error.class()))
    }

    #[test]
    fn a_command_that_goes_on_has_no_end() {
        for status in ["Pending", "InProgress", "Delayed", "Cancelling"] {
            assert_eq!(end(status, status), None, "{status}");
        }
    }

    #[test]
    fn a_script_that_fails_is_an_answer_and_not_an_error() {
        assert_eq!(end("Failed", "Failed"), Some(Ok(3)));
    }

    #[test]
    fn a_script_that_never_started_may_be_sent_again() {
        assert_eq!(end("TimedOut", "DeliveryTimedOut"), Some(Err(ErrorClass::Retry)));
        assert_eq!(end("Failed", "Undeliverable"), Some(Err(ErrorClass::Retry)));
    }

    #[test]
    fn a_script_that_was_cancelled_or_denied_stops() {
        assert_eq!(end("Cancelled", "Cancelled"), Some(Err(ErrorClass::Stop)));
        assert_eq!(end("Failed", "AccessDenied"), Some(Err(ErrorClass::Stop)));
    }
}
