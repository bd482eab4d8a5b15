//! A driver dies in the downtime, or waits for long, somebody brings the legacy side back by hand, and the run goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::common::{End, Stage};
use rehome_ec2_emulator::api::Action;
use rehome_ec2_emulator::core::Effect;
use rehome_model::cloud::InstanceState;
use rehome_model::ids::StepId;
use rehome_model::plan::Plan;
use rehome_model::record::{Phase, StepState};
use rehome_sim::{Call, Gate, Kill, Mishap, Ruling, Scene, SimPorts, checks};

const MEMBERS: usize = 2;

/// Longer than a machine needs to start, and a client to write.
const A_WHILE: Duration = Duration::from_secs(600);

/// Calls of an undisturbed run that change something, and of these the first after the fence and the one that opens.
async fn downtime() -> std::ops::Range<u64> {
    let stage = Stage::new(Scene::new(MEMBERS as u32, 8));
    let plan = stage.plan().await;
    stage.control.disarm();
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let names = stage.control.names();
    let at = |wanted: &str| names.iter().rposition(|name| *name == wanted).expect(wanted) as u64;
    at("StopInstances") + 2..at("open") + 1
}

/// A run that was killed before call `n`. None if its pods were up by then: members that meet their copies are a mistake that no
/// tool takes back.
async fn killed(n: u64) -> Option<(Stage, Plan)> {
    let stage = Stage::new(Scene::new(MEMBERS as u32, 8));
    let plan = stage.plan().await;
    stage.control.arm(n, Kill::Before);
    assert!(matches!(stage.apply(&plan).await, End::Killed), "call {n}");
    stage.control.disarm();
    // Until what was begun has ended.
    tokio::time::sleep(A_WHILE).await;
    (checks::pods_running(&stage.world) == 0).then_some((stage, plan))
}

async fn start(stage: &Stage, plan: &Plan) {
    for member in &plan.members {
        stage.ports.cloud().start_instance(&member.instance).await.expect("it starts");
    }
}

/// The same, where production then came back by hand.
async fn restored(n: u64) -> Option<(Stage, Plan)> {
    let (stage, plan) = killed(n).await?;
    stage.world.let_services_go();
    start(&stage, &plan).await;
    let before = stage.world.ledger().acknowledged.len();
    tokio::time::sleep(A_WHILE).await;
    assert!(stage.world.ledger().acknowledged.len() > before, "call {n}: nobody wrote to the legacy side");
    Some((stage, plan))
}

async fn is_taken_back(stage: &Stage, plan: &Plan, what: &str) {
    let outcome = stage.apply(plan).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{what}: {:?}", outcome.failure);
    let why = outcome.failure.unwrap_or_default();
    assert!(why.contains("may have served") || why.contains("runs again"), "{what}: {why}");
    assert_eq!(checks::legacy_serving(&stage.world), MEMBERS, "{what}");
    assert_eq!(checks::lost_writes(&stage.world).len(), 0, "{what}");
    assert_eq!(checks::pods_running(&stage.world), 0, "{what}");
}

#[tokio::test(start_paused = true)]
async fn a_legacy_side_that_serves_again_is_left_serving() {
    for n in downtime().await {
        let Some((stage, plan)) = restored(n).await else { continue };
        is_taken_back(&stage, &plan, &format!("call {n}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_served_and_was_stopped_again_is_brought_back() {
    for n in downtime().await {
        let Some((stage, plan)) = restored(n).await else { continue };
        let ids: Vec<_> = plan.members.iter().map(|member| member.instance.clone()).collect();
        stage.ports.cloud().stop_instances(&ids).await.expect("they stop");
        tokio::time::sleep(A_WHILE).await;
        is_taken_back(&stage, &plan, &format!("call {n}, stopped again")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn instances_that_were_started_without_their_services_are_stopped_again_and_the_run_goes_on() {
    for n in downtime().await {
        let Some((stage, plan)) = killed(n).await else { continue };
        start(&stage, &plan).await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(checks::legacy_serving(&stage.world), 0, "call {n}: what holds the services is gone");
        let outcome = stage.apply(&plan).await.outcome();
        assert_eq!(outcome.phase, Phase::Completed, "call {n}: {:?}", outcome.failure);
        assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "call {n}");
        assert_eq!(checks::lost_writes(&stage.world).len(), 0, "call {n}");
    }
}

/// EC2 shows no instance for a while.
struct Blind(AtomicU32);

impl Gate for Blind {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let looks = call.name == "DescribeInstances" && self.0.fetch_add(1, Ordering::Relaxed) < 8;
        (0, if looks { Ruling::Wrong(Mishap::Code("RequestLimitExceeded")) } else { Ruling::Go })
    }
}

#[tokio::test(start_paused = true)]
async fn until_the_fence_is_seen_again_no_pod_starts() {
    for n in downtime().await {
        let Some((mut stage, plan)) = restored(n).await else { continue };
        stage.ports = SimPorts::behind(&stage.world, Arc::new(Blind(AtomicU32::new(0))));
        is_taken_back(&stage, &plan, &format!("call {n}, blind")).await;
        assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "call {n}");
        assert!(stage.world.landed().is_empty(), "call {n}: a pod had started");
    }
}

/// Volumes that come longer after the fence than somebody has patience.
async fn waits_long() -> (Stage, Plan) {
    let stage = Stage::new(Scene::new(MEMBERS as u32, 8));
    let plan = stage.plan().await;
    let slow = Effect::Slow(800_000);
    stage.world.ec2().with(|inner, _| (1..=2).for_each(|n| inner.core.faults.at("CreateVolume", n, slow.clone())));
    (stage, plan)
}

#[tokio::test(start_paused = true)]
async fn while_a_driver_waits_for_a_volume_somebody_brings_the_legacy_side_back() {
    let (stage, plan) = waits_long().await;
    let impatient = async {
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(checks::legacy_serving(&stage.world), 0, "the run is not in its downtime");
        stage.world.let_services_go();
        start(&stage, &plan).await;
    };
    let (end, ()) = futures::join!(stage.apply(&plan), impatient);
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let why = outcome.failure.unwrap_or_default();
    assert!(why.contains("runs again"), "{why}");
    assert_eq!((checks::legacy_serving(&stage.world), checks::pods_running(&stage.world)), (MEMBERS, 0));
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::lost_writes(&stage.world).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_instance_is_terminated_after_its_capture_moves_all_the_same() {
    let (stage, plan) = waits_long().await;
    let id = &plan.members[0].instance;
    let terminates = async {
        tokio::time::sleep(A_WHILE).await;
        stage.world.ec2().with(|inner, now| {
            let instance = inner.core.instances.get_mut(id).expect("it is there");
            assert!(instance.termination_protection, "it was not protected");
            instance.termination_protection = false;
            inner.call(now, &Action::TerminateInstances(vec![id.clone()])).expect("it is terminated");
        });
    };
    let (end, ()) = futures::join!(stage.apply(&plan), terminates);
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(checks::pods_running(&stage.world), MEMBERS);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::lost_writes(&stage.world).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_instance_is_terminated_while_it_stops_moves_all_the_same() {
    let (stage, plan) = waits_long().await;
    let id = &plan.members[0].instance;
    let terminates = async {
        let stops = || {
            stage.world.ec2().with(|inner, now| {
                let instance = inner.core.instances.get_mut(id).expect("it is there");
                if instance.state != InstanceState::Stopping {
                    return false;
                }
                instance.termination_protection = false;
                inner.call(now, &Action::TerminateInstances(vec![id.clone()])).expect("it is terminated");
                true
            })
        };
        while !stops() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let (end, ()) = futures::join!(stage.apply(&plan), terminates);
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::lost_writes(&stage.world).len(), 0);
}

/// EC2 shows a terminated instance for about an hour. Forward is the only way on which its member serves again.
#[tokio::test(start_paused = true)]
async fn an_instance_that_is_terminated_and_forgotten_after_its_capture_is_down() {
    let mut forgotten = 0;
    for n in downtime().await {
        let Some((stage, plan)) = killed(n).await else { continue };
        let recorded = rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await.expect("a record");
        let stopped = StepId::from("stop-instance:refdb-0");
        let told = recorded.and_then(|(record, _)| record.steps.get(&stopped).map(|step| step.state));
        if told != Some(StepState::Done) {
            continue;
        }
        forgotten += 1;
        stage.world.ec2().with(|inner, _| inner.core.instances.remove(&plan.members[0].instance));
        let outcome = stage.apply(&plan).await.outcome();
        assert_eq!(outcome.phase, Phase::Completed, "call {n}: {:?}", outcome.failure);
        assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new(), "call {n}");
    }
    assert!(forgotten > 3, "{forgotten}");
}
