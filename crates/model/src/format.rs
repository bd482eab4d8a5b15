//! Versions of what rehome writes down, and the rule for readers.
//!
//! Every document carries `format: {name, version}`; a plan file carries it within its plan, beside the plan's hash. A reader takes its own version and every older one (a test reads
//! each format that ever landed); it refuses a newer one by name, changing nothing, because it cannot know what the
//! newer writer relied on. Within a version fields are only added, with a default; unknown fields are ignored.

use serde::{Deserialize, Serialize};

/// Name and version of a document's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// `rehome.plan`, `rehome.run`.
    pub name: String,
    /// Counts up from 1.
    pub version: u32,
}

/// The newest plan format this build writes and reads. Version 2 has the actions of `finalize`, version 3 those of
/// `rollback --keep-writes`.
pub const PLAN: (&str, u32) = ("rehome.plan", 3);
/// The newest run record format this build writes and reads. Version 2 has the phases `finalizing` and `finalized`,
/// version 3 `returning` and `returned`: an older reader must not take such a run for one that can be rolled back.
pub const RUN: (&str, u32) = ("rehome.run", 3);
/// What `rehome gc` found, as a document.
pub const GC: (&str, u32) = ("rehome.gc", 1);
/// What `rehome check` found, and `rehome plan` where it makes no plan.
pub const FINDINGS: (&str, u32) = ("rehome.findings", 1);
/// The run record as `rehome status` tells it; inside, the header names the record's own version.
pub const STATUS: (&str, u32) = ("rehome.status", 1);
/// What `rehome verify` saw.
pub const VERIFY: (&str, u32) = ("rehome.verify", 1);
/// The Kubernetes objects of `rehome render`.
pub const OBJECTS: (&str, u32) = ("rehome.objects", 1);
/// The events of a run, one a line after a first line with this format.
pub const EVENTS: (&str, u32) = ("rehome.events", 1);
/// The result of `rehome demo`.
pub const DEMO: (&str, u32) = ("rehome.demo", 1);

/// Why a document is not read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FormatError {
    /// Another kind of document.
    #[error("this is a {found} document, not {expected}")]
    Name {
        /// What was expected.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Made by a newer rehome.
    #[error("{name} format {found} was written by a newer rehome; this one reads up to {newest}")]
    Newer {
        /// The document's kind.
        name: &'static str,
        /// Its version.
        found: u32,
        /// The newest version known here.
        newest: u32,
    },
}

impl Format {
    /// The format as this build writes it.
    pub fn current(known: (&'static str, u32)) -> Self {
        Self { name: known.0.to_owned(), version: known.1 }
    }

    /// Whether this build reads a document of this format.
    pub fn check(&self, known: (&'static str, u32)) -> Result<(), FormatError> {
        if self.name != known.0 {
            return Err(FormatError::Name { expected: known.0, found: self.name.clone() });
        }
        if self.version > known.1 {
            return Err(FormatError::Newer { name: known.0, found: self.version, newest: known.1 });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_and_equal_versions_are_read_newer_ones_refused() {
        let known = ("rehome.plan", 3);
        for version in 1..=3 {
            assert_eq!(Format { name: "rehome.plan".into(), version }.check(known), Ok(()));
        }
        let newer = Format { name: "rehome.plan".into(), version: 4 };
        assert!(newer.check(known).unwrap_err().to_string().contains("newer rehome"));
        let other = Format { name: "rehome.run".into(), version: 1 };
        assert!(matches!(other.check(known), Err(FormatError::Name { .. })));
    }
}
