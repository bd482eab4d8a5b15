//! Calls that change something are sent soon after they were allowed, or not at all (invariant I10).
//!
//! Whoever asks for one has looked at its lease right before. What lies between that and the sending has no limit of its own in
//! the SDK: credentials that have to be renewed are waited for inside the call.

use std::fmt;
use std::time::Duration;

use aws_sdk_ec2::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use tokio::time::Instant;

/// How long after it was asked for a call may be sent. Less than the time that a driver's lease must have left, and enough for
/// a connection that has to be opened after it.
const LATEST: Duration = Duration::from_secs(3);

/// Stops what a client is about to send too late. For the client's configuration, so that no call can be forgotten; one that
/// only looks is made again by whoever makes it.
#[derive(Debug)]
pub(crate) struct SoonOrNever;

/// When a call was asked for.
#[derive(Debug)]
struct Asked(Instant);

impl Storable for Asked {
    type Storer = StoreReplace<Self>;
}

impl Intercept for SoonOrNever {
    fn name(&self) -> &'static str {
        "SoonOrNever"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Asked(Instant::now()));
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.load::<Asked>().map_or(Ok(()), |Asked(asked)| check(*asked, LATEST))
    }
}

/// The same for one call, which was asked for before something else that it needs.
#[derive(Debug)]
pub(crate) struct InTime {
    asked: Instant,
    latest: Duration,
}

impl InTime {
    /// For a call that was asked for at this time, and may be sent so much later.
    pub(crate) fn since(asked: Instant, latest: Duration) -> Self {
        Self { asked, latest }
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
        check(self.asked, self.latest)
    }
}

fn check(asked: Instant, latest: Duration) -> Result<(), BoxError> {
    let late = asked.elapsed();
    if late > latest { Err(Box::new(TooLate(late))) } else { Ok(()) }
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
