//! An instance is in the hands of one run at a time, wherever the runs are recorded.

use crate::common::Stage;
use rehome_ec2_emulator::core::{Effect, Rule};
use rehome_engine::Command;
use rehome_model::cloud::{InstanceState, Tags};
use rehome_model::event::{Event, EventKind};
use rehome_model::ids::InstanceId;
use rehome_model::labels;
use rehome_model::record::Phase;
use rehome_sim::{Scene, checks};

const ELSEWHERE: &str = "refdb-elsewhere";

fn hold(stage: &Stage, instance: &InstanceId, run: &str) {
    stage.world.ec2().with(|inner, _| {
        let record = inner.core.instances.get_mut(instance).expect("it is there");
        record.tags.insert(labels::HELD_BY.to_owned(), run.to_owned());
    });
}

/// Who holds each member's instance.
fn holders(stage: &Stage, plan: &rehome_model::plan::Plan) -> Vec<Option<String>> {
    let of = |tags: &Tags| tags.get(labels::HELD_BY).cloned();
    stage
        .world
        .ec2()
        .with(|inner, _| plan.members.iter().map(|member| of(&inner.core.instances[&member.instance].tags)).collect())
}

#[tokio::test(start_paused = true)]
async fn a_run_holds_its_instances_until_it_is_taken_back() {
    let stage = Stage::new(Scene::new(2, 41));
    let plan = stage.plan().await;
    let outcome = stage.apply(&plan).await.outcome();
    let run = outcome.record.header.run.to_string();
    assert_eq!(holders(&stage, &plan), vec![Some(run.clone()); 2]);
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert_eq!(holders(&stage, &plan), vec![Some(String::new()); 2]);
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed, "the next run has them");
    assert_eq!(stage.drive(Command::RollbackKeepWrites).await.outcome().phase, Phase::Returned);
    assert_eq!(holders(&stage, &plan), vec![Some(String::new()); 2]);
}

/// Somebody took the permission away, or the run was begun by a rehome that did not need it.
#[tokio::test(start_paused = true)]
async fn a_hold_that_cannot_be_let_go_keeps_no_rollback_from_its_end() {
    let stage = Stage::new(Scene::new(2, 41));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let denied = Rule { resource: Some("i-*".to_owned()), ..Rule::of("CreateTags", Effect::Deny) };
    stage.world.ec2().with(|inner, now| inner.core.faults.set(now, vec![denied])).expect("a valid rule");
    let (end, events) = stage.drive_with_events(Command::RollbackDiscardWrites).await;
    assert_eq!(end.outcome().phase, Phase::RolledBack);
    let told = |event: &Event| matches!(&event.kind, EventKind::Note { text } if text.contains("RH0124"));
    assert_eq!(events.iter().filter(|event| told(event)).count(), 2);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_another_run_holds_is_not_touched_and_neither_is_its_hold() {
    let mut scene = Scene::new(2, 41);
    scene.auto_scaling = true;
    let stage = Stage::new(scene);
    let plan = stage.plan().await;
    let held = &plan.members[0].instance;
    hold(&stage, held, ELSEWHERE);
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let failure = outcome.failure.expect("a reason");
    assert!(failure.contains("in the hands of run refdb-elsewhere") && failure.contains("create-tags"), "{failure}");
    assert_eq!(holders(&stage, &plan)[0].as_deref(), Some(ELSEWHERE));
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_another_run_holds_is_started_once_somebody_lets_it_go() {
    const LATER: std::time::Duration = std::time::Duration::from_secs(300);
    let stage = Stage::new(Scene::new(2, 41));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let held = &plan.members[0].instance;
    hold(&stage, held, ELSEWHERE);
    let look = || {
        stage.world.ec2().with(|inner, _| {
            let record = &inner.core.instances[held];
            (record.state, record.stop_protection)
        })
    };
    let lets_go = async {
        tokio::time::sleep(LATER).await;
        assert_eq!(look(), (InstanceState::Stopped, false), "it is another's");
        hold(&stage, held, "");
    };
    let (end, ()) = futures::join!(stage.drive(Command::RollbackDiscardWrites), lets_go);
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

/// Somebody tidies up a trial in a staging cluster when production's run, of another cluster, has the instances.
#[tokio::test(start_paused = true)]
async fn the_rollback_of_a_trial_leaves_what_another_run_has_taken_into_its_hands() {
    let mut scene = Scene::new(2, 41);
    scene.auto_scaling = true;
    let stage = Stage::new(scene);
    let plan = stage.plan().await;
    assert_eq!(stage.drive(Command::Prepare(Box::new(plan.clone()))).await.outcome().phase, Phase::Preparing);
    for member in &plan.members {
        hold(&stage, &member.instance, ELSEWHERE);
    }
    let protections = || {
        let of = |record: &rehome_ec2_emulator::core::InstanceRecord| {
            (record.termination_protection, record.block_devices.clone())
        };
        stage.world.ec2().with(|inner, _| {
            let groups = format!("{:?}", inner.core.groups);
            (groups, inner.core.instances.values().map(of).collect::<Vec<_>>())
        })
    };
    let before = protections();
    let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(outcome.record.left().any(|left| left.contains("in the hands of run refdb-elsewhere")));
    assert_eq!(protections(), before);
    assert_eq!(holders(&stage, &plan), vec![Some(ELSEWHERE.to_owned()); 2]);
}
