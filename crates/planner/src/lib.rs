//! The planner: a pure function from migration and survey to a plan.
//!
//! In: a [`rehome_model::migration::Migration`], a [`rehome_model::survey::Survey`], the application's profile, and the
//! findings of the checks. Out: a [`rehome_model::plan::Plan`] in which nothing is left to choose. The same inputs give
//! the same bytes.

mod collect;
mod error;
mod estimate;
mod facts;
mod finalize;
mod keep;
mod keep_writes;
pub mod manifests;
mod mapping;
mod planner;
mod sequel;
mod steps;

pub use collect::{collect, judge};
pub use error::PlanError;
pub use facts::{Difference, account, differences, template, unplanned};
pub use finalize::{finalize, is_finalize_step};
pub use keep::{keep_until, kept_until_ms};
pub use keep_writes::{
    DiskClaim, DiskSeen, Obstacle, ReturnSeen, SetSeen, adopted, is_keep_writes_step, keep_writes, opened, prepare,
};
pub use mapping::{Placement, place};
pub use planner::plan;
pub use steps::while_serving;
