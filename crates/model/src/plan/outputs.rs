//! Names under which steps declare what they made, and later steps find it.

use crate::ids::RoleName;

/// The volume that [`super::Action::CreateVolume`] made.
pub const VOLUME: &str = "volume";

const SNAPSHOT: &str = "snapshot/";

/// The snapshot of a role that [`super::Action::SnapshotInstance`] made.
pub fn snapshot(role: &RoleName) -> String {
    format!("{SNAPSHOT}{role}")
}

/// Whether an output of this name is a volume or snapshot that was made.
pub fn is_resource(name: &str) -> bool {
    name == VOLUME || name.starts_with(SNAPSHOT)
}
