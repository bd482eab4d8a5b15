//! The survey: everything observed at one time, cloud, hosts and cluster. It changes nothing.
//!
//! In: a [`rehome_model::migration::Migration`] and the ports. Out: a [`rehome_model::survey::Survey`]. Objects that are
//! not ours are read as JSON, so that fields this build does not know do no harm.

mod ask;
mod attached;
mod cluster;
mod error;
mod expansion;
mod identities;
mod intended;
mod permissions;
mod placement;
mod survey;

pub use cluster::cluster;
pub use error::SurveyError;
pub use intended::intended;
pub use permissions::{GC_PERMISSIONS, PERMISSIONS, Permission};
pub use survey::{Ports, survey, survey_of_facts};
