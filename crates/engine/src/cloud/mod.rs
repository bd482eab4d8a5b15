//! The cloud as the steps of a run have it: shared limits, shared looks, shared acts.
//!
//! EC2 limits how often an account may call, by families of actions. A run of a thousand members meets those limits, so
//! its steps do not call by themselves: they take a token first ([`quota`]), and what can be asked or done for many at
//! once is put together in one call ([`crate::batch`]).

mod calls;
mod desk;
mod pace;
mod quota;

pub(crate) use calls::Calls;
pub(crate) use desk::Desk;
pub(crate) use pace::Pace;
