//! Every limit of the engine, by name.

use std::time::Duration;

/// Between two looks at something that changes by itself.
pub const POLL: Duration = Duration::from_millis(500);
/// Looks before the pause begins to grow: most of what is waited for in a downtime is over in two seconds.
pub const EAGER_LOOKS: u32 = 4;
/// The longest pause between two looks; the pause doubles from [`POLL`] up to it.
pub const POLL_MAX: Duration = Duration::from_secs(5);
/// First pause after an error that is tried again.
pub const RETRY: Duration = Duration::from_secs(1);
/// Longest pause after an error that is tried again.
pub const RETRY_MAX: Duration = Duration::from_secs(20);
/// How long a snapshot call whose reply was lost is looked for by tag before it counts as not done. EC2's describes
/// may lag behind its effects (facts: eventual consistency); a duplicate that shows later is collected by the sweep.
pub const SETTLE: Duration = Duration::from_secs(30);
/// How long EC2 may not know an id that it has just given out (facts: NotFound within 5 min of a create is staleness).
pub const NOT_FOUND_GRACE: Duration = Duration::from_mins(5);
/// Attempts to make a volume that fails after it was accepted (a key that cannot be used fails this way).
pub const VOLUME_ATTEMPTS: u32 = 3;
/// Between two touches of a claim that should be binding. Short, since a touch can be lost: the binder drops an object
/// whose update meets a conflict, and other controllers change a new PersistentVolume too.
pub const NUDGE_EVERY: Duration = Duration::from_secs(1);
/// How long a driver's lease lasts without renewal.
pub const LEASE: Duration = Duration::from_secs(15);
/// Between two renewals.
pub const LEASE_RENEW: Duration = Duration::from_secs(4);
/// A driver starts no act when its lease has less than this left by its own monotonic clock (invariant I10).
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// Steps that run at the same time.
pub const STEPS_AT_ONCE: usize = 32;
/// How long one script of a view in a pod or on a host may take, in seconds.
pub const VIEW_SCRIPT_S: u32 = 60;
/// How long other scripts may take in one attempt, in seconds.
pub const SCRIPT_S: u32 = 600;
/// The largest identity archive, in base64 characters.
pub const IDENTITY_MAX_CHARS: usize = 8 << 20;
