//! The in-process face: `Cloud` on the runtime's clock.

mod cloud;
mod convert;
mod emulator;

pub use emulator::{Emulator, Inner};
