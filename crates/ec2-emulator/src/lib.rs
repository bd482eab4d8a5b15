//! An EC2 emulator: a pure core, and faces on it.
//!
//! In: EC2's actions, a time, and the disks behind the volumes. Out: EC2's replies, with its states, delays, limits,
//! codes and messages. [`core`] knows no clock and does no I/O; [`face`] is the in-process face, which implements
//! `rehome_ports::Cloud` on the runtime's clock. Where AWS documents behaviour, this follows it; where it does not,
//! this is stricter than AWS, never more forgiving.

pub mod api;
pub mod core;
pub mod disks;
pub mod face;
#[cfg(feature = "wire")]
pub mod wire;
