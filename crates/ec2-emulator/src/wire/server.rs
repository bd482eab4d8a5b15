//! The HTTP server.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;

use super::params::Params;
use super::{request, response, xml};
use crate::core::{ApiError, Reply};
use crate::face::Emulator;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
#[error("the emulator stopped serving: {0}")]
pub struct ServeError(#[from] std::io::Error);

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, emulator: Emulator) -> Result<(), ServeError> {
    let router = Router::new().route("/", post(answer)).with_state(emulator);
    Ok(axum::serve(listener, router).await?)
}

async fn answer(State(emulator): State<Emulator>, body: Bytes) -> Response {
    let params = Params::parse(&body);
    let name = params.get("Action").unwrap_or_default().to_owned();
    // Auto Scaling and STS have versions of their own, and another shape of errors.
    let is_ec2 = params.get("Version") == Some("2016-11-15");
    let (status, text) = match carry_out(&emulator, &name, &params).await {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            let text = if is_ec2 {
                xml::ec2_error(&error.code, &error.message)
            } else {
                xml::query_error(&error.code, &error.message)
            };
            (status, text)
        }
    };
    (status, [(header::CONTENT_TYPE, "text/xml;charset=UTF-8")], text).into_response()
}

async fn carry_out(emulator: &Emulator, name: &str, params: &Params) -> Result<String, ApiError> {
    let actions = request::actions(name, params)?;
    let mut replies = Vec::new();
    for action in &actions {
        replies.push(emulator.request(action, params.flag("DryRun")).await?);
    }
    let next = page(params, &mut replies)?;
    Ok(response::body(name, &actions, &replies, next.as_deref()))
}

/// Cuts a describe's reply to the page that was asked for; the token of the next page, if there is one.
fn page(params: &Params, replies: &mut [Reply]) -> Result<Option<String>, ApiError> {
    let size = params.number("MaxResults")?;
    if size.is_some_and(|size| (1..5).contains(&size)) {
        let message = "Value for parameter maxResults is invalid. Expecting a value greater than 5.";
        return Err(ApiError::new("InvalidParameterValue", message));
    }
    let start: usize = match params.get("NextToken") {
        Some(token) => token.parse().map_err(|_| ApiError::new("InvalidNextToken", "The token is not valid"))?,
        None => 0,
    };
    let size = size.filter(|size| *size > 0).map_or(1_000, |size| size as usize);
    Ok(match replies.first_mut() {
        Some(Reply::Instances(all)) => cut(all, start, size),
        Some(Reply::Volumes(all)) => cut(all, start, size),
        Some(Reply::Snapshots(all)) => cut(all, start, size),
        _ => None,
    })
}

fn cut<T>(all: &mut Vec<T>, start: usize, size: usize) -> Option<String> {
    let rest = all.split_off(start.min(all.len()));
    let more = rest.len() > size;
    *all = rest.into_iter().take(size).collect();
    more.then(|| (start + size).to_string())
}
