//! Policies that tell the attributes of one action apart.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use common::{CALL_LIMIT, connect};
use rehome_model::cloud::Tags;
use rehome_ports::{Cloud, CreateSnapshots, Intended};
use tokio::net::TcpListener;

fn refusal(code: &str) -> (StatusCode, String) {
    let errors = format!("<Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors>");
    (StatusCode::FORBIDDEN, format!("<Response>{errors}<RequestID>1</RequestID></Response>"))
}

/// An EC2 that denies whatever has a parameter, and would do all else.
async fn denying(parameter: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |body: String| async move {
        assert!(body.contains("DryRun=true"), "{body}");
        refusal(if body.contains(parameter) { "UnauthorizedOperation" } else { "DryRunOperation" })
    };
    let serving = axum::serve(listener, Router::new().route("/", post(answer)));
    tokio::spawn(async move { serving.await.unwrap() });
    url
}

#[tokio::test]
async fn each_attribute_that_a_run_changes_is_asked_about() {
    let capture = CreateSnapshots {
        instance: "i-1".into(),
        exclude: Vec::new(),
        include_root: false,
        description: String::new(),
        tags: Tags::new(),
    };
    let intended =
        Intended { instances: Vec::new(), capture, originals: Vec::new(), volume_tags: Tags::new(), only: None };
    // That of a read is a value and no parameter.
    for parameter in ["&DisableApiTermination.Value=", "&DisableApiStop.Value=", "&BlockDeviceMapping.1."] {
        let (cloud, _) = connect(&denying(parameter).await, CALL_LIMIT).await;
        let denied = cloud.denied_actions(&intended).await.unwrap();
        assert_eq!(denied, ["ec2:ModifyInstanceAttribute"], "{parameter}");
    }
    let (cloud, _) = connect(&denying("&Nothing=").await, CALL_LIMIT).await;
    assert_eq!(cloud.denied_actions(&intended).await.unwrap(), Vec::<String>::new());
}
