//! The state on disk, so that an emulator that is started again goes on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::core::Core;

/// A state file that cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no state of this version.
    #[error("{path} is no state of this version of the emulator: {source}; start with an empty directory")]
    Format {
        /// File.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// The file with the state.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    last: Option<blake3::Hash>,
}

impl StateFile {
    /// The file at a path, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), last: None }
    }

    /// The state in it, if there is one.
    pub fn load(&self) -> Result<Option<Core>, StateError> {
        let path = || self.path.clone();
        match fs::read(&self.path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|source| StateError::Format { path: path(), source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Read { path: path(), source }),
        }
    }

    /// Writes the state if it is not what was written last. A crash leaves the old state or the new one.
    pub(super) fn save(&mut self, core: &Core) -> io::Result<()> {
        let bytes = serde_json::to_vec(core)?;
        let hash = blake3::hash(&bytes);
        if self.last == Some(hash) {
            return Ok(());
        }
        let part = self.path.with_extension("part");
        let mut file = File::create(&part)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&part, &self.path)?;
        let directory = self.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        self.last = Some(hash);
        Ok(())
    }
}
