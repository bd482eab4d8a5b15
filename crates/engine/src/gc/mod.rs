//! `gc`: everything that carries a migration's name, what of it nothing needs, and its deletion.
//!
//! It works from what is seen, with or without a run record. What it would delete is a value, the
//! [`rehome_model::collection::Collection`], made by the pure planner; right before each deletion the thing is looked
//! at again and judged again by the same rule.

mod cluster;
mod collector;
mod look;
mod removal;

pub use collector::{Collector, Deletion, GcError, Outcome, Removal, Scope};
