//! An EC2 emulator: a pure core, and faces on it.
//!
//! In: EC2's actions, a time, and the disks behind the volumes. Out: EC2's replies, with its states, delays, limits,
//! codes and messages. [`api`] has the types that go in and out; [`core`] has the rules, knows no clock and does no I/O;
//! [`disks`] is what it asks for bytes and machines; [`face`] is the in-process face, which implements
//! `rehome_ports::Cloud` on the runtime's clock. With the feature `wire`, `wire` speaks AWS's protocols over HTTP, and
//! `host` has disks and machines of this host behind it. Where AWS documents behaviour, this follows it; where it does
//! not, this is stricter than AWS, never more forgiving.

pub mod api;
pub mod core;
pub mod disks;
pub mod face;
#[cfg(feature = "wire")]
pub mod host;
#[cfg(feature = "wire")]
pub mod wire;
