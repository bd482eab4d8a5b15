//! Ids: made by seed, and checked as EC2 checks them.

use crate::api::ApiError;

use super::state::Core;

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Instance,
    Volume,
    Snapshot,
}

impl Kind {
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Instance => "i",
            Self::Volume => "vol",
            Self::Snapshot => "snap",
        }
    }

    /// As EC2 spells the type of a resource in tags.
    pub(crate) fn resource_type(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
        }
    }

    /// The kind of an id by its prefix.
    pub(crate) fn of(id: &str) -> Option<Self> {
        let (prefix, _) = id.split_once('-')?;
        [Self::Instance, Self::Volume, Self::Snapshot].into_iter().find(|kind| kind.prefix() == prefix)
    }

    /// Refuses what cannot be an id of this kind: a prefix, a dash, 8 or 17 hexadecimal digits.
    pub(crate) fn check(self, id: &str) -> Result<(), ApiError> {
        let digits = id.strip_prefix(self.prefix()).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        let hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(digits.len(), 8 | 17) {
            return Ok(());
        }
        let code = match self {
            Self::Instance => "InvalidInstanceID.Malformed",
            Self::Volume => "InvalidVolumeID.Malformed",
            Self::Snapshot => "InvalidSnapshotID.Malformed",
        };
        Err(ApiError::new(code, format!("Invalid id: \"{id}\"")))
    }
}

impl Core {
    /// A fresh id, `vol-0123456789abcdef0`: from seed, prefix and count, so that a run can be repeated.
    pub(crate) fn fresh_id(&mut self, prefix: &str) -> String {
        let count = self.made.entry(prefix.to_owned()).or_default();
        *count += 1;
        let digest = blake3::hash(format!("{}/{prefix}/{count}", self.config.seed).as_bytes()).to_hex();
        format!("{prefix}-0{}", &digest[..16])
    }

    /// A number from seed and words; the same each time.
    pub(crate) fn chance(&self, words: &[&str], salt: u64) -> u64 {
        let digest = blake3::hash(format!("{}/{}/{salt}", self.config.seed, words.join("/")).as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}
