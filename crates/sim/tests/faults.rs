//! A run is killed, fails, or loses a reply at every single call that changes something, and goes on.

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use common::{End, Stage};
use rehome_engine::Command;
use rehome_model::ids::StepId;
use rehome_model::record::{Phase, StepState};
use rehome_model::{labels, names};
use rehome_sim::{Call, Gate, Kill, Mishap, Port, Ruling, Scene, SimPorts, checks};

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

/// Whatever stands in the world or in the record of a step, the steps that it is built on stand in the record as done.
async fn told_before_acted(stage: &Stage, what: &str) {
    let recorded = rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await;
    let Ok(Some((record, plan))) = recorded else { return };
    let done = |id: &StepId| record.steps.get(id).is_some_and(|line| line.state == StepState::Done);
    let told = record.steps.keys().filter(|id| done(id)).cloned();
    let made: BTreeSet<StepId> = stage.world.ec2().with(|inner, _| {
        let volumes = inner.core.volumes.values().map(|volume| &volume.tags);
        let tags = volumes.chain(inner.core.snapshots.values().map(|snapshot| &snapshot.tags));
        tags.filter_map(|tags| tags.get(labels::STEP)).map(|step| StepId(step.clone())).collect()
    });
    for id in told.chain(made) {
        for before in plan.step(&id).map(|step| step.after.as_slice()).unwrap_or_default() {
            assert!(
                done(before),
                "{what}: {id} acted or was told done, and {before} not: {:?}",
                record.steps.get(before)
            );
        }
    }
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

/// An apiserver that takes a run's plan and header, and nothing of its progress.
#[derive(Default)]
struct NoProgress {
    documents: Mutex<u32>,
    /// What was changed beside the run record.
    acts: Mutex<Vec<String>>,
}

impl Gate for NoProgress {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if call.port == Port::Cluster && call.subject.contains("/configmaps") {
            let mut documents = self.documents.lock().expect("whole");
            *documents += u32::from(call.name == "kube create");
            let refused = *documents > 2 && call.mutates;
            return (0, if refused { Ruling::Wrong(Mishap::Status(500, "InternalError")) } else { Ruling::Go });
        }
        if call.mutates {
            self.acts.lock().expect("whole").push(format!("{} {}", call.name, call.subject));
        }
        (0, Ruling::Go)
    }

    fn after(&self, _: u64, _: &Call<'_>) -> Ruling {
        Ruling::Go
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_intent_cannot_be_written_does_nothing_however_often_it_is_tried() {
    let mut stage = Stage::new(Scene::new(2, 8));
    let plan = stage.plan().await;
    let gate = Arc::new(NoProgress::default());
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
    // Longer than the tries of one write, and than the step's deadline.
    let end = tokio::time::timeout(std::time::Duration::from_secs(3600), stage.apply(&plan)).await;
    assert!(end.is_ok(), "it gives up");
    assert_eq!(*gate.acts.lock().expect("whole"), Vec::<String>::new());
}

/// An apiserver that never answers the writes of one document of the record, from one of them on.
struct StandsStill {
    document: String,
    from: u32,
    writes: Mutex<u32>,
}

impl Gate for StandsStill {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let writes = call.port == Port::Cluster && call.mutates && call.subject.ends_with(&self.document);
        let mut seen = self.writes.lock().expect("whole");
        *seen += u32::from(writes);
        (0, if writes && *seen >= self.from { Ruling::Never } else { Ruling::Go })
    }

    fn after(&self, _: u64, _: &Call<'_>) -> Ruling {
        Ruling::Go
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_built_on_a_result_that_is_not_written() {
    // A result is written with what its successors write; those in another document must wait for it all the same.
    let member = rehome_model::ids::MemberName("refdb-0".to_owned());
    for document in [names::member_record("refdb", &member), format!("{}-cluster", names::record("refdb"))] {
        for from in 1.. {
            let mut stage = Stage::new(Scene::new(2, 9));
            let plan = stage.plan().await;
            let still = StandsStill { document: document.clone(), from, writes: Mutex::default() };
            let calm = std::mem::replace(&mut stage.ports, SimPorts::behind(&stage.world, Arc::new(still)));
            // Longer than all that does not wait for the document takes.
            let end = tokio::time::timeout(std::time::Duration::from_secs(900), stage.apply(&plan)).await;
            stage.ports = calm;
            told_before_acted(&stage, &format!("{document} stands still from write {from} on")).await;
            if end.is_ok() {
                assert!(from > 5, "{document} was written {from} times: not those of a whole run");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn drivers_that_live_shortly_are_done_with_looking_all_the_same() {
    // A CreateSnapshots that may have been sent is looked for until it would show. Counted anew by each driver, those that are killed before
    // that time is over would look for ever.
    let nth = {
        let stage = Stage::new(Scene::new(2, 10));
        let plan = stage.plan().await;
        stage.control.disarm();
        assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
        let first = stage.control.names().iter().position(|name| *name == "CreateSnapshots").expect("snapshots");
        u64::try_from(first).expect("few calls") + 1
    };
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

/// From the first write of the cluster's document after the first PersistentVolume on: an apiserver that never answers the
/// writes of this document, and refuses the members' for a while.
struct IntentStandsStill {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    released: bool,
    intended: bool,
    refused: u32,
    scaled: bool,
}

impl Gate for IntentStandsStill {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let mut seen = self.seen.lock().expect("whole");
        if call.port != Port::Cluster || !call.mutates {
            return (0, Ruling::Go);
        }
        seen.released |= call.subject.contains("/persistentvolumes");
        seen.scaled |= call.subject.ends_with("/scale");
        let document = call.subject.contains("/configmaps/rehome-run-refdb-");
        let of_cluster = document && call.subject.ends_with("-cluster");
        seen.intended |= seen.released && of_cluster;
        let ruling = match (seen.intended && document, of_cluster) {
            (true, true) => Ruling::Never,
            // As often as one write of each is tried.
            (true, false) if seen.refused < 12 => {
                seen.refused += 1;
                Ruling::Wrong(Mishap::Status(500, "InternalError"))
            }
            _ => Ruling::Go,
        };
        (0, ruling)
    }

    fn after(&self, _: u64, _: &Call<'_>) -> Ruling {
        Ruling::Go
    }
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_is_still_being_written_is_not_taken_for_written() {
    // What the step is built on cannot be written at first: its own write must not be given up for that.
    let mut stage = Stage::new(Scene::new(2, 11));
    let plan = stage.plan().await;
    let gate = Arc::new(IntentStandsStill { seen: Mutex::default() });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
    let end = tokio::time::timeout(std::time::Duration::from_secs(1800), stage.apply(&plan)).await;
    let seen = gate.seen.lock().expect("whole");
    assert!(end.is_err() && seen.released && seen.refused == 12, "it came as far as the volumes, and no further");
    assert!(!seen.scaled, "the set was scaled before the record said that it would be");
}

#[tokio::test(start_paused = true)]
async fn a_record_of_which_a_part_has_lost_its_label_is_refused() {
    // Passed over, its steps would be taken for never begun: neither looked for by apply nor taken back by a rollback.
    let member = rehome_model::ids::MemberName("refdb-0".to_owned());
    for name in [names::record("refdb"), names::plan_record("refdb"), names::member_record("refdb", &member)] {
        let stage = Stage::new(Scene::new(2, 12));
        let plan = stage.plan().await;
        stage.control.arm(60, Kill::Before);
        assert!(matches!(stage.apply(&plan).await, End::Killed));
        stage.control.disarm();
        let path = format!("/api/v1/namespaces/refdb/configmaps/{name}");
        let without = serde_json::json!({"metadata": {"labels": {labels::MIGRATION: null}}});
        let kube = rehome_engine::Kube::new(stage.ports.kube());
        kube.merge_patch(&path, &without).await.expect("patched");
        for command in [Command::Apply(Box::new(plan)), Command::RollbackDiscardWrites] {
            let End::Refused(error) = stage.drive(command).await else { panic!("{name} was passed over") };
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}
