//! What somebody agreed to is what is done, and what was reviewed is what is carried out.

use crate::common::{End, Stage};
use rehome_engine::{Command, EngineError, Shown, StoreError, status};
use rehome_model::names;
use rehome_model::record::Phase;
use rehome_sim::{Scene, checks};

async fn shown(stage: &Stage) -> Shown {
    let (record, plan) = status(stage.ports.kube(), "refdb", "refdb").await.expect("read").expect("recorded");
    Shown::of(&plan, &record)
}

fn is_gone_on(end: &End) -> bool {
    matches!(end, End::Refused(EngineError::GoneOn { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_shown_before_the_opening_gives_up_nothing_that_was_written_since() {
    let mut stage = Stage::new(Scene::new(3, 21));
    let plan = stage.plan().await;
    stage.drive(Command::Prepare(Box::new(plan.clone()))).await.outcome();
    let before = shown(&stage).await;
    assert!(!before.opened);
    // The driver that everybody took for dead goes on.
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    stage.shown = Some(before);
    assert!(is_gone_on(&stage.drive(Command::RollbackDiscardWrites).await));
    assert_eq!(checks::pods_running(&stage.world), 3);
    stage.shown = Some(shown(&stage).await);
    let back = stage.drive(Command::RollbackDiscardWrites).await.outcome();
    assert_eq!((back.phase, checks::legacy_serving(&stage.world)), (Phase::RolledBack, 3));
}

#[tokio::test(start_paused = true)]
async fn an_apply_of_a_run_that_was_taken_back_meanwhile_begins_no_new_one() {
    let mut stage = Stage::new(Scene::new(2, 21));
    let plan = stage.plan().await;
    stage.drive(Command::Prepare(Box::new(plan.clone()))).await.outcome();
    let under_way = shown(&stage).await;
    stage.drive(Command::RollbackDiscardWrites).await.outcome();
    stage.shown = Some(under_way);
    assert!(is_gone_on(&stage.apply(&plan).await));
    assert_eq!(shown(&stage).await.run, stage.shown.clone().expect("one").run, "no other run");
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_goes_on_takes_an_opening_for_what_it_is() {
    let mut stage = Stage::new(Scene::new(2, 21));
    let plan = stage.plan().await;
    stage.drive(Command::Prepare(Box::new(plan.clone()))).await.outcome();
    stage.shown = Some(shown(&stage).await);
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed, "there is nothing left to do");
}

#[tokio::test(start_paused = true)]
async fn a_recorded_plan_that_is_not_the_one_that_was_reviewed_is_not_carried_out() {
    let stage = Stage::new(Scene::new(2, 21));
    let plan = stage.plan().await;
    stage.drive(Command::Prepare(Box::new(plan.clone()))).await.outcome();
    // The plan of another run in its place: whole, but for its hash.
    let mut other = Stage::new(Scene::new(2, 21));
    other.migration.spec.tags.insert("team".to_owned(), "other".to_owned());
    let forged = other.plan().await;
    other.drive(Command::Prepare(Box::new(forged))).await.outcome();
    let name = names::plan_record("refdb");
    let kube = rehome_engine::Kube::new(other.ports.kube());
    let path = format!("/api/v1/namespaces/refdb/configmaps/{name}");
    let data = kube.get(&path).await.expect("read").expect("there")["binaryData"].clone();
    stage.world.change_objects("configmaps", |map| {
        if map["metadata"]["name"] == name.as_str() {
            map["binaryData"] = data.clone();
        }
    });
    for command in [Command::Apply(Box::new(plan)), Command::RollbackDiscardWrites] {
        match stage.drive(command).await {
            End::Refused(EngineError::Store(error @ StoreError::Changed { .. })) => {
                assert!(error.to_string().contains("does not hold the plan of run"), "{error}");
            }
            End::Refused(error) => panic!("{error}"),
            End::Outcome(_) | End::Killed => panic!("it was carried out"),
        }
    }
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}
