//! The user's word that the old side is no longer needed.

use crate::common::{End, Stage};
use rehome_engine::{Command, EngineError, Kube, finalize_plan};
use rehome_model::cloud::{InstanceState, Tags};
use rehome_model::format::{self, Format};
use rehome_model::ids::{InstanceId, StepId};
use rehome_model::labels;
use rehome_model::plan::{Action, Plan, Purpose};
use rehome_model::record::{FinalizeChoice, Phase};
use rehome_ports::{Cloud, CreateVolume, InstanceProtection, SnapshotFilter, VolumeFilter};
use rehome_sim::{Kill, Scene, checks};
use serde_json::{Value, json};

const DAY_MS: u64 = 24 * 3600 * 1000;
const RESTARTS: u32 = 6;
const RECORD: &str = "/api/v1/namespaces/refdb/configmaps/rehome-run-refdb";
const GATE: &str = "/api/v1/namespaces/refdb/configmaps/rehome-gate-refdb";

pub fn choice(stage: &Stage, release_legacy: bool) -> FinalizeChoice {
    let at_ms = stage.world.ec2().now();
    FinalizeChoice { at_ms, keep_until_ms: at_ms + 30 * DAY_MS, release_legacy }
}

async fn finalize(stage: &Stage, release_legacy: bool) -> End {
    stage.drive(Command::Finalize(choice(stage, release_legacy))).await
}

async fn completed(scene: Scene) -> (Stage, Plan) {
    let stage = Stage::new(scene);
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    (stage, plan)
}

async fn object(stage: &Stage, path: &str) -> Option<Value> {
    Kube::new(stage.ports.kube()).get(path).await.expect("the cluster answers")
}

/// The run's snapshots: how many base ones there are, and how many final ones with a time until which they are kept.
async fn snapshots(stage: &Stage) -> (usize, usize) {
    let tags = Tags::from([(labels::MIGRATION.to_owned(), "refdb".to_owned())]);
    let all = stage.world.ec2().describe_snapshots(&SnapshotFilter::Tags(tags)).await.expect("described");
    let is = |tags: &Tags, step: &str| tags.get(labels::STEP).is_some_and(|found| found.starts_with(step));
    let base = all.iter().filter(|snapshot| is(&snapshot.tags, "base-snapshot")).count();
    let kept = |tags: &Tags| is(tags, "final-snapshot") && tags.contains_key(labels::KEEP_UNTIL);
    (base, all.iter().filter(|snapshot| kept(&snapshot.tags)).count())
}

/// What must hold however a finalize ended.
async fn finalized(stage: &Stage, plan: &Plan, what: &str) {
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "{what}");
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new(), "{what}");
    assert_eq!(checks::originals_changed(&stage.world), Vec::<String>::new(), "{what}");
    assert_eq!(checks::duplicates(&stage.world, 1, 1), Vec::<String>::new(), "{what}");
    assert_eq!(checks::pods_running(&stage.world), plan.members.len(), "{what}");
    assert_eq!(snapshots(stage).await, (0, plan.members.len()), "{what}");
    assert_eq!(object(stage, GATE).await, None, "{what}");
    let record = object(stage, RECORD).await.expect("the record stays");
    let header: Value = serde_json::from_str(record["data"]["run.json"].as_str().expect("text")).expect("json");
    assert_eq!(header["phase"], "finalized", "{what}");
    assert_eq!(header["format"], json!({"name": "rehome.run", "version": 3}), "{what}");
    // Its own gates are looked at anew each time; what the run saw stays written.
    let (record, _) = rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await.expect("told").expect("a run");
    let untold: Vec<&StepId> =
        plan.steps.iter().map(|step| &step.id).filter(|id| !record.steps.contains_key(id)).collect();
    assert_eq!(untold, Vec::<&StepId>::new(), "{what}");
}

fn is_stopped(stage: &Stage, instance: &InstanceId) -> bool {
    stage
        .world
        .ec2()
        .with(|inner, _| inner.core.instances.get(instance).map(|i| i.state) == Some(InstanceState::Stopped))
}

async fn is_protected(stage: &Stage, instance: &InstanceId) -> bool {
    stage.world.ec2().is_protected(instance, InstanceProtection::Termination).await.expect("told")
}

/// Whether terminating a legacy instance would delete its data volume.
async fn deletes_data(stage: &Stage, instance: &InstanceId) -> bool {
    let filter = rehome_ports::InstanceFilter::Ids(vec![instance.clone()]);
    let found = stage.world.ec2().describe_instances(&filter).await.expect("described");
    found[0].block_devices.iter().any(|device| device.device == "/dev/xvdf" && device.delete_on_termination)
}

fn refusal(end: End) -> EngineError {
    match end {
        End::Refused(error) => error,
        End::Outcome(outcome) => panic!("not refused: {:?}", outcome.phase),
        End::Killed => panic!("killed"),
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_finalize_the_new_side_serves_and_there_is_no_way_back() {
    let (stage, plan) = completed(Scene::new(3, 51)).await;
    assert_eq!(snapshots(&stage).await, (3, 0));
    let outcome = finalize(&stage, false).await.outcome();
    assert_eq!(outcome.phase, Phase::Finalized, "{:?}", outcome.failure);
    finalized(&stage, &plan, "finalized").await;
    for member in &plan.members {
        assert!(is_stopped(&stage, &member.instance));
        assert!(is_protected(&stage, &member.instance).await, "nothing legacy is let go unless asked");
        assert!(!deletes_data(&stage, &member.instance).await);
    }
    stage.control.disarm();
    for command in [Command::RollbackDiscardWrites, Command::Apply(Box::new(plan))] {
        let error = refusal(stage.drive(command).await);
        assert!(matches!(error, EngineError::Finalized { .. }), "{error}");
        assert!(error.to_string().contains("is finalized"), "{error}");
    }
    assert_eq!(finalize(&stage, false).await.outcome().phase, Phase::Finalized);
    assert_eq!(stage.control.names(), Vec::<&str>::new(), "refused or done already: nothing is changed");
}

#[tokio::test(start_paused = true)]
async fn pods_that_restart_after_the_gate_is_gone_are_open() {
    let (stage, _) = completed(Scene::new(3, 52)).await;
    assert_eq!(finalize(&stage, false).await.outcome().phase, Phase::Finalized);
    stage.scale(0).await;
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    stage.scale(3).await;
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    let landed = stage.world.landed();
    assert_eq!(landed.len(), 3);
    assert!(landed.iter().all(|pod| pod.open));
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_set_that_came_to_need_its_gate_keeps_it() {
    let (stage, _) = completed(Scene::new(2, 53)).await;
    let kube = Kube::new(stage.ports.kube());
    let path = "/apis/apps/v1/namespaces/refdb/statefulsets/refdb";
    let mut set = kube.get(path).await.expect("answered").expect("the set");
    set["spec"]["template"]["spec"]["containers"][0]["env"][3]["valueFrom"]["configMapKeyRef"]["optional"] =
        json!(false);
    kube.replace(path, &set).await.expect("changed");
    let outcome = finalize(&stage, false).await.outcome();
    assert_eq!(outcome.phase, Phase::Finalized);
    assert!(object(&stage, GATE).await.is_some(), "its pods would not start without it");
    let left: Vec<&str> = outcome.record.left().collect();
    assert!(matches!(left[..], [left] if left.contains("stays")), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn before_the_completion_there_is_nothing_to_finalize() {
    let stage = Stage::new(Scene::new(2, 54));
    assert!(matches!(refusal(finalize(&stage, false).await), EngineError::NoRun { .. }));
    let plan = stage.plan().await;
    stage.control.arm(30, Kill::Before);
    assert!(matches!(stage.apply(&plan).await, End::Killed));
    stage.control.disarm();
    tokio::time::sleep(rehome_engine::LEASE).await;
    let error = refusal(finalize(&stage, false).await);
    assert!(matches!(error, EngineError::NotCompleted { .. }), "{error}");
    assert_eq!(stage.control.names(), Vec::<&str>::new());
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert!(matches!(refusal(finalize(&stage, false).await), EngineError::NotCompleted { .. }));
}

#[tokio::test(start_paused = true)]
async fn while_a_pod_is_down_the_way_back_is_kept_and_works() {
    let (stage, plan) = completed(Scene::new(3, 55)).await;
    stage.scale(2).await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let outcome = finalize(&stage, true).await.outcome();
    assert_eq!(outcome.phase, Phase::Completed);
    assert!(outcome.failure.is_some_and(|why| why.contains("refdb-2")));
    assert_eq!(snapshots(&stage).await, (3, 0));
    assert!(object(&stage, GATE).await.is_some());
    stage.scale(3).await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert_eq!(checks::legacy_serving(&stage.world), plan.members.len());
    assert_eq!(checks::duplicates(&stage.world, 0, 0), Vec::<String>::new());
}

/// A member is added: it has an identity of its own, on a volume of its own.
async fn add_a_member(stage: &Stage, plan: &Plan) {
    let tags = Tags::from([(labels::MIGRATION.to_owned(), "refdb".to_owned())]);
    let all = stage.world.ec2().describe_volumes(&VolumeFilter::Tags(tags)).await.expect("described");
    let like = all.into_iter().next().expect("an adopted volume");
    let request = CreateVolume {
        snapshot: like.snapshot.expect("from a snapshot"),
        zone: like.zone,
        spec: like.spec,
        tags: Tags::new(),
        token: "added".to_owned(),
    };
    let made = stage.world.ec2().create_volume(&request).await.expect("made").id;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    crate::opened::change_text(stage, &made, "identity.json", |text| {
        let known = plan.members.iter().find(|member| text.contains(&member.identity.id)).expect("a member's");
        text.replace(&known.identity.id, "added-since")
    });
    crate::opened::bind_to(stage, 2, &made).await;
    stage.scale(3).await;
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    assert_eq!(stage.world.landed().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_has_grown_since_the_opening_is_finalized() {
    let (stage, plan) = completed(Scene::new(2, 62)).await;
    add_a_member(&stage, &plan).await;
    // As long as that member is down, or one of the plan's is, it is not whole.
    stage.scale(2).await;
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    let outcome = finalize(&stage, false).await.outcome();
    assert_eq!(outcome.phase, Phase::Completed);
    assert!(outcome.failure.is_some_and(|why| why.contains("(added-since) as DN")));
    stage.scale(3).await;
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    let outcome = finalize(&stage, false).await.outcome();
    assert_eq!(outcome.phase, Phase::Finalized, "{:?}", outcome.failure);
    assert_eq!(snapshots(&stage).await, (0, 2));
}

#[tokio::test(start_paused = true)]
async fn the_legacy_side_is_released_as_it_was_and_stays_stopped() {
    let stage = Stage::new(Scene::new(3, 56));
    let plan = stage.plan().await;
    let own = plan.members[1].instance.clone();
    for from in [InstanceProtection::Termination, InstanceProtection::Stop] {
        stage.world.ec2().protect_instance(&own, from, true).await.expect("protected");
    }
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(finalize(&stage, false).await.outcome().phase, Phase::Finalized);
    // Later, on second thoughts: the rest of it, and nothing twice.
    let outcome = finalize(&stage, true).await.outcome();
    assert_eq!(outcome.phase, Phase::Finalized, "{:?}", outcome.failure);
    finalized(&stage, &plan, "released").await;
    for member in &plan.members {
        assert!(is_stopped(&stage, &member.instance));
        assert!(deletes_data(&stage, &member.instance).await, "as it was before");
        assert_eq!(is_protected(&stage, &member.instance).await, member.instance == own, "the user's own stays");
        let from_stop = stage.world.ec2().is_protected(&member.instance, InstanceProtection::Stop).await;
        assert_eq!(from_stop.expect("told"), member.instance == own, "lifted for the stop, and put back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_leaves_the_users_own_protection_in_place() {
    let stage = Stage::new(Scene::new(2, 57));
    let plan = stage.plan().await;
    let own = plan.members[0].instance.clone();
    stage.world.ec2().protect_instance(&own, InstanceProtection::Termination, true).await.expect("protected");
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert!(is_protected(&stage, &own).await);
    assert!(!is_protected(&stage, &plan.members[1].instance).await);
}

#[tokio::test(start_paused = true)]
async fn a_legacy_member_that_runs_again_is_not_released() {
    let (stage, plan) = completed(Scene::new(2, 58)).await;
    // Somebody started it. Its service is masked, so it meets nobody; but it is not a stopped one any more.
    stage.world.ec2().start_instance(&plan.members[0].instance).await.expect("started");
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let outcome = finalize(&stage, true).await.outcome();
    assert_eq!(outcome.phase, Phase::Finalizing);
    assert!(outcome.failure.is_some_and(|why| why.contains("stop it first")));
    assert!(is_protected(&stage, &plan.members[0].instance).await);
    stage.world.ec2().stop_instance(&plan.members[0].instance).await.expect("stopped");
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(finalize(&stage, false).await.outcome().phase, Phase::Finalized, "it goes on as it was begun");
    assert!(!is_protected(&stage, &plan.members[0].instance).await);
}

#[tokio::test(start_paused = true)]
async fn a_finalize_killed_at_any_call_goes_on() {
    let calls = {
        let (stage, _) = completed(Scene::new(2, 59)).await;
        stage.control.disarm();
        assert_eq!(finalize(&stage, true).await.outcome().phase, Phase::Finalized);
        stage.control.mutations()
    };
    assert!(calls > 20, "a finalize of {calls} calls is not the whole one");
    println!("{calls} calls, each killed before and after");
    for n in 1..=calls {
        for kill in [Kill::Before, Kill::After, Kill::FailBefore, Kill::LoseReply] {
            let what = format!("{kill:?} at call {n} of {calls}");
            let (stage, plan) = completed(Scene::new(2, 59)).await;
            stage.control.arm(n, kill);
            let mut phase = None;
            for _ in 0..RESTARTS {
                let end = finalize(&stage, true).await;
                stage.control.disarm();
                match end {
                    End::Outcome(outcome) if !outcome.interrupted => {
                        phase = Some(outcome.phase);
                        break;
                    }
                    End::Refused(error) => panic!("{what}: {error}"),
                    End::Outcome(_) | End::Killed => {}
                }
            }
            assert_eq!(phase, Some(Phase::Finalized), "{what}");
            finalized(&stage, &plan, &what).await;
            for member in &plan.members {
                assert!(is_stopped(&stage, &member.instance), "{what}");
                assert!(!is_protected(&stage, &member.instance).await, "{what}");
                assert!(deletes_data(&stage, &member.instance).await, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_plan_that_is_shown_is_the_same_each_time_and_names_only_its_own_steps() {
    let (stage, _) = completed(Scene::new(2, 60)).await;
    let (record, plan) =
        rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await.expect("read").expect("a run");
    let choice = choice(&stage, true);
    let shown = finalize_plan(&plan, &record, &choice).expect("a plan");
    assert_eq!(shown.hash(), finalize_plan(&plan, &record, &choice).expect("a plan").hash());
    // Facts, findings, groups and figures were of another day; so may the format have been.
    let findings = rehome_lint::lint(&stage.migration, &stage.survey().await, stage.profile());
    let format = Format { version: 1, ..plan.format.clone() };
    let older = Plan { format, findings, ..plan.clone() };
    assert!(!older.facts.is_empty() && !older.findings.is_empty() && !older.groups.is_empty());
    let of_older = finalize_plan(&older, &record, &choice).expect("a plan");
    assert_eq!((&of_older.format, of_older.purpose), (&Format::current(format::PLAN), Purpose::Finalize));
    assert!(of_older.facts.is_empty() && of_older.findings.is_empty() && of_older.groups.is_empty());
    assert_eq!(of_older.estimate, rehome_model::plan::Estimate::default());
    let ids: Vec<&str> = shown.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "finalize:pods-run",
            "finalize:members-whole",
            "finalize:keep-final-snapshots:refdb-0",
            "finalize:keep-final-snapshots:refdb-1",
            "finalize:final-snapshots-kept",
            "finalize:delete-base-snapshots:refdb-0",
            "finalize:delete-base-snapshots:refdb-1",
            "finalize:retire-gate:refdb",
            "finalize:release-instance:refdb-0",
            "finalize:release-instance:refdb-1",
        ]
    );
    let addresses = |plan: &Plan, id: &str| match &plan.step(&id.into()).expect("the step").action {
        Action::AwaitMembers { legacy_addresses, .. } => legacy_addresses.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(addresses(&plan, "verify-open"), 2);
    assert_eq!(addresses(&shown, "finalize:members-whole"), 0, "they may be anybody's by now");
}

#[tokio::test(start_paused = true)]
async fn a_record_of_the_first_format_is_finalized_and_one_of_a_later_format_is_left_alone() {
    let (stage, plan) = completed(Scene::new(2, 61)).await;
    let kube = Kube::new(stage.ports.kube());
    let set_version = async |version: u32| {
        let object = object(&stage, RECORD).await.expect("the record");
        let mut header: Value = serde_json::from_str(object["data"]["run.json"].as_str().expect("text")).expect("json");
        header["format"]["version"] = json!(version);
        kube.merge_patch(RECORD, &json!({"data": {"run.json": header.to_string()}})).await.expect("written");
    };
    set_version(4).await;
    stage.control.disarm();
    let error = refusal(finalize(&stage, false).await);
    assert!(error.to_string().contains("rehome.run format 4 was written by a newer rehome"), "{error}");
    assert_eq!(stage.control.names(), Vec::<&str>::new());
    set_version(1).await;
    assert_eq!(finalize(&stage, false).await.outcome().phase, Phase::Finalized);
    finalized(&stage, &plan, "an older record").await;
}
