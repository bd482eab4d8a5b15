//! The engine: carries out a plan, step by step, resumable at any instant.
//!
//! In: a [`rehome_model::plan::Plan`] and the ports. Out: [`rehome_model::event::Event`]s and the run record, which
//! lives in the target cluster. It chooses nothing: what is done, in which order, and what takes it back, stands in
//! the plan. Every step looks, acts only if needed, and looks again; so a kill at any instant is harmless.

mod account;
mod actions;
mod batch;
mod clock;
mod cloud;
mod context;
mod driver;
mod error;
mod finalize;
mod gc;
mod keep_writes;
mod kubernetes;
mod lease;
mod limits;
mod objects;
mod order;
mod permissions;
mod refused;
mod schedule;
mod shared;
mod shown;
mod store;
mod undo;

pub use account::OtherAccount;
pub use clock::Clock;
pub use driver::{Command, Driver, Outcome, Ports, status};
pub use error::{StepError, StepErrorKind};
pub use finalize::finalize_plan;
pub use gc::{Collector, Deletion, GcError, Outcome as GcOutcome, Removal, Scope};
pub use keep_writes::keep_writes_plan;
pub use kubernetes::{Kube, KubeError, paths};
pub use lease::LeaseError;
pub use limits::*;
pub use refused::EngineError;
pub use shown::Shown;
pub use store::{RecordStore, StoreError};
pub use undo::rollback_plan;
