//! The suite.

use std::fmt;

use super::check::{Checked, Under};
use super::world::CloudWorld;
use super::{attachments, groups, instances, permissions, snapshots, volumes};
use crate::cloud::Cloud;

/// A promise that an implementation breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenPromise {
    /// The promise.
    pub promise: &'static str,
    /// What was seen instead.
    pub seen: String,
}

impl fmt::Display for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.seen)
    }
}

/// Runs all checks; answers the broken promises. An empty answer is a pass.
pub async fn contract(cloud: &dyn Cloud, world: &dyn CloudWorld) -> Vec<BrokenPromise> {
    let under = Under { cloud, world };
    let mut outcome = Outcome::default();
    outcome.note("the caller is told who it is and where its calls go", permissions::caller(under).await);
    outcome.note("denied actions are found by dry runs and nothing else is named", permissions::denied(under).await);
    outcome.note("dry runs change nothing", permissions::dry_runs_change_nothing(under).await);
    outcome.note("a denied call stops the caller", permissions::denied_call_stops(under).await);
    instances_keep(under, &mut outcome).await;
    volumes_keep(under, &mut outcome).await;
    snapshots_keep(under, &mut outcome).await;
    attachments_keep(under, &mut outcome).await;
    groups_keep(under, &mut outcome).await;
    outcome.broken
}

#[derive(Default)]
struct Outcome {
    broken: Vec<BrokenPromise>,
}

impl Outcome {
    fn note(&mut self, promise: &'static str, checked: Checked) {
        if let Err(broken) = checked {
            self.broken.push(BrokenPromise { promise, seen: broken.0 });
        }
    }
}

async fn instances_keep(under: Under<'_>, outcome: &mut Outcome) {
    outcome.note("unknown instance ids are left out", instances::unknown_ids(under).await);
    outcome.note("instances are described alone", instances::alone(under).await);
    outcome.note("no instance ids are no instances", instances::no_ids(under).await);
    outcome.note("instances come with their volumes, in the order of ids", instances::described(under).await);
    outcome.note("all tags of an instance filter must match", instances::by_tags(under).await);
    outcome.note("a star in a tag matches a star only", instances::star_in_tag(under).await);
    outcome.note("unknown instance types are left out", instances::types(under).await);
    outcome.note("stopping what is stopping or stopped is done already", instances::stop_twice(under).await);
    outcome.note("starting what is pending or running is done already", instances::start_twice(under).await);
    outcome.note("a stopping instance cannot be started", instances::start_while_stopping(under).await);
    outcome.note("a stopped instance keeps its address", instances::address_stays(under).await);
    outcome.note("protections are switched on and off, twice if need be", instances::protections(under).await);
    outcome.note("a stop-protected instance is not stopped", instances::stop_protection_holds(under).await);
    outcome.note("delete-on-termination is set by device, twice if need be", instances::deletion(under).await);
    outcome.note("tags are added and overwritten on anything", instances::tags_set(under).await);
}

async fn volumes_keep(under: Under<'_>, outcome: &mut Outcome) {
    outcome.note("volumes are encrypted by default where the account says so", volumes::default_key(under).await);
    outcome.note("unknown volume ids are left out", volumes::unknown_ids(under).await);
    outcome.note("no volume ids are no volumes", volumes::no_ids(under).await);
    outcome.note("volumes come in the order of ids", volumes::in_order(under).await);
    outcome.note("a volume is made from a snapshot as it was asked for", volumes::made(under).await);
    outcome.note("the same token and parameters answer the same volume", volumes::same_token(under).await);
    outcome.note("the same token with other parameters is refused", volumes::token_mismatch(under).await);
    outcome.note("a volume from a pending snapshot must wait", volumes::pending_snapshot(under).await);
    outcome.note("all tags of a volume filter must match", volumes::by_tags(under).await);
    outcome.note("deleting a volume that is gone is done already", volumes::delete_twice(under).await);
    outcome.note("an attached volume is not deleted", volumes::delete_attached(under).await);
}

async fn snapshots_keep(under: Under<'_>, outcome: &mut Outcome) {
    outcome.note("unknown snapshot ids are left out", snapshots::unknown_ids(under).await);
    outcome.note("no snapshot ids are no snapshots", snapshots::no_ids(under).await);
    outcome.note("all data volumes are captured at one instant, and tagged", snapshots::captured(under).await);
    outcome.note("the root volume is captured if asked for, others left out", snapshots::chosen(under).await);
    outcome.note("a second capture is a second set", snapshots::twice(under).await);
    outcome.note("a snapshot completes, and says so", snapshots::completes(under).await);
    outcome.note("all tags of a snapshot filter must match", snapshots::by_tags(under).await);
    outcome.note("deleting a snapshot that is gone is done already", snapshots::delete_twice(under).await);
}

async fn attachments_keep(under: Under<'_>, outcome: &mut Outcome) {
    outcome.note("an attach arrives", attachments::attached(under).await);
    outcome.note("attached there already is done already", attachments::attach_twice(under).await);
    outcome.note("attached elsewhere is in use", attachments::attach_elsewhere(under).await);
    outcome.note("a detach arrives", attachments::detached(under).await);
    outcome.note("detached already is done already", attachments::detach_twice(under).await);
    outcome.note("a detach is never forced", attachments::never_forced(under).await);
}

async fn groups_keep(under: Under<'_>, outcome: &mut Outcome) {
    outcome.note("members of a group are found by its name", groups::members(under).await);
    outcome.note("a group that is not there has no members, or is an error", groups::unknown(under).await);
    outcome.note("a group tells its sizes, and one that is not there is left out", groups::sizes(under).await);
    outcome.note("standby is entered and left", groups::there_and_back(under).await);
    outcome.note("standby that is so already is done already", groups::already_so(under).await);
    outcome.note("an instance that is in no group cannot be in standby", groups::no_member(under).await);
}
