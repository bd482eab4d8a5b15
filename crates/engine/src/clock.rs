//! Time, from the runtime's clock, so that paused time in tests is the time of everything.

use tokio::time::Instant;

/// Milliseconds since 1970 that advance with the runtime's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_ms: u64,
    started: Instant,
}

impl Clock {
    /// A clock that shows `now_ms` now.
    pub fn starting_at(now_ms: u64) -> Self {
        Self { base_ms: now_ms, started: Instant::now() }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.base_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
