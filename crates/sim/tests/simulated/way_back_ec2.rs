//! The way back where EC2 refuses something of it, and what is left then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{End, Stage};
use crate::leftovers::{by_file, delete};
use crate::opened::{completed, data_of};
use crate::way_back::is_back;
use rehome_ec2_emulator::api::ApiError;
use rehome_ec2_emulator::core::{AttachmentRecord, Effect, Rule};
use rehome_engine::{Command, EngineError, GcOutcome};
use rehome_model::cloud::{AttachmentState, InstanceState};
use rehome_model::event::{Event, EventKind};
use rehome_model::record::Phase;
use rehome_ports::{Cloud, InstanceProtection};
use rehome_sim::{Kill, Scene, checks};
use tokio::time::Instant;

/// Whether the caller is denied these from now on.
fn deny(stage: &Stage, actions: &[&str], denied: bool) {
    stage.world.ec2().with(|inner, _| {
        for action in actions {
            let all = &mut inner.core.config.denied;
            if denied {
                all.insert((*action).to_owned())
            } else {
                all.remove(*action)
            };
        }
    });
}

#[tokio::test(start_paused = true)]
async fn deletions_that_are_denied_for_good_end_the_rollback_and_gc_finds_what_is_left() {
    left_and_collected(&["DeleteVolume", "DeleteSnapshot"], 9).await;
    // Of a volume whose snapshot is gone the record tells whose it is.
    left_and_collected(&["DeleteVolume"], 3).await;
}

async fn left_and_collected(deletions: &[&str], things: usize) {
    let (stage, _) = completed(Scene::new(3, 93)).await;
    deny(&stage, deletions, true);
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert_eq!(checks::legacy_serving(&stage.world), 3);
    let left: Vec<&str> = outcome.record.left().collect();
    assert_eq!(left.len(), things, "{left:?}");
    let why = |left: &&str| left.contains("UnauthorizedOperation") && left.contains("rehome gc");
    assert!(left.iter().all(why), "{left:?}");
    // Still denied it deletes nothing; then all of it.
    for (denied, gone) in [(true, 0), (false, things)] {
        deny(&stage, deletions, denied);
        let shown = by_file(&stage).look().await.expect("looked");
        assert_eq!(shown.orphaned().count(), things, "{shown:?}");
        let removed = delete(&by_file(&stage), &shown).await;
        assert_eq!(removed.iter().filter(|one| one.outcome == GcOutcome::Deleted).count(), gone, "{removed:?}");
    }
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::duplicates(&stage.world, 0, 0), Vec::<String>::new());
    assert_eq!(checks::originals_changed(&stage.world), Vec::<String>::new());
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_attached_somewhere_is_not_left() {
    let (stage, _) = completed(Scene::new(2, 92)).await;
    deny(&stage, &["DeleteVolume"], true);
    let volume = data_of(&stage, "refdb-0");
    let taken = AtomicBool::new(false);
    let stranger = async {
        // As soon as its pod is gone somebody attaches it elsewhere.
        while !taken.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stage.world.ec2().with(|inner, now| {
                let record = inner.core.volumes.get_mut(&volume).expect("it is there");
                if record.attachments.is_empty() {
                    record.attachments.push(AttachmentRecord {
                        instance: "i-0123456789abcdef0".into(),
                        device: "/dev/xvdz".to_owned(),
                        state: AttachmentState::Attached,
                        attached_at: now,
                        due: None,
                    });
                    taken.store(true, Ordering::Relaxed);
                }
            });
        }
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! {
        end = stage.drive(Command::RollbackDiscardWrites) => end.outcome(),
        () = stranger => unreachable!("pending"),
    };
    assert_eq!(outcome.phase, Phase::Stuck);
    let why = outcome.failure.expect("a reason");
    assert!(why.contains(&format!("{volume} is still attached to i-0123456789abcdef0")), "{why}");
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_which_an_image_was_made_does_not_keep_the_rollback_from_its_end() {
    let (stage, _) = completed(Scene::new(2, 91)).await;
    let in_use = Effect::Fail(ApiError::new("InvalidSnapshot.InUse", "The snapshot is currently in use by ami-1"));
    let rule = Rule::of("DeleteSnapshot", in_use);
    stage.world.ec2().with(|inner, now| inner.core.faults.set(now, vec![rule]).expect("a rule"));
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(outcome.record.left().all(|left| left.contains("in use by ami-1")));
    assert_eq!(outcome.record.left().count(), 4);
}

#[tokio::test(start_paused = true)]
async fn stop_protection_that_is_refused_does_not_keep_production_down() {
    let (stage, _) = completed(Scene::new(3, 96)).await;
    stage.world.ec2().with(|inner, _| inner.core.config.denied.insert("ModifyInstanceAttribute".to_owned()));
    let (end, events) = stage.drive_with_events(Command::RollbackDiscardWrites).await;
    // What is left to do is to lift the termination protection.
    assert_eq!(end.outcome().phase, Phase::Stuck);
    assert_eq!(checks::legacy_serving(&stage.world), 3);
    let told = |event: &&Event| matches!(&event.kind, EventKind::Note { text } if text.contains("not kept off"));
    assert_eq!(events.iter().filter(told).count(), 3);
    stage.world.ec2().with(|inner, _| inner.core.config.denied.clear());
    is_back(&stage, 3).await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_falls_back_to_stopped_is_started_again() {
    let (stage, plan) = completed(Scene::new(3, 95)).await;
    let falling = plan.members[1].instance.clone();
    // No capacity in its zone, the first time.
    let falls = async {
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let fell = stage.world.ec2().with(|inner, _| {
                let record = inner.core.instances.get_mut(&falling).expect("it is there");
                let starts = record.state == InstanceState::Pending;
                if starts {
                    (record.state, record.due) = (InstanceState::Stopped, None);
                }
                starts
            });
            if fell {
                return;
            }
        }
    };
    tokio::join!(is_back(&stage, 3), falls);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_terminated_is_not_waited_for() {
    for state in [InstanceState::Terminated, InstanceState::ShuttingDown] {
        let (stage, plan) = completed(Scene::new(3, 99)).await;
        let gone = &plan.members[1].instance;
        if state == InstanceState::ShuttingDown {
            // As after an earlier rollback: nothing of it has to be changed before its start.
            stage.world.ec2().protect_instance(gone, InstanceProtection::Stop, true).await.expect("protected");
        }
        stage.world.ec2().with(|inner, _| inner.core.instances.get_mut(gone).expect("there").state = state);
        let began = Instant::now();
        let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
        assert_eq!(outcome.phase, Phase::Stuck);
        let why = outcome.failure.expect("a reason");
        assert!(why.contains(&format!("{gone} is terminated: it never starts again")), "{why}");
        assert!(began.elapsed() < Duration::from_secs(900), "{:?}", began.elapsed());
        assert_eq!(checks::legacy_serving(&stage.world), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_could_start_no_instance_is_refused_while_the_new_side_serves() {
    let (stage, _) = completed(Scene::new(2, 98)).await;
    deny(&stage, &["StartInstances"], true);
    stage.control.disarm();
    let End::Refused(error) = stage.drive(Command::RollbackDiscardWrites).await else { panic!("it was not refused") };
    assert!(matches!(&error, EngineError::CannotStart { denied, .. } if denied == &["ec2:StartInstances"]), "{error}");
    assert_eq!(stage.control.names(), Vec::<&str>::new());
    assert_eq!(checks::pods_running(&stage.world), 2);
    deny(&stage, &["StartInstances"], false);
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_begun_or_has_nothing_to_start_is_not_asked_for_it() {
    let (stage, _) = completed(Scene::new(2, 99)).await;
    stage.control.arm(10, Kill::Before);
    assert!(matches!(stage.drive(Command::RollbackDiscardWrites).await, End::Killed));
    tokio::time::sleep(rehome_engine::LEASE).await;
    deny(&stage, &["StartInstances"], true);
    // All that can be done without it is done.
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::Stuck);
    assert!(outcome.failure.is_some_and(|why| why.contains("StartInstances")));
    assert_eq!(checks::pods_running(&stage.world), 0);

    let stage = Stage::new(Scene::new(2, 99));
    let plan = stage.plan().await;
    assert_eq!(stage.drive(Command::Prepare(Box::new(plan))).await.outcome().phase, Phase::Preparing);
    deny(&stage, &["StartInstances"], true);
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
}

/// What was told of a wait for the start of an instance.
fn waits_for_a_start(events: &[Event]) -> Vec<&str> {
    let waits = events.iter().filter_map(|event| match &event.kind {
        EventKind::StepWaiting { step, reason } if step.as_str().starts_with("stop-instance:") => Some(reason.as_str()),
        _ => None,
    });
    waits.collect()
}

fn starts_fall_back(stage: &Stage, times: Option<u64>) {
    let rule = Rule { times, ..Rule::of("StartInstances", Effect::FailLater) };
    stage.world.ec2().with(|inner, now| inner.core.faults.set(now, vec![rule]).expect("a rule"));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_falls_back_says_why_and_is_tried_again() {
    let (stage, _) = completed(Scene::new(2, 94)).await;
    starts_fall_back(&stage, Some(3));
    let (end, events) = stage.drive_with_events(Command::RollbackDiscardWrites).await;
    assert_eq!(end.outcome().phase, Phase::RolledBack);
    let waits = waits_for_a_start(&events);
    assert!(
        waits.iter().any(|why| why.contains("Client.InternalError") && why.contains("kms:CreateGrant")),
        "{waits:?}"
    );
    // That it was stopped by a driver is no reason to tell.
    assert!(waits.iter().all(|why| !why.contains("UserInitiated")), "{waits:?}");
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_falls_back_for_good_leaves_its_reason_behind() {
    let (stage, _) = completed(Scene::new(2, 95)).await;
    starts_fall_back(&stage, None);
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::Stuck);
    let why = outcome.failure.expect("a reason");
    assert!(why.contains("Client error on launch") && why.contains("kms:CreateGrant"), "{why}");
    stage.world.ec2().with(|inner, _| inner.core.faults.clear());
    is_back(&stage, 2).await;
}
