//! Whole migrations under troubles that a seed draws, each checked against the invariants (docs/safety.md).
//!
//! In: seeds. Out: what came of each. The engine, the survey, the checks and the planner are the product's own; a seed
//! decides the weather, the persons, and what goes wrong; the same seed tells the same story again, to the millisecond.

mod bystanders;
mod check;
mod cloud;
mod dice;
mod ledger;
mod meddle;
mod person;
mod planted;
mod planted_cluster;
mod report;
mod run;
mod seat;
mod stage;
mod story;
mod trouble;
mod wider;

pub use dice::Dice;
pub use ledger::{Entry, Result as RunResult, entries, past_failures};
pub use person::{Efforts, Over};
pub use planted::Planted;
pub use report::{Count, Options, run_all, story};
pub use run::{Told, tell};
pub use story::{Course, Scenario, Story, Weather};
pub use trouble::{How, Stranger, Trouble};
