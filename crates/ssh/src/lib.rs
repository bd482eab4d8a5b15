//! The host port through the user's own OpenSSH, with the user's own configuration, keys and agents.
//!
//! In: a script for a legacy instance. Out: its exit code and what it printed, or why that is not known.

mod addresses;
mod arguments;
mod child;
mod ending;
mod open_ssh;
mod payload;

pub use addresses::Addresses;
pub use open_ssh::OpenSsh;
