//! Scripts by SSM, against a server that tells one story each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use common::{CALL_LIMIT, connect};
use rehome_model::ids::InstanceId;
use rehome_model::task::HostTask;
use rehome_ports::{ErrorClass, HostScript, Hosts, ScriptError, ScriptOutput};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// An action, and the status and body it is answered with.
type Answer = (&'static str, u16, Value);

/// What the server answers next and the requests it got, by action.
#[derive(Clone, Default)]
struct Story {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Story {
    fn then(self, action: &'static str, status: u16, answer: Value) -> Self {
        self.answers.lock().unwrap().push_back((action, status, answer));
        self
    }

    fn online(self) -> Self {
        self.agent("Online")
    }

    fn agent(self, status: &str) -> Self {
        let known = json!({"InstanceInformationList": [{"InstanceId": "i-1", "PingStatus": status}]});
        self.then("DescribeInstanceInformation", 200, known)
    }

    fn sent(self) -> Self {
        self.then("SendCommand", 200, json!({"Command": {"CommandId": "command-1"}}))
    }

    fn shown(self, status: &str, details: &str) -> Self {
        let shown = json!({
            "Status": status, "StatusDetails": details, "ResponseCode": 3,
            "StandardOutputContent": "out", "StandardErrorContent": "err",
        });
        self.then("GetCommandInvocation", 200, shown)
    }

    fn error(self, action: &'static str, code: &str) -> Self {
        self.then(action, 400, json!({"__type": code, "message": "as it is"}))
    }

    /// Plays the story to a script; all of it must be heard.
    async fn run(self) -> (Result<ScriptOutput, ScriptError>, Vec<(String, Value)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(answer)).with_state(self.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let (_, hosts) = connect(&url, CALL_LIMIT).await;
        let script = HostScript { task: HostTask::Flush, text: "one\ntwo".to_owned(), limit_s: 600 };
        let end = hosts.run(&InstanceId::from("i-1"), &script).await;
        server.abort();
        assert_eq!(*self.answers.lock().unwrap(), VecDeque::new(), "the rest of the story");
        let asked = self.asked.lock().unwrap().clone();
        (end, asked)
    }
}

async fn answer(State(story): State<Story>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let action = headers["x-amz-target"].to_str().unwrap().trim_start_matches("AmazonSSM.").to_owned();
    story.asked.lock().unwrap().push((action.clone(), serde_json::from_str(&body).unwrap()));
    match story.answers.lock().unwrap().pop_front() {
        Some((expected, status, answer)) if expected == action => {
            (StatusCode::from_u16(status).unwrap(), answer.to_string())
        }
        other => (StatusCode::NOT_IMPLEMENTED, format!("{action} came, the story has {other:?}")),
    }
}

#[tokio::test]
async fn a_script_is_sent_followed_and_heard() {
    let story = Story::default().online().sent();
    let story = story.error("GetCommandInvocation", "InvocationDoesNotExist");
    let (end, asked) = story.shown("InProgress", "InProgress").shown("Failed", "Failed").run().await;
    let expected = ScriptOutput { exit_code: 3, stdout: "out".to_owned(), stderr: "err".to_owned() };
    assert_eq!(end.unwrap(), expected);
    let (_, sent) = &asked[1];
    assert_eq!(sent["DocumentName"], "AWS-RunShellScript");
    assert_eq!(sent["Parameters"], json!({"commands": ["one", "two"], "executionTimeout": ["600"]}));
    assert_eq!(asked[2].1, json!({"CommandId": "command-1", "InstanceId": "i-1"}));
}

#[tokio::test]
async fn an_agent_that_is_away_gets_no_command() {
    let (end, _) = Story::default().agent("ConnectionLost").run().await;
    assert_eq!(end.unwrap_err().to_string(), "i-1 cannot be reached: its SSM agent is ConnectionLost");
}

#[tokio::test]
async fn an_instance_without_an_agent_is_told_so() {
    let nobody = json!({"InstanceInformationList": []});
    let (end, _) = Story::default().then("DescribeInstanceInformation", 200, nobody).run().await;
    assert!(matches!(end, Err(ScriptError::Unreachable { .. })), "{end:?}");
}

#[tokio::test]
async fn an_instance_that_ssm_refuses_is_unreachable() {
    let (end, _) = Story::default().online().error("SendCommand", "InvalidInstanceId").run().await;
    assert!(matches!(end, Err(ScriptError::Unreachable { .. })), "{end:?}");
}

#[tokio::test]
async fn a_command_that_was_throttled_did_not_start_and_one_that_met_an_error_of_ssm_may_have() {
    let (end, _) = Story::default().online().error("SendCommand", "ThrottlingException").run().await;
    assert!(matches!(end, Err(ScriptError::Unreachable { .. })), "{end:?}");
    for code in ["InternalServerError", "ServiceUnavailable"] {
        let failed = json!({"__type": code, "message": "as it is"});
        let (end, _) = Story::default().online().then("SendCommand", 500, failed).run().await;
        assert!(matches!(end, Err(ScriptError::EndUnknown { .. })), "{code}: {end:?}");
    }
}

#[tokio::test]
async fn a_script_that_changes_something_is_not_sent_long_after_it_was_asked_for() {
    let mut story = Story::default();
    for _ in 0..4 {
        // Tried again, with pauses that double from half a second on.
        story = story.error("DescribeInstanceInformation", "ThrottlingException");
    }
    let (end, asked) = story.online().run().await;
    assert!(matches!(end, Err(ScriptError::Unreachable { .. })), "{end:?}");
    assert!(asked.iter().all(|(action, _)| action != "SendCommand"));
}

#[tokio::test]
async fn a_missing_permission_is_refused_by_its_name() {
    let (end, _) = Story::default().online().error("SendCommand", "AccessDeniedException").run().await;
    assert_eq!(end.unwrap_err().to_string(), "i-1: SendCommand: AccessDeniedException: as it is");
}

#[tokio::test]
async fn credentials_that_ran_out_before_or_after_the_sending_are_no_refusal() {
    let before = Story::default().online().error("SendCommand", "ExpiredTokenException");
    let sent = Story::default().online().sent();
    let after =
        sent.error("GetCommandInvocation", "ExpiredTokenException").error("CancelCommand", "ExpiredTokenException");
    for story in [before, after] {
        let error = story.run().await.0.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Credentials, "{error}");
    }
}

#[tokio::test]
async fn a_command_that_ran_out_of_time_may_still_run() {
    let (end, _) = Story::default().online().sent().shown("TimedOut", "ExecutionTimedOut").run().await;
    assert!(matches!(end, Err(ScriptError::TimedOut { limit_s: 600, .. })), "{end:?}");
}

#[tokio::test]
async fn a_look_that_fails_does_not_lose_the_script() {
    let story = Story::default().online().sent().error("GetCommandInvocation", "ThrottlingException");
    let (end, _) = story.shown("Success", "Success").run().await;
    assert_eq!(end.unwrap().stdout, "out");
}

#[tokio::test]
async fn a_sent_command_whose_reply_is_lost_may_run() {
    let story = Story::default().online().then("SendCommand", 200, json!("not an object"));
    let (end, _) = story.run().await;
    assert!(matches!(end, Err(ScriptError::EndUnknown { .. })), "{end:?}");
}

#[tokio::test]
async fn a_command_that_ssm_forgets_is_not_said_to_have_run_out_of_time() {
    let story = Story::default().online().sent().shown("InProgress", "InProgress");
    let (end, _) = story.error("GetCommandInvocation", "InvocationDoesNotExist").run().await;
    let error = end.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry);
    assert_eq!(
        error.to_string(),
        "i-1: how the script flush ended is not known: SSM does not know the command command-1 any more"
    );
}
