//! Scripts through kube's websocket to a server that speaks exec's protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Stdio;

use futures::SinkExt;
use rehome_model::task::PodTask;
use rehome_pods::KubePods;
use rehome_ports::{PodScript, Pods, ScriptError, ScriptOutput};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// How the one exec that is asked for goes.
enum Story {
    /// The command really runs, here.
    Runs,
    /// These messages (channel, text), then the connection ends without a word.
    Says(Vec<(u8, String)>),
    /// An HTTP answer instead of a websocket.
    Answers(u16, Value),
}

/// A client of an apiserver that has one exec to give. It ends with it; the asked path and query come back.
async fn run(story: Story, text: &str, limit_s: u32) -> (Result<ScriptOutput, ScriptError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { serve(listener.accept().await.unwrap().0, story).await });
    let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let script = PodScript { task: PodTask::View, text: text.to_owned(), limit_s };
    let end = KubePods::new(client).run("ns", "db-0", "db", &script).await;
    (end, server.await.unwrap())
}

async fn serve(mut stream: TcpStream, story: Story) -> String {
    if let Story::Answers(code, body) = story {
        let mut head = [0; 8192];
        // Closing with the request unread would reset the connection under the answer.
        assert!(stream.read(&mut head).await.unwrap() > 0);
        let body = body.to_string();
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {code} No\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        return String::new();
    }
    let mut asked = String::new();
    #[expect(clippy::result_large_err, reason = "the websocket library's signature")]
    let accept = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        asked = request.uri().to_string();
        response.headers_mut().insert("sec-websocket-protocol", "v5.channel.k8s.io".parse().unwrap());
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, accept).await.unwrap();
    match story {
        Story::Runs => execute(&mut socket, &asked).await,
        Story::Says(messages) => {
            for (channel, text) in messages {
                say(&mut socket, channel, text.as_bytes()).await;
            }
        }
        Story::Answers(..) => {}
    }
    asked
}

async fn say(socket: &mut WebSocketStream<TcpStream>, channel: u8, bytes: &[u8]) {
    let message = [&[channel], bytes].concat();
    socket.send(Message::binary(message)).await.unwrap();
}

/// Runs the command of the query as a kubelet does, and says its status.
async fn execute(socket: &mut WebSocketStream<TcpStream>, asked: &str) {
    let query = asked.split_once('?').unwrap().1;
    let of_key = |pair: &str| pair.strip_prefix("command=").map(decode);
    let command: Vec<String> = query.split('&').filter_map(of_key).collect();
    let child = tokio::task::spawn_blocking(move || {
        std::process::Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output().unwrap()
    });
    let output = child.await.unwrap();
    for (channel, bytes) in [(1, &output.stdout), (2, &output.stderr)] {
        for part in bytes.chunks(16 << 10) {
            say(socket, channel, part).await;
        }
    }
    let code = output.status.code().unwrap();
    let status = if code == 0 { json!({"status": "Success"}) } else { failed(&code.to_string()) };
    say(socket, 3, status.to_string().as_bytes()).await;
}

fn failed(code: &str) -> Value {
    json!({
        "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with non-zero exit code",
        "details": {"causes": [{"reason": "ExitCode", "message": code}]},
    })
}

/// Undoes form encoding.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_script_runs_in_its_container_and_its_output_and_exit_code_come_back() {
    let (end, asked) = run(Story::Runs, "echo \"a b\"; echo err >&2; exit 7", 30).await;
    let expected = ScriptOutput { exit_code: 7, stdout: "a b\n".to_owned(), stderr: "err\n".to_owned() };
    assert_eq!(end.unwrap(), expected);
    assert!(asked.starts_with("/api/v1/namespaces/ns/pods/db-0/exec?"), "{asked}");
    assert!(asked.contains("container=db"), "{asked}");
}

#[tokio::test]
async fn more_output_than_is_kept_holds_nothing_up() {
    let (end, _) = run(Story::Runs, "head -c 3000000 /dev/zero | tr '\\0' x", 60).await;
    let output = end.unwrap();
    assert_eq!((output.exit_code, output.stdout.len()), (0, 1 << 20));
}

#[tokio::test]
async fn a_script_over_its_limit_is_ended_in_the_container() {
    let (end, _) = run(Story::Runs, "while :; do sleep 0.1; done", 1).await;
    assert!(matches!(&end, Err(ScriptError::TimedOut { limit_s: 1, .. })), "{end:?}");
}

#[tokio::test]
async fn a_connection_that_ends_in_the_middle_leaves_a_script_that_may_run() {
    let (end, _) = run(Story::Says(vec![(1, "half".to_owned())]), "true", 30).await;
    let Err(ScriptError::EndUnknown { reason, .. }) = &end else { panic!("{end:?}") };
    assert_eq!(reason, "the connection ended");
}

#[tokio::test]
async fn a_shell_that_could_not_be_started_did_not_run() {
    let message = "error executing command in container: failed to start exec \"1\": OCI runtime exec failed";
    let status = json!({"status": "Failure", "reason": "InternalError", "message": message}).to_string();
    let (end, _) = run(Story::Says(vec![(3, status)]), "true", 30).await;
    let Err(ScriptError::Unreachable { reason, .. }) = &end else { panic!("{end:?}") };
    assert_eq!(reason, message);
}

#[tokio::test]
async fn a_missing_permission_is_refused_in_the_apiservers_words() {
    let message = "pods \"db-0\" is forbidden: cannot create resource \"pods/exec\"";
    let status = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message});
    let (end, _) = run(Story::Answers(403, status), "true", 30).await;
    assert_eq!(end.unwrap_err().to_string(), format!("pod db-0: {message}"));
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_unreachable() {
    let message = "pods \"db-0\" not found";
    let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": message});
    let (end, _) = run(Story::Answers(404, status), "true", 30).await;
    let Err(ScriptError::Unreachable { target, reason }) = &end else { panic!("{end:?}") };
    assert!(target == "pod db-0" && reason.contains(message), "{target} {reason}");
}
