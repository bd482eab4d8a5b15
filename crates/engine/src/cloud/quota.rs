//! EC2's token buckets, kept on this side too: whoever never asks for more than there is, is not refused.
//!
//! Amazon EC2 API developer guide, "Request throttling": capacity and refill a second of each family of actions, by
//! account and region. They are shared with everybody else in the account, so a run keeps to a share of them, and after
//! a refusal nobody of the run calls the family for a while.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{RETRY, RETRY_MAX};

/// Families of actions that share a bucket, as far as rehome calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Describe,
    Mutate,
    CreateSnapshots,
    CreateVolume,
    DeleteVolume,
    DeleteSnapshot,
    Tags,
    StartInstances,
    AutoScaling,
}

impl Family {
    /// Capacity, and refill a second.
    fn documented(self) -> (f64, f64) {
        match self {
            Self::Describe => (100.0, 20.0),
            Self::Mutate => (50.0, 5.0),
            Self::CreateSnapshots | Self::CreateVolume | Self::DeleteVolume | Self::DeleteSnapshot => (100.0, 5.0),
            Self::Tags | Self::AutoScaling => (100.0, 10.0),
            Self::StartInstances => (5.0, 2.0),
        }
    }
}

/// Where a caller stands in a family's line: the most urgent first, then who came first.
type Place = (Reverse<u64>, u64);

#[derive(Debug)]
struct Bucket {
    capacity: f64,
    refill: f64,
    level: f64,
    at: Instant,
    /// After a refusal nobody calls before this.
    closed_until: Instant,
    /// How long the next refusal closes it.
    pause: Duration,
    line: BTreeSet<Place>,
}

impl Bucket {
    fn new(family: Family, share: f64, now: Instant) -> Self {
        let (capacity, refill) = family.documented();
        // A share of a small bucket may be less than one call.
        let capacity = (capacity * share).max(1.0);
        let refill = refill * share;
        Self { capacity, refill, level: capacity, at: now, closed_until: now, pause: RETRY, line: BTreeSet::new() }
    }

    fn fill(&mut self, now: Instant) {
        self.level =
            (self.level + now.saturating_duration_since(self.at).as_secs_f64() * self.refill).min(self.capacity);
        self.at = now;
    }

    /// Takes a token if it is this one's turn and there is one; otherwise how long there is none for it at least.
    fn turn(&mut self, place: Place, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        if now < self.closed_until {
            return Err(self.closed_until - now);
        }
        let before = self.line.range(..place).count();
        let wanted = before as f64 + 1.0;
        // A hair less than a whole token is one: the sum of many refills is not exact.
        if before == 0 && self.level + 1e-9 >= 1.0 {
            self.level -= 1.0;
            self.line.remove(&place);
            return Ok(());
        }
        let seconds = (wanted - self.level) / self.refill;
        Err(Duration::from_secs_f64(seconds.clamp(0.001, 3600.0)))
    }
}

/// The buckets of one run.
#[derive(Debug)]
pub(crate) struct Quota {
    share: f64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<Family, Bucket>,
    arrivals: u64,
}

/// Leaves the line when its caller gives up.
struct InLine<'a>(&'a Quota, Family, Place);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        if let Some(bucket) = self.0.state().buckets.get_mut(&self.1) {
            bucket.line.remove(&self.2);
        }
    }
}

impl Quota {
    /// Full buckets of `percent` of the documented size.
    pub(crate) fn new(percent: u8) -> Self {
        Self { share: f64::from(percent.clamp(1, 100)) / 100.0, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole values only: what a panic leaves is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a token. Who has the higher `rank` goes first, and among equals who came first.
    pub(crate) async fn take(&self, family: Family, rank: u64) {
        let in_line = {
            let mut state = self.state();
            state.arrivals += 1;
            let place = (Reverse(rank), state.arrivals);
            let share = self.share;
            let bucket = state.buckets.entry(family).or_insert_with(|| Bucket::new(family, share, Instant::now()));
            bucket.line.insert(place);
            InLine(self, family, place)
        };
        loop {
            let turn = match self.state().buckets.get_mut(&family) {
                Some(bucket) => bucket.turn(in_line.2, Instant::now()),
                None => Ok(()),
            };
            match turn {
                Ok(()) => return,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// EC2 refused a call: others use the bucket too. All of this run stay away from it, longer each time.
    pub(crate) fn refused(&self, family: Family) {
        let now = Instant::now();
        if let Some(bucket) = self.state().buckets.get_mut(&family) {
            bucket.fill(now);
            bucket.level = bucket.level.min(0.0);
            // Calls that were under way together are refused together: that is one refusal.
            if now >= bucket.closed_until {
                bucket.closed_until = now + bucket.pause;
                bucket.pause = (bucket.pause * 2).min(RETRY_MAX);
            }
        }
    }

    /// EC2 took a call.
    pub(crate) fn accepted(&self, family: Family) {
        if let Some(bucket) = self.state().buckets.get_mut(&family) {
            bucket.pause = RETRY;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// When each of `n` calls may go, in ms, all asked for at once.
    async fn times(quota: &Quota, family: Family, n: usize) -> Vec<u128> {
        let began = Instant::now();
        let all = (0..n).map(|_| async {
            quota.take(family, 0).await;
            began.elapsed().as_millis()
        });
        futures::future::join_all(all).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_refill() {
        let times = times(&Quota::new(100), Family::Mutate, 70).await;
        assert!(times[..50].iter().all(|at| *at == 0), "{times:?}");
        assert_eq!(times[69], 4000, "20 more at 5 a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_is_a_share_of_burst_and_refill() {
        let times = times(&Quota::new(50), Family::Mutate, 50).await;
        assert!(times[..25].iter().all(|at| *at == 0));
        assert_eq!(times[49], 10_000, "25 more at 2.5 a second");
    }

    #[tokio::test(start_paused = true)]
    async fn families_do_not_wait_for_each_other() {
        let quota = Quota::new(100);
        let (mutating, creating) =
            futures::join!(times(&quota, Family::Mutate, 60), times(&quota, Family::CreateVolume, 60));
        assert!(mutating[59] > 0);
        assert_eq!(creating[59], 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_all_stay_away_and_longer_each_time() {
        let quota = Quota::new(100);
        quota.take(Family::Describe, 0).await;
        quota.refused(Family::Describe);
        quota.refused(Family::Describe);
        let began = Instant::now();
        quota.take(Family::Describe, 0).await;
        assert_eq!(began.elapsed(), RETRY, "two refusals at one time are one");
        quota.refused(Family::Describe);
        let again = Instant::now();
        quota.take(Family::Describe, 0).await;
        assert_eq!(again.elapsed(), RETRY * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_urgent_one_goes_first_though_it_came_last() {
        let quota = Arc::new(Quota::new(100));
        times(&quota, Family::StartInstances, 5).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let all = [1, 2, 9].map(|rank| {
            let (quota, order) = (Arc::clone(&quota), Arc::clone(&order));
            async move {
                quota.take(Family::StartInstances, rank).await;
                order.lock().unwrap().push(rank);
            }
        });
        futures::future::join_all(all).await;
        assert_eq!(*order.lock().unwrap(), [9, 2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_holds_nobody_up() {
        let quota = Quota::new(100);
        times(&quota, Family::StartInstances, 5).await;
        let gives_up = tokio::time::timeout(Duration::from_millis(100), quota.take(Family::StartInstances, 9));
        assert!(gives_up.await.is_err());
        let began = Instant::now();
        quota.take(Family::StartInstances, 0).await;
        assert!(began.elapsed() <= Duration::from_millis(400));
    }
}
