//! The HTTP server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;

use super::lifeline::{Lifeline, Lifelines};
use super::params::Params;
use super::ssm::Ssm;
use super::transcript::Transcript;
use super::{admin, request, response};
use crate::api::{Action, ApiError, Caller, Service};
use crate::disks::Disks;
use crate::face::Emulator;
use crate::host::Guests;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
#[error("the emulator stopped serving: {0}")]
pub struct ServeError(#[from] std::io::Error);

/// How often an emulator that nobody calls looks at its clock.
const TICK: Duration = Duration::from_millis(250);

/// Serves until the future is dropped. `guests` run SSM's scripts; without them, SSM knows no instance.
///
/// Time passes for the account only when it is called; [`keep_time`] lets it pass meanwhile. A transcript is written if
/// the environment asks for one ([`Transcript::from_environment`]).
pub async fn serve<D: Disks + Send + 'static>(
    listener: TcpListener,
    emulator: Emulator<D>,
    guests: Option<Guests>,
) -> Result<(), ServeError> {
    let transcript = Transcript::from_environment()?;
    serve_noting(listener, emulator, guests, transcript).await
}

/// The same, with each request and its reply noted before the reply is sent.
pub async fn serve_noting<D: Disks + Send + 'static>(
    listener: TcpListener,
    emulator: Emulator<D>,
    guests: Option<Guests>,
    transcript: Option<Transcript>,
) -> Result<(), ServeError> {
    let services = Router::new().route("/", post(answer::<D>));
    let router = services.with_state((emulator.clone(), Ssm::new(guests), transcript)).merge(admin::routes(emulator));
    Ok(axum::serve(Lifelines(listener), router.into_make_service_with_connect_info::<Lifeline>()).await?)
}

/// Lets what is due happen, and saves it, though nobody calls. Ends only with an error. Not part of [`serve`]: a test
/// whose clock is paused would see it run.
pub async fn keep_time<D: Disks>(emulator: &Emulator<D>) -> ServeError {
    loop {
        tokio::time::sleep(TICK).await;
        if let Err(error) = emulator.tick() {
            return error.into();
        }
    }
}

async fn answer<D: Disks + Send + 'static>(
    State((emulator, ssm, transcript)): State<(Emulator<D>, Ssm, Option<Transcript>)>,
    ConnectInfo(lifeline): ConnectInfo<Lifeline>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request_id = request_id();
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let emulator = emulator.called_by(caller(&headers));
    let (kind, answered) = if let Some(target) = target {
        let here = of_this_region(&emulator, &headers, Service::Ssm);
        ("application/x-amz-json-1.1", ssm.answer(&emulator, here, target, &body).await)
    } else {
        ("text/xml;charset=UTF-8", query(&emulator, &headers, &body, &request_id).await)
    };
    let Some((status, text)) = answered else {
        lifeline.cut();
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if let Some(transcript) = &transcript
        && let Err(error) = transcript.note(target, &body, status.as_u16(), &text)
    {
        tracing::error!("the transcript: {error}");
    }
    (status, [(header::CONTENT_TYPE.as_str(), kind), ("x-amzn-requestid", &request_id)], text).into_response()
}

/// The action that a form of the Query protocol stands for, and whether it is a dry run.
pub fn parse_request(form: &[u8]) -> Result<(Action, bool), ApiError> {
    let params = Params::parse(form);
    read(request::service(params.get("Version").unwrap_or_default()), &params)
}

fn read(service: Service, params: &Params) -> Result<(Action, bool), ApiError> {
    Ok((request::action(service, params)?, params.flag("DryRun")?))
}

/// Status and body of the reply to a form; none if the reply is lost.
async fn query<D: Disks>(
    emulator: &Emulator<D>,
    headers: &HeaderMap,
    body: &[u8],
    request_id: &str,
) -> Option<(StatusCode, String)> {
    let params = Params::parse(body);
    let service = request::service(params.get("Version").unwrap_or_default());
    let here = of_this_region(emulator, headers, service);
    let reply = match here.and_then(|()| read(service, &params)) {
        Ok((action, dry_run)) => {
            let answer = emulator.ask(&action, dry_run).await;
            if answer.lost {
                return None;
            }
            answer.reply.map(|reply| response::body(&action, &reply, request_id))
        }
        Err(error) => Err(error),
    };
    Some(match reply {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, response::error(service, &error, request_id))
        }
    })
}

/// Who calls, by the access key id of the signature. Signatures are not checked: the emulator serves loopback only.
fn caller(headers: &HeaderMap) -> Caller {
    match scope(headers).next().unwrap_or_default() {
        "" => Caller::default(),
        key => Caller::new(key),
    }
}

/// The parts of the signature's scope: access key id, day, region, service.
fn scope(headers: &HeaderMap) -> std::str::Split<'_, char> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let credential = authorization.split("Credential=").nth(1).unwrap_or_default();
    credential.split('/')
}

/// An endpoint takes only what was signed for its region. Requests without a signature are taken.
fn of_this_region<D: Disks>(emulator: &Emulator<D>, headers: &HeaderMap, service: Service) -> Result<(), ApiError> {
    let here = emulator.with(|inner, _| inner.core.config.region.clone());
    let Some(region) = scope(headers).nth(2).filter(|region| *region != here) else { return Ok(()) };
    let message = format!("Credential should be scoped to a valid region, not '{region}'.");
    Err(match service {
        Service::Ec2 => ApiError::with_status(401, "AuthFailure", message),
        Service::AutoScaling | Service::Sts => ApiError::with_status(403, "SignatureDoesNotMatch", message),
        Service::Ssm => ApiError::new("InvalidSignatureException", message),
    })
}

/// Like AWS' request ids; counted, so that a log can be read.
fn request_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("00000000-0000-0000-0000-{:012x}", COUNT.fetch_add(1, Ordering::Relaxed))
}
