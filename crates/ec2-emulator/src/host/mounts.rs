//! Whether a block device is mounted anywhere on this host, in whatever mount namespace.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether any process sees a file system of this device.
pub(super) fn is_mounted(device: &Path) -> io::Result<bool> {
    let metadata = fs::metadata(device)?;
    let number = format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
    let mut seen = BTreeSet::new();
    for process in fs::read_dir("/proc")? {
        let path = process?.path();
        // Most processes share a namespace; one look at each is enough. Those that ended meanwhile have none.
        let Ok(namespace) = fs::read_link(path.join("ns/mnt")) else { continue };
        if seen.insert(namespace) && mountinfo_has(&path, &number) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn mountinfo_has(process: &Path, number: &str) -> bool {
    let text = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    text.lines().any(|line| line.split(' ').nth(2) == Some(number))
}

/// As glibc's gnu_dev_major.
fn major(device: u64) -> u64 {
    ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff)
}

/// As glibc's gnu_dev_minor.
fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & !0xff)
}
