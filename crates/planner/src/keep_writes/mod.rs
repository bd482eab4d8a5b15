//! `rollback --keep-writes`: the volumes go back to the legacy instances with all that the new side wrote.

mod claims;
mod obstacles;
mod plan;

pub use claims::{DiskClaim, DiskSeen};
pub use obstacles::{Obstacle, ReturnSeen, SetSeen, adopted, opened, prepare};
pub use plan::{is_keep_writes_step, keep_writes};
