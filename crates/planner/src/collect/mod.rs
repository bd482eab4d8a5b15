//! The plan of `gc`: what nothing needs any more, by what is seen.

mod cloud;
mod cluster;
mod judge;
mod origin;

pub use judge::{collect, judge};
