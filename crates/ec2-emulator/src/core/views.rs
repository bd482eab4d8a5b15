//! Eventual consistency: what describes still show of objects that have changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::timing::Millis;

/// What was shown until a time; nothing if it was not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Older<T> {
    until: Millis,
    shown: Option<T>,
}

/// Older states of objects of one kind, by id, in the order of the changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Views<T> {
    older: BTreeMap<String, Vec<Older<T>>>,
}

impl<T> Default for Views<T> {
    fn default() -> Self {
        Self { older: BTreeMap::new() }
    }
}

impl<T> Views<T> {
    /// Before a change: describes go on to show `shown` until a time.
    pub(crate) fn remember(&mut self, id: &str, shown: Option<T>, until: Millis) {
        self.older.entry(id.to_owned()).or_default().push(Older { until, shown });
    }

    /// What a describe at `now` shows of an object that is now `truth`.
    pub(crate) fn show<'a>(&'a self, now: Millis, id: &str, truth: Option<&'a T>) -> Option<&'a T> {
        let older = self.older.get(id).and_then(|older| older.iter().find(|older| now < older.until));
        older.map_or(truth, |older| older.shown.as_ref())
    }

    /// Ids of which something older may still be shown.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &String> {
        self.older.keys()
    }

    /// All ids that a describe must look at.
    pub(crate) fn with<'a>(&'a self, known: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        known.chain(self.ids().map(String::as_str)).collect()
    }

    /// Forgets what is no longer shown.
    pub(crate) fn trim(&mut self, now: Millis) {
        self.older.retain(|_, older| {
            older.retain(|older| now < older.until);
            !older.is_empty()
        });
    }
}
