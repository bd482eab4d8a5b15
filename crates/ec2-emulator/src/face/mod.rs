//! The in-process face: `Cloud` on the runtime's clock. The wire face stands on it.

mod cloud;
mod convert;
mod emulator;
mod permissions;
mod saved;

pub use emulator::{Emulator, Inner};
pub use saved::{StateError, StateFile};
