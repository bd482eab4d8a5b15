//! The plan of `gc`: what nothing needs any more, by what is seen.

mod cloud;
mod cluster;
mod judge;
mod origin;
#[cfg(test)]
mod tests;

pub use judge::{collect, judge};
