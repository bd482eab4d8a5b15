//! Members of Auto Scaling groups: who is put into Standby, who is left where the user has put them.

use crate::common::Stage;
use rehome_ec2_emulator::core::AutoScalingGroup;
use rehome_lint::lint;
use rehome_model::finding::Finding;
use rehome_model::ids::InstanceId;
use rehome_model::record::Phase;
use rehome_sim::Scene;

fn stage() -> Stage {
    let mut scene = Scene::new(3, 11);
    scene.auto_scaling = true;
    Stage::new(scene)
}

fn with_group<T>(stage: &Stage, act: impl FnOnce(&mut AutoScalingGroup) -> T) -> T {
    stage.world.ec2().with(|inner, _| act(inner.core.groups.get_mut("refdb").expect("the members are in it")))
}

fn calls(stage: &Stage, action: &str) -> u64 {
    stage.world.ec2().with(|inner, _| inner.core.calls.get(action).copied().unwrap_or(0))
}

async fn found(stage: &Stage, code: &str) -> Vec<Finding> {
    let survey = stage.survey().await;
    let found = lint(&stage.migration, &survey, stage.profile());
    found.into_iter().filter(|finding| finding.code.as_str() == code).collect()
}

/// One member is in Standby because the user put it there.
fn keep_one_in_standby(stage: &Stage) -> InstanceId {
    with_group(stage, |group| {
        let (id, state) = group.members.iter_mut().next().expect("a member");
        "Standby".clone_into(state);
        id.clone()
    })
}

#[tokio::test(start_paused = true)]
async fn a_group_that_may_not_shrink_is_told_with_the_command_that_lets_it() {
    let stage = stage();
    with_group(&stage, |group| group.min_size = 1);
    let told = found(&stage, "RH0113").await;
    assert_eq!(told.len(), 1, "{told:#?}");
    let command =
        "aws autoscaling update-auto-scaling-group --region us-east-1 --auto-scaling-group-name 'refdb' --min-size 0";
    assert!(told[0].evidence.iter().any(|line| line == command), "{told:#?}");
    with_group(&stage, |group| group.min_size = 0);
    assert!(found(&stage, "RH0113").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn members_that_are_in_standby_already_take_nothing_from_the_group() {
    let stage = stage();
    with_group(&stage, |group| group.members.values_mut().for_each(|state| *state = "Standby".to_owned()));
    with_group(&stage, |group| group.min_size = 1);
    assert!(found(&stage, "RH0113").await.is_empty());
    assert!(found(&stage, "RH0114").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rollback_leaves_a_member_in_standby_that_the_user_keeps_there() {
    let stage = stage();
    let kept = keep_one_in_standby(&stage);
    let plan = stage.plan().await;
    stage.world.let_service_hang(0);
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::RolledBack);
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    for (id, state) in with_group(&stage, |group| group.members.clone()) {
        assert_eq!(state, if id == kept { "Standby" } else { "InService" }, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_processes_are_suspended_is_left_as_it_is() {
    let stage = stage();
    with_group(&stage, |group| {
        group.min_size = 3;
        group.suspended.extend(["Terminate".to_owned(), "ReplaceUnhealthy".to_owned()]);
    });
    assert!(found(&stage, "RH0113").await.is_empty());
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(calls(&stage, "EnterStandby"), 0);
}

#[tokio::test(start_paused = true)]
async fn one_process_that_is_suspended_is_not_enough_and_both_are_a_fact_of_the_plan() {
    let stage = stage();
    with_group(&stage, |group| group.suspended.insert("ReplaceUnhealthy".to_owned()));
    let plan = stage.plan().await;
    assert!(plan.facts.iter().all(|fact| fact.path != "auto-scaling-group/refdb"));
    with_group(&stage, |group| group.suspended.insert("Terminate".to_owned()));
    let plan = stage.plan().await;
    with_group(&stage, |group| group.suspended.remove("Terminate"));
    let differences = rehome_planner::differences(&plan, &stage.survey().await, &std::collections::BTreeSet::new());
    let paths: Vec<&str> = differences.iter().map(|difference| difference.fact.path.as_str()).collect();
    assert_eq!(paths, ["auto-scaling-group/refdb"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_over_several_zones_may_not_rebalance_while_members_leave_it() {
    let stage = stage();
    let plan = stage.plan().await;
    assert!(found(&stage, "RH0121").await.is_empty());
    with_group(&stage, |group| group.suspended.remove("AZRebalance"));
    let told = found(&stage, "RH0121").await;
    assert_eq!(told.len(), 1, "{told:#?}");
    let command = "aws autoscaling suspend-processes --region us-east-1 --auto-scaling-group-name 'refdb' \
                   --scaling-processes AZRebalance";
    assert!(told[0].evidence.iter().any(|line| line == command), "{told:#?}");
    // Resumed after the plan was made.
    let differences = rehome_planner::differences(&plan, &stage.survey().await, &std::collections::BTreeSet::new());
    let paths: Vec<&str> = differences.iter().map(|difference| difference.fact.path.as_str()).collect();
    assert_eq!(paths, ["auto-scaling-group/refdb/rebalancing"]);
    // It launches before it terminates.
    with_group(&stage, |group| group.suspended.insert("Launch".to_owned()));
    assert!(found(&stage, "RH0121").await.is_empty());
    with_group(&stage, |group| {
        group.suspended.clear();
        group.members.values_mut().for_each(|state| *state = "Standby".to_owned());
    });
    assert!(found(&stage, "RH0121").await.is_empty(), "nobody leaves it");
    let stage = self::stage();
    with_group(&stage, |group| group.suspended.clear());
    stage.world.ec2().with(|inner, _| inner.core.config.zones.truncate(1));
    assert!(found(&stage, "RH0121").await.is_empty(), "it has one zone");
}

#[tokio::test(start_paused = true)]
async fn a_group_behind_a_load_balancer_is_told_unless_nobody_leaves_it() {
    let stage = stage();
    assert!(found(&stage, "RH0117").await.is_empty());
    with_group(&stage, |group| {
        group.target_group_arns.push("arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/db/1".to_owned());
        group.load_balancer_names.push("classic".to_owned());
    });
    let told = found(&stage, "RH0117").await;
    assert_eq!(told.len(), 1, "{told:#?}");
    for seen in ["targetgroup/db/1", "classic", "refdb-0, refdb-1, refdb-2", "suspend-processes --region us-east-1"] {
        assert!(told[0].evidence.iter().any(|line| line.contains(seen)), "{seen}: {told:#?}");
    }
    // What the text says to do is enough.
    let suspended = ["Terminate", "ReplaceUnhealthy", "AZRebalance"];
    with_group(&stage, |group| group.suspended.extend(suspended.map(str::to_owned)));
    assert!(found(&stage, "RH0117").await.is_empty());
    with_group(&stage, |group| {
        group.suspended.clear();
        group.members.values_mut().for_each(|state| *state = "Standby".to_owned());
    });
    assert!(found(&stage, "RH0117").await.is_empty());
}
