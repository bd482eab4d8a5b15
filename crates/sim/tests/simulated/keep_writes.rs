//! The way back after the opening on which nothing that was written is lost.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{End, Stage};
use crate::leftovers::{by_file, cluster_gone, delete};
use crate::once::notes;
use crate::opened::{change_text, completed, data_of, keep, refusal};
use rehome_engine::{Command, EngineError};
use rehome_model::cloud::VolumeState;
use rehome_model::ids::{InstanceId, StepId, VolumeId};
use rehome_model::labels;
use rehome_model::plan::Plan;
use rehome_model::record::Phase;
use rehome_ports::{Cloud, InstanceProtection};
use rehome_sim::{Call, Gate, Kill, Mishap, Port, Ruling, Scene, SimPorts, checks};
use serde_json::json;

const RESTARTS: u32 = 6;

/// The volume an instance has at the device of its data, and whether terminating it deletes that.
fn data_volume(stage: &Stage, instance: &InstanceId) -> Option<(VolumeId, bool)> {
    stage.world.ec2().with(|inner, _| {
        let devices = &inner.core.instances.get(instance)?.block_devices;
        let device = devices.iter().find(|device| device.device == "/dev/xvdf")?;
        Some((device.volume.clone(), device.delete_on_termination))
    })
}

/// What must hold after it, however it was interrupted.
async fn returned(stage: &Stage, plan: &Plan, what: &str) {
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "{what}");
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new(), "{what}");
    assert_eq!(checks::originals_changed(&stage.world), Vec::<String>::new(), "{what}");
    assert_eq!(checks::duplicates(&stage.world, 2, 1), Vec::<String>::new(), "{what}");
    assert_eq!(checks::legacy_serving(&stage.world), plan.members.len(), "{what}");
    assert_eq!(checks::pods_running(&stage.world), 0, "{what}");
    for member in &plan.members {
        let original = &member.volumes[0].legacy_volume;
        let (serves_on, goes) = data_volume(stage, &member.instance).expect("a data volume");
        assert_ne!(serves_on, *original, "{what}");
        assert!(!goes, "{what}: terminating {} would delete all writes", member.instance);
        let ec2 = stage.world.ec2();
        let tags = |id: &VolumeId| ec2.with(|inner, _| inner.core.volumes.get(id).map(|found| found.tags.clone()));
        let of_original = tags(original).expect("the original is kept");
        assert_eq!(of_original.get(labels::REPLACED_BY), Some(&serves_on.to_string()), "{what}");
        assert_eq!(of_original.get(labels::REPLACED_AT), Some(&format!("{} /dev/xvdf", member.instance)), "{what}");
        let step = tags(&serves_on).and_then(|tags| tags.get(labels::STEP).cloned()).unwrap_or_default();
        assert!(step.starts_with("keep-writes:"), "{what}: an undo would find it by {step}");
        let protected = ec2.is_protected(&member.instance, InstanceProtection::Termination).await.expect("told");
        assert!(!protected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_take_longer_on_the_way_there_may_take_longer_on_the_way_back() {
    let mut stage = Stage::new(Scene::new(2, 71));
    let limits = json!({"podsSeconds": 7200, "memberUpSeconds": 9000});
    stage.migration.spec.limits = serde_json::from_value(limits).expect("limits");
    let plan = stage.plan().await;
    let outcome = stage.apply(&plan).await.outcome();
    let back = stage.keep_writes_plan(&plan, &outcome.record).await.expect("a way back");
    let limit = |step: &str| back.step(&StepId::from(step)).map(|step| step.deadline_s);
    assert_eq!(limit("keep-writes:volumes-free"), Some(7200));
    assert_eq!(limit("keep-writes:legacy-whole"), Some(9000));
    // As long as an undo, where there is nothing that serves.
    for step in ["start-instance", "inspect-disk", "start-service"] {
        assert_eq!(limit(&format!("keep-writes:{step}:refdb-0")), Some(1800), "{step}");
    }
    assert_eq!(limit("keep-writes:sweep"), Some(600));
}

#[tokio::test(start_paused = true)]
async fn everything_written_before_and_after_the_opening_is_on_the_legacy_side() {
    let (stage, plan) = completed(Scene::new(3, 71)).await;
    let outcome = keep(&stage).await.outcome();
    assert_eq!(outcome.phase, Phase::Returned, "{:?}", outcome.failure);
    returned(&stage, &plan, "returned").await;
    let ledger = stage.world.ledger();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let later = stage.world.ledger();
    assert!(later.acknowledged.len() > ledger.acknowledged.len() + 100, "clients write to the legacy side");
    assert_eq!(later.by_pods, ledger.by_pods);
    returned(&stage, &plan, "a minute later").await;

    // Once more changes nothing; what would bring the new side up or delete the volumes is refused.
    stage.control.disarm();
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    let error = refusal(stage.drive(Command::RollbackDiscardWrites).await);
    assert!(error.contains("rolled back already"), "{error}");
    assert_eq!(stage.control.names(), Vec::<&str>::new());
}

/// Found in the lab: what is looked at before the first act took longer than the lease lasts without a renewal.
#[tokio::test(start_paused = true)]
async fn pods_that_take_long_to_answer_do_not_cost_the_lease() {
    let (stage, plan) = completed(Scene::new(3, 73)).await;
    stage.world.slow_pods(Duration::from_secs(8));
    let outcome = keep(&stage).await.outcome();
    assert_eq!(outcome.phase, Phase::Returned, "{:?}", outcome.failure);
    returned(&stage, &plan, "returned").await;
}

/// A kubelet kills what has not ended within the grace period; a commit log that is compressed keeps back what it has not synced.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_where_pods_are_killed_at_their_end() {
    let (stage, plan) = completed(Scene::new(3, 76)).await;
    stage.world.kill_pods();
    tokio::time::sleep(Duration::from_secs(65)).await;
    let outcome = keep(&stage).await.outcome();
    assert_eq!(outcome.phase, Phase::Returned, "{:?}", outcome.failure);
    returned(&stage, &plan, "returned").await;
}

/// Nobody reaches one pod.
struct Deaf;

impl Gate for Deaf {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let deaf = call.port == Port::Pods && call.subject == "refdb-1";
        (0, if deaf { Ruling::Wrong(Mishap::NoReply) } else { Ruling::Go })
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_answer_is_stopped_undrained_and_told_of() {
    let (mut stage, plan) = completed(Scene::new(3, 77)).await;
    stage.ports = SimPorts::behind(&stage.world, Arc::new(Deaf));
    let (end, events) = stage.drive_with_events(Command::RollbackKeepWrites).await;
    assert_eq!(end.outcome().phase, Phase::Returned);
    assert_eq!(notes(&events, "pod refdb-1 was not drained before it is stopped"), 1);
    returned(&stage, &plan, "returned").await;
}

#[tokio::test(start_paused = true)]
async fn it_can_be_applied_again_from_the_volumes_that_came_back() {
    let (stage, plan) = completed(Scene::new(2, 72)).await;
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    let again = stage.plan().await;
    assert_ne!(again.members[0].volumes[0].legacy_volume, plan.members[0].volumes[0].legacy_volume);
    let outcome = stage.apply(&again).await.outcome();
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn members_of_a_group_go_back_into_its_care_and_their_volumes_outlive_them() {
    let mut scene = Scene::new(3, 73);
    scene.auto_scaling = true;
    let (stage, plan) = completed(scene).await;
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    returned(&stage, &plan, "an hour later").await;
    stage.world.ec2().with(|inner, _| {
        let group = inner.core.groups.get("refdb").expect("the group");
        assert!(group.members.values().all(|state| state == "InService"), "{:?}", group.members);
    });
}

#[tokio::test(start_paused = true)]
async fn the_users_own_protection_stays() {
    let stage = Stage::new(Scene::new(2, 74));
    let plan = stage.plan().await;
    let own = plan.members[0].instance.clone();
    stage.world.ec2().protect_instance(&own, InstanceProtection::Termination, true).await.expect("protected");
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    assert!(stage.world.ec2().is_protected(&own, InstanceProtection::Termination).await.expect("told"));
}

#[tokio::test(start_paused = true)]
async fn killed_failed_or_refused_at_any_call_it_goes_on() {
    let calls = {
        let (stage, _) = completed(Scene::new(2, 75)).await;
        stage.control.disarm();
        assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
        stage.control.mutations()
    };
    assert!(calls > 40, "a rollback of {calls} calls is not the whole one");
    println!("{calls} calls, each killed before and after, failed, refused, and its reply lost");
    for n in 1..=calls {
        for kill in [Kill::Before, Kill::After, Kill::FailBefore, Kill::LoseReply, Kill::Refuse] {
            let (stage, plan) = completed(Scene::new(2, 75)).await;
            stage.control.arm(n, kill);
            let mut last = String::new();
            let mut at = String::new();
            for _ in 0..RESTARTS {
                let end = keep(&stage).await;
                if at.is_empty() {
                    at = format!("{:?}", stage.control.names().get(usize::try_from(n).expect("few") - 1));
                }
                stage.control.disarm();
                last = match end {
                    End::Outcome(outcome) if outcome.phase == Phase::Returned => String::new(),
                    End::Outcome(outcome) => {
                        // What is refused stops the rollback where it is; mended, the same command goes on.
                        let may_stop = outcome.interrupted || kill == Kill::Refuse;
                        assert!(may_stop, "{kill:?} at call {n}: {:?}", outcome.failure);
                        assert_ne!(outcome.phase, Phase::RolledBack);
                        format!("{:?}: {:?}", outcome.phase, outcome.failure)
                    }
                    End::Killed => "killed".to_owned(),
                    End::Refused(error) if kill == Kill::Refuse => error.to_string(),
                    End::Refused(error) => panic!("{kill:?} at call {n} of {calls}: {error}"),
                };
                if last.is_empty() {
                    break;
                }
            }
            let what = format!("{kill:?} at call {n} of {calls}, {at}");
            assert_eq!(last, "", "{what}");
            returned(&stage, &plan, &what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_anywhere_after_its_opening_can_be_taken_back() {
    let calls = {
        let stage = Stage::new(Scene::new(2, 89));
        let plan = stage.plan().await;
        stage.control.disarm();
        assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
        stage.control.mutations()
    };
    let (mut kept, mut refused) = (0, 0);
    for n in calls - 30..=calls {
        let stage = Stage::new(Scene::new(2, 89));
        let plan = stage.plan().await;
        stage.control.arm(n, Kill::After);
        assert!(matches!(stage.apply(&plan).await, End::Killed));
        stage.control.disarm();
        tokio::time::sleep(Duration::from_secs(60)).await;
        match keep(&stage).await {
            End::Outcome(outcome) => {
                assert_eq!(outcome.phase, Phase::Returned, "call {n}: {:?}", outcome.failure);
                returned(&stage, &plan, &format!("killed after call {n} of {calls}")).await;
                kept += 1;
            }
            End::Refused(error) => {
                assert!(matches!(error, EngineError::NotOpened { .. }), "{error}");
                assert_eq!(stage.world.ledger().by_pods.len(), 0, "call {n}: there is something to keep");
                refused += 1;
            }
            End::Killed => panic!("killed"),
        }
    }
    assert!(kept > 5 && refused > 5, "{kept} kept, {refused} refused: both sides of the opening");
}

#[tokio::test(start_paused = true)]
async fn an_original_is_not_taken_off_an_instance_that_was_started_meanwhile() {
    let (stage, plan) = completed(Scene::new(2, 91)).await;
    stage.control.arm(12, Kill::Before);
    assert!(matches!(keep(&stage).await, End::Killed));
    assert!(!stage.control.names().contains(&"CreateTags"), "{:?}", stage.control.names());
    stage.control.disarm();
    let instance = &plan.members[0].instance;
    stage.world.ec2().start_instance(instance).await.expect("started");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let outcome = keep(&stage).await.outcome();
    assert_eq!(outcome.phase, Phase::Returning);
    assert!(outcome.failure.is_some_and(|why| why.contains("it must be stopped before")));
    assert_eq!(data_volume(&stage, instance), Some((plan.members[0].volumes[0].legacy_volume.clone(), false)));
    stage.world.ec2().stop_instance(instance).await.expect("stopped");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    returned(&stage, &plan, "stopped again").await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_seen_at_another_address_is_not_back() {
    let stage = Stage::new(Scene::new(2, 92));
    let mut plan = stage.plan().await;
    plan.members[1].legacy_address = Some("10.9.9.9".to_owned());
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let outcome = keep(&stage).await.outcome();
    assert_eq!(outcome.phase, Phase::Returning);
    assert!(outcome.failure.is_some_and(|why| why.contains("still sees member") && why.contains("10.0.1.11")));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_a_newer_version_wrote_is_not_started_on() {
    let (stage, plan) = completed(Scene::new(2, 90)).await;
    // Somebody upgraded the pods, and put the old image back in the set.
    let adopted = data_of(&stage, "refdb-1");
    let write = |from: &str, to: &str| change_text(&stage, &adopted, "identity.json", |text| text.replace(from, to));
    write(r#""version":"1.0""#, r#""version":"1.1""#);
    let outcome = keep(&stage).await.outcome();
    assert_eq!(outcome.phase, Phase::Returning);
    let why = outcome.failure.expect("a reason");
    assert!(why.contains("version 1.1 has written to the disk") && why.contains("has 1.0 installed"), "{why}");
    assert!(checks::legacy_serving(&stage.world) < 2);
    assert_eq!(checks::pods_running(&stage.world), 0);
    // As after an upgrade of the legacy application: what is installed is what wrote.
    write(r#""version":"1.1""#, r#""version":"1.0""#);
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    returned(&stage, &plan, "mended").await;
}

#[tokio::test(start_paused = true)]
async fn while_it_is_under_way_nothing_else_takes_the_run_up() {
    let (stage, plan) = completed(Scene::new(2, 76)).await;
    stage.control.arm(25, Kill::Before);
    assert!(matches!(keep(&stage).await, End::Killed));
    stage.control.disarm();
    tokio::time::sleep(rehome_engine::LEASE).await;
    for command in [Command::RollbackDiscardWrites, Command::Apply(Box::new(plan.clone()))] {
        match stage.drive(command).await {
            End::Refused(error @ EngineError::BeingReturned { .. }) => {
                assert!(error.to_string().contains("rollback --keep-writes"), "{error}");
            }
            _ => panic!("it was taken up"),
        }
    }
    assert_eq!(stage.control.names(), Vec::<&str>::new());
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    returned(&stage, &plan, "after the refusals").await;
}

#[tokio::test(start_paused = true)]
async fn scaled_up_at_any_moment_the_set_starts_nothing_that_stays() {
    for second in (0..150).step_by(3) {
        let (stage, plan) = completed(Scene::new(3, 77)).await;
        let scaler = async {
            tokio::time::sleep(Duration::from_secs(second)).await;
            stage.scale(3).await;
        };
        let (end, ()) = tokio::join!(keep(&stage), scaler);
        let what = format!("scaled up after {second} s");
        let outcome = end.outcome();
        assert_eq!(outcome.phase, Phase::Returned, "{what}: {:?}", outcome.failure);
        stage.scale(3).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        returned(&stage, &plan, &what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_side_that_is_down_can_be_left_with_its_writes() {
    let (stage, plan) = completed(Scene::new(3, 86)).await;
    stage.scale(1).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    returned(&stage, &plan, "of one pod").await;
}

#[tokio::test(start_paused = true)]
async fn gc_takes_neither_the_originals_nor_what_came_back() {
    let (stage, plan) = completed(Scene::new(2, 87)).await;
    assert_eq!(keep(&stage).await.outcome().phase, Phase::Returned);
    // Even while somebody has the member's volume off its instance.
    let (serves_on, _) = data_volume(&stage, &plan.members[0].instance).expect("a data volume");
    let (ec2, instance) = (stage.world.ec2(), &plan.members[0].instance);
    ec2.protect_instance(instance, InstanceProtection::Stop, false).await.expect("a rollback leaves it on");
    ec2.stop_instance(instance).await.expect("stopped");
    tokio::time::sleep(Duration::from_secs(120)).await;
    stage.world.ec2().detach_volume(&serves_on, &plan.members[0].instance).await.expect("detached");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let there = |volume: &VolumeId| {
        let state = stage.world.ec2().with(|inner, _| inner.core.volumes.get(volume).map(|found| found.state));
        state.is_some_and(|state| state == VolumeState::Available)
    };
    for collector in [by_file(&stage), cluster_gone(by_file(&stage))] {
        let shown = collector.look().await.expect("looked");
        delete(&collector, &shown).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        for volume in [&serves_on, &plan.members[0].volumes[0].legacy_volume] {
            assert!(there(volume), "{volume} is gone: {shown:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_plan_that_is_shown_is_what_is_done() {
    let (stage, _) = completed(Scene::new(1, 88)).await;
    let (record, plan) =
        rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await.expect("read").expect("a run");
    let shown = stage.keep_writes_plan(&plan, &record).await.expect("a plan");
    let ids: Vec<&str> = shown.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "keep-writes:close-set:refdb",
            "keep-writes:stop-pods:refdb",
            "keep-writes:park:data-refdb-0",
            "keep-writes:volumes-free",
            "keep-writes:keep-original:refdb-0:data",
            "keep-writes:attach:refdb-0:data",
            "keep-writes:start-instance:refdb-0",
            "keep-writes:take-back:refdb-0",
            "keep-writes:inspect-disk:refdb-0",
            "keep-writes:start-service:refdb-0",
            "keep-writes:legacy-whole",
            "keep-writes:give-back:refdb-0",
            "keep-writes:remove-gate:rehome-gate-refdb",
            "keep-writes:sweep",
        ]
    );
    let outcome = keep(&stage).await.outcome();
    let done: Vec<&str> =
        outcome.record.steps.keys().map(StepId::as_str).filter(|id| id.starts_with("keep-writes:")).collect();
    let mut expected = ids.clone();
    expected.sort_unstable();
    assert_eq!(done, expected);
}
