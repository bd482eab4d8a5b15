//! Errors in EC2's own codes and messages.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An error reply.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[error("{code}: {message}")]
#[serde(deny_unknown_fields)]
pub struct ApiError {
    /// HTTP status: 400, 403, 412, 500, 503.
    #[serde(default = "bad_request")]
    pub status: u16,
    /// EC2's code.
    pub code: String,
    /// EC2's message. Not-found messages name the missing ids: clients read them.
    #[serde(default = "told_to")]
    pub message: String,
}

/// What an error that somebody asks for has, where they do not say.
fn bad_request() -> u16 {
    400
}

fn told_to() -> String {
    "The emulator was told to fail this call.".to_owned()
}

impl ApiError {
    /// An error with status 400.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self::with_status(400, code, message)
    }

    /// An error with another status.
    pub fn with_status(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    /// What EC2 answers to an action it does not know. A 400: SDKs retry a 5xx.
    pub fn invalid_action(action: &str) -> Self {
        Self::new("InvalidAction", format!("The action {action} is not valid for this web service."))
    }

    /// What EC2 answers to a parameter that an action does not have.
    pub fn unknown_parameter(name: &str) -> Self {
        Self::new("UnknownParameter", format!("The parameter {name} is not recognized"))
    }

    pub(crate) fn volumes_not_found(ids: &[&str]) -> Self {
        Self::new("InvalidVolume.NotFound", some_do_not_exist("volume", ids))
    }

    pub(crate) fn snapshots_not_found(ids: &[&str]) -> Self {
        Self::new("InvalidSnapshot.NotFound", some_do_not_exist("snapshot", ids))
    }

    pub(crate) fn instances_not_found(ids: &[&str]) -> Self {
        let message = if let [id] = ids {
            format!("The instance ID '{id}' does not exist")
        } else {
            format!("The instance IDs '{}' do not exist", ids.join(", "))
        };
        Self::new("InvalidInstanceID.NotFound", message)
    }

    pub(crate) fn incorrect_state(message: impl Into<String>) -> Self {
        Self::new("IncorrectState", message)
    }

    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    pub(crate) fn dry_run() -> Self {
        Self::with_status(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::with_status(500, "InternalError", message)
    }
}

fn some_do_not_exist(what: &str, ids: &[&str]) -> String {
    if let [id] = ids {
        format!("The {what} '{id}' does not exist.")
    } else {
        format!("The {what}s '{}' do not exist.", ids.join(", "))
    }
}
