//! Apache Cassandra: 4.0 to 5.0, sstable format `nb`.
//!
//! Identity on disk is read from `system.local`'s own sstables, without a JVM; the live member is asked with nodetool.

mod answers;
mod archive;
mod bytes;
mod identity;
mod image;
mod nodetool;
mod profile;
mod sstable;
mod table;

pub use identity::{DiskIdentity, IdentityError, Peer, identity};
pub use profile::Cassandra;
