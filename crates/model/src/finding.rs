//! Findings: what the checks of a survey say.

use serde::{Deserialize, Serialize};

use crate::ids::FindingCode;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The plan is not made.
    Error,
    /// The plan is made; a person should look.
    Warning,
    /// Good to know.
    Info,
}

/// One result of one check on one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code, explained by `rehome explain`.
    pub code: FindingCode,
    /// Severity.
    pub severity: Severity,
    /// What it is about: `member cassandra-0`, `statefulset cassandra/cassandra`.
    pub subject: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What was seen that says so.
    pub evidence: Vec<String>,
    /// What to do about it.
    pub fix: String,
}
