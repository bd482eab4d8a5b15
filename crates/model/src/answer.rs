//! What a member says of itself when asked, on a host or in a pod: the same for every application.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A member's identity, as the live application or its disk tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberIdentity {
    /// What makes the member itself: Cassandra's host id, Kafka's node.id.
    pub id: String,
    /// The application cluster's name or id.
    pub cluster: String,
    /// The application's version; none if the source does not tell.
    pub version: Option<String>,
    /// The rest, by the profile's own names (Cassandra: `data_center`, `rack`, `tokens`, `partitioner`).
    pub attributes: BTreeMap<String, String>,
}

impl MemberIdentity {
    /// What differs between two identities, as `name: left is not right`; empty if they are the same member.
    /// Versions are not compared, and attributes only where both sides have them.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |name: &str, left: &str, right: &str| {
            if left != right {
                found.push(format!("{name}: {} is not {}", shorten(left), shorten(right)));
            }
        };
        compare("id", &self.id, &other.id);
        compare("cluster", &self.cluster, &other.cluster);
        for (name, left) in &self.attributes {
            if let Some(right) = other.attributes.get(name) {
                compare(name, left, right);
            }
        }
        found
    }
}

fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    if text.chars().count() <= MAX_CHARS {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(MAX_CHARS).collect();
    format!("{head:?}...")
}

/// How one member sees its cluster at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// The member itself.
    pub identity: MemberIdentity,
    /// Its own address towards its peers.
    pub address: String,
    /// Whether it accepts clients.
    pub clients_open: bool,
    /// All members it knows, itself among them. Those of a healthy cluster all say the same: a survey keeps it once.
    pub members: Arc<[PeerView]>,
    /// Distinct schema versions it sees among live members; more than one means disagreement.
    pub schema_versions: Vec<String>,
    /// Facts of the running configuration, by the profile's names (Cassandra: `snitch`, `hint_window_ms`, ...).
    pub settings: BTreeMap<String, String>,
}

/// A member as another sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerView {
    /// Identity.
    pub id: String,
    /// Address.
    pub address: String,
    /// Whether it is up and has joined for good (Cassandra: `UN`).
    pub up: bool,
    /// The application's own word for its state.
    pub state: String,
}
