//! The simulated world: EC2, Kubernetes, hosts and a replicated database in one process, on the runtime's clock.
//!
//! In: a number of members and a seed. Out: the ports that rehome works with, the same engine as in production on top
//! of them, and checkers of the invariants that stand apart from the scenarios.

pub mod bench;
pub mod checks;
mod control;
mod database;
mod gate;
mod hands;
mod host_tasks;
pub mod kubernetes;
mod machines;
mod ports;
mod rows;
mod scene;
pub mod seeds;
mod world;

pub use control::{Control, Kill};
pub use database::{Ledger, ReferenceDatabase};
pub use gate::{Call, Gate, Mishap, Port, Ruling};
pub use ports::SimPorts;
pub use rows::Rows;
pub use scene::{Scene, migration_yaml, migration_yaml_with_commitlogs};
pub use world::{HostShape, Landed, World};
