//! The contract of [`crate::Cloud`] as a suite: one check for every promise of the trait's documentation.
//!
//! In: an implementation, and a hand on the world behind it. Out: the promises that it breaks, by name. Every check
//! makes its own objects, so that they can be run in any order and against a world that holds other things.

mod attachments;
mod check;
mod groups;
mod instances;
mod permissions;
mod snapshots;
mod suite;
mod volumes;
mod world;

pub use suite::{BrokenPromise, contract};
pub use world::CloudWorld;
