//! A driver whose machine slept does not believe in its lease.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Stage;
use rehome_model::record::Phase;
use rehome_sim::{Call, Gate, Ruling, Scene, SimPorts};

/// How long the machine has slept, in seconds.
static SLEPT_S: AtomicU64 = AtomicU64::new(0);

fn since_boot() -> Duration {
    Duration::from_secs(SLEPT_S.load(Ordering::SeqCst))
}

/// A machine that sleeps for a minute right after a call, while the runtime's clock stands still.
struct Sleeps {
    after: usize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: usize,
    asleep: bool,
    renewed: bool,
    /// What was sent between the waking and the next renewal.
    acts: Vec<String>,
}

impl Gate for Sleeps {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let mut seen = self.seen.lock().expect("whole");
        let lease = call.subject.contains("/leases");
        if seen.asleep && !seen.renewed {
            if lease && call.name == "kube update" {
                seen.renewed = true;
            } else if call.mutates {
                seen.acts.push(format!("{} {}", call.name, call.subject));
            }
        }
        (0, Ruling::Go)
    }

    fn after(&self, _: u64, call: &Call<'_>) -> Ruling {
        let mut seen = self.seen.lock().expect("whole");
        seen.calls += usize::from(call.mutates);
        if !seen.asleep && seen.calls > self.after {
            seen.asleep = true;
            SLEPT_S.fetch_add(60, Ordering::SeqCst);
        }
        Ruling::Go
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_between_the_waking_and_the_next_renewal() {
    for after in (5..45).step_by(4) {
        let mut stage = Stage::new(Scene::new(2, 12));
        stage.since_boot = Some(since_boot);
        let plan = stage.plan().await;
        let gate = Arc::new(Sleeps { after, seen: Mutex::default() });
        stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
        let outcome = stage.apply(&plan).await.outcome();
        {
            let seen = gate.seen.lock().expect("whole");
            assert!(seen.asleep, "it slept after call {after}");
            assert_eq!(seen.acts, Vec::<String>::new(), "slept after call {after}");
        }
        assert!(outcome.interrupted || outcome.phase == Phase::Completed, "{:?}", outcome.failure);
        let outcome = stage.apply(&plan).await.outcome();
        assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    }
}
