//! A run is killed, fails, or loses a reply at every single call that changes something, and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::common::{End, Stage, told_before_acted};
use rehome_engine::Command;
use rehome_model::record::Phase;
use rehome_ports::CALL_LIMIT;
use rehome_sim::{Call, Gate, Kill, Mishap, Ruling, Scene, SimPorts, World, checks};

/// Times a driver is started anew before a run counts as not converging.
const RESTARTS: u32 = 6;

/// Calls of an undisturbed run that change something.
async fn calls_of_a_run() -> u64 {
    let stage = Stage::new(Scene::new(2, 7));
    let plan = stage.plan().await;
    stage.control.disarm();
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    stage.control.mutations()
}

fn healthy(stage: &Stage, what: &str) {
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "{what}");
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new(), "{what}");
    assert_eq!(checks::originals_changed(&stage.world), Vec::<String>::new(), "{what}");
}

/// Disturbs call `n` and applies until the run is over.
async fn disturbed(n: u64, kill: Kill) -> (Stage, Phase) {
    let stage = Stage::new(Scene::new(2, 7));
    let plan = stage.plan().await;
    stage.control.arm(n, kill);
    for _ in 0..RESTARTS {
        let end = stage.apply(&plan).await;
        stage.control.disarm();
        match end {
            End::Outcome(outcome) => {
                if outcome.interrupted {
                    continue;
                }
                let opened = outcome.record.header.opened_at_ms.is_some();
                assert_eq!(opened, outcome.phase == Phase::Completed, "call {n}, {kill:?}: when downtime was over");
                return (stage, outcome.phase);
            }
            End::Killed => told_before_acted(&stage, &format!("call {n}, {kill:?}")).await,
            End::Refused(error) => panic!("call {n}, {kill:?}: {error}"),
        }
    }
    panic!("call {n}, {kill:?}: not over after {RESTARTS} starts")
}

async fn at_every_call(kill: Kill) {
    let calls = calls_of_a_run().await;
    assert!(calls > 40, "a run of {calls} calls is not the whole one");
    for n in 1..=calls {
        let (stage, phase) = disturbed(n, kill).await;
        let what = format!("{kill:?} at call {n} of {calls}: {:?}", stage.control.names().last());
        assert_eq!(phase, Phase::Completed, "{what}");
        healthy(&stage, &what);
        assert_eq!(checks::duplicates(&stage.world, 2, 1), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn killed_before_any_call_it_ends_in_the_same_state() {
    at_every_call(Kill::Before).await;
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_call_it_ends_in_the_same_state() {
    at_every_call(Kill::After).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_once_is_made_again() {
    at_every_call(Kill::FailBefore).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_leaves_no_duplicate() {
    at_every_call(Kill::LoseReply).await;
}

#[tokio::test(start_paused = true)]
async fn applying_a_finished_migration_again_changes_nothing() {
    let stage = Stage::new(Scene::new(3, 1));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    stage.control.disarm();
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(stage.control.names(), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn rollback_brings_the_legacy_cluster_back_and_the_set_cannot_start_clones() {
    let stage = Stage::new(Scene::new(3, 3));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::legacy_serving(&stage.world), 3);
    assert_eq!(checks::duplicates(&stage.world, 0, 0), Vec::<String>::new());

    stage.scale(3).await;
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::pods_running(&stage.world), 0, "the claims are parked: nothing may start");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_will_not_stop_undoes_the_cutover() {
    let stage = Stage::new(Scene::new(3, 4));
    let plan = stage.plan().await;
    stage.world.let_service_hang(1);
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(outcome.failure.is_some_and(|why| why.contains("stop-service:refdb-1")));
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    assert_eq!(checks::legacy_serving(&stage.world), 3);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_killed_at_any_call_goes_on() {
    let calls = {
        let stage = Stage::new(Scene::new(2, 7));
        let plan = stage.plan().await;
        stage.apply(&plan).await.outcome();
        stage.control.disarm();
        stage.drive(Command::RollbackDiscardWrites).await.outcome();
        stage.control.mutations()
    };
    assert!(calls > 20, "a rollback of {calls} calls is not the whole one");
    for n in 1..=calls {
        let kill = if n % 2 == 0 { Kill::Before } else { Kill::After };
        let stage = Stage::new(Scene::new(2, 7));
        let plan = stage.plan().await;
        stage.apply(&plan).await.outcome();
        stage.control.arm(n, kill);
        let mut phase = None;
        for _ in 0..RESTARTS {
            let end = stage.drive(Command::RollbackDiscardWrites).await;
            stage.control.disarm();
            if let End::Outcome(outcome) = end {
                phase = Some(outcome.phase);
                break;
            }
        }
        assert_eq!(phase, Some(Phase::RolledBack), "{kill:?} at call {n} of {calls}");
        assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "{kill:?} at call {n}");
        assert_eq!(checks::legacy_serving(&stage.world), 2, "{kill:?} at call {n}");
        assert_eq!(checks::duplicates(&stage.world, 0, 0), Vec::<String>::new(), "{kill:?} at call {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_scales_the_set_up_at_any_moment_starts_nothing_blank() {
    for second in (0..110).step_by(5) {
        let stage = Stage::new(Scene::new(3, 5));
        let plan = stage.plan().await;
        let scaler = async {
            tokio::time::sleep(std::time::Duration::from_secs(second)).await;
            // Before the claims are parked the set is the user's own: the first act parks them.
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            stage.scale(3).await;
        };
        let (end, ()) = tokio::join!(stage.apply(&plan), scaler);
        let what = format!("scaled up after {second} s");
        assert_eq!(end.outcome().phase, Phase::Completed, "{what}");
        healthy(&stage, &what);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_driver_is_refused_while_the_first_one_works() {
    let stage = Stage::new(Scene::new(3, 6));
    let plan = stage.plan().await;
    let second = async {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        match stage.apply(&plan).await {
            End::Refused(error) => error.to_string(),
            End::Outcome(outcome) => panic!("both drove: {:?}", outcome.phase),
            End::Killed => panic!("killed"),
        }
    };
    let (first, refusal) = tokio::join!(stage.apply(&plan), second);
    assert_eq!(first.outcome().phase, Phase::Completed);
    assert!(refusal.contains("driver-1 is driving this run"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn an_auto_scaling_group_does_not_terminate_the_stopped_members() {
    let mut scene = Scene::new(3, 8);
    scene.auto_scaling = true;
    let stage = Stage::new(scene);
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    healthy(&stage, "an hour later");
}

/// How many changing calls come before the first CreateSnapshots, itself included.
async fn first_create_snapshots() -> u64 {
    let stage = Stage::new(Scene::new(2, 10));
    let plan = stage.plan().await;
    stage.control.disarm();
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let first = stage.control.names().iter().position(|name| *name == "CreateSnapshots").expect("snapshots");
    u64::try_from(first).expect("few calls") + 1
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_clock_is_ahead_takes_no_snapshot_twice() {
    let nth = first_create_snapshots().await;
    // How late a describe is, up to the most, is drawn from the seed.
    for seed in 10..30 {
        let mut scene = Scene::new(2, seed);
        // Longer than the dead driver's lease, shorter than anything is looked for.
        scene.ec2.consistency.lag_ms = 28_000;
        let stage = Stage::new(scene);
        let plan = stage.plan().await;
        stage.control.arm(nth, Kill::After);
        assert!(matches!(stage.apply(&plan).await, End::Killed), "at CreateSnapshots");
        let taken = stage.world.ec2().with(|inner, _| inner.core.snapshots.len());
        stage.control.disarm();
        stage.clock_ahead_ms.set(3_600_000);
        assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
        // What is taken twice is swept in the end: only the calls tell.
        let calls = stage.control.names().iter().filter(|name| **name == "CreateSnapshots").count();
        assert_eq!(taken + calls, 2 * 2, "seed {seed}");
        healthy(&stage, "at the end");
    }
}

/// The first CreateSnapshots has its effect when its caller has nearly given it up, who then hears nothing of it.
#[derive(Default)]
struct LateAndLost {
    sent: AtomicUsize,
    landed: AtomicBool,
    /// Whether the caller hears nothing because it dies.
    dies: bool,
}

impl Gate for LateAndLost {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if call.name != "CreateSnapshots" {
            return (0, Ruling::Go);
        }
        let first = self.sent.fetch_add(1, Ordering::Relaxed) == 0;
        let late = CALL_LIMIT.saturating_sub(std::time::Duration::from_secs(1));
        (first.into(), if first { Ruling::Late(late) } else { Ruling::Go })
    }

    fn after(&self, ticket: u64, _: &Call<'_>) -> Ruling {
        if ticket == 0 {
            return Ruling::Go;
        }
        self.landed.store(true, Ordering::Relaxed);
        if self.dies { Ruling::Never } else { Ruling::Wrong(Mishap::NoReply) }
    }
}

#[tokio::test(start_paused = true)]
async fn snapshots_of_a_call_that_was_late_and_lost_are_not_taken_twice() {
    // How late a describe is, up to the most, is drawn from the seed.
    for seed in 10..20 {
        let mut scene = Scene::new(2, seed);
        scene.ec2.consistency.lag_ms = 28_000;
        let mut stage = Stage::new(scene);
        let plan = stage.plan().await;
        let gate = Arc::new(LateAndLost::default());
        stage.ports = SimPorts::behind(&stage.world, gate.clone());
        assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
        // What is taken twice is swept in the end: only the calls tell.
        assert_eq!(gate.sent.load(Ordering::Relaxed), 2 * 2, "seed {seed}");
        healthy(&stage, "at the end");
    }
}

/// The same of a driver that dies before it hears of it, and leaves no more than its line in the record.
#[tokio::test(start_paused = true)]
async fn snapshots_of_a_call_that_came_late_and_whose_driver_died_are_not_taken_twice() {
    for seed in 10..20 {
        let mut scene = Scene::new(2, seed);
        scene.ec2.consistency.lag_ms = 28_000;
        let mut stage = Stage::new(scene);
        let plan = stage.plan().await;
        let gate = Arc::new(LateAndLost { dies: true, ..LateAndLost::default() });
        stage.ports = SimPorts::behind(&stage.world, gate.clone());
        let landed = async {
            while !gate.landed.load(Ordering::Relaxed) {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = stage.apply(&plan) => panic!("it did not die"),
            () = landed => {}
        }
        assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
        assert_eq!(gate.sent.load(Ordering::Relaxed), 2 * 2, "seed {seed}");
        healthy(&stage, "at the end");
    }
}

#[tokio::test(start_paused = true)]
async fn drivers_that_live_shortly_are_done_with_looking_all_the_same() {
    // A CreateSnapshots that may have been sent is looked for until it would show. Counted anew by each driver, those that are killed before
    // that time is over would look for ever.
    let nth = first_create_snapshots().await;
    let stage = Stage::new(Scene::new(2, 10));
    let plan = stage.plan().await;
    stage.control.arm(nth, Kill::Before);
    assert!(matches!(stage.apply(&plan).await, End::Killed), "at CreateSnapshots");
    stage.control.disarm();
    for _ in 0..20 {
        // Of which 15 s are the dead one's lease.
        let life = std::time::Duration::from_secs(40);
        if let Ok(end) = tokio::time::timeout(life, stage.apply(&plan)).await {
            assert_eq!(end.outcome().phase, Phase::Completed);
            healthy(&stage, "at the end");
            assert_eq!(checks::duplicates(&stage.world, 2, 1), Vec::<String>::new());
            return;
        }
    }
    panic!("not over after 20 drivers of 40 s each");
}

/// Refuses the last of the final snapshots of two members for good, after a minute in which it is throttled; tells since when.
struct LastCaptureRefused {
    world: World,
    captures: AtomicU64,
    refused_ms: AtomicU64,
}

impl Gate for LastCaptureRefused {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if call.name != "CreateSnapshots" || self.captures.fetch_add(1, Ordering::SeqCst) < 3 {
            return (0, Ruling::Go);
        }
        let now = self.world.ec2().now();
        let _ = self.refused_ms.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        let throttled = now < self.refused_ms.load(Ordering::SeqCst) + 60_000;
        (0, Ruling::Wrong(Mishap::Code(if throttled { "RequestLimitExceeded" } else { "UnauthorizedOperation" })))
    }
}

/// Of two snapshots one is refused and the other takes long. The first is enough to know that the run has failed.
#[tokio::test(start_paused = true)]
async fn production_does_not_wait_for_a_snapshot_that_is_of_no_use_any_more() {
    const SNAPSHOT_MS: u64 = 7_000_000;
    let mut stage = Stage::new(Scene::new(2, 7));
    let plan = stage.plan().await;
    stage.world.ec2().with(|inner, _| inner.core.config.timing.snapshot_ms = SNAPSHOT_MS);
    let (captures, refused_ms) = (AtomicU64::new(0), AtomicU64::new(0));
    let gate = Arc::new(LastCaptureRefused { world: stage.world.clone(), captures, refused_ms });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(outcome.failure.is_some_and(|why| why.contains("UnauthorizedOperation")));
    let took_ms = stage.world.ec2().now() - gate.refused_ms.load(Ordering::SeqCst);
    assert!(took_ms < SNAPSHOT_MS / 4, "the way back took {} s", took_ms / 1_000);
    healthy(&stage, "a capture was refused");
}
