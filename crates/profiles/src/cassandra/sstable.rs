//! One sstable of format `nb` (big, 4.0 and later in its compatible mode): its header, its rows, cell by cell.
//!
//! Layout after Cassandra's own `SerializationHeader`, `UnfilteredSerializer` and `CompressionMetadata`.

use std::collections::BTreeMap;

use thiserror::Error;

use super::bytes::Bytes;

/// The largest uncompressed sstable that is read: system tables of one node are kilobytes.
const DATA_MAX_BYTES: usize = 64 << 20;
/// Timestamps in headers count from here, in microseconds (EncodingStats.TIMESTAMP_EPOCH: 2015-09-22).
const TIMESTAMP_EPOCH: i64 = 1_442_880_000_000_000;
/// The header's place in Statistics.db's table of contents (MetadataType.HEADER).
const HEADER: u32 = 3;

/// Why an sstable is not read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SstableError {
    /// The bytes are not what they should be.
    #[error("{file} at byte {offset}: {what}")]
    Damaged {
        /// File.
        file: String,
        /// Where.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A component is missing.
    #[error("{file} is missing")]
    Missing {
        /// File.
        file: String,
    },
    /// A format this reader does not know.
    #[error("{file} is of sstable format {version}; this reads nb only: {}", other_format(version))]
    UnsupportedFormat {
        /// File.
        file: String,
        /// Its version.
        version: String,
    },
    /// A compressor this reader does not know.
    #[error(
        "{file} is compressed with {compressor}; this reads LZ4Compressor and NoopCompressor: use Cassandra's own sstabledump"
    )]
    UnsupportedCompressor {
        /// File.
        file: String,
        /// Its compressor.
        compressor: String,
    },
}

/// What to do about a format: those of 2.x and 3.x are written anew by 4.x.
fn other_format(version: &str) -> &'static str {
    if version.starts_with(['l', 'm']) {
        "a member of version 4 or later writes it anew by `nodetool upgradesstables system local peers_v2`; one of 3 cannot be moved \
         before it is upgraded"
    } else {
        "use Cassandra's own sstabledump"
    }
}

/// Files of a table's directory, by name.
pub(crate) type Directory = BTreeMap<String, Vec<u8>>;

/// A column: name and type, in Cassandra's own words.
type Column = (String, String);

/// A cell, or the deletion of a whole collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub column: String,
    /// The element of a collection; none for the deletion of all of it; empty for a plain column.
    pub path: Option<Vec<u8>>,
    pub timestamp: i64,
    /// None if the cell is deleted.
    pub value: Option<Vec<u8>>,
    pub kind: String,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub key: Vec<u8>,
    /// When all of it was deleted; what is newer lives.
    pub deleted_at: Option<i64>,
    pub rows: Vec<Row>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub clustering: Vec<Vec<u8>>,
    pub deleted_at: Option<i64>,
    pub cells: Vec<Cell>,
}

struct Header {
    min_timestamp: i64,
    clustering: Vec<String>,
    regular: Vec<Column>,
}

fn component<'a>(directory: &'a Directory, base: &str, name: &str) -> Result<(String, &'a [u8]), SstableError> {
    let file = format!("{base}-{name}");
    match directory.get(&file) {
        Some(bytes) => Ok((file, bytes)),
        None => Err(SstableError::Missing { file }),
    }
}

/// The partitions of an sstable; `base` is `nb-1-big`.
pub(crate) fn partitions(directory: &Directory, base: &str) -> Result<Vec<Partition>, SstableError> {
    let header = header(directory, base)?;
    let data = data(directory, base)?;
    let file = format!("{base}-Data.db");
    let mut bytes = Bytes::new(&file, &data);
    let mut partitions = Vec::new();
    while !bytes.is_empty() {
        partitions.push(partition(&mut bytes, &header)?);
    }
    Ok(partitions)
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn header(directory: &Directory, base: &str) -> Result<Header, SstableError> {
    let (file, all) = component(directory, base, "Statistics.db")?;
    let mut bytes = Bytes::new(&file, all);
    let entries = bytes.u32()?;
    let _checksum = bytes.u32()?;
    let mut offset = None;
    for _ in 0..entries {
        let (kind, at) = (bytes.u32()?, bytes.u32()?);
        if kind == HEADER {
            offset = Some(at as usize);
        }
    }
    bytes.seek(offset.ok_or_else(|| bytes.error("no serialization header"))?)?;
    let min_timestamp = TIMESTAMP_EPOCH.wrapping_add(bytes.vint()?.cast_signed());
    let (_min_deletion, _min_ttl) = (bytes.vint()?, bytes.vint()?);
    let _key = bytes.with_vint_length()?;
    let mut clustering = Vec::new();
    for _ in 0..bytes.length()? {
        clustering.push(string(bytes.with_vint_length()?));
    }
    let mut columns = || -> Result<Vec<Column>, SstableError> {
        let mut columns = Vec::new();
        for _ in 0..bytes.length()? {
            columns.push((string(bytes.with_vint_length()?), string(bytes.with_vint_length()?)));
        }
        Ok(columns)
    };
    let _static = columns()?;
    Ok(Header { min_timestamp, clustering, regular: columns()? })
}

/// The data, decompressed chunk by chunk. Without CompressionInfo.db it is not compressed.
fn data(directory: &Directory, base: &str) -> Result<Vec<u8>, SstableError> {
    let (data_file, data) = component(directory, base, "Data.db")?;
    let Ok((file, info)) = component(directory, base, "CompressionInfo.db") else { return Ok(data.to_vec()) };
    let mut bytes = Bytes::new(&file, info);
    let compressor = string(bytes.with_short_length()?);
    for _ in 0..bytes.u32()? {
        bytes.with_short_length()?;
        bytes.with_short_length()?;
    }
    let (_chunk_length, max_compressed) = (bytes.u32()?, bytes.u32()? as usize);
    let length = bytes.u64()?;
    if length > DATA_MAX_BYTES as u64 {
        return Err(bytes.error("more data than a system table has"));
    }
    let mut offsets = Vec::new();
    for _ in 0..bytes.u32()? {
        offsets.push(bytes.u64()? as usize);
    }
    let mut plain = Vec::new();
    for (index, start) in offsets.iter().enumerate() {
        let end = offsets.get(index + 1).copied().unwrap_or(data.len());
        // Every chunk ends in a checksum of four bytes.
        let chunk = end.checked_sub(4).and_then(|end| data.get(*start..end));
        let Some(chunk) = chunk else {
            return Err(SstableError::Damaged { file: data_file, offset: *start, what: "a chunk past the end" });
        };
        // NoopCompressor is what `flush_compression: none` of cassandra.yaml writes.
        if chunk.len() >= max_compressed || compressor == "NoopCompressor" {
            plain.extend_from_slice(chunk);
        } else if compressor == "LZ4Compressor" {
            plain.extend(decompress(&data_file, *start, chunk, length as usize)?);
        } else {
            return Err(SstableError::UnsupportedCompressor { file: data_file, compressor });
        }
    }
    if plain.len() as u64 != length {
        return Err(SstableError::Damaged {
            file: data_file,
            offset: data.len(),
            what: "not the length it should have",
        });
    }
    Ok(plain)
}

/// A chunk: its uncompressed length, little-endian, then an LZ4 block.
fn decompress(file: &str, offset: usize, chunk: &[u8], whole: usize) -> Result<Vec<u8>, SstableError> {
    let damaged = |what| SstableError::Damaged { file: file.to_owned(), offset, what };
    let (length, block) = chunk.split_first_chunk::<4>().ok_or_else(|| damaged("a chunk without a length"))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > whole {
        return Err(damaged("a chunk longer than the whole"));
    }
    lz4_flex::block::decompress(block, length).map_err(|_| damaged("a chunk that LZ4 cannot decompress"))
}

/// Bytes of a value of fixed length; none if its length stands before it (AbstractType.valueLengthIfFixed).
fn fixed_length(kind: &str) -> Option<usize> {
    let name = kind.split('(').next().unwrap_or(kind).rsplit('.').next().unwrap_or(kind);
    match name {
        "UUIDType" | "TimeUUIDType" | "LexicalUUIDType" => Some(16),
        "LongType" | "TimestampType" | "DoubleType" => Some(8),
        "Int32Type" | "FloatType" => Some(4),
        "BooleanType" => Some(1),
        _ => None,
    }
}

fn value<'a>(bytes: &mut Bytes<'a>, kind: &str) -> Result<&'a [u8], SstableError> {
    match fixed_length(kind) {
        Some(length) => bytes.take(length),
        None => bytes.with_vint_length(),
    }
}

mod row_flag {
    pub(super) const END_OF_PARTITION: u8 = 0x01;
    pub(super) const IS_MARKER: u8 = 0x02;
    pub(super) const HAS_TIMESTAMP: u8 = 0x04;
    pub(super) const HAS_TTL: u8 = 0x08;
    pub(super) const HAS_DELETION: u8 = 0x10;
    pub(super) const HAS_ALL_COLUMNS: u8 = 0x20;
    pub(super) const HAS_COMPLEX_DELETION: u8 = 0x40;
    pub(super) const EXTENDED: u8 = 0x80;
}

mod cell_flag {
    pub(super) const IS_DELETED: u8 = 0x01;
    pub(super) const IS_EXPIRING: u8 = 0x02;
    pub(super) const HAS_EMPTY_VALUE: u8 = 0x04;
    pub(super) const USE_ROW_TIMESTAMP: u8 = 0x08;
    pub(super) const USE_ROW_TTL: u8 = 0x10;
}

fn partition(bytes: &mut Bytes<'_>, header: &Header) -> Result<Partition, SstableError> {
    let key = bytes.with_short_length()?.to_vec();
    // The partition's own deletion: local time in 4 bytes, timestamp in 8, the least one for none (DeletionTime.LIVE).
    let (_local, deleted) = (bytes.u32()?, bytes.u64()?.cast_signed());
    let deleted_at = (deleted != i64::MIN).then_some(deleted);
    let mut rows = Vec::new();
    loop {
        let flags = bytes.u8()?;
        if flags & row_flag::END_OF_PARTITION != 0 {
            return Ok(Partition { key, deleted_at, rows });
        }
        if flags & (row_flag::IS_MARKER | row_flag::EXTENDED) != 0 {
            return Err(bytes.error("a range deletion or static row, which these tables do not have"));
        }
        rows.push(row(bytes, header, flags)?);
    }
}

fn row(bytes: &mut Bytes<'_>, header: &Header, flags: u8) -> Result<Row, SstableError> {
    let delta = |value: u64| header.min_timestamp.wrapping_add(value.cast_signed());
    let mut clustering = Vec::new();
    if !header.clustering.is_empty() {
        if bytes.vint()? != 0 {
            return Err(bytes.error("an empty or missing clustering value"));
        }
        for kind in &header.clustering {
            clustering.push(value(bytes, kind)?.to_vec());
        }
    }
    let (_size, _previous) = (bytes.vint()?, bytes.vint()?);
    let mut timestamp = 0;
    if flags & row_flag::HAS_TIMESTAMP != 0 {
        timestamp = delta(bytes.vint()?);
    }
    if flags & row_flag::HAS_TTL != 0 {
        bytes.vint()?;
        bytes.vint()?;
    }
    let mut deleted_at = None;
    if flags & row_flag::HAS_DELETION != 0 {
        deleted_at = Some(delta(bytes.vint()?));
        bytes.vint()?;
    }
    let missing = if flags & row_flag::HAS_ALL_COLUMNS == 0 { bytes.vint()? } else { 0 };
    // With 64 columns or more the subset is encoded otherwise; no table read here has as many.
    if header.regular.len() >= 64 && missing != 0 {
        return Err(bytes.error("a table with more columns than this reads"));
    }
    let mut cells = Vec::new();
    for (index, (name, kind)) in header.regular.iter().enumerate() {
        if missing & (1_u64.checked_shl(index as u32).unwrap_or(0)) != 0 {
            continue;
        }
        if let Some(element) = collection(kind) {
            if flags & row_flag::HAS_COMPLEX_DELETION != 0 {
                let at = delta(bytes.vint()?);
                bytes.vint()?;
                let (column, kind) = (name.clone(), element.to_owned());
                cells.push(Cell { column, path: None, timestamp: at, value: None, kind });
            }
            for _ in 0..bytes.length()? {
                cells.push(cell(bytes, name, element, timestamp, true, &delta)?);
            }
        } else {
            cells.push(cell(bytes, name, kind, timestamp, false, &delta)?);
        }
    }
    Ok(Row { clustering, deleted_at, cells })
}

/// The type of a multi-cell collection's values; a set's are empty.
fn collection(kind: &str) -> Option<&str> {
    let (name, inside) = kind.split_once('(')?;
    let inside = inside.strip_suffix(')')?;
    match name.rsplit('.').next()? {
        "SetType" => Some("BytesType"),
        "ListType" => Some(inside),
        "MapType" => inside.rsplit_once(',').map(|(_, value)| value),
        _ => None,
    }
}

fn cell(
    bytes: &mut Bytes<'_>,
    column: &str,
    kind: &str,
    row_timestamp: i64,
    in_collection: bool,
    delta: &impl Fn(u64) -> i64,
) -> Result<Cell, SstableError> {
    let flags = bytes.u8()?;
    let has = |flag: u8| flags & flag != 0;
    let timestamp = if has(cell_flag::USE_ROW_TIMESTAMP) { row_timestamp } else { delta(bytes.vint()?) };
    let own_ttl = !has(cell_flag::USE_ROW_TTL);
    if (has(cell_flag::IS_DELETED) || has(cell_flag::IS_EXPIRING)) && own_ttl {
        bytes.vint()?;
    }
    if has(cell_flag::IS_EXPIRING) && own_ttl {
        bytes.vint()?;
    }
    let path = if in_collection { bytes.with_vint_length()?.to_vec() } else { Vec::new() };
    let found = if has(cell_flag::HAS_EMPTY_VALUE) { Vec::new() } else { value(bytes, kind)?.to_vec() };
    Ok(Cell {
        column: column.to_owned(),
        path: Some(path),
        timestamp,
        value: (!has(cell_flag::IS_DELETED)).then_some(found),
        kind: kind.to_owned(),
    })
}
