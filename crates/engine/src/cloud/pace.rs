//! How often something that changes by itself is looked at.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::limits::{POLL, POLL_MAX, POLL_SOONEST};

/// The pace of one kind of wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// What is waited for, if the run learns how long it takes.
    pub kind: Option<&'static str>,
    /// The pause after the first look. It doubles until it is `first`.
    pub soonest: Duration,
    /// The shortest pause after that.
    pub first: Duration,
    /// The longest one.
    pub longest: Duration,
    /// A pause is this part of the time waited so far: a tenth means that the end is seen at most a tenth too late.
    pub part: u32,
}

impl Pace {
    /// For what usually is over in seconds.
    pub(crate) const QUICK: Self = Self { kind: None, soonest: POLL_SOONEST, first: POLL, longest: POLL_MAX, part: 4 };
}

/// How long what the run waited for has taken so far.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<BTreeMap<&'static str, Duration>>);

impl Waits {
    /// The shortest one of a kind that has ended in this run.
    fn shortest(&self, kind: Option<&'static str>) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(kind?).copied()
    }

    /// One of a kind has ended.
    pub(crate) fn ended(&self, kind: Option<&'static str>, took: Duration) {
        let Some(kind) = kind else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shortest = all.entry(kind).or_insert(took);
        *shortest = took.min(*shortest);
    }

    /// The pause after a look that came `waited` after the first one: growing, but short around the time at which
    /// others of the kind were over.
    pub(crate) fn pause(&self, pace: Pace, waited: Duration) -> Duration {
        let growing = if waited < pace.first {
            waited.clamp(pace.soonest, pace.first)
        } else {
            (waited / pace.part).clamp(pace.first, pace.longest)
        };
        match self.shortest(pace.kind) {
            // Nothing was over sooner: a look before that is for nothing.
            Some(expected) if waited + pace.first < expected => expected.saturating_sub(waited).min(pace.longest),
            Some(expected) if waited < expected + expected / 2 => pace.first,
            _ => growing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: Pace = Pace {
        kind: Some("snapshot"),
        soonest: Duration::from_secs(2),
        first: Duration::from_secs(2),
        longest: Duration::from_secs(60),
        part: 10,
    };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn pauses_grow_with_the_time_waited_up_to_the_longest() {
        let waits = Waits::default();
        assert_eq!(waits.pause(SNAPSHOT, seconds(0)), seconds(2));
        assert_eq!(waits.pause(SNAPSHOT, seconds(100)), seconds(10));
        assert_eq!(waits.pause(SNAPSHOT, seconds(10_000)), seconds(60));
    }

    #[test]
    fn what_is_over_almost_at_once_is_seen_so() {
        let (waits, mut waited, mut looks) = (Waits::default(), Duration::ZERO, Vec::new());
        while waited < seconds(2) {
            waited += waits.pause(Pace::QUICK, waited);
            looks.push(waited.as_millis());
        }
        assert_eq!(looks, [125, 250, 500, 1000, 1500, 2000]);
    }

    #[test]
    fn once_one_has_ended_the_next_is_looked_at_when_it_is_due_and_often_then() {
        let waits = Waits::default();
        waits.ended(SNAPSHOT.kind, seconds(40));
        waits.ended(SNAPSHOT.kind, seconds(20));
        assert_eq!(waits.pause(SNAPSHOT, seconds(1)), seconds(19));
        assert_eq!(waits.pause(SNAPSHOT, seconds(20)), seconds(2));
        assert_eq!(waits.pause(SNAPSHOT, seconds(29)), seconds(2));
        assert_eq!(waits.pause(SNAPSHOT, seconds(40)), seconds(4), "it is not like the others");
    }
}
