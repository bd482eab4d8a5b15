//! Checks of a survey: findings with stable codes, evidence and a fix.
//!
//! In: a migration, a survey, the application's profile. Out: [`rehome_model::finding::Finding`]s. Pure. A check never
//! relies on another one having passed: what was not seen is the subject of its own check.

mod application;
mod attributes;
mod claims;
mod cluster;
mod context;
mod directories;
mod kernels;
mod members;
mod owners;
mod placement;
mod places;
mod registry;
mod seeds;
mod set;
mod tags;
mod volumes;

use rehome_model::finding::Finding;
use rehome_model::migration::Migration;
use rehome_model::survey::Survey;
use rehome_profiles::Profile;

pub use registry::{Check, checks, explain};

/// Runs all checks; the worst findings first, then by code and subject.
pub fn lint(migration: &Migration, survey: &Survey, profile: &dyn Profile) -> Vec<Finding> {
    let mut context = context::Context::new(migration, survey, profile);
    members::check(&mut context);
    volumes::check(&mut context);
    places::check(&mut context);
    tags::check(&mut context);
    cluster::check(&mut context);
    set::check(&mut context);
    application::check(&mut context);
    context.into_findings()
}
