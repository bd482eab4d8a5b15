//! Members of Auto Scaling groups: who is put into Standby, who is left where the user has put them.

use crate::common::Stage;
use crate::gate::{a_member_is_flushed, applied_in};
use rehome_ec2_emulator::core::{AutoScalingGroup, Effect, Rule};
use rehome_lint::lint;
use rehome_model::cloud::{AutoScalingGroup as Group, InstanceState};
use rehome_model::finding::Finding;
use rehome_model::ids::{InstanceId, StepId};
use rehome_model::record::Phase;
use rehome_model::survey::Survey;
use rehome_sim::{Call, Scene, World, checks};

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
        group.suspended.extend(Group::LEFT_ALONE.map(str::to_owned));
    });
    assert!(found(&stage, "RH0113").await.is_empty());
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    assert_eq!(calls(&stage, "EnterStandby"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_resumed_after_a_rollback_finds_nobody_to_replace_and_takes_no_volume() {
    let stage = stage();
    with_group(&stage, |group| group.suspended.extend(Group::LEFT_ALONE.map(str::to_owned)));
    let plan = stage.plan().await;
    let denied = Rule::of("CreateVolume", Effect::Deny);
    stage.world.ec2().with(|inner, now| inner.core.faults.set(now, vec![denied])).expect("a valid rule");
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::RolledBack);
    assert_eq!(calls(&stage, "StopInstances"), 3, "they were down");
    with_group(&stage, |group| group.suspended.clear());
    tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    stage.world.ec2().with(|inner, _| {
        for member in &plan.members {
            let found = &inner.core.instances[&member.instance];
            assert_eq!(found.state, InstanceState::Running);
            // Whatever else a group is told, it would be the only one.
            let of = |device: &&rehome_model::cloud::InstanceBlockDevice| {
                member.volumes.iter().any(|volume| volume.legacy_volume == device.volume)
            };
            assert!(found.block_devices.iter().filter(of).all(|device| !device.delete_on_termination), "{found:?}");
        }
    });
}

/// Somebody finds members in Standby, and puts them back into service.
fn exit_standby(world: &World) {
    world.ec2().with(|inner, _| {
        let group = inner.core.groups.get_mut("refdb").expect("the members are in it");
        group.members.values_mut().for_each(|state| "InService".clone_into(state));
    });
}

fn resume(world: &World) {
    world.ec2().with(|inner, _| inner.core.groups.get_mut("refdb").expect("it is there").suspended.clear());
}

#[tokio::test(start_paused = true)]
async fn members_that_came_out_of_standby_meanwhile_are_put_there_again_before_one_stops() {
    let (stage, outcome, _) = applied_in(stage(), &[(a_member_is_flushed, exit_standby)], None).await;
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    let members = with_group(&stage, |group| group.members.clone());
    let states =
        stage.world.ec2().with(|inner, _| members.keys().map(|id| inner.core.instances[id].state).collect::<Vec<_>>());
    assert_eq!(states, [InstanceState::Stopped; 3]);
}

fn a_service_is_stopped(call: &Call<'_>, _: &World) -> bool {
    call.name == "stop-service"
}

#[tokio::test(start_paused = true)]
async fn members_that_come_out_of_standby_in_the_downtime_are_put_there_again_before_they_stop() {
    let (stage, outcome, _) = applied_in(stage(), &[(a_service_is_stopped, exit_standby)], None).await;
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    tokio::time::sleep(std::time::Duration::from_hours(1)).await;
    for id in with_group(&stage, |group| group.members.clone()).keys() {
        let state = stage.world.ec2().with(|inner, _| inner.core.instances[id].state);
        assert_eq!(state, InstanceState::Stopped, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_came_out_of_a_standby_of_the_users_own_ends_the_run_while_all_members_serve() {
    let stage = stage();
    with_group(&stage, |group| group.members.values_mut().for_each(|state| *state = "Standby".to_owned()));
    let (stage, outcome, _) = applied_in(stage, &[(a_member_is_flushed, exit_standby)], None).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(outcome.failure.is_some_and(|why| why.starts_with("legacy-whole") && why.contains("would terminate i-")));
    assert_eq!(checks::legacy_serving(&stage.world), 3);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_resumed_meanwhile_ends_the_run_while_all_members_serve() {
    let stage = stage();
    with_group(&stage, |group| group.suspended.extend(Group::LEFT_ALONE.map(str::to_owned)));
    let (stage, outcome, _) = applied_in(stage, &[(a_member_is_flushed, resume)], None).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let failure = outcome.failure.expect("a reason");
    let command =
        "suspend-processes --region us-east-1 --auto-scaling-group-name 'refdb' --scaling-processes Terminate";
    assert!(failure.starts_with("legacy-whole") && failure.contains(command), "{failure}");
    assert!(!outcome.record.steps.keys().any(|id| id.as_str().starts_with("stop-service")));
    assert_eq!(checks::legacy_serving(&stage.world), 3);
}

#[tokio::test(start_paused = true)]
async fn some_processes_that_are_suspended_are_not_enough_and_all_three_are_a_fact_of_the_plan() {
    let stage = stage();
    for some in [["Terminate", "ReplaceUnhealthy"], ["Terminate", "HealthCheck"], ["ReplaceUnhealthy", "HealthCheck"]] {
        with_group(&stage, |group| group.suspended = some.map(str::to_owned).into());
        let plan = stage.plan().await;
        assert!(plan.facts.iter().all(|fact| fact.path != "auto-scaling-group/refdb"), "{some:?}");
    }
    with_group(&stage, |group| group.suspended.extend(Group::LEFT_ALONE.map(str::to_owned)));
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
    let suspended =
        told[0].evidence.iter().find_map(|line| line.split_once("--scaling-processes ")).expect("a command").1;
    with_group(&stage, |group| group.suspended.extend(suspended.split(' ').map(str::to_owned)));
    assert!(found(&stage, "RH0117").await.is_empty());
    with_group(&stage, |group| {
        group.suspended.clear();
        group.members.values_mut().for_each(|state| *state = "Standby".to_owned());
    });
    assert!(found(&stage, "RH0117").await.is_empty());
}

/// What a plan of a group whose processes are suspended says otherwise than a survey that was changed so.
async fn otherwise(begun: &[&str], change: fn(&mut Survey)) -> Vec<String> {
    let stage = stage();
    with_group(&stage, |group| group.suspended.extend(Group::LEFT_ALONE.map(str::to_owned)));
    let plan = stage.plan().await;
    let mut survey = stage.survey().await;
    change(&mut survey);
    let begun = begun.iter().map(|id| StepId::from(*id)).collect();
    rehome_planner::differences(&plan, &survey, &begun).into_iter().map(|found| found.fact.path).collect()
}

/// As EC2 shows a terminated instance for an hour, without its volumes.
fn terminate(survey: &mut Survey, member: usize) {
    let instance = &mut survey.members[member].instance;
    instance.state = InstanceState::Terminated;
    let id = instance.id.clone();
    survey.volumes.retain(|_, volume| volume.attachments.iter().all(|attached| attached.instance != id));
}

#[tokio::test(start_paused = true)]
async fn what_went_with_an_instance_that_was_to_be_stopped_is_no_difference_and_all_else_is() {
    const STOPS: [&str; 1] = ["stop-instance:refdb-0"];
    const VOLUMES: [&str; 2] = ["member/refdb-0/volume/data", "member/refdb-1/volume/data"];
    const GROUP: [&str; 2] = ["auto-scaling-group/refdb", "auto-scaling-group/refdb/rebalancing"];
    assert_eq!(otherwise(&STOPS, |survey| terminate(survey, 0)).await, Vec::<String>::new());
    assert_eq!(otherwise(&STOPS, |survey| drop(survey.members.remove(0))).await, Vec::<String>::new());
    // Before it was to be stopped nobody may terminate it.
    assert!(otherwise(&[], |survey| terminate(survey, 0)).await.contains(&VOLUMES[0].to_owned()));
    // It is there, and its volume is not.
    assert_eq!(
        otherwise(&STOPS, |survey| survey
            .volumes
            .retain(|_, v| v.attachments[0].instance != survey.members[0].instance.id))
        .await,
        VOLUMES[..1]
    );
    // Of the others nothing may have changed.
    assert!(otherwise(&STOPS, |survey| terminate(survey, 1)).await.contains(&VOLUMES[1].to_owned()));
    let both = |survey: &mut Survey| {
        terminate(survey, 0);
        let other = survey.members[1].instance.id.clone();
        let of_other = survey.volumes.values_mut().filter(|volume| volume.attachments[0].instance == other);
        of_other.for_each(|volume| volume.spec.size_gib += 1);
    };
    assert_eq!(otherwise(&STOPS, both).await, VOLUMES[1..]);
    // A group whose last member is gone is described no more; one that is described must be as planned.
    let without_group = |survey: &mut Survey| {
        terminate(survey, 0);
        survey.auto_scaling_groups.clear();
    };
    assert_eq!(otherwise(&STOPS, without_group).await, Vec::<String>::new());
    assert_eq!(otherwise(&STOPS, |survey| survey.auto_scaling_groups.clear()).await, GROUP);
    let resumed = |survey: &mut Survey| {
        terminate(survey, 0);
        survey.auto_scaling_groups[0].suspended.clear();
    };
    assert_eq!(otherwise(&STOPS, resumed).await, GROUP);
}
