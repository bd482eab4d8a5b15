//! `rollback --keep-writes`: the volumes go back to the legacy instances with all that the new side wrote.

mod obstacles;
mod plan;

pub use obstacles::{Obstacle, ReturnSeen, SetSeen, opened, prepare};
pub use plan::{is_keep_writes_step, keep_writes};
