//! Which blocks two files share, from their extents: nothing is read.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::command;

/// EBS snapshots count in blocks of 512 KiB.
const BLOCK_BYTES: u64 = 512 * 1024;
/// The unit of `filefrag -b4096`.
const UNIT_BYTES: u64 = 4096;

/// Bytes in blocks of a file that are not where the other file has them, or of all its blocks if there is no other.
/// A file system that cannot tell extents makes every written block count.
pub(super) fn changed_bytes(file: &Path, other: Option<&Path>) -> u64 {
    let written = || std::fs::metadata(file).map_or(0, |metadata| metadata.blocks() * 512);
    let Some(ours) = extents(file) else { return written() };
    let theirs = other.and_then(extents).unwrap_or_default();
    let changed: BTreeSet<u64> = ours
        .iter()
        .filter(|(logical, physical)| theirs.get(logical) != Some(physical))
        .map(|(logical, _)| logical * UNIT_BYTES / BLOCK_BYTES)
        .collect();
    changed.len() as u64 * BLOCK_BYTES
}

/// Where each unit of a file is, from e2fsprogs' filefrag.
fn extents(file: &Path) -> Option<BTreeMap<u64, u64>> {
    let output = command::output("filefrag", [Path::new("-v"), Path::new("-b4096"), file]).ok()?;
    output.status.success().then(|| parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Lines such as `   0:        0..       7:         34..        41:      8:             last,eof`.
fn parse(text: &str) -> BTreeMap<u64, u64> {
    let mut units = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':').map(str::trim);
        let (Some(_), Some(logical), Some(physical), Some(length)) =
            (fields.next().and_then(|n| n.parse::<u64>().ok()), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let start = |range: &str| range.split("..").next().and_then(|number| number.trim().parse::<u64>().ok());
        let (Some(logical), Some(physical), Ok(length)) = (start(logical), start(physical), length.parse::<u64>())
        else {
            continue;
        };
        units.extend((0..length).map(|unit| (logical + unit, physical + unit)));
    }
    units
}

#[cfg(test)]
mod tests {
    #[test]
    fn filefrags_table_becomes_units() {
        let text = "Filesystem type is: 58465342\nFile size of a is 40960 (10 blocks of 4096 bytes)\n \
                    ext:     logical_offset:        physical_offset: length:   expected: flags:\n   \
                    0:        0..       1:         34..        35:      2:             shared\n   \
                    1:        8..       8:         90..        90:      1:         42: last,eof\na: 2 extents found\n";
        let units: Vec<(u64, u64)> = super::parse(text).into_iter().collect();
        assert_eq!(units, [(0, 34), (1, 35), (8, 90)]);
    }
}
