//! A set whose gate somebody takes away between the plan and the start of its pods.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Stage;
use rehome_engine::{Command, Outcome};
use rehome_model::event::{Event, EventKind};
use rehome_model::record::Phase;
use rehome_sim::{Call, Gate, Mishap, Port, Ruling, Scene, SimPorts, World, checks};
use serde_json::json;

/// Does something right before the first call of a kind.
struct Meddler {
    world: World,
    before: fn(&Call<'_>) -> bool,
    with: fn(&World),
    done: AtomicBool,
    /// A pod that nobody reaches.
    deaf: Option<&'static str>,
}

impl Gate for Meddler {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if (self.before)(call) && !self.done.swap(true, Ordering::Relaxed) {
            (self.with)(&self.world);
        }
        let deaf = call.port == Port::Pods && Some(call.subject) == self.deaf;
        (0, if deaf { Ruling::Wrong(Mishap::NoReply) } else { Ruling::Go })
    }

    fn after(&self, _: u64, _: &Call<'_>) -> Ruling {
        Ruling::Go
    }
}

fn a_volume_is_made(call: &Call<'_>) -> bool {
    call.name == "CreateVolume"
}

/// The last look at the gate is over.
fn the_set_is_scaled(call: &Call<'_>) -> bool {
    call.name == "kube update" && call.subject.ends_with("/scale")
}

fn open_gate(world: &World) {
    world.change_objects("configmaps", |map| {
        if map["metadata"]["name"] == "rehome-gate-refdb" {
            map["data"] = json!({"REFDB_CLIENTS": "open"});
        }
    });
}

fn ungate_set(world: &World) {
    world.change_objects("statefulsets", |set| {
        let env = &mut set["spec"]["template"]["spec"]["containers"][0]["env"][3];
        *env = json!({"name": "REFDB_CLIENTS", "value": "open"});
    });
}

async fn applied(
    before: fn(&Call<'_>) -> bool,
    with: fn(&World),
    deaf: Option<&'static str>,
) -> (Stage, Outcome, bool) {
    let mut stage = Stage::new(Scene::new(3, 55));
    let plan = stage.plan().await;
    let meddler = Arc::new(Meddler { world: stage.world.clone(), before, with, done: AtomicBool::new(false), deaf });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&meddler) as Arc<_>);
    let (end, events) = stage.drive_with_events(Command::Apply(Box::new(plan))).await;
    let outcome = end.outcome();
    let early =
        |event: &Event| matches!(&event.kind, EventKind::Note { text } if text.contains("let clients in before"));
    let early = events.iter().any(early);
    assert!(meddler.done.load(Ordering::Relaxed), "nobody meddled");
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    (stage, outcome, early)
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_was_opened_meanwhile_is_closed_again_before_the_pods_start() {
    let (stage, outcome, early) = applied(a_volume_is_made, open_gate, None).await;
    assert!(!early, "a pod was open before it was verified");
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(checks::pods_running(&stage.world), 3);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_takes_the_gate_no_more_is_not_started() {
    let (stage, outcome, _) = applied(a_volume_is_made, ungate_set, None).await;
    assert_eq!(outcome.phase, Phase::RolledBack);
    assert!(outcome.failure.is_some_and(|why| why.contains("does not take REFDB_CLIENTS from ConfigMap")));
    assert_eq!((checks::pods_running(&stage.world), checks::legacy_serving(&stage.world)), (0, 3));
    assert!(stage.world.ledger().by_pods.is_empty(), "a pod was open");
}

#[tokio::test(start_paused = true)]
async fn pods_that_start_open_in_spite_of_all_are_closed_and_their_writes_kept() {
    let (stage, outcome, early) = applied(the_set_is_scaled, open_gate, None).await;
    assert!(early, "no pod was open before it was verified");
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert!(!stage.world.ledger().by_pods.is_empty(), "no client wrote");
}

#[tokio::test(start_paused = true)]
async fn once_a_pod_was_open_nothing_is_discarded_by_itself() {
    let (mut stage, outcome, _) = applied(the_set_is_scaled, open_gate, Some("refdb-2")).await;
    // One pod is never seen: the verification fails. What clients wrote to the others is still there.
    assert_eq!(outcome.phase, Phase::Cutover, "{:?}", outcome.failure);
    assert!(outcome.failure.is_some());
    assert!(!stage.world.ledger().by_pods.is_empty(), "no client wrote");
    stage.ports = SimPorts::new(&stage.world, &stage.control);
    let back = stage.drive(Command::RollbackKeepWrites).await.outcome();
    assert_eq!(back.phase, Phase::Returned, "{:?}", back.failure);
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    assert_eq!(checks::legacy_serving(&stage.world), 3);
}
