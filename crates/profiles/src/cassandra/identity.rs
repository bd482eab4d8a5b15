//! Who a stopped node is: from the files of `system.local` and `system.peers_v2`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sstable::{Directory, SstableError};
use super::table::{Merged, merged};

/// A node's identity on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskIdentity {
    /// `cluster_name`.
    pub cluster_name: String,
    /// `host_id`.
    pub host_id: String,
    /// Its tokens, in order.
    pub tokens: Vec<i64>,
    /// `data_center`.
    pub data_center: String,
    /// `rack`.
    pub rack: String,
    /// `partitioner`, without its package.
    pub partitioner: String,
    /// `release_version`.
    pub release_version: Option<String>,
    /// `bootstrapped`: `COMPLETED`, or it never finished joining.
    pub bootstrapped: Option<String>,
    /// `broadcast_address`.
    pub broadcast_address: Option<String>,
    /// The members it remembers.
    pub peers: Vec<Peer>,
}

/// A member that the node remembers: it dials it at its next start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Address.
    pub address: String,
    /// Host id.
    pub host_id: Option<String>,
}

/// Why there is no identity.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// No system.local: blank, or not Cassandra's.
    #[error("there is no system/local-* with data: this is not the data directory of a Cassandra node that ever ran")]
    NotCassandra,
    /// The table lacks what makes a member.
    #[error("system.local has no {column}")]
    Incomplete {
        /// The column.
        column: &'static str,
    },
    /// A value is not of its type.
    #[error("{column} in system.local is not {expected}")]
    Value {
        /// The column.
        column: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A file.
    #[error(transparent)]
    Sstable(#[from] SstableError),
}

/// The identity in a data directory's files: paths such as `system/local-7ad5.../nb-1-big-Data.db`.
pub fn identity(files: &BTreeMap<String, Vec<u8>>) -> Result<DiskIdentity, IdentityError> {
    let local = merged(&directory(files, "local-"))?;
    let row = local.values().next().ok_or(IdentityError::NotCassandra)?;
    let required = |column: &'static str| text(row, column).ok_or(IdentityError::Incomplete { column });
    let mut tokens = Vec::new();
    for token in row.get("tokens").ok_or(IdentityError::Incomplete { column: "tokens" })?.keys() {
        let number = std::str::from_utf8(token).ok().and_then(|text| text.parse().ok());
        tokens.push(number.ok_or(IdentityError::Value { column: "tokens", expected: "a set of numbers" })?);
    }
    tokens.sort_unstable();
    let host_id = plain(row, "host_id").ok_or(IdentityError::Incomplete { column: "host_id" })?;
    let partitioner = required("partitioner")?;
    Ok(DiskIdentity {
        cluster_name: required("cluster_name")?,
        host_id: uuid(host_id).ok_or(IdentityError::Value { column: "host_id", expected: "a uuid" })?,
        tokens,
        data_center: required("data_center")?,
        rack: required("rack")?,
        partitioner: partitioner.rsplit('.').next().unwrap_or(&partitioner).to_owned(),
        release_version: text(row, "release_version"),
        bootstrapped: text(row, "bootstrapped"),
        broadcast_address: plain(row, "broadcast_address").and_then(address),
        peers: peers(files)?,
    })
}

fn peers(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Peer>, IdentityError> {
    let mut peers: Vec<Peer> = merged(&directory(files, "peers_v2-"))?
        .into_iter()
        .filter_map(|((key, _), row)| {
            Some(Peer { address: address(&key)?, host_id: plain(&row, "host_id").and_then(uuid) })
        })
        .collect();
    peers.sort();
    peers.dedup();
    Ok(peers)
}

/// The files of a system table, by their own names. A table may have been dropped and made anew under another id;
/// only one of them has data.
fn directory(files: &BTreeMap<String, Vec<u8>>, table: &str) -> Directory {
    let of_table = files.iter().filter_map(|(path, bytes)| {
        let mut parts = path.rsplit('/');
        let (file, folder) = (parts.next()?, parts.next()?);
        folder.starts_with(table).then(|| (file.to_owned(), bytes.clone()))
    });
    of_table.collect()
}

fn plain<'a>(row: &'a Merged, column: &str) -> Option<&'a [u8]> {
    row.get(column)?.get(&Vec::new()).map(Vec::as_slice)
}

fn text(row: &Merged, column: &str) -> Option<String> {
    plain(row, column).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).filter(|text| !text.is_empty())
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let number = u128::from_be_bytes(bytes.try_into().ok()?);
    let hex = format!("{number:032x}");
    Some(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|four| IpAddr::from(four).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|sixteen| IpAddr::from(sixteen).to_string()),
        _ => None,
    }
}
