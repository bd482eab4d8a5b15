//! Time, from the runtime's clock, so that paused time in tests is the time of everything.

use std::time::Duration;

use tokio::time::Instant;

/// Tells how long a machine has run, the time in which it slept included.
type SinceBoot = fn() -> Duration;

/// Milliseconds since 1970 that advance with the runtime's clock, and with the machine's sleep where it is told.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_ms: u64,
    started: Moment,
}

/// A moment, by all clocks that there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    by_runtime: Instant,
    since_boot: Option<(SinceBoot, Duration)>,
}

impl Clock {
    /// A clock that shows `now_ms` now.
    pub fn starting_at(now_ms: u64) -> Self {
        Self { base_ms: now_ms, started: Moment { by_runtime: Instant::now(), since_boot: None } }
    }

    /// The same on a real machine. The runtime's clock stands still while the machine is suspended (`CLOCK_MONOTONIC` of
    /// clock_gettime(2)); `CLOCK_BOOTTIME` does not, where there is one.
    pub fn on_this_machine(now_ms: u64) -> Self {
        Self::starting_at(now_ms).with_sleep(machines_since_boot)
    }

    /// This clock on a machine that tells how long it has run, sleep included.
    #[must_use]
    pub fn with_sleep(self, since_boot: fn() -> Duration) -> Self {
        let started = Moment { since_boot: Some((since_boot, since_boot())), ..self.started };
        Self { started, ..self }
    }

    /// This clock, set to `now_ms`.
    pub(crate) fn set_to(&self, now_ms: u64) -> Self {
        Self { base_ms: now_ms, started: self.moment() }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.base_ms + u64::try_from(self.started.age().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn moment(&self) -> Moment {
        let since_boot = self.started.since_boot.map(|(clock, _)| (clock, clock()));
        Moment { by_runtime: Instant::now(), since_boot }
    }
}

impl Moment {
    /// How long ago it was: by the clock that says longest.
    pub(crate) fn age(&self) -> Duration {
        let slept = self.since_boot.map(|(clock, then)| clock().saturating_sub(then));
        self.by_runtime.elapsed().max(slept.unwrap_or_default())
    }
}

#[cfg(target_os = "linux")]
fn machines_since_boot() -> Duration {
    // It is never negative, and always there (Linux 2.6.39).
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Boottime)).unwrap_or_default()
}

/// Elsewhere nobody tells; the runtime's clock says longer.
#[cfg(not(target_os = "linux"))]
fn machines_since_boot() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_how_long_it_has_run() {
        let before = machines_since_boot();
        assert!(cfg!(not(target_os = "linux")) || before > Duration::ZERO);
        assert!(machines_since_boot() >= before);
    }

    /// A machine that sleeps for a minute whenever it is asked how long it has run.
    fn sleepy() -> Duration {
        use std::sync::atomic::{AtomicU64, Ordering};
        static ASKED: AtomicU64 = AtomicU64::new(0);
        Duration::from_secs(60 * ASKED.fetch_add(1, Ordering::SeqCst))
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_goes_on_while_its_machine_sleeps_also_once_it_was_set() {
        let clock = Clock::starting_at(1_000).with_sleep(sleepy);
        assert_eq!(clock.now_ms(), 61_000);
        assert_eq!(clock.set_to(5_000).now_ms(), 65_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_is_as_old_as_the_clock_says_that_did_not_stand_still() {
        let awake = Clock::starting_at(0).moment();
        let slept = Moment { since_boot: Some((|| Duration::from_secs(70), Duration::from_secs(10))), ..awake };
        assert_eq!((awake.age(), slept.age()), (Duration::ZERO, Duration::from_secs(60)));
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!((awake.age(), slept.age()), (Duration::from_secs(90), Duration::from_secs(90)));
    }
}
