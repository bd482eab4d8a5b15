//! A driver whose machine slept does not believe in its lease.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::Stage;
use rehome_model::record::Phase;
use rehome_sim::{Call, Gate, Mishap, Ruling, Scene, SimPorts, World};

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

/// How long renewals of the lease take, one after the other, over and over.
struct Slow {
    takes: &'static [u64],
    /// Whether one that is dropped has to be taken up again from its beginning.
    again: bool,
    renewals: AtomicU64,
    answered: AtomicU64,
}

impl Slow {
    fn new(takes: &'static [u64], again: bool) -> Arc<Self> {
        Arc::new(Self { takes, again, renewals: AtomicU64::new(0), answered: AtomicU64::new(0) })
    }
}

fn renews(call: &Call<'_>) -> bool {
    call.name == "kube update" && call.subject.contains("/leases")
}

impl Gate for Slow {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if !renews(call) {
            return (0, Ruling::Go);
        }
        let sent = self.renewals.fetch_add(1, Ordering::SeqCst);
        let n = if self.again { self.answered.load(Ordering::SeqCst) } else { sent } as usize;
        let seconds = self.takes[n % self.takes.len()];
        (0, if seconds == 0 { Ruling::Go } else { Ruling::Late(Duration::from_secs(seconds)) })
    }

    fn after(&self, _: u64, call: &Call<'_>) -> Ruling {
        self.answered.fetch_add(u64::from(renews(call)), Ordering::SeqCst);
        Ruling::Go
    }
}

async fn moves_behind(gate: &Arc<Slow>) {
    let mut stage = Stage::new(Scene::new(2, 12));
    let plan = stage.plan().await;
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(gate) as Arc<_>);
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    let answered = gate.answered.load(Ordering::SeqCst);
    assert!(answered as usize > 2 * gate.takes.len(), "{answered} renewals: too few to tell");
}

/// A credential plugin that takes longer than a renewal may, now and then: in each request that is dropped it begins anew.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_not_answered_in_time_is_not_given_up() {
    moves_behind(&Slow::new(&[0, 0, 5], true)).await;
}

/// The second looks while the first is not there yet, and is too late when it is: the conflict is with the driver's own.
#[tokio::test(start_paused = true)]
async fn a_late_renewal_of_its_own_is_not_taken_for_another_drivers() {
    moves_behind(&Slow::new(&[0, 6, 3], false)).await;
}

/// One renewal takes effect at once and is answered late; those after it never arrive. What is sent too late for it is noted.
struct AnsweredLate {
    nth: u64,
    renewals: AtomicU64,
    sent: Mutex<Option<tokio::time::Instant>>,
    too_late: Mutex<Vec<String>>,
}

impl Gate for AnsweredLate {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let mut sent = self.sent.lock().expect("whole");
        if renews(call) {
            let n = self.renewals.fetch_add(1, Ordering::SeqCst);
            if n == self.nth {
                *sent = Some(tokio::time::Instant::now());
            }
            return (n, if n > self.nth { Ruling::Never } else { Ruling::Go });
        }
        if call.mutates && sent.is_some_and(|sent| sent.elapsed() >= Duration::from_secs(15)) {
            self.too_late.lock().expect("whole").push(format!("{} {}", call.name, call.subject));
        }
        (u64::MAX, Ruling::Go)
    }

    fn after(&self, n: u64, _: &Call<'_>) -> Ruling {
        if n == self.nth { Ruling::Late(Duration::from_secs(12)) } else { Ruling::Go }
    }
}

/// The lease lasts from when its renewal was sent: the apiserver may have taken it then.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_answered_late_does_not_make_the_lease_last_longer() {
    for nth in 0..16 {
        let mut stage = Stage::new(Scene::new(4, 12));
        let plan = stage.plan().await;
        let gate = Arc::new(AnsweredLate {
            nth,
            renewals: AtomicU64::new(0),
            sent: Mutex::default(),
            too_late: Mutex::default(),
        });
        stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
        let outcome = stage.apply(&plan).await.outcome();
        assert!(outcome.interrupted, "renewal {nth}: {:?}", outcome.failure);
        assert_eq!(*gate.too_late.lock().expect("whole"), Vec::<String>::new(), "renewal {nth}");
    }
}

/// Another driver takes the run over, and writes its record, right before a write of this one's.
struct TakesOver {
    world: World,
    /// The writes of the cluster's lines before it.
    after: usize,
    /// Whether this one's write meets a dead connection, not a conflict.
    cut_off: bool,
    seen: AtomicU64,
}

/// What the other driver leaves in the record.
const OTHERS: &str = "{}";

fn lines(object: &serde_json::Value) -> bool {
    object["metadata"]["name"] == "rehome-run-refdb-cluster"
}

impl Gate for TakesOver {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let writes = call.name == "kube update" && call.subject.ends_with("/rehome-run-refdb-cluster");
        let now = writes && self.seen.fetch_add(1, Ordering::SeqCst) as usize == self.after;
        if now {
            self.world.change_objects("leases", |lease| lease["spec"]["holderIdentity"] = serde_json::json!("other"));
            self.world.change_objects("configmaps", |map| {
                if lines(map) {
                    map["data"]["steps.json"] = serde_json::json!(OTHERS);
                }
            });
        }
        // No renewal tells of it in time.
        let deaf = (now && self.cut_off) || renews(call) && self.seen.load(Ordering::SeqCst) as usize > self.after;
        (0, if deaf { Ruling::Wrong(Mishap::NoReply) } else { Ruling::Go })
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_driver_wrote_is_not_written_over_by_one_whose_clocks_stood_still() {
    for cut_off in [false, true] {
        let mut stage = Stage::new(Scene::new(2, 12));
        let plan = stage.plan().await;
        let gate = Arc::new(TakesOver { world: stage.world.clone(), after: 2, cut_off, seen: AtomicU64::new(0) });
        stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
        let outcome = stage.apply(&plan).await.outcome();
        assert!(gate.seen.load(Ordering::SeqCst) > 2, "nobody took over");
        assert!(outcome.interrupted, "{:?} {:?}", outcome.phase, outcome.failure);
        let found = std::cell::RefCell::new(Vec::new());
        stage.world.change_objects("configmaps", |map| {
            if lines(map) {
                found.borrow_mut().push(map["data"]["steps.json"].clone());
            }
        });
        assert_eq!(*found.borrow(), [OTHERS], "{cut_off}");
    }
}

/// A write of the record is lost, and the apiserver does not know who asks when the Lease is looked at because of it, once.
struct Overloaded {
    lost: std::sync::atomic::AtomicBool,
    unknown: std::sync::atomic::AtomicBool,
}

impl Gate for Overloaded {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let writes = call.name == "kube update" && call.subject.ends_with("/rehome-run-refdb-cluster");
        if writes && !self.lost.swap(true, Ordering::SeqCst) {
            return (0, Ruling::Wrong(Mishap::NoReply));
        }
        let looks = call.name == "kube get" && call.subject.contains("/leases") && self.lost.load(Ordering::SeqCst);
        if looks && !self.unknown.swap(true, Ordering::SeqCst) {
            return (0, Ruling::Wrong(Mishap::Status(401, "Unauthorized")));
        }
        (0, Ruling::Go)
    }
}

#[tokio::test(start_paused = true)]
async fn one_refusal_of_an_overloaded_apiserver_does_not_end_a_driver_whose_write_was_lost() {
    let mut stage = Stage::new(Scene::new(2, 12));
    let plan = stage.plan().await;
    let gate = Arc::new(Overloaded { lost: false.into(), unknown: false.into() });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
    let outcome = stage.apply(&plan).await.outcome();
    assert!(gate.unknown.load(Ordering::SeqCst), "nobody looked at the Lease");
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
}
