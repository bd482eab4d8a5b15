//! What a block device holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Files by path. Shared, so that a snapshot costs nothing.
pub type Files = Arc<BTreeMap<String, Arc<[u8]>>>;

/// EBS reads and stores blocks of this size (EBS direct APIs: 512 KiB).
const BLOCK: u64 = 512 * 1024;

/// What a block device holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// File system or other signature (`xfs`, `ext4`, `LVM2_member`, `linux_raid_member`, `crypto_LUKS`); none for a
    /// blank device.
    pub fs_type: Option<String>,
    /// Whether it has a partition table.
    pub partitioned: bool,
    /// The file system's UUID.
    #[serde(default)]
    pub uuid: Option<String>,
    /// The file system's label.
    #[serde(default)]
    pub label: Option<String>,
    /// Bytes that were once written and that nothing here looks at: makes a small scene's volume as large as a real
    /// one, for the time snapshots and hydration take.
    #[serde(default)]
    pub ballast_bytes: u64,
    /// The files.
    pub files: Files,
}

impl Content {
    /// A file system with files.
    pub fn with_files(fs_type: &str, files: BTreeMap<String, Vec<u8>>) -> Self {
        let files = files.into_iter().map(|(path, bytes)| (path, Arc::from(bytes))).collect();
        Self { fs_type: Some(fs_type.to_owned()), files: Arc::new(files), ..Self::default() }
    }

    /// A device that holds something that is no file system.
    pub fn with_signature(fs_type: &str) -> Self {
        Self { fs_type: Some(fs_type.to_owned()), ..Self::default() }
    }

    /// A device with a partition table.
    pub fn partitioned() -> Self {
        Self { partitioned: true, ..Self::default() }
    }

    /// The same with ballast.
    #[must_use]
    pub fn with_ballast(self, bytes: u64) -> Self {
        Self { ballast_bytes: bytes, ..self }
    }

    /// Whether nothing was ever written to it.
    pub fn is_blank(&self) -> bool {
        self.fs_type.is_none() && !self.partitioned && self.files.is_empty() && self.ballast_bytes == 0
    }

    /// A digest of all that is on the device.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for text in [&self.fs_type, &self.uuid, &self.label] {
            field(text.as_deref().unwrap_or_default().as_bytes());
        }
        field(&[u8::from(self.partitioned)]);
        field(&self.ballast_bytes.to_le_bytes());
        for (path, bytes) in self.files.iter() {
            field(path.as_bytes());
            field(bytes);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Bytes in blocks that differ from an earlier content, or were ever written. Files are taken as packed one after
    /// the other.
    pub(crate) fn changed_bytes(&self, since: Option<&Self>) -> u64 {
        if since.is_some_and(|before| Arc::ptr_eq(&before.files, &self.files) && before.fs_type == self.fs_type) {
            return 0;
        }
        let before = |path: &str| since.and_then(|content| content.files.get(path));
        let bytes: u64 = self
            .files
            .iter()
            .filter(|(path, bytes)| before(path) != Some(bytes))
            .map(|(path, bytes)| (path.len() + bytes.len()) as u64)
            .sum();
        let ballast = self.ballast_bytes.saturating_sub(since.map_or(0, |content| content.ballast_bytes));
        (bytes + ballast).div_ceil(BLOCK) * BLOCK
    }
}
