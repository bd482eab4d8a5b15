//! A table: its sstables merged cell by cell, the newest timestamp wins, deletions count.

use std::collections::BTreeMap;

use super::sstable::{Cell, Directory, SstableError, partitions};

/// A row after the merge: column -> element of a collection (empty for a plain column) -> value.
pub(crate) type Merged = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Where a row is: partition key and clustering.
pub(crate) type Key = (Vec<u8>, Vec<Vec<u8>>);

#[derive(Default)]
struct Versions {
    deleted_at: Option<i64>,
    collections_deleted_at: BTreeMap<String, i64>,
    cells: BTreeMap<(String, Vec<u8>), Cell>,
}

/// The rows that live.
pub(crate) fn merged(directory: &Directory) -> Result<BTreeMap<Key, Merged>, SstableError> {
    let mut deleted: BTreeMap<Vec<u8>, Option<i64>> = BTreeMap::new();
    let mut all: BTreeMap<Key, Versions> = BTreeMap::new();
    for base in bases(directory)? {
        for partition in partitions(directory, &base)? {
            let whole = deleted.entry(partition.key.clone()).or_default();
            *whole = (*whole).max(partition.deleted_at);
            for row in partition.rows {
                let versions = all.entry((partition.key.clone(), row.clustering)).or_default();
                versions.deleted_at = versions.deleted_at.max(row.deleted_at);
                for cell in row.cells {
                    absorb(versions, cell);
                }
            }
        }
    }
    let rows = all.into_iter().map(|(key, mut versions)| {
        versions.deleted_at = versions.deleted_at.max(deleted.get(&key.0).copied().flatten());
        (key, alive(versions))
    });
    Ok(rows.filter(|(_, row)| !row.is_empty()).collect())
}

/// `nb-1-big` for every sstable; another format is refused rather than overlooked.
fn bases(directory: &Directory) -> Result<Vec<String>, SstableError> {
    let mut bases = Vec::new();
    for file in directory.keys() {
        let Some(base) = file.strip_suffix("-Data.db") else { continue };
        if !(base.starts_with("nb-") && base.ends_with("-big")) {
            let version = base.split('-').next().unwrap_or_default().to_owned();
            return Err(SstableError::UnsupportedFormat { file: file.clone(), version });
        }
        bases.push(base.to_owned());
    }
    Ok(bases)
}

fn absorb(versions: &mut Versions, cell: Cell) {
    let Some(path) = cell.path.clone() else {
        let at = versions.collections_deleted_at.entry(cell.column).or_insert(cell.timestamp);
        *at = (*at).max(cell.timestamp);
        return;
    };
    let key = (cell.column.clone(), path);
    match versions.cells.get(&key) {
        Some(known) if known.timestamp >= cell.timestamp => {}
        _ => {
            versions.cells.insert(key, cell);
        }
    }
}

fn alive(versions: Versions) -> Merged {
    let mut row = Merged::new();
    for ((column, path), cell) in versions.cells {
        let after = |deleted: Option<i64>| deleted.is_none_or(|at| cell.timestamp > at);
        let whole = versions.collections_deleted_at.get(&column).copied();
        if let Some(value) = cell.value.clone()
            && after(versions.deleted_at)
            && after(whole)
        {
            row.entry(column).or_default().insert(path, value);
        }
    }
    row
}
