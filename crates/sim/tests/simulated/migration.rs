//! Whole migrations in the simulated world.

use crate::common::Stage;
use rehome_model::record::Phase;
use rehome_sim::{Scene, checks};

#[tokio::test(start_paused = true)]
async fn three_members_move_and_nothing_is_lost() {
    let stage = Stage::new(Scene::new(3, 1));
    let plan = stage.plan().await;
    let (end, events) = stage.drive_with_events(rehome_engine::Command::Apply(Box::new(plan))).await;
    for event in &events {
        println!("{}", serde_json::to_string(event).unwrap());
    }
    let outcome = end.outcome();
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    assert_eq!(checks::originals_changed(&stage.world), Vec::<String>::new());
    assert_eq!(checks::duplicates(&stage.world, 2, 1), Vec::<String>::new());
    // By the survey. Pods that come are not asked after by the attachments of the whole cluster.
    assert_eq!(stage.world.cluster_calls()["GET volumeattachments"], 1);
}

#[tokio::test(start_paused = true)]
async fn pods_are_asked_as_the_settings_say_and_a_question_that_is_refused_undoes_the_run() {
    for (settings, phase) in [(vec![], Phase::RolledBack), (vec![("podCommand", "refdb2")], Phase::Completed)] {
        let mut stage = Stage::new(Scene::new(3, 1));
        stage.world.name_pod_program("refdb2");
        let settings = settings.into_iter().map(|(key, value): (&str, &str)| (key.to_owned(), value.to_owned()));
        stage.migration.spec.application.settings = settings.collect();
        let plan = stage.plan().await;
        let outcome = stage.apply(&plan).await.outcome();
        assert_eq!(outcome.phase, phase, "{:?}", outcome.failure);
        let failure = outcome.failure.map(|failure| format!("{failure:?}")).unwrap_or_default();
        assert_eq!(failure.contains("refdb: not found"), phase == Phase::RolledBack, "{failure}");
        assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_account_encrypts_by_default_unencrypted_members_move_to_encrypted_volumes() {
    let key = "arn:aws:kms:us-east-1:123456789012:key/default";
    let mut scene = Scene::new(3, 1);
    (scene.ec2.encrypts_by_default, scene.ec2.default_key) = (true, Some(key.to_owned()));
    let stage = Stage::new(scene);
    let plan = stage.plan().await;
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    let keys: Vec<Option<String>> = stage.world.ec2().with(|inner, _| {
        let made = |tags: &rehome_model::cloud::Tags| tags.contains_key(rehome_model::labels::RUN);
        let volumes = inner.core.volumes.values().filter(|volume| made(&volume.tags));
        volumes.map(|volume| volume.spec.kms_key_id.clone()).collect()
    });
    assert_eq!(keys, vec![Some(key.to_owned()); 3]);
    let outcome = stage.drive(rehome_engine::Command::RollbackKeepWrites).await.outcome();
    assert_eq!(outcome.phase, Phase::Returned, "{:?}", outcome.failure);
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_what_it_will_take_with_its_assumptions() {
    let mut scene = Scene::new(3, 1);
    scene.volume.size_gib = 1_000;
    let plan = Stage::new(scene).plan().await;
    // 1,000 GiB at 250 MiB/s, one percent of it again, and an application and volumes that are quick.
    assert_eq!((plan.estimate.total_s.0, plan.estimate.downtime_s.0), (4_096 + 40 + 35, 40 + 35));
    assert_eq!(plan.estimate.monthly_cost_cents, 3 * 1_000 * 13);
    assert!(plan.estimate.assumptions.len() >= 4, "{:?}", plan.estimate.assumptions);
}
