//! A whole migration, measured: for `cargo xtask bench`, and small for a test.
//!
//! In: a number of members. Out: how long it took in virtual time, what it asked of whom, how large its record is; and
//! beside it the least that EC2's documented limits allow, which [`bound`] works out on its own.

pub mod bound;
mod calls;
mod measure;

pub use measure::{Measured, Record, Span, Stage, Survey};
