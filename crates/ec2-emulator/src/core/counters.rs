//! What the emulator counted: for the demo's last screen, and for tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counters since the account began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Error replies by code.
    pub errors: BTreeMap<String, u64>,
    /// Bytes that snapshots took up: only what changed since the snapshot before.
    pub snapshot_bytes: u64,
    /// Bytes on volumes made from snapshots and copies of volumes: they changed hands without crossing any network of
    /// the account's.
    pub adopted_bytes: u64,
}

impl Counters {
    pub(crate) fn refused(&mut self, code: &str) {
        *self.errors.entry(code.to_owned()).or_default() += 1;
    }
}
