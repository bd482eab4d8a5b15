//! What crossed the wire, for whoever holds the emulator to account: one exchange a line, as JSON.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

/// The environment's name of a directory: every server that is not given a transcript of its own writes one there. A
/// check over all tests sets it, whichever crate their servers are in.
const DIRECTORY: &str = "REHOME_TRANSCRIPTS";

/// A file that exchanges are added to. Clones write to the same file.
#[derive(Clone, Debug)]
pub struct Transcript {
    file: Arc<Mutex<File>>,
    path: PathBuf,
}

impl Transcript {
    /// A transcript at the end of a file, which is made if it is not there.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let opened = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| at(&path, &error))?;
        Ok(Self { file: Arc::new(Mutex::new(opened)), path })
    }

    /// A new file in the directory that the environment names, if it names one.
    pub fn from_environment() -> io::Result<Option<Self>> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let Some(directory) = std::env::var_os(DIRECTORY) else { return Ok(None) };
        fs::create_dir_all(&directory).map_err(|error| at(Path::new(&directory), &error))?;
        let name = format!("{}-{}.jsonl", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self::open(Path::new(&directory).join(name)).map(Some)
    }

    /// Adds an exchange. `target` is the operation of the JSON protocol; the Query protocol has it in the request.
    pub(super) fn note(&self, target: Option<&str>, request: &[u8], status: u16, reply: &str) -> io::Result<()> {
        let request = String::from_utf8_lossy(request);
        let line = json!({"target": target, "request": request, "status": status, "reply": reply});
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // In one piece: the file may be read, and others may add to it, meanwhile.
        let written = file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| at(&self.path, &error))
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
