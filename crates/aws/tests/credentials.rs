//! Where credentials come from: by the standard chain, which reads the environment. A test sets none of it in its own
//! process, so it asks in a process of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use rehome_aws::{Options, connect};
use tokio::net::TcpListener;

/// Tells the process that it is the one that the test has started.
const CHILD: &str = "REHOME_TEST_CREDENTIALS";
/// What STS says where it cannot answer now (STS API reference, "Common errors").
const UNAVAILABLE: &str = r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Receiver</Type>
    <Code>ServiceUnavailable</Code><Message>try again</Message></Error><RequestId>1</RequestId></ErrorResponse>"#;
const CREDENTIALS: &str = r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
    <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIATEST</AccessKeyId>
    <SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>
    <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
    <ResponseMetadata><RequestId>2</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"#;

#[tokio::test]
async fn credentials_are_asked_for_again_where_sts_is_unavailable_once() {
    if std::env::var_os(CHILD).is_some() {
        // In the process that is started below: its environment is what the chain reads.
        if let Err(error) = connect(Options::default()).await {
            panic!("{error}");
        }
        return;
    }
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let answer = move || async move {
        match counted.fetch_add(1, Ordering::Relaxed) {
            0 => (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
            _ => (StatusCode::OK, CREDENTIALS),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = axum::serve(listener, Router::new().route("/", post(answer)));
    tokio::spawn(async move { serving.await.unwrap() });
    let token = std::env::temp_dir().join(format!("rehome-web-identity-{}", std::process::id()));
    std::fs::write(&token, "header.payload.signature").unwrap();
    let connects = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "credentials_are_asked_for_again_where_sts_is_unavailable_once"])
        .env_clear()
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/rehome")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
        .env(CHILD, "1")
        .env("AWS_ENDPOINT_URL_STS", url)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdout(Stdio::piped())
        .output()
        .await
        .unwrap();
    std::fs::remove_file(&token).unwrap();
    assert!(connects.status.success(), "{}", String::from_utf8_lossy(&connects.stdout));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}
