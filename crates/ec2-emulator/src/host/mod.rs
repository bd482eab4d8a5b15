//! Disks and machines of this host: what is behind the emulator on the wire.
//!
//! A volume is a sparse file, a snapshot a reflink of it, an attachment a loop device; a machine is whatever the user's
//! guest program makes of it. As a directory of state holds everything, an emulator that is started again goes on.

mod command;
mod disks;
mod extents;
mod guests;
mod mounts;

pub use disks::{Devices, HostDisks};
pub use guests::{Guests, Output};
