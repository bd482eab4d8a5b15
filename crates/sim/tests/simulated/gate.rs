//! A set whose gate somebody takes away between the plan and the start of its pods, and one that somebody scales up besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::Stage;
use rehome_ec2_emulator::core::Effect;
use rehome_engine::{Command, Kube, Outcome};
use rehome_model::event::{Event, EventKind};
use rehome_model::labels;
use rehome_model::record::Phase;
use rehome_sim::{Call, Gate, Mishap, Port, Ruling, Scene, SimPorts, World, checks};
use serde_json::json;

/// Before the first call of which kind what is done.
pub type Act = (fn(&Call<'_>, &World) -> bool, fn(&World));

/// Does one thing after the other, each right before the first call of a kind.
struct Meddler {
    world: World,
    acts: Vec<Act>,
    done: AtomicUsize,
    /// A pod that nobody reaches.
    deaf: Option<&'static str>,
}

impl Gate for Meddler {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if let Some((before, with)) = self.acts.get(self.done.load(Ordering::Relaxed))
            && before(call, &self.world)
        {
            self.done.fetch_add(1, Ordering::Relaxed);
            with(&self.world);
        }
        let deaf = call.port == Port::Pods && Some(call.subject) == self.deaf;
        (0, if deaf { Ruling::Wrong(Mishap::NoReply) } else { Ruling::Go })
    }
}

fn a_volume_is_made(call: &Call<'_>, _: &World) -> bool {
    call.name == "CreateVolume"
}

/// The last look at the gate is over.
pub fn the_set_is_scaled(call: &Call<'_>, _: &World) -> bool {
    call.name == "kube update" && call.subject.ends_with("/scale")
}

fn a_pod_is_asked(call: &Call<'_>, _: &World) -> bool {
    call.port == Port::Pods
}

fn open_gate(world: &World) {
    set_gate(world, "open");
}

fn close_gate(world: &World) {
    set_gate(world, "closed");
}

fn set_gate(world: &World, says: &str) {
    world.change_objects("configmaps", |map| {
        if map["metadata"]["name"] == "rehome-gate-refdb" {
            map["data"] = json!({"REFDB_CLIENTS": says});
        }
    });
}

pub fn ungate_set(world: &World) {
    world.change_objects("statefulsets", |set| {
        let env = &mut set["spec"]["template"]["spec"]["containers"][0]["env"][3];
        *env = json!({"name": "REFDB_CLIENTS", "value": "open"});
    });
}

/// A chart is deployed with another image.
pub fn change_image(world: &World) {
    world.change_objects("statefulsets", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("refdb:2");
    });
}

/// The looks before the first two releases are over: their volumes are there, and their claims are being bound.
fn two_volumes_are_released(call: &Call<'_>, world: &World) -> bool {
    let released = std::cell::Cell::new(0);
    world.change_objects("persistentvolumes", |_| released.set(released.get() + 1));
    call.name == "kube patch" && released.get() == 2
}

fn scale_up(world: &World) {
    world.change_objects("statefulsets", |set| set["spec"]["replicas"] = json!(3));
}

fn open_gate_and_scale(world: &World) {
    open_gate(world);
    scale_up(world);
}

fn ungate_and_scale(world: &World) {
    ungate_set(world);
    scale_up(world);
}

pub async fn applied(acts: &[Act], deaf: Option<&'static str>) -> (Stage, Outcome, bool) {
    applied_in(Stage::new(Scene::new(3, 55)), acts, deaf).await
}

/// In a world in which one member's volume comes long after the others': time enough for two pods to be a quorum.
async fn applied_late(acts: &[Act], deaf: Option<&'static str>) -> (Stage, Outcome, bool) {
    let stage = Stage::new(Scene::new(3, 55));
    stage.world.ec2().with(|inner, _| inner.core.faults.at("CreateVolume", 3, Effect::Slow(120_000)));
    applied_in(stage, acts, deaf).await
}

/// Of a stage.
pub async fn applied_in(mut stage: Stage, acts: &[Act], deaf: Option<&'static str>) -> (Stage, Outcome, bool) {
    let plan = stage.plan().await;
    let meddler =
        Arc::new(Meddler { world: stage.world.clone(), acts: acts.to_vec(), done: AtomicUsize::new(0), deaf });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&meddler) as Arc<_>);
    let (end, events) = stage.drive_with_events(Command::Apply(Box::new(plan))).await;
    let outcome = end.outcome();
    let early = |event: &Event| matches!(&event.kind, EventKind::Note { text } if text.contains("let clients in"));
    let early = events.iter().any(early);
    assert_eq!(meddler.done.load(Ordering::Relaxed), acts.len(), "nobody meddled");
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    if checks::pods_running(&stage.world) + checks::legacy_serving(&stage.world) == 3 {
        assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    }
    (stage, outcome, early)
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_was_opened_meanwhile_is_closed_again_before_the_pods_start() {
    let (stage, outcome, early) = applied(&[(a_volume_is_made, open_gate)], None).await;
    assert!(!early, "a pod was open before it was verified");
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(checks::pods_running(&stage.world), 3);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_takes_the_gate_no_more_is_not_started() {
    let (stage, outcome, _) = applied(&[(a_volume_is_made, ungate_set)], None).await;
    assert_eq!(outcome.phase, Phase::RolledBack);
    assert!(outcome.failure.is_some_and(|why| why.contains("does not take REFDB_CLIENTS from its key")));
    assert_eq!((checks::pods_running(&stage.world), checks::legacy_serving(&stage.world)), (0, 3));
    assert!(stage.world.ledger().by_pods.is_empty(), "a pod was open");
}

#[tokio::test(start_paused = true)]
async fn a_set_that_takes_another_key_of_the_gate_is_not_started() {
    let other_key: fn(&World) = |world| {
        world.change_objects("statefulsets", |set| {
            set["spec"]["template"]["spec"]["containers"][0]["env"][3]["valueFrom"]["configMapKeyRef"]["key"] =
                json!("OTHER");
        });
    };
    let (stage, outcome, _) = applied(&[(a_volume_is_made, other_key)], None).await;
    assert_eq!(outcome.phase, Phase::RolledBack);
    assert!(outcome.failure.is_some_and(|why| why.contains("does not take REFDB_CLIENTS from its key")));
    assert!(stage.world.ledger().by_pods.is_empty(), "a pod was open");
}

#[tokio::test(start_paused = true)]
async fn pods_that_start_open_in_spite_of_all_are_closed_and_their_writes_kept() {
    let (stage, outcome, early) = applied(&[(the_set_is_scaled, open_gate)], None).await;
    assert!(early, "no pod was open before it was verified");
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert!(!stage.world.ledger().by_pods.is_empty(), "no client wrote");
}

#[tokio::test(start_paused = true)]
async fn once_a_pod_was_open_nothing_is_discarded_by_itself() {
    let (mut stage, outcome, _) = applied(&[(the_set_is_scaled, open_gate)], Some("refdb-2")).await;
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

#[tokio::test(start_paused = true)]
async fn where_somebody_scales_the_set_up_the_gate_is_closed_before_a_volume_is_released() {
    let (stage, outcome, early) = applied_late(&[(a_volume_is_made, open_gate_and_scale)], None).await;
    assert!(!early, "a pod was open before it was verified");
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(checks::pods_running(&stage.world), 3);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_is_found_open_beside_pods_is_closed_with_them_and_their_writes_are_kept() {
    let (stage, outcome, early) = applied_late(&[(two_volumes_are_released, open_gate_and_scale)], None).await;
    assert!(early, "no pod was open before it was verified");
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert!(!stage.world.ledger().by_pods.is_empty(), "no client wrote");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_pods_may_have_been_open_is_not_taken_back_by_itself() {
    let (stage, outcome, early) = applied_late(&[(two_volumes_are_released, ungate_and_scale)], None).await;
    assert!(early, "no pod was open before it was verified");
    assert!(!stage.world.ledger().by_pods.is_empty(), "no client wrote");
    assert_eq!(outcome.phase, Phase::Cutover, "{:?}", outcome.failure);
    assert!(outcome.failure.is_some_and(|why| why.contains("does not take REFDB_CLIENTS from its key")));
    let written = stage.world.ledger().by_pods.len();
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(stage.world.ledger().by_pods.len(), written, "its pods were left open");
    // One member has no volume there yet: only by name are these writes given up.
    let back = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(back.phase, Phase::RolledBack, "{:?}", back.failure);
    assert_eq!(checks::legacy_serving(&stage.world), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_while_a_gate_was_open_counts_after_it_is_closed_too() {
    // The pod that nobody reaches is asked before the others: what these say is not heard.
    let (stage, outcome, early) =
        applied_late(&[(two_volumes_are_released, open_gate_and_scale)], Some("refdb-0")).await;
    assert!(early, "no pod was open before it was verified");
    assert!(!stage.world.ledger().by_pods.is_empty(), "no client wrote");
    assert_eq!(outcome.phase, Phase::Cutover, "{:?}", outcome.failure);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_open_is_seen_beside_one_that_nobody_reaches() {
    // Closed again once the pods have started: nothing but the pods themselves tells of it.
    let acts: [Act; 2] = [(the_set_is_scaled, open_gate), (a_pod_is_asked, close_gate)];
    let (stage, outcome, early) = applied(&acts, Some("refdb-0")).await;
    assert!(early, "no pod was open before it was verified");
    assert!(!stage.world.ledger().by_pods.is_empty(), "no client wrote");
    assert_eq!(outcome.phase, Phase::Cutover, "{:?}", outcome.failure);
}

#[tokio::test(start_paused = true)]
async fn pods_of_another_template_than_the_one_that_was_checked_start_on_no_volume() {
    let acts: [Act; 2] = [(a_volume_is_made, change_image), (the_set_is_scaled, change_image)];
    for (act, step) in acts.into_iter().zip(["release-volume", "scale-set"]) {
        let (stage, outcome, _) = applied(&[act], None).await;
        assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
        let failure = outcome.failure.expect("a reason");
        assert!(failure.starts_with(step) && failure.contains("its pods would start unchecked"), "{failure}");
        assert_eq!(checks::legacy_serving(&stage.world), 3);
    }
}

/// GitOps that holds the set at 0, so many times, from when its pods are to come, and does something else first.
async fn scales_down(stage: &Stage, times: u32, first: fn(&World)) {
    let kube = Kube::new(stage.ports.kube());
    let replicas = async || {
        let set = kube.get("/apis/apps/v1/namespaces/refdb/statefulsets/refdb").await.expect("answered");
        set.expect("it is there")["spec"]["replicas"].clone()
    };
    while replicas().await != json!(2) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    first(&stage.world);
    for _ in 0..times {
        stage.scale(0).await;
        // Sooner than a container starts.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_somebody_scales_down_before_its_pods_run_is_scaled_up_again_and_told_of() {
    let said = |text: &str| text.contains("refdb/refdb was scaled down to 0 by somebody");
    let ended = async |times, first| {
        let stage = Stage::new(Scene::new(2, 33));
        let plan = stage.plan().await;
        let apply = stage.drive_with_events(Command::Apply(Box::new(plan)));
        let ((end, events), ()) = tokio::join!(apply, scales_down(&stage, times, first));
        let notes = events.iter().filter(|event| matches!(&event.kind, EventKind::Note { text } if said(text))).count();
        (end.outcome(), notes)
    };
    // Whoever mends a template that keeps pods from starting deploys it as it is in the chart, with no replicas.
    let (outcome, notes) = ended(1, change_image).await;
    assert_eq!((outcome.phase, notes), (Phase::Completed, 1), "{:?}", outcome.failure);
    let (outcome, notes) = ended(1, |_| ()).await;
    assert_eq!((outcome.phase, notes), (Phase::Completed, 1), "{:?}", outcome.failure);
    let taken = outcome.record.header.opened_at_ms.zip(outcome.record.header.cutover_at_ms).map(|(to, from)| to - from);
    assert!(taken.is_some_and(|taken| taken < 300_000), "{taken:?}");
    // Longer than the pods are waited for.
    let (outcome, notes) = ended(1_000, |_| ()).await;
    assert_eq!(outcome.phase, Phase::RolledBack);
    let failure = outcome.failure.expect("a reason");
    assert!(notes > 10 && failure.starts_with("pods-run: not done within 1800 s: "), "{notes}: {failure}");
}

/// The last of what is done while all members serve.
pub fn a_member_is_flushed(call: &Call<'_>, _: &World) -> bool {
    call.port == Port::Hosts && call.name == "flush"
}

/// Of a migration of the same name that another namespace has.
#[tokio::test(start_paused = true)]
async fn volumes_of_another_run_do_not_make_clients_of_this_one() {
    let stage = Stage::new(Scene::new(3, 55));
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": "rehome-data-refdb-0-elsewhere",
            "labels": {labels::MIGRATION: "refdb", labels::RUN: "refdb-elsewhere"},
        },
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-0e15e"},
            "claimRef": {"namespace": "elsewhere", "name": "data-refdb-0", "uid": "0"},
        },
    });
    stage.world.add_object("persistentvolumes", "", "rehome-data-refdb-0-elsewhere", volume);
    let (stage, outcome, _) = applied_in(stage, &[(a_volume_is_made, ungate_set)], None).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert_eq!(checks::legacy_serving(&stage.world), 3);
}

/// Pods wait that are of another template than the set soon has again.
fn scale_up_otherwise(world: &World) {
    world.change_objects("statefulsets", |set| {
        set["spec"]["template"]["metadata"]["annotations"] = json!({"broken": "1"});
    });
    scale_up(world);
}

fn change_back(world: &World) {
    world.change_objects("statefulsets", |set| {
        set["spec"]["template"]["metadata"]["annotations"] = json!({});
    });
}

fn an_instance_is_stopped(call: &Call<'_>, _: &World) -> bool {
    call.name == "StopInstances"
}

fn base_snapshots_are_looked_at(call: &Call<'_>, _: &World) -> bool {
    call.name == "DescribeSnapshots"
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_and_is_of_an_older_template_ends_the_run_while_all_members_serve() {
    let acts: [Act; 2] = [(base_snapshots_are_looked_at, scale_up_otherwise), (a_member_is_flushed, change_back)];
    let (stage, outcome, _) = applied(&acts, None).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let failure = outcome.failure.expect("a reason");
    let command = "kubectl -n refdb delete pod refdb-0 refdb-1 refdb-2";
    assert!(failure.starts_with("legacy-whole") && failure.contains(command), "{failure}");
    assert!(!outcome.record.steps.keys().any(|id| id.as_str().starts_with("stop-service")));
    assert_eq!(checks::legacy_serving(&stage.world), 3);
    // Whoever does as told can go on.
    for n in 0..3 {
        let path = format!("/api/v1/namespaces/refdb/pods/refdb-{n}");
        Kube::new(stage.ports.kube()).delete(&path, "").await.expect("deleted");
    }
    let mut stage = stage;
    stage.ports = SimPorts::new(&stage.world, &stage.control);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let outcome = stage.apply(&stage.plan().await).await.outcome();
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
}

#[tokio::test(start_paused = true)]
async fn no_volume_is_released_to_a_pod_of_an_older_template() {
    let acts: [Act; 2] = [(an_instance_is_stopped, scale_up_otherwise), (a_volume_is_made, change_back)];
    let (stage, outcome, early) = applied(&acts, None).await;
    assert!(!early, "a pod was open before it was verified");
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let failure = outcome.failure.expect("a reason");
    assert!(failure.starts_with("release-volume") && failure.contains("delete pod refdb-0"), "{failure}");
    assert_eq!((checks::pods_running(&stage.world), checks::legacy_serving(&stage.world)), (0, 3));
}
