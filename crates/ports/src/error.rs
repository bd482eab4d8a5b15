//! Errors of the ports, classed by what the caller should do.

use thiserror::Error;

/// What an error asks of the caller (EC2's codes, by what they mean for a driver).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Throttled, unavailable, timed out: the same call may be sent again soon. **Its effect may have happened.**
    Retry,
    /// Something else must end first (pending snapshots, a detach): again after a longer wait. No effect happened.
    Wait,
    /// The caller must look and decide: token burned, limit met, already so.
    Decide,
    /// Not found: soon after a create this may be staleness, later it is the truth.
    NotFound,
    /// Whoever calls is not known: credentials ran out, were taken back, or do not fit the clock. No effect happened, and
    /// no other call will be taken either, an undo's least of all, until somebody renews them.
    Credentials,
    /// Will not go away by itself: permission, bad parameter, quota.
    Stop,
}

/// An error of the cloud, in EC2's own code and message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{operation}: {code}: {message}")]
pub struct CloudError {
    /// The EC2 operation, `CreateVolume`.
    pub operation: &'static str,
    /// EC2's code; `Timeout` or `Transport` if no reply came, [`NO_CREDENTIALS`] if nothing could be signed,
    /// [`NOT_SENT_IN_TIME`] if that took too long.
    pub code: String,
    /// EC2's message.
    pub message: String,
}

impl CloudError {
    /// An error in EC2's terms.
    pub fn new(operation: &'static str, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { operation, code: code.into(), message: message.into() }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        // EC2 gives this code for two things, and only its words tell them apart (API reference, "Client error codes"):
        // "AWS was not able to validate the provided access credentials", and a resource that is somebody else's.
        if self.code == "AuthFailure" && self.message.to_lowercase().contains("credential") {
            return ErrorClass::Credentials;
        }
        classify(&self.code)
    }

    /// Whether the call may have done what it was for, though it failed. Of those that may be sent again some were not taken, or
    /// not even sent.
    pub fn may_have_effect(&self) -> bool {
        self.class() == ErrorClass::Retry && !self.is_throttling() && self.code != NOT_SENT_IN_TIME
    }

    /// Whether the account's rate of calls was met: others of the same family will be refused too.
    pub fn is_throttling(&self) -> bool {
        matches!(
            self.code.as_str(),
            "RequestLimitExceeded"
                | "Throttling"
                | "ThrottlingException"
                | "ThrottledException"
                | "TooManyRequestsException"
                | "EC2ThrottledException"
        )
    }
}

/// The code of a call that changes something and was not sent, since too much time had passed since it was asked for: whoever
/// asked may not be allowed to any more. It may ask again.
pub const NOT_SENT_IN_TIME: &str = "NotSentInTime";

/// The code of a call that could not be signed: the caller's credentials ran out, and no new ones were found.
pub const NO_CREDENTIALS: &str = "NoCredentials";

/// The class of an EC2 error code. Unknown codes stop: a driver that retries what it does not understand does harm.
pub fn classify(code: &str) -> ErrorClass {
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "EC2ThrottledException"
        | "InternalError"
        | "InternalFailure"
        | "Unavailable"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "Timeout"
        | "Transport"
        | NOT_SENT_IN_TIME => ErrorClass::Retry,
        // EC2 says RequestExpired, STS and Auto Scaling ExpiredToken, SSM ExpiredTokenException of a session that is over;
        // then keys that are not known (any more), and signatures of another key or of a clock that is wrong ("Common
        // errors" of each service's API reference).
        NO_CREDENTIALS
        | "RequestExpired"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException" => ErrorClass::Credentials,
        "SnapshotCreationPerVolumeRateExceeded"
        | "ConcurrentSnapshotLimitExceeded"
        | "PendingSnapshotLimitExceeded"
        | "ConcurrentCopyVolumeLimitExceeded"
        | "IncorrectState"
        | "IncorrectInstanceState"
        | "IncorrectModificationState"
        | "VolumeInUse"
        | "InvalidSnapshot.InUse"
        | "VolumeModificationRateExceeded"
        | "InsufficientVolumeCapacity"
        | "ScalingActivityInProgress"
        // Somebody else changes tags of the same thing: tools that tag all that is new meet our own right after a capture.
        | "ConcurrentTagAccess"
        // A start on the way back: what the account or the zone lacks now comes free again, and production waits for it.
        | "InsufficientInstanceCapacity"
        | "InsufficientCapacityOnHost"
        | "IncompatibleHostRequirements"
        | "UnavailableHostRequirements"
        | "ReservationCapacityExceeded"
        | "InstanceLimitExceeded"
        | "VcpuLimitExceeded" => ErrorClass::Wait,
        "IdempotentParameterMismatch" | "VolumeLimitExceeded" | "InvalidAttachment.NotFound" | "DryRunOperation" => {
            ErrorClass::Decide
        }
        code if code.ends_with(".NotFound") || code == "InvocationDoesNotExist" => ErrorClass::NotFound,
        _ => ErrorClass::Stop,
    }
}

/// A script that could not be run, or whose end is not known.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScriptError {
    /// The host or pod cannot be reached. The script did not start.
    #[error("{target} cannot be reached: {reason}")]
    Unreachable {
        /// Which host or pod.
        target: String,
        /// Why.
        reason: String,
    },
    /// No end was seen in time. **The script may still run**: run it again, it finds what was done.
    #[error("{target}: the script {task} did not end within {limit_s} s")]
    TimedOut {
        /// Which host or pod.
        target: String,
        /// Task's name.
        task: String,
        /// The limit in seconds.
        limit_s: u32,
    },
    /// It was sent, and nothing tells how it ended, though its time is not over. **It may still run**: run it again, it
    /// finds what was done.
    #[error("{target}: how the script {task} ended is not known: {reason}")]
    EndUnknown {
        /// Which host or pod.
        target: String,
        /// Task's name.
        task: String,
        /// Why.
        reason: String,
    },
    /// What carries scripts does not take the caller's credentials. If it was sent before, **it may still run**: run it
    /// again with good ones, it finds what was done.
    #[error("{target}: {reason}")]
    Credentials {
        /// Which host or pod.
        target: String,
        /// Why.
        reason: String,
    },
    /// The host does not take the caller's key, certificate or ticket: they ran out, or it was never let in. The script did
    /// not start. A host that boots may say so until what tells it of users and their keys is up.
    #[error("{target}: {reason}")]
    NotLetIn {
        /// Which host.
        target: String,
        /// Why.
        reason: String,
    },
    /// The caller was let in, and does not get a shell as root. The script did not start. Soon after a boot this may pass, too.
    #[error("{target}: {reason}")]
    NoRoot {
        /// Which host.
        target: String,
        /// Why.
        reason: String,
    },
    /// Refused for good: permission, unknown target.
    #[error("{target}: {reason}")]
    Refused {
        /// Which host or pod.
        target: String,
        /// Why.
        reason: String,
    },
}

impl ScriptError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::EndUnknown { .. } => ErrorClass::Retry,
            Self::Credentials { .. } | Self::NotLetIn { .. } => ErrorClass::Credentials,
            Self::NoRoot { .. } | Self::Refused { .. } => ErrorClass::Stop,
        }
    }

    /// Whether it is the word of the host alone, which may be another one when it has booted.
    pub fn may_pass_after_boot(&self) -> bool {
        matches!(self, Self::NotLetIn { .. } | Self::NoRoot { .. })
    }
}

/// What an error says, with what caused it: that a connection failed is the outer word, and why it did the inner one.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(this) = cause {
        let words = this.to_string();
        // Some errors have the words of their cause in their own.
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        cause = this.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_nobody_knows_stop() {
        assert_eq!(classify("SomethingNew"), ErrorClass::Stop);
        assert_eq!(classify("UnauthorizedOperation"), ErrorClass::Stop);
    }

    #[test]
    fn what_others_are_at_and_what_comes_free_again_is_waited_for() {
        let codes = [
            "ConcurrentTagAccess",
            "InsufficientInstanceCapacity",
            "InsufficientCapacityOnHost",
            "IncompatibleHostRequirements",
            "UnavailableHostRequirements",
            "ReservationCapacityExceeded",
            "InstanceLimitExceeded",
            "VcpuLimitExceeded",
        ];
        for code in codes {
            assert_eq!(classify(code), ErrorClass::Wait, "{code}");
        }
    }

    #[test]
    fn what_was_not_taken_or_not_sent_had_no_effect() {
        let may = |code: &str| CloudError::new("StopInstances", code, "").may_have_effect();
        assert_eq!(["Timeout", "Transport", "InternalError"].map(may), [true; 3]);
        assert_eq!([NOT_SENT_IN_TIME, "Throttling", "VolumeInUse", "UnauthorizedOperation"].map(may), [false; 4]);
        assert_eq!(classify(NOT_SENT_IN_TIME), ErrorClass::Retry);
    }

    #[test]
    fn not_found_is_its_own_class_but_for_attachments() {
        assert_eq!(classify("InvalidVolume.NotFound"), ErrorClass::NotFound);
        assert_eq!(classify("InvalidAttachment.NotFound"), ErrorClass::Decide);
    }

    #[test]
    fn a_session_that_is_over_is_no_refusal() {
        for code in ["RequestExpired", "ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException"] {
            assert_eq!(classify(code), ErrorClass::Credentials, "{code}");
        }
    }

    #[test]
    fn an_auth_failure_is_about_the_caller_only_if_it_says_so() {
        let class = |message: &str| CloudError::new("AttachVolume", "AuthFailure", message).class();
        let expired = "AWS was not able to validate the provided access credentials";
        assert_eq!(class(expired), ErrorClass::Credentials);
        assert_eq!(class("Not authorized for images: [ami-1]"), ErrorClass::Stop);
    }

    #[test]
    fn causes_are_told_once() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let inner = CauseOf { words: "cannot connect", cause: Box::new(refused) };
        let outer = CauseOf { words: "no answer: cannot connect", cause: Box::new(inner) };
        assert_eq!(with_causes(&outer), "no answer: cannot connect: connection refused");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct CauseOf {
        words: &'static str,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    }
}
