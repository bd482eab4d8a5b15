//! What is behind the volumes and instances: the core asks, and never looks inside.
//!
//! [`MemoryDisks`] keeps small file trees in memory, for simulations. The wire face has files, loop devices and guests.

mod content;
mod memory;
mod port;

pub use content::{Content, Files};
pub use memory::{Disk, MemoryDisks, MountedBy};
pub use port::{Busy, Capture, DiskError, DiskSource, Disks, Machine};
