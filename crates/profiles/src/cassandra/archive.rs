//! What hosts send packed: identity files as gzipped tar, long texts as gzip in base64.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The largest archive, unpacked: the files of two small system tables.
const ARCHIVE_MAX_BYTES: u64 = 64 << 20;
/// The most files in it.
const FILES_MAX: usize = 10_000;

/// A text that a script packed.
pub(crate) fn text(packed: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(packed).map_err(|error| format!("it is not base64: {error}"))?;
    unpacked(&bytes)
}

/// The same of which the base64 is decoded.
pub(crate) fn unpacked(packed: &[u8]) -> Result<String, String> {
    String::from_utf8(gunzip(packed)?).map_err(|error| error.to_string())
}

fn gunzip(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .take(ARCHIVE_MAX_BYTES + 1)
        .read_to_end(&mut plain)
        .map_err(|error| format!("it is not gzip: {error}"))?;
    if plain.len() as u64 > ARCHIVE_MAX_BYTES {
        return Err(format!("it is more than {ARCHIVE_MAX_BYTES} bytes unpacked"));
    }
    Ok(plain)
}

/// The files of an archive, by path.
pub(crate) fn unpack(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let plain = gunzip(archive)?;
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new(plain.as_slice());
    for entry in tar.entries().map_err(|error| format!("it is not tar: {error}"))?.take(FILES_MAX) {
        let mut entry = entry.map_err(|error| format!("it is not tar: {error}"))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(|error| error.to_string())?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| format!("{path}: {error}"))?;
        files.insert(path, bytes);
    }
    Ok(files)
}
