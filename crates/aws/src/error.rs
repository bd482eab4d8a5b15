//! From the SDK's errors to the port's.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use rehome_ports::{CloudError, ErrorClass, NO_CREDENTIALS, NOT_SENT_IN_TIME};

use crate::in_time::TooLate;

/// Codes of ours, where EC2 gave none.
const TIMEOUT: &str = "Timeout";
const TRANSPORT: &str = "Transport";
const NOT_SENT: &str = "RequestNotSent";
const BAD_REPLY: &str = "InvalidReply";

/// An SDK error in the port's terms: the service's code and message where it answered, ours where it did not.
pub(crate) fn cloud_error<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    // Nothing was sent, whatever the SDK calls it.
    if let Some(late) = find::<TooLate>(error) {
        return CloudError::new(operation, NOT_SENT_IN_TIME, late.to_string());
    }
    match error {
        SdkError::ServiceError(context) => {
            let (status, meta) = (context.raw().status().as_u16(), context.err().meta());
            service_error(operation, status, meta.code(), meta.message().unwrap_or_default())
        }
        SdkError::TimeoutError(_) => CloudError::new(operation, TIMEOUT, "no reply in time"),
        SdkError::DispatchFailure(failure) => {
            let code = if failure.is_timeout() {
                TIMEOUT
            } else if is_about_credentials(error) {
                NO_CREDENTIALS
            } else if failure.is_user() {
                NOT_SENT
            } else {
                TRANSPORT
            };
            CloudError::new(operation, code, DisplayErrorContext(error).to_string())
        }
        // A reply came but could not be read: the effect may have happened, as with no reply at all.
        SdkError::ResponseError(context) => {
            let status = context.raw().status().as_u16();
            let message = format!("the reply could not be read (HTTP {status}): {}", DisplayErrorContext(error));
            CloudError::new(operation, TRANSPORT, message)
        }
        _ if is_about_credentials(error) => {
            CloudError::new(operation, NO_CREDENTIALS, DisplayErrorContext(error).to_string())
        }
        _ => CloudError::new(operation, NOT_SENT, DisplayErrorContext(error).to_string()),
    }
}

/// What the service said. Any 5xx may be sent again, whatever its code (EC2 developer guide, "Error codes for the
/// Amazon EC2 API": server errors).
fn service_error(operation: &'static str, status: u16, code: Option<&str>, message: &str) -> CloudError {
    let unavailable = if status == 503 { "ServiceUnavailable" } else { "InternalError" };
    let Some(code) = code else {
        let code = if status >= 500 { unavailable } else { BAD_REPLY };
        return CloudError::new(operation, code, format!("HTTP {status} without a code {message}"));
    };
    let error = CloudError::new(operation, code, message);
    if status >= 500 && error.class() == ErrorClass::Stop {
        return CloudError::new(operation, unavailable, format!("{code}: {message}"));
    }
    error
}

/// A reply that lacks what EC2 always says. It is a bug of one side, and nothing is guessed.
pub(crate) fn bad_reply(operation: &'static str, what: &str) -> CloudError {
    CloudError::new(operation, BAD_REPLY, format!("the reply has no usable {what}"))
}

/// Credentials that ran out are not the network's fault, and asking again does not help.
fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    let found = find::<CredentialsError>(error);
    found.is_some_and(|credentials| !matches!(credentials, CredentialsError::ProviderTimedOut(_)))
}

/// An error of this type among an error and its causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(this) = cause {
        if let Some(found) = this.downcast_ref() {
            return Some(found);
        }
        cause = this.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_own_code_and_message_are_kept() {
        let error = service_error("AttachVolume", 400, Some("VolumeInUse"), "vol-1 is already attached");
        assert_eq!(error, CloudError::new("AttachVolume", "VolumeInUse", "vol-1 is already attached"));
    }

    #[test]
    fn a_server_error_is_retried_whatever_its_code() {
        for code in [None, Some("ResourceContention"), Some("InternalFailure")] {
            assert_eq!(service_error("EnterStandby", 500, code, "").class(), ErrorClass::Retry, "{code:?}");
        }
    }

    #[test]
    fn a_wait_stays_a_wait_even_if_it_comes_as_a_server_error() {
        let error = service_error("CreateSnapshots", 503, Some("ConcurrentSnapshotLimitExceeded"), "");
        assert_eq!(error.class(), ErrorClass::Wait);
    }

    #[test]
    fn a_client_error_without_a_code_stops() {
        assert_eq!(service_error("CreateTags", 404, None, "").class(), ErrorClass::Stop);
    }
}
