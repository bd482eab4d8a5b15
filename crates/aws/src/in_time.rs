//! Calls that change something are sent soon after they were allowed, or not at all (invariant I10).
//!
//! Whoever asks for one has looked at its lease right before. What lies between that and the sending has no limit of its own in
//! the SDK: credentials that have to be renewed are waited for inside the call.

use std::fmt;
use std::time::Duration;

use aws_sdk_ec2::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use tokio::time::Instant;

/// How long after it was asked for a call may be sent. Less than the time that a driver's lease must have left, and enough for
/// a connection that has to be opened after it.
const LATEST: Duration = Duration::from_secs(3);

/// Stops a call that is about to be sent too late.
#[derive(Debug)]
pub(crate) struct InTime {
    from: Instant,
    latest: Duration,
}

impl InTime {
    /// For a call that is asked for now.
    pub(crate) fn from_now() -> Self {
        Self { from: Instant::now(), latest: LATEST }
    }

    /// For a call that was asked for at this time, and may be sent so much later.
    pub(crate) fn since(from: Instant, latest: Duration) -> Self {
        Self { from, latest }
    }
}

impl Intercept for InTime {
    fn name(&self) -> &'static str {
        "InTime"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let late = self.from.elapsed();
        if late > self.latest { Err(Box::new(TooLate(late))) } else { Ok(()) }
    }
}

/// The call was not sent.
#[derive(Debug)]
pub(crate) struct TooLate(Duration);

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not sent: {:.1} s after it was asked for it was still waiting to be signed", self.0.as_secs_f64())
    }
}

impl std::error::Error for TooLate {}
