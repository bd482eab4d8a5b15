//! The admin endpoint, `/_emulator/...`: faults are set and looked at, and calls counted, in JSON. No service of AWS has
//! paths like these.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde::Serialize;
use serde_json::{Value, json};

use crate::core::{Fault, Faults, Millis, Rule};
use crate::disks::Disks;
use crate::face::Emulator;

use super::faults::parse_faults;

/// The endpoint's routes.
pub(super) fn routes<D: Disks + Send + 'static>(emulator: Emulator<D>) -> Router {
    Router::new()
        .route("/_emulator/faults", get(all::<D>).post(add::<D>).put(replace::<D>).delete(clear::<D>))
        .route("/_emulator/faults/{name}", delete(remove::<D>))
        .route("/_emulator/calls", get(calls::<D>))
        .with_state(emulator)
}

/// A fault as it is shown: the rule as it was written, and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(flatten)]
    rule: &'a Rule,
    set_at_ms: Millis,
    seen: u64,
    fired: u64,
    last_fired_at_ms: Option<Millis>,
    pending: bool,
}

fn shown(faults: &Faults) -> Value {
    let pending = faults.pending();
    let show = |fault: &Fault| {
        let Fault { rule, set_at, seen, fired, last_fired_at } = fault;
        json!(Shown {
            rule,
            set_at_ms: *set_at,
            seen: *seen,
            fired: *fired,
            last_fired_at_ms: *last_fired_at,
            pending: pending.iter().any(|other| other.name == rule.name),
        })
    };
    json!({"faults": faults.all().iter().map(show).collect::<Vec<_>>()})
}

async fn all<D: Disks>(State(emulator): State<Emulator<D>>) -> Response {
    changed(&emulator, |_, _| Ok(()))
}

async fn add<D: Disks>(State(emulator): State<Emulator<D>>, text: String) -> Response {
    set(&emulator, &text, |_| {})
}

async fn replace<D: Disks>(State(emulator): State<Emulator<D>>, text: String) -> Response {
    set(&emulator, &text, Faults::clear)
}

async fn clear<D: Disks>(State(emulator): State<Emulator<D>>) -> Response {
    changed(&emulator, |faults, _| {
        faults.clear();
        Ok(())
    })
}

async fn remove<D: Disks>(State(emulator): State<Emulator<D>>, Path(name): Path<String>) -> Response {
    changed(&emulator, |faults, _| {
        if faults.remove(&name) {
            return Ok(());
        }
        let known: Vec<&str> = faults.all().iter().map(|fault| fault.rule.name.as_str()).collect();
        Err((StatusCode::NOT_FOUND, vec![format!("no fault is called {name:?}; there are: {}", known.join(", "))]))
    })
}

async fn calls<D: Disks>(State(emulator): State<Emulator<D>>) -> Response {
    let counted = emulator.with(|inner, _| json!({"calls": inner.core.calls, "dryRuns": inner.core.dry_runs}));
    reply(StatusCode::OK, &counted)
}

/// All rules of a text are set, or none.
fn set<D: Disks>(emulator: &Emulator<D>, text: &str, before: impl FnOnce(&mut Faults)) -> Response {
    changed(emulator, |faults, now| {
        let rules = parse_faults(text).map_err(|error| (StatusCode::BAD_REQUEST, vec![error]))?;
        let mut new = faults.clone();
        before(&mut new);
        new.set(now, rules).map_err(|errors| (StatusCode::BAD_REQUEST, errors))?;
        *faults = new;
        Ok(())
    })
}

/// Changes the faults, and answers what they are then.
fn changed<D: Disks>(
    emulator: &Emulator<D>,
    change: impl FnOnce(&mut Faults, Millis) -> Result<(), (StatusCode, Vec<String>)>,
) -> Response {
    let done = emulator.change(|core, now| change(&mut core.faults, now).map(|()| shown(&core.faults)));
    match done {
        Ok(Ok(faults)) => reply(StatusCode::OK, &faults),
        Ok(Err((status, errors))) => reply(status, &json!({"errors": errors})),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, &json!({"errors": [format!("the state: {error}")]})),
    }
}

fn reply(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body:#}\n")).into_response()
}
