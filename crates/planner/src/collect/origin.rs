//! Who made a volume or snapshot, by its tags.
//!
//! Tags travel: AWS Backup and Data Lifecycle Manager copy a volume's tags to the snapshots they make of it, and to
//! volumes restored from those. So a tag of ours alone proves nothing: the step in the tags must be one that makes this
//! kind of thing, and of this member.

use rehome_model::cloud::Tags;
use rehome_model::ids::{MemberName, RoleName, RunId, StepId};
use rehome_model::labels;

use crate::steps::ids;

/// A run, by the tags of what it made.
pub(super) struct Origin {
    pub run: RunId,
    /// The step that made it.
    pub step: StepId,
    /// Whether it is a base snapshot.
    pub base: bool,
}

fn tag<'a>(tags: &'a Tags, key: &str) -> Option<&'a str> {
    tags.get(key).map(String::as_str)
}

/// Who made a volume; none if no run of this migration did.
pub(super) fn of_volume(migration: &str, tags: &Tags) -> Option<Origin> {
    tag(tags, labels::MIGRATION).filter(|name| *name == migration)?;
    let run = RunId::from(tag(tags, labels::RUN)?);
    let (member, role) = (MemberName::from(tag(tags, labels::MEMBER)?), RoleName::from(tag(tags, labels::ROLE)?));
    let step = ids::create(&member, &role);
    (tag(tags, labels::STEP)? == step.as_str()).then_some(Origin { run, step, base: false })
}

/// Who made a snapshot; none if no run of this migration did. Its role may be missing: it is tagged later.
pub(super) fn of_snapshot(migration: &str, tags: &Tags) -> Option<Origin> {
    tag(tags, labels::MIGRATION).filter(|name| *name == migration)?;
    let run = RunId::from(tag(tags, labels::RUN)?);
    let member = MemberName::from(tag(tags, labels::MEMBER)?);
    let step = StepId::from(tag(tags, labels::STEP)?);
    let base = step == ids::base(&member);
    (base || step == ids::last(&member)).then_some(Origin { run, step, base })
}
