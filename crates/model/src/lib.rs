//! The nouns of rehome. Pure values: no I/O, no clock, no randomness.
//!
//! In: nothing. Out: what every other crate speaks of: the [`migration`] a user writes, the [`survey`] of what is,
//! the [`finding`]s of its checks, the [`plan`], its [`event`]s, and the run [`record`].

pub mod answer;
pub mod cloud;
pub mod cluster;
pub mod collection;
pub mod event;
pub mod finding;
pub mod fingerprint;
pub mod format;
pub mod host;
pub mod ids;
pub mod labels;
pub mod migration;
pub mod names;
pub mod on_host;
pub mod placement;
pub mod plan;
pub mod quantity;
pub mod record;
pub mod survey;
pub mod task;
