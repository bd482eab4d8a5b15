//! Why a step did not end well.

use rehome_ports::{CloudError, ErrorClass, ScriptError};
use thiserror::Error;

use crate::kubernetes::KubeError;
use crate::store::StoreError;

/// Kubernetes' reason of status 401.
const UNAUTHORIZED: &str = "Unauthorized";

/// What the driver does about a step's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepErrorKind {
    /// Look and try again until the step's deadline.
    Again,
    /// The step has failed.
    Failed,
    /// The driver must stop at once, and nothing is undone: lease lost, asked to, or nobody takes its credentials.
    Interrupted,
}

/// An error of a step.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct StepError {
    /// What the driver does about it.
    pub kind: StepErrorKind,
    /// EC2's own code, Kubernetes' reason, or ours.
    pub code: String,
    /// What happened.
    pub message: String,
}

impl StepError {
    /// An error that may pass.
    pub fn again(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: StepErrorKind::Again, code: code.into(), message: message.into() }
    }

    /// An error that will not pass.
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: StepErrorKind::Failed, code: code.into(), message: message.into() }
    }

    /// Whether the apiserver did not know who asks.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.code == UNAUTHORIZED
    }

    /// The driver is to stop.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { kind: StepErrorKind::Interrupted, code: "Interrupted".to_owned(), message: message.into() }
    }
}

fn kind(class: ErrorClass) -> StepErrorKind {
    match class {
        ErrorClass::Retry | ErrorClass::Wait | ErrorClass::Decide | ErrorClass::NotFound => StepErrorKind::Again,
        // An undo would meet the same: with dead credentials it can only end stuck.
        ErrorClass::Credentials => StepErrorKind::Interrupted,
        ErrorClass::Stop => StepErrorKind::Failed,
    }
}

/// An error by its class. What interrupts the driver says what the person has to do.
fn classed(class: ErrorClass, code: String, message: String) -> StepError {
    let kind = kind(class);
    let message = if kind == StepErrorKind::Interrupted {
        format!("the credentials are not taken, renew them: {message}")
    } else {
        message
    };
    StepError { kind, code, message }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotOurs(why) => Self::interrupted(why),
            StoreError::Kube(error) if error.is_unauthorized() => error.into(),
            error => Self::again("Record", format!("the run record was not written: {error}")),
        }
    }
}

impl From<CloudError> for StepError {
    fn from(error: CloudError) -> Self {
        classed(error.class(), error.code.clone(), error.to_string())
    }
}

impl From<ScriptError> for StepError {
    fn from(error: ScriptError) -> Self {
        classed(error.class(), "Script".to_owned(), error.to_string())
    }
}

impl From<KubeError> for StepError {
    fn from(error: KubeError) -> Self {
        if error.is_unauthorized() {
            return classed(ErrorClass::Credentials, UNAUTHORIZED.to_owned(), error.to_string());
        }
        if let KubeError::NotSent { .. } = error {
            return Self::interrupted(error.to_string());
        }
        let kind = if error.is_final() { StepErrorKind::Failed } else { StepErrorKind::Again };
        Self { kind, code: error.reason().to_owned(), message: error.to_string() }
    }
}

/// What may pass is a reason to wait, for a look that is repeated.
pub(crate) fn or_wait<T, E: Into<StepError>>(looked: Result<T, E>) -> Result<Result<T, String>, StepError> {
    match looked.map_err(Into::into) {
        Ok(seen) => Ok(Ok(seen)),
        Err(error) if error.kind == StepErrorKind::Again => Ok(Err(error.message)),
        Err(error) => Err(error),
    }
}
