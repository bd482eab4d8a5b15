//! Errors in EC2's own codes and messages.

use serde::{Deserialize, Serialize};

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// HTTP status: 400, 403, 412, 503.
    pub status: u16,
    /// EC2's code.
    pub code: String,
    /// EC2's message. Not-found messages name the missing ids: clients read them.
    pub message: String,
}

impl ApiError {
    /// An error with status 400.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.to_owned(), message: message.into() }
    }

    pub(crate) fn volume_not_found(id: &str) -> Self {
        Self::new("InvalidVolume.NotFound", format!("The volume '{id}' does not exist."))
    }

    pub(crate) fn snapshot_not_found(id: &str) -> Self {
        Self::new("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist."))
    }

    pub(crate) fn instance_not_found(ids: &[String]) -> Self {
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

    pub(crate) fn dry_run() -> Self {
        Self {
            status: 412,
            code: "DryRunOperation".to_owned(),
            message: "Request would have succeeded, but DryRun flag is set.".to_owned(),
        }
    }

    pub(crate) fn unauthorized() -> Self {
        Self {
            status: 403,
            code: "UnauthorizedOperation".to_owned(),
            message: "You are not authorized to perform this operation.".to_owned(),
        }
    }

    pub(crate) fn throttled() -> Self {
        Self { status: 503, code: "RequestLimitExceeded".to_owned(), message: "Request limit exceeded.".to_owned() }
    }
}
