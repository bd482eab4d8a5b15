//! The way back where something of the new side, or of one member, is in its way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::Stage;
use crate::once::{a_member_is_flushed, applied, notes};
use crate::opened::{bind_elsewhere, claim_path, completed, delete_object};
use async_trait::async_trait;
use rehome_ec2_emulator::api::ApiError;
use rehome_ec2_emulator::core::{Effect, Rule};
use rehome_engine::{Command, Kube};
use rehome_model::event::{Event, EventKind};
use rehome_model::ids::InstanceId;
use rehome_model::record::Phase;
use rehome_model::task::HostTask;
use rehome_ports::{HostScript, Hosts, ScriptError, ScriptOutput};
use rehome_sim::{Call, Gate, Mishap, Port, Ruling, Scene, SimPorts, World, checks};
use serde_json::json;
use tokio::time::Instant;

/// Nobody reaches one pod.
struct Unreachable(&'static str);

impl Gate for Unreachable {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let it = call.port == Port::Pods && call.subject == self.0;
        (0, if it { Ruling::Wrong(Mishap::NoReply) } else { Ruling::Go })
    }
}

/// Nobody may run anything in a pod.
struct NoExec;

impl Gate for NoExec {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        (0, if call.port == Port::Pods { Ruling::Wrong(Mishap::Status(403, "Forbidden")) } else { Ruling::Go })
    }
}

/// Right after a claim and its volume were taken away, and before the claim is parked anew, somebody scales the set up, and the
/// apiserver is away.
struct InBetween(World, AtomicBool);

impl Gate for InBetween {
    fn before(&self, _: &Call<'_>) -> (u64, Ruling) {
        (0, Ruling::Go)
    }

    fn after(&self, _: u64, call: &Call<'_>) -> Ruling {
        let is_gone = call.name == "kube delete" && call.subject.contains("/persistentvolumes/rehome-data-refdb-1-");
        if is_gone && !self.1.swap(true, Ordering::Relaxed) {
            self.0.change_objects("statefulsets", |set| set["spec"]["replicas"] = json!(3));
            self.0.lose_apiserver(Duration::from_secs(120));
        }
        Ruling::Go
    }
}

/// One host lets nobody mount anything.
struct Refuses(Arc<dyn Hosts>, InstanceId);

#[async_trait]
impl Hosts for Refuses {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        if *instance == self.1 && matches!(script.task, HostTask::Mount { .. }) {
            return Err(ScriptError::Refused {
                target: instance.to_string(),
                reason: "Host key verification failed.".to_owned(),
            });
        }
        self.0.run(instance, script).await
    }
}

pub async fn is_back(stage: &Stage, members: usize) {
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert_eq!(checks::legacy_serving(&stage.world), members);
    assert_eq!(checks::pods_running(&stage.world), 0);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::originals_changed(&stage.world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_asked_does_not_keep_production_down() {
    let (mut stage, _) = completed(Scene::new(3, 91)).await;
    stage.ports = SimPorts::behind(&stage.world, Arc::new(Unreachable("refdb-1")));
    is_back(&stage, 3).await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_nobody_may_run_anything_in_do_not_keep_production_down() {
    let (mut stage, _) = completed(Scene::new(3, 91)).await;
    stage.ports = SimPorts::behind(&stage.world, Arc::new(NoExec));
    is_back(&stage, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_set_that_somebody_deleted_does_not_keep_production_down() {
    let (stage, _) = completed(Scene::new(3, 92)).await;
    let kube = Kube::new(stage.ports.kube());
    let of = |kind: &str, name: &str| format!("/{kind}/namespaces/refdb/{name}");
    let mut paths = vec![of("apis/apps/v1", "statefulsets/refdb")];
    paths.extend((0..3).map(|n| of("api/v1", &format!("pods/refdb-{n}"))));
    for path in paths {
        // The garbage collector deletes its pods.
        let object = kube.get(&path).await.expect("an answer").expect("it is there");
        kube.delete(&path, object["metadata"]["uid"].as_str().expect("a uid")).await.expect("it is deleted");
    }
    is_back(&stage, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_met_in_the_downtime_is_not_waited_for() {
    let stage = Stage::new(Scene::new(2, 99));
    let plan = stage.plan().await;
    // Room for one of two.
    stage.world.ec2().with(|inner, _| inner.core.config.limits.volumes = inner.core.volumes.len() + 1);
    let (end, events) = stage.drive_with_events(Command::Apply(Box::new(plan))).await;
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(outcome.failure.is_some_and(|why| why.contains("maximum number of volumes")));
    let failed = events.iter().find_map(|event| match &event.kind {
        EventKind::StepFailed { step, .. } => Some((step.clone(), event.at_ms)),
        _ => None,
    });
    let (step, failed_ms) = failed.expect("a step failed");
    let began = |event: &&Event| matches!(&event.kind, EventKind::StepStarted { step: began, .. } if *began == step);
    let began_ms = events.iter().find(began).expect("it began").at_ms;
    assert!(failed_ms - began_ms < 60_000, "{} s", (failed_ms - began_ms) / 1_000);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_host_or_reservation_that_is_full_for_a_while_does_not_end_the_way_back() {
    for code in ["InsufficientCapacityOnHost", "ReservationCapacityExceeded"] {
        let (stage, _) = completed(Scene::new(2, 98)).await;
        let full = Effect::Fail(ApiError::new(code, "There is not enough capacity."));
        let rule = Rule { times: Some(2), ..Rule::of("StartInstances", full) };
        stage.world.ec2().with(|inner, now| inner.core.faults.set(now, vec![rule]).expect("a rule"));
        is_back(&stage, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_host_that_refuses_does_not_keep_the_others_out_of_service() {
    let (mut stage, plan) = completed(Scene::new(3, 94)).await;
    let kept = stage.world.ec2().with(|inner, _| inner.core.snapshots.len());
    stage.hosts = Some(Arc::new(Refuses(stage.ports.hosts(), plan.members[0].instance.clone())));
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::Stuck);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
    // While one member is not back, what was captured last stays.
    assert_eq!(stage.world.ec2().with(|inner, _| inner.core.snapshots.len()), kept);
    stage.hosts = None;
    is_back(&stage, 3).await;
}

/// For so long after their first script on the way back hosts say this: what knows users and their keys is not up.
struct Boots(Mishap, Duration, Mutex<Option<Instant>>);

impl Gate for Boots {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if call.port != Port::Hosts {
            return (0, Ruling::Go);
        }
        let began = *self.2.lock().expect("no test panics").get_or_insert_with(Instant::now);
        (0, if began.elapsed() < self.1 { Ruling::Wrong(self.0.clone()) } else { Ruling::Go })
    }
}

fn boots(stage: &mut Stage, says: &Mishap, for_s: u64) {
    let gate = Boots(says.clone(), Duration::from_secs(for_s), Mutex::default());
    stage.ports = SimPorts::behind(&stage.world, Arc::new(gate));
}

#[tokio::test(start_paused = true)]
async fn hosts_that_let_nobody_in_when_they_have_just_booted_are_asked_again() {
    for says in [Mishap::NotLetIn, Mishap::NoRoot] {
        let (mut stage, _) = completed(Scene::new(2, 94)).await;
        boots(&mut stage, &says, 300);
        is_back(&stage, 2).await;
        // And where all that was written comes back.
        let (mut stage, _) = completed(Scene::new(2, 94)).await;
        boots(&mut stage, &says, 300);
        let outcome = stage.drive(Command::RollbackKeepWrites).await.outcome();
        assert_eq!(outcome.phase, Phase::Returned, "{says:?}: {:?}", outcome.failure);
        assert_eq!(checks::legacy_serving(&stage.world), 2);
        assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_back_on_which_no_host_lets_anybody_in_is_stuck_in_the_end_and_goes_on_later() {
    let (mut stage, _) = completed(Scene::new(2, 94)).await;
    boots(&mut stage, &Mishap::NotLetIn, 24 * 3600);
    let began = Instant::now();
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::Stuck);
    let why = outcome.failure.unwrap_or_default();
    assert!(why.contains("renew them") && why.contains("Permission denied (publickey)"), "{why}");
    assert!(began.elapsed() >= Duration::from_mins(30), "{:?}", began.elapsed());
    boots(&mut stage, &Mishap::NotLetIn, 0);
    is_back(&stage, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_the_set_made_while_ours_was_away_does_not_keep_production_down() {
    let (mut stage, _) = completed(Scene::new(3, 97)).await;
    let between = Arc::new(InBetween(stage.world.clone(), AtomicBool::new(false)));
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&between) as Arc<_>);
    // A driver that the apiserver does not answer loses its lease; the next one goes on.
    let mut outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    for _ in 0..10 {
        if !outcome.interrupted {
            break;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    }
    assert!(between.1.load(Ordering::Relaxed), "no claim was taken away");
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let left: Vec<&str> = outcome.record.left().collect();
    let told = left.iter().any(|left| left.contains("data-refdb-1") && left.contains("delete pvc"));
    assert!(told, "no claim was made in between, or the record does not say so: {left:?}");
    // What the set started meanwhile is blank: docs/safety.md names it. Nothing of the legacy side was touched.
    assert_eq!(checks::legacy_serving(&stage.world), 3);
    assert_eq!(checks::originals_changed(&stage.world), Vec::<String>::new());
}

/// An apiserver that takes the run's header so many times and then no more.
struct FullHeader {
    takes: usize,
    writes: AtomicUsize,
}

impl Gate for FullHeader {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if call.name != "kube update" || !call.subject.ends_with("/configmaps/rehome-run-refdb") {
            return (0, Ruling::Go);
        }
        let refused = self.writes.fetch_add(1, Ordering::SeqCst) >= self.takes;
        (0, if refused { Ruling::Wrong(Mishap::Status(500, "InternalError")) } else { Ruling::Go })
    }
}

/// What is told at the end is what the next command finds.
#[tokio::test(start_paused = true)]
async fn a_phase_that_could_not_be_written_is_not_told() {
    let rolled_back = async |takes: usize| {
        let (mut stage, _) = completed(Scene::new(2, 98)).await;
        let header = Arc::new(FullHeader { takes, writes: AtomicUsize::new(0) });
        stage.ports = SimPorts::behind(&stage.world, Arc::clone(&header) as Arc<_>);
        let (end, events) = stage.drive_with_events(Command::RollbackDiscardWrites).await;
        let said = events
            .iter()
            .any(|event| matches!(&event.kind, EventKind::PhaseChanged { phase } if *phase == Phase::RolledBack));
        (end.outcome(), said, header.writes.load(Ordering::SeqCst))
    };
    let (outcome, said, writes) = rolled_back(usize::MAX).await;
    assert!(outcome.phase == Phase::RolledBack && said && writes >= 2, "{writes}: {:?}", outcome.phase);
    let (outcome, said, _) = rolled_back(writes - 1).await;
    assert!(
        outcome.interrupted && outcome.phase == Phase::Undoing && !said,
        "{:?}: {:?}",
        outcome.phase,
        outcome.failure
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_made_anew_long_before_is_told_as_what_it_is() {
    let (stage, plan) = completed(Scene::new(2, 98)).await;
    stage.scale(0).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    delete_object(&stage, &claim_path(1)).await;
    delete_object(&stage, &format!("/api/v1/persistentvolumes/{}", plan.members[1].volumes[0].claim.volume_name)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    bind_elsewhere(&stage, 1).await;
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let left: Vec<&str> = outcome.record.left().collect();
    assert!(
        matches!(left[..], [left] if left.contains("may hold what its member wrote since: it is bound to volume pvc-1"))
    );
    assert!(!left[0].contains("was taken away"), "{left:?}");
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_somebody_elses_that_holds_a_claim_is_named() {
    let (stage, _) = completed(Scene::new(3, 116)).await;
    // It waits for a ConfigMap, so that nothing runs in it.
    let reference = json!({"name": "not-there", "key": "X"});
    let container = json!({"name": "shell", "env": [{"name": "X", "valueFrom": {"configMapKeyRef": reference}}]});
    let volumes = json!([{"name": "look", "persistentVolumeClaim": {"claimName": "data-refdb-1"}}]);
    let spec = json!({"nodeName": "node-1", "containers": [container], "volumes": volumes});
    stage.world.add_object("pods", "refdb", "debug", json!({"metadata": {}, "spec": spec}));
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::Stuck);
    let why = outcome.failure.expect("a reason");
    let named = "claim data-refdb-1 goes when nothing uses it any more: pod debug on node node-1 (kubectl -n refdb delete pod debug)";
    assert!(why.contains(named), "{why}");
    delete_object(&stage, "/api/v1/namespaces/refdb/pods/debug").await;
    is_back(&stage, 3).await;
}

/// With OrderedReady the controller waits for ever where two pods are not ready.
#[tokio::test(start_paused = true)]
async fn a_pod_that_its_controller_never_ends_is_named_with_what_ends_it() {
    let (stage, _) = completed(Scene::new(3, 91)).await;
    stage.world.change_objects("statefulsets", |set| set["spec"]["podManagementPolicy"] = json!("OrderedReady"));
    stage.world.unready("refdb-1");
    stage.world.unready("refdb-2");
    let person = async {
        tokio::time::sleep(Duration::from_secs(150)).await;
        for n in 0..2 {
            delete_object(&stage, &format!("/api/v1/namespaces/refdb/pods/refdb-{n}")).await;
        }
    };
    let ((end, events), ()) = tokio::join!(stage.drive_with_events(Command::RollbackDiscardWrites), person);
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let said = |event: &Event| matches!(&event.kind, EventKind::StepWaiting { reason, .. } if reason.contains("kubectl -n refdb delete pod refdb-0"));
    assert!(events.iter().any(said), "nobody was told");
}

/// A run that fails before its cutover has changed nothing of the members: what one of them lacks is not waited for once more.
#[tokio::test(start_paused = true)]
async fn a_cluster_that_was_not_whole_before_the_cutover_is_left_as_it_is_at_once() {
    let (stage, outcome, events) = applied(92, a_member_is_flushed, |world| world.kill_service(1)).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(outcome.failure.as_ref().is_some_and(|why| why.starts_with("legacy-whole")), "{:?}", outcome.failure);
    assert_eq!(notes(&events, "the legacy cluster is not whole, and this run has changed nothing of it"), 1);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
    let failed = events.iter().position(|event| matches!(event.kind, EventKind::StepFailed { .. })).expect("it failed");
    let (from, to) = (events[failed].at_ms, events.last().expect("an end").at_ms);
    assert!(to - from < 120_000, "{} s", (to - from) / 1000);
}
