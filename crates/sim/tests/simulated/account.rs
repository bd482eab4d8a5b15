//! Credentials of another account, where all that a run made looks as if it were gone: refused, and nothing is changed.

use std::sync::Arc;

use crate::common::{End, Stage};
use crate::leftovers::{by_file, by_name};
use rehome_engine::{Command, EngineError, GcError};
use rehome_model::plan::Plan;
use rehome_model::record::{FinalizeChoice, Phase};
use rehome_sim::{Call, Gate, Mishap, Port, Ruling, Scene, SimPorts, checks};

/// What is said of them.
const OTHER: &str = "999988887777";

async fn completed(seed: u64) -> (Stage, Plan) {
    let stage = Stage::new(Scene::new(2, seed));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    (stage, plan)
}

/// The next commands are signed with credentials of this account.
fn sign_in(stage: &Stage, account: &str) -> String {
    stage.world.ec2().with(|inner, _| std::mem::replace(&mut inner.core.config.account, account.to_owned()))
}

fn finalize(stage: &Stage) -> Command {
    let at_ms = stage.world.ec2().now();
    Command::Finalize(FinalizeChoice { at_ms, keep_until_ms: at_ms, release_legacy: false })
}

async fn refused(stage: &Stage, command: Command) -> EngineError {
    stage.control.disarm();
    let End::Refused(error) = stage.drive(command).await else { panic!("it was not refused") };
    assert_eq!(stage.control.names(), Vec::<&str>::new(), "{error}");
    error
}

#[tokio::test(start_paused = true)]
async fn no_command_takes_a_run_up_with_credentials_of_another_account() {
    let (stage, _) = completed(31).await;
    let own = sign_in(&stage, OTHER);
    for command in [Command::RollbackDiscardWrites, Command::RollbackKeepWrites, finalize(&stage)] {
        let error = refused(&stage, command).await;
        assert!(matches!(error, EngineError::OtherAccount(_)), "{error}");
        assert!(error.to_string().contains(OTHER) && error.to_string().contains(&own), "{error}");
    }
    assert_eq!(checks::pods_running(&stage.world), 2);
    sign_in(&stage, &own);
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_another_account_is_neither_begun_nor_gone_on_with() {
    let stage = Stage::new(Scene::new(2, 32));
    let plan = stage.plan().await;
    let own = sign_in(&stage, OTHER);
    let apply = || Command::Apply(Box::new(plan.clone()));
    assert!(matches!(refused(&stage, apply()).await, EngineError::OtherAccount(_)));
    sign_in(&stage, &own);
    assert_eq!(stage.drive(Command::Prepare(Box::new(plan.clone()))).await.outcome().phase, Phase::Preparing);
    sign_in(&stage, OTHER);
    assert!(matches!(refused(&stage, apply()).await, EngineError::OtherAccount(_)));
    sign_in(&stage, &own);
    assert_eq!(stage.drive(apply()).await.outcome().phase, Phase::Completed);
    // What is done asks nobody for anything.
    sign_in(&stage, OTHER);
    assert_eq!(stage.drive(apply()).await.outcome().phase, Phase::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_names_no_account_is_carried_out() {
    let stage = Stage::new(Scene::new(2, 33));
    let mut plan = stage.plan().await;
    plan.facts.retain(|fact| fact.path != "cloud/account");
    sign_in(&stage, OTHER);
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
}

#[tokio::test(start_paused = true)]
async fn gc_does_not_take_an_empty_account_for_one_in_which_nothing_is_left() {
    let (stage, _) = completed(34).await;
    sign_in(&stage, OTHER);
    for collector in [by_file(&stage), by_name(&stage)] {
        let error = collector.look().await.expect_err("it was not refused");
        assert!(matches!(error, GcError::Account(_)), "{error}");
    }
}

/// A service that is away: nobody is told who calls, and nothing of instances either if EC2 is away with it.
struct Away {
    ec2: bool,
    code: &'static str,
}

impl Gate for Away {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let away = call.name == "GetCallerIdentity" || self.ec2 && call.port == Port::Cloud;
        (0, if away { Ruling::Wrong(Mishap::Code(self.code)) } else { Ruling::Go })
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_does_not_wait_for_who_calls_where_ec2_shows_the_instances() {
    let (mut stage, _) = completed(35).await;
    stage.ports = SimPorts::behind(&stage.world, Arc::new(Away { ec2: false, code: "Unavailable" }));
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_refused_while_nobody_tells_whose_account_it_is() {
    for code in ["Unavailable", "ExpiredToken"] {
        let (mut stage, _) = completed(36).await;
        stage.ports = SimPorts::behind(&stage.world, Arc::new(Away { ec2: true, code }));
        let error = refused(&stage, Command::RollbackDiscardWrites).await;
        assert!(matches!(error, EngineError::Unseen(_)) && error.to_string().contains(code), "{error}");
        assert_eq!(checks::pods_running(&stage.world), 2);
    }
}
