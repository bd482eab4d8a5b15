//! `gc`: everything that runs left is found, with or without their record, and nothing else is ever deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{End, Stage};
use crate::leftovers::{
    by_file, by_name, cluster_gone, delete, forget_record, left_behind, slots, verdict, whys, world_of,
};
use rehome_engine::{Command, GcError, GcOutcome, Removal};
use rehome_model::collection::{Thing, Verdict};
use rehome_model::record::{FinalizeChoice, Phase};
use rehome_sim::{Call, Gate, Kill, Mishap, Port, Ruling, Scene, SimPorts, checks};

/// How long final snapshots are kept here: a month of the client's writes would take the simulation long.
const KEEP: std::time::Duration = std::time::Duration::from_secs(900);
const NOTHING: Vec<String> = Vec::new();

async fn completed(seed: u64) -> Stage {
    let stage = Stage::new(Scene::new(2, seed));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    stage
}

async fn rolled_back(seed: u64) -> Stage {
    let stage = completed(seed).await;
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    stage
}

#[tokio::test(start_paused = true)]
async fn after_a_completed_move_nothing_is_orphaned_and_nothing_is_touched() {
    let stage = completed(71).await;
    let before = world_of(&stage).await;
    stage.control.disarm();
    for mut collector in [by_file(&stage), by_name(&stage)] {
        collector.scope.parked_claims = true;
        let shown = collector.look().await.expect("looked");
        assert!(shown.found.len() > 10, "{shown:?}");
        assert_eq!(shown.orphaned().count(), 0, "{shown:?}");
        assert!(shown.found.iter().all(|found| found.verdict == Verdict::InUse), "{shown:?}");
        assert_eq!(delete(&collector, &shown).await, Vec::new());
    }
    assert_eq!(stage.control.names(), Vec::<&str>::new());
    assert_eq!(world_of(&stage).await, before);
}

/// The lines of a member were lost with its ConfigMap: what they named is not taken for a second one of its kind.
#[tokio::test(start_paused = true)]
async fn the_only_volume_of_a_member_whose_lines_are_lost_is_no_duplicate() {
    let stage = completed(71).await;
    let member = rehome_model::ids::MemberName("refdb-0".to_owned());
    let kube = rehome_engine::Kube::new(stage.ports.kube());
    let namespace = "/api/v1/namespaces/refdb";
    let lines = format!("{namespace}/configmaps/{}", rehome_model::names::member_record("refdb", &member));
    kube.delete(&lines, "").await.expect("deleted");
    // And somebody deletes its slot: the PersistentVolume is retained no longer than its object.
    stage.scale(0).await;
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    let claim = format!("{namespace}/persistentvolumeclaims/data-refdb-0");
    let name = kube.get(&claim).await.expect("answered").expect("there")["spec"]["volumeName"].clone();
    kube.delete(&claim, "").await.expect("deleted");
    kube.delete(&format!("/api/v1/persistentvolumes/{}", name.as_str().expect("a name")), "").await.expect("deleted");
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    let shown = by_file(&stage).look().await.expect("looked");
    assert_eq!(shown.orphaned().count(), 0, "{shown:?}");
    let kept = whys(&shown, "volume ");
    assert!(kept.iter().any(|why| why.contains("a part of it may be lost")), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_rollback_the_parked_claims_stay_unless_they_are_named() {
    let stage = rolled_back(72).await;
    let mut collector = by_file(&stage);
    let shown = collector.look().await.expect("looked");
    assert_eq!(shown.orphaned().count(), 0, "{shown:?}");
    assert!(whys(&shown, "claim ").iter().all(|why| why.contains("--parked-claims")), "{shown:?}");
    assert!(whys(&shown, "ConfigMap ").iter().all(|why| why.contains("how the last run ended")), "{shown:?}");

    collector.scope.parked_claims = true;
    let shown = collector.look().await.expect("looked");
    let removed = delete(&collector, &shown).await;
    assert!(removed.iter().all(|removal| removal.outcome == GcOutcome::Deleted), "{removed:?}");
    assert_eq!(left_behind(&stage).await, NOTHING, "not even the lease");
    assert_eq!(checks::violations(&stage.world), NOTHING);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
    // And from here the migration can be begun anew.
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(checks::violations(&stage.world), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_parked_claim_that_a_scaled_up_set_asks_for_stays_whatever_is_allowed() {
    let stage = rolled_back(73).await;
    let mut collector = by_file(&stage);
    collector.scope.parked_claims = true;
    // Listed while nobody asked for it; then somebody scales the set up.
    let shown = collector.look().await.expect("looked");
    stage.scale(1).await;
    let removed = delete(&collector, &shown).await;
    let outcome = |name: &str| {
        let is = |thing: &Thing| matches!(thing, Thing::Claim(object) if object.name == name);
        removed.iter().find(|removal| is(&removal.thing)).map(|removal| removal.outcome.clone())
    };
    assert!(matches!(outcome("data-refdb-0"), Some(GcOutcome::Left(why)) if why.contains("a pod asks for it")));
    assert_eq!(outcome("data-refdb-1"), Some(GcOutcome::Deleted));
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    assert_eq!(checks::violations(&stage.world), NOTHING);
    assert_eq!(checks::pods_running(&stage.world), 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_finalize_the_final_snapshots_go_when_their_time_is_over_and_the_slots_stay() {
    let stage = completed(74).await;
    let at_ms = stage.world.ec2().now();
    let choice = FinalizeChoice { at_ms, keep_until_ms: at_ms + KEEP.as_millis() as u64, release_legacy: false };
    assert_eq!(stage.drive(Command::Finalize(choice)).await.outcome().phase, Phase::Finalized);
    let collector = by_name(&stage);
    let shown = collector.look().await.expect("looked");
    assert_eq!(shown.orphaned().count(), 0, "{shown:?}");
    assert!(whys(&shown, "snapshot ").iter().all(|why| why.starts_with("kept until")), "{shown:?}");
    let adopted = slots(&stage).await;
    tokio::time::sleep(KEEP).await;
    let shown = by_name(&stage).look().await.expect("looked");
    assert_eq!(shown.orphaned().count(), 2, "{shown:?}");
    let removed = delete(&by_name(&stage), &shown).await;
    assert!(removed.iter().all(|removal| removal.outcome == GcOutcome::Deleted), "{removed:?}");
    assert_eq!(slots(&stage).await, adopted);
    assert_eq!(checks::violations(&stage.world), NOTHING);
    assert_eq!(checks::duplicates(&stage.world, 0, 1).iter().filter(|line| line.starts_with("I7")).count(), 0);
    let again = by_name(&stage).look().await.expect("looked");
    assert!(again.found.iter().all(|found| found.verdict == Verdict::InUse), "{again:?}");
}

/// Calls of an undisturbed run that change something.
async fn calls_of_a_run() -> u64 {
    let stage = Stage::new(Scene::new(2, 75));
    let plan = stage.plan().await;
    stage.control.disarm();
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    stage.control.mutations()
}

/// Kills a run at call `n`; answers none if that call's reply came when others were under way, and nothing was killed.
async fn killed_at(n: u64, kill: Kill) -> Option<Stage> {
    let stage = Stage::new(Scene::new(2, 75));
    let plan = stage.plan().await;
    stage.control.arm(n, kill);
    let end = stage.apply(&plan).await;
    stage.control.disarm();
    // What was under way in cloud and cluster comes to its end.
    tokio::time::sleep(std::time::Duration::from_secs(40)).await;
    matches!(end, End::Killed).then_some(stage)
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_call_and_its_record_lost_all_that_is_orphaned_goes_and_nothing_else() {
    let calls = calls_of_a_run().await;
    let (mut kills, mut deleted) = (0, 0);
    for n in 1..=calls {
        let kill = if n % 2 == 0 { Kill::Before } else { Kill::After };
        let Some(stage) = killed_at(n, kill).await else { continue };
        let what = format!("{kill:?} call {n} of {calls}");
        forget_record(&stage).await;
        let before = world_of(&stage).await;
        let collector = by_file(&stage);
        let shown = collector.look().await.expect("looked");
        let removed = delete(&collector, &shown).await;
        assert!(removed.iter().all(|removal| removal.outcome == GcOutcome::Deleted), "{what}: {removed:?}");
        kills += 1;
        deleted += removed.len();
        let after = world_of(&stage).await;
        assert_eq!(after.not_ours, before.not_ours, "{what}: what it did not make is as it was");
        assert_eq!(after.adopted, before.adopted, "{what}: adopted slots are as they were");
        assert_eq!(after.claims, before.claims, "{what}: no claim goes without --parked-claims");
        assert_eq!(after.ours, after.needed, "{what}: nothing is left that nothing needs");
        assert_eq!(checks::violations(&stage.world), NOTHING, "{what}");
        assert_eq!(checks::originals_changed(&stage.world), NOTHING, "{what}");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let again = by_file(&stage).look().await.expect("looked");
        assert_eq!(again.orphaned().count(), 0, "{what}: {again:?}");
    }
    println!("{kills} kills, {deleted} things deleted");
    assert!(kills > 80, "{kills} kills are not those of a whole run");
}

#[tokio::test(start_paused = true)]
async fn while_a_killed_run_can_go_on_nothing_of_it_is_orphaned() {
    // Before the third call there is no header: lease and plan alone are nothing that could go on.
    let mut killed = 0;
    for n in (3..).step_by(15) {
        let Some(stage) = killed_at(n, Kill::Before).await else { break };
        killed += 1;
        let collector = by_file(&stage);
        let shown = collector.look().await.expect("looked");
        assert_eq!(shown.orphaned().count(), 0, "killed at call {n}: {shown:?}");
        assert_eq!(delete(&collector, &shown).await, Vec::new());
        let plan = match rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await {
            Ok(Some((_, plan))) => plan,
            // Killed between header and plan, or before both.
            _ => stage.plan().await,
        };
        assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed, "killed at call {n}");
        assert_eq!(checks::violations(&stage.world), NOTHING);
        assert_eq!(checks::duplicates(&stage.world, 2, 1), NOTHING);
    }
    assert!(killed >= 5, "{killed} kills are not those of a whole run");
}

/// The call at which all snapshots are taken, and both volumes made; the first of them is behind a PersistentVolume already.
async fn after_the_volumes() -> u64 {
    let stage = Stage::new(Scene::new(2, 75));
    let plan = stage.plan().await;
    stage.control.disarm();
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let last = stage.control.names().iter().rposition(|name| *name == "CreateVolume").expect("two volumes");
    u64::try_from(last).expect("few calls") + 2
}

/// Credentials that are good for so many calls of the cloud more.
struct Session(AtomicUsize);

impl Gate for Session {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let less = |left: usize| left.checked_sub(1);
        let over = call.port == Port::Cloud && self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err();
        (0, if over { Ruling::Wrong(Mishap::Code("RequestExpired")) } else { Ruling::Go })
    }
}

#[tokio::test(start_paused = true)]
async fn a_gc_that_is_stopped_half_way_tells_what_it_has_deleted() {
    let killed = after_the_volumes().await;
    let (mut stopped, mut told) = (0, 0);
    for good_for in 0..100 {
        let mut stage = killed_at(killed, Kill::Before).await.expect("killed");
        forget_record(&stage).await;
        let before = world_of(&stage).await;
        let shown = by_file(&stage).look().await.expect("looked");
        stage.ports = SimPorts::behind(&stage.world, Arc::new(Session(AtomicUsize::new(good_for))));
        let ended = by_file(&stage).delete(&shown).await;
        stage.ports = SimPorts::behind(&stage.world, Arc::new(Session(AtomicUsize::new(usize::MAX))));
        match ended {
            // Before the first of them.
            Err(error) => {
                assert!(error.to_string().contains("RequestExpired"), "{error}");
                assert_eq!(world_of(&stage).await.ours, before.ours, "after {good_for} calls");
            }
            Ok(deletion) => {
                let gone = |removal: &&Removal| removal.outcome == GcOutcome::Deleted;
                let deleted = deletion.removed.iter().filter(gone).count();
                let is_whole = deletion.stopped.is_none();
                if is_whole && deleted == shown.orphaned().count() {
                    break;
                }
                stopped += 1;
                told += deleted;
                assert!(!deletion.removed.is_empty(), "after {good_for} calls");
            }
        }
        let mut next = by_file(&stage);
        "another".clone_into(&mut next.holder);
        let shown = next.look().await.expect("looked");
        delete(&next, &shown).await;
        assert_eq!(next.look().await.expect("looked").orphaned().count(), 0, "after {good_for} calls");
    }
    assert!(stopped > 3 && told > 3, "{stopped} were stopped, of which {told} deletions were told");
}

#[tokio::test(start_paused = true)]
async fn a_gc_killed_at_any_call_goes_on() {
    let killed = after_the_volumes().await;
    let prepare = async || {
        let stage = killed_at(killed, Kill::Before).await.expect("killed");
        forget_record(&stage).await;
        stage
    };
    let calls = {
        let stage = prepare().await;
        let shown = by_file(&stage).look().await.expect("looked");
        delete(&by_file(&stage), &shown).await;
        stage.control.mutations()
    };
    assert!(calls >= 5, "{calls} calls are not a whole gc");
    for n in 1..=calls {
        for kill in [Kill::Before, Kill::After, Kill::FailBefore, Kill::LoseReply] {
            let stage = prepare().await;
            let before = world_of(&stage).await;
            stage.control.arm(n, kill);
            let collector = by_file(&stage);
            let shown = collector.look().await.expect("looked");
            tokio::select! {
                removed = collector.delete(&shown) => { removed.expect("deleted"); }
                () = stage.control.killed() => {}
            }
            stage.control.disarm();
            let mut next = by_file(&stage);
            "another".clone_into(&mut next.holder);
            let shown = next.look().await.expect("looked");
            delete(&next, &shown).await;
            let after = world_of(&stage).await;
            assert_eq!(after.ours, after.needed, "{kill:?} at call {n}");
            assert_eq!(after.not_ours, before.not_ours, "{kill:?} at call {n}");
            assert_eq!(next.look().await.expect("looked").orphaned().count(), 0, "{kill:?} at call {n}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_driver_works_gc_deletes_nothing() {
    let stage = Stage::new(Scene::new(2, 76));
    let plan = stage.plan().await;
    let collector = by_file(&stage);
    let gc = async {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        let shown = collector.look().await.expect("looked");
        assert_eq!(shown.orphaned().count(), 0, "{shown:?}");
        collector.delete(&shown).await.expect_err("somebody drives")
    };
    let (end, refused) = tokio::join!(stage.apply(&plan), gc);
    assert_eq!(end.outcome().phase, Phase::Completed);
    assert!(matches!(refused, GcError::Lease(_)), "{refused}");
    assert!(refused.to_string().contains("driver-1 is driving"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_makes_everything_in_use() {
    let stage = killed_at(40, Kill::Before).await.expect("killed");
    let kube = rehome_engine::Kube::new(stage.ports.kube());
    let path = "/api/v1/namespaces/refdb/configmaps/rehome-run-refdb";
    for text in ["nonsense", r#"{"format": {"name": "rehome.run", "version": 9}}"#] {
        let patch = serde_json::json!({"data": {"run.json": text}});
        kube.merge_patch(path, &patch).await.expect("written");
        let shown = by_file(&stage).look().await.expect("looked");
        assert!(shown.found.len() > 4);
        assert!(shown.found.iter().all(|found| found.why.contains("cannot be read")), "{shown:?}");
        assert_eq!(shown.orphaned().count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_cluster_gone_what_is_attached_stays_and_the_rest_is_found() {
    let stage = completed(77).await;
    let shown = cluster_gone(by_file(&stage)).look().await.expect("looked");
    assert_eq!(verdict(&shown, "volume "), vec![Verdict::InUse; 2], "the pods' nodes have them attached: {shown:?}");
    assert!(shown.found.iter().all(|found| matches!(found.thing, Thing::Volume { .. } | Thing::Snapshot { .. })));
    // The nodes go, and the volumes with them are detached.
    stage.scale(0).await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let collector = cluster_gone(by_file(&stage));
    let shown = collector.look().await.expect("looked");
    assert!(whys(&shown, "volume ").iter().all(|why| why.contains("all that a pod ever wrote")), "{shown:?}");
    let before = world_of(&stage).await;
    let removed = delete(&collector, &shown).await;
    assert_eq!(removed.len(), 6, "two volumes, four snapshots");
    let after = world_of(&stage).await;
    assert!(after.ours.iter().all(|id| !id.starts_with("vol-") && !id.starts_with("snap-")), "{after:?}");
    assert_eq!(after.not_ours, before.not_ours);
}

#[tokio::test(start_paused = true)]
async fn the_same_plan_after_its_record_was_lost_is_another_run_and_captures_anew() {
    let stage = Stage::new(Scene::new(2, 7));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let first = rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await.unwrap().unwrap().0.header.run;
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    forget_record(&stage).await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let second = rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await.unwrap().unwrap().0.header.run;
    assert_ne!(first, second, "its snapshots would be taken for this run's own");
    assert_eq!(checks::violations(&stage.world), NOTHING);
}
