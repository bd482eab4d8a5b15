//! An apiserver that takes a request and never answers it: a balancer that has forgotten the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::Stage;
use rehome_model::record::Phase;
use rehome_sim::{Call, Gate, Port, Ruling, Scene, SimPorts, checks};

/// Longer than a run takes that waits for a limit now and then.
const LONG: Duration = Duration::from_secs(4 * 3_600);

/// Leaves every n-th request without an answer: before it has an effect, and after it, in turn.
struct Silent {
    every: u64,
    requests: AtomicU64,
}

impl Silent {
    fn ruling(&self, request: u64, landed: bool) -> Ruling {
        let due = request > 0 && request.is_multiple_of(self.every);
        let after = (request / self.every).is_multiple_of(2);
        if due && after == landed { Ruling::Never } else { Ruling::Go }
    }
}

impl Gate for Silent {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if call.port != Port::Cluster {
            return (0, Ruling::Go);
        }
        let request = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        (request, self.ruling(request, false))
    }

    fn after(&self, request: u64, _: &Call<'_>) -> Ruling {
        self.ruling(request, true)
    }
}

/// Somebody presses Ctrl-C as soon as the first member is being stopped; counts how many are.
struct Pressed {
    stop: tokio::sync::watch::Sender<bool>,
    stopped: AtomicU64,
}

impl Gate for Pressed {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if call.name == "stop-service" {
            self.stopped.fetch_add(1, Ordering::SeqCst);
            self.stop.send_replace(true);
        }
        (0, Ruling::Go)
    }

    fn after(&self, _: u64, _: &Call<'_>) -> Ruling {
        Ruling::Go
    }
}

/// Of many members some wait in line for their script when the driver is asked to stop: they keep serving.
#[tokio::test(start_paused = true)]
async fn what_waits_in_line_is_not_begun_after_the_driver_was_asked_to_stop() {
    const MEMBERS: u32 = 140;
    let mut stage = Stage::new(Scene::new(MEMBERS, 12));
    let plan = stage.plan().await;
    let (stop, asked) = tokio::sync::watch::channel(false);
    stage.stop = Some(asked);
    let gate = Arc::new(Pressed { stop, stopped: AtomicU64::new(0) });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
    let outcome = stage.apply(&plan).await.outcome();
    assert!(outcome.interrupted, "{:?}", outcome.failure);
    let stopped = gate.stopped.load(Ordering::SeqCst);
    assert!(stopped > 0 && stopped < u64::from(MEMBERS), "{stopped} of {MEMBERS} members were stopped");
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_never_answered_do_not_end_a_run() {
    // The plan and the first look before the lease are not begun yet when they fail: the first silence comes later.
    for every in [17, 23, 29] {
        let mut stage = Stage::new(Scene::new(2, 12));
        let plan = stage.plan().await;
        let gate = Arc::new(Silent { every, requests: AtomicU64::new(0) });
        stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
        let run = tokio::time::timeout(LONG, stage.apply(&plan)).await;
        let outcome = run.unwrap_or_else(|_| panic!("every {every}th: it waits for ever")).outcome();
        assert!(gate.requests.load(Ordering::Relaxed) > 3 * every, "{every}: hardly any was silent");
        assert_eq!(outcome.phase, Phase::Completed, "every {every}th: {:?}", outcome.failure);
        assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "{every}");
        assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new(), "{every}");
    }
}
