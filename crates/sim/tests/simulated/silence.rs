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

/// What happens as soon as the first of the calls is made that are waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    CtrlC,
    /// No renewal of the lease is answered any more.
    LeaseGone,
}

/// Calls that take so long that others wait in line; counts how many are made.
struct Slow {
    calls: fn(&Call<'_>) -> bool,
    event: Event,
    stop: tokio::sync::watch::Sender<bool>,
    made: AtomicU64,
}

impl Gate for Slow {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let begun = self.made.load(Ordering::SeqCst) > 0;
        if self.event == Event::LeaseGone && begun && call.subject.contains("/leases") {
            return (0, Ruling::Never);
        }
        if !(self.calls)(call) {
            return (0, Ruling::Go);
        }
        self.made.fetch_add(1, Ordering::SeqCst);
        if self.event == Event::CtrlC {
            self.stop.send_replace(true);
        }
        // Longer than a lease, shorter than a request may take.
        (0, Ruling::Late(Duration::from_secs(16)))
    }
}

/// How many of so many members are acted on by these calls, if this happens at the first.
async fn acted_on(members: u32, calls: fn(&Call<'_>) -> bool, event: Event) -> u64 {
    let mut stage = Stage::new(Scene::new(members, 12));
    let plan = stage.plan().await;
    let (stop, asked) = tokio::sync::watch::channel(false);
    stage.stop = Some(asked);
    let gate = Arc::new(Slow { calls, event, stop, made: AtomicU64::new(0) });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
    let outcome = stage.apply(&plan).await.outcome();
    assert!(outcome.interrupted, "{:?}", outcome.failure);
    gate.made.load(Ordering::SeqCst)
}

fn stops(call: &Call<'_>) -> bool {
    call.name == "stop-service"
}

fn parks(call: &Call<'_>) -> bool {
    call.name == "kube create" && call.subject.contains("/persistentvolumeclaims")
}

/// Of many members some wait in line for their script when the driver is asked to stop: they keep serving.
#[tokio::test(start_paused = true)]
async fn what_waits_in_line_is_not_begun_after_the_driver_was_asked_to_stop() {
    let stopped = acted_on(140, stops, Event::CtrlC).await;
    assert!(stopped > 0 && stopped < 140, "{stopped} of 140 members were stopped");
    let parked = acted_on(40, parks, Event::CtrlC).await;
    assert!(parked > 0 && parked < 40, "{parked} of 40 claims were made");
}

/// Another driver may act by then.
#[tokio::test(start_paused = true)]
async fn what_waits_in_line_is_not_begun_after_the_lease_has_ended() {
    let stopped = acted_on(140, stops, Event::LeaseGone).await;
    assert!(stopped > 0 && stopped < 140, "{stopped} of 140 members were stopped");
    let parked = acted_on(40, parks, Event::LeaseGone).await;
    assert!(parked > 0 && parked < 40, "{parked} of 40 claims were made");
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
