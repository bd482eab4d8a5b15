//! Eventual consistency: what describes still show of objects that have changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::timing::Millis;

/// What was shown until a time; nothing if it was not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Older<T> {
    until: Millis,
    /// For describes that look back: when it changed, and until when they may want it.
    #[serde(default)]
    changed_at: Millis,
    #[serde(default)]
    kept_until: Millis,
    shown: Option<T>,
}

/// How long what was is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Until when every describe shows it.
    pub shown_until: Millis,
    /// Until when one may look back at it.
    pub kept_until: Millis,
}

/// Older states of objects of one kind, by id, in the order of the changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Views<T> {
    older: BTreeMap<String, Vec<Older<T>>>,
    /// How far back the present call looks, in ms: a fault.
    #[serde(skip)]
    back_ms: u64,
}

impl<T> Default for Views<T> {
    fn default() -> Self {
        Self { older: BTreeMap::new(), back_ms: 0 }
    }
}

impl<T> Views<T> {
    /// Before a change at `now`: describes go on to show `shown` for a while.
    pub(crate) fn remember(&mut self, id: &str, shown: Option<T>, now: Millis, memory: Memory) {
        let Memory { shown_until: until, kept_until } = memory;
        self.older.entry(id.to_owned()).or_default().push(Older { until, changed_at: now, kept_until, shown });
    }

    /// From now on, describes look so far back.
    pub(crate) fn look_back(&mut self, ms: u64) {
        self.back_ms = ms;
    }

    /// What a describe at `now` shows of an object that is now `truth`.
    pub(crate) fn show<'a>(&'a self, now: Millis, id: &str, truth: Option<&'a T>) -> Option<&'a T> {
        let shown = |older: &&Older<T>| now < older.until || now < older.changed_at + self.back_ms;
        let older = self.older.get(id).and_then(|older| older.iter().find(shown));
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
            older.retain(|older| now < older.until.max(older.kept_until));
            !older.is_empty()
        });
    }
}
