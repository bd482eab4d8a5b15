//! The driver's AWS credentials run out in the middle: nothing is undone with dead ones, and the same command goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{End, Stage};
use rehome_engine::{Command, EngineError, Outcome};
use rehome_model::plan::Plan;
use rehome_model::record::Phase;
use rehome_sim::{Call, Gate, Mishap, Port, Ruling, Scene, SimPorts, checks};

/// What EC2 says of a session that is over.
const CODE: &str = "RequestExpired";
/// Places at which they run out, spread over all calls to the cloud.
const PLACES: usize = 12;

/// Credentials that are good for so many calls.
struct Session {
    good_for: usize,
    calls: AtomicUsize,
}

impl Session {
    fn good_for(good_for: usize) -> Arc<Self> {
        Arc::new(Self { good_for, calls: AtomicUsize::new(0) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Gate for Session {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let over = call.port == Port::Cloud && self.calls.fetch_add(1, Ordering::SeqCst) >= self.good_for;
        (0, if over { Ruling::Wrong(Mishap::Code(CODE)) } else { Ruling::Go })
    }
}

impl Stage {
    /// The next drivers have credentials that are good for so many calls.
    fn sign_in(&mut self, good_for: usize) -> Arc<Session> {
        let session = Session::good_for(good_for);
        self.ports = SimPorts::behind(&self.world, Arc::clone(&session) as Arc<_>);
        session
    }

    async fn told(&self, command: Command) -> Outcome {
        self.drive(command).await.outcome()
    }
}

fn apply(plan: &Plan) -> Command {
    Command::Apply(Box::new(plan.clone()))
}

fn interrupted(outcome: &Outcome, phases: &[Phase], what: &str) {
    let why = outcome.failure.as_deref().unwrap_or_default();
    assert!(outcome.interrupted, "{what}: {:?}: {why}", outcome.phase);
    assert!(phases.contains(&outcome.phase), "{what}: {:?}: {why}", outcome.phase);
    assert!(why.contains("renew them") && why.contains(CODE), "{what}: {why}");
}

/// Credentials that are dead from the beginning change nothing.
async fn refused(stage: &Stage, command: Command, what: &str) {
    let End::Refused(error) = stage.drive(command).await else { panic!("{what}: it was not refused") };
    let why = error.to_string();
    assert!(
        matches!(error, EngineError::Unseen(_)) && why.contains("renew them") && why.contains(CODE),
        "{what}: {why}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_credentials_run_out_is_interrupted_and_goes_on_with_new_ones() {
    let mut stage = Stage::new(Scene::new(2, 21));
    let plan = stage.plan().await;
    let session = stage.sign_in(usize::MAX);
    assert_eq!(stage.told(apply(&plan)).await.phase, Phase::Completed);
    let calls = session.calls();
    for good_for in (0..calls).step_by(calls.div_ceil(PLACES)) {
        let what = format!("after {good_for} of {calls} calls");
        let mut stage = Stage::new(Scene::new(2, 21));
        let plan = stage.plan().await;
        stage.sign_in(good_for);
        if good_for > 0 {
            interrupted(&stage.told(apply(&plan)).await, &[Phase::Preparing, Phase::Cutover], &what);
        }
        // Not yet renewed: it is not even taken up.
        stage.sign_in(0);
        refused(&stage, apply(&plan), &what).await;
        stage.sign_in(usize::MAX);
        let outcome = stage.told(apply(&plan)).await;
        assert_eq!(outcome.phase, Phase::Completed, "{what}: {:?}", outcome.failure);
        assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "{what}");
        assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new(), "{what}");
        assert_eq!(checks::duplicates(&stage.world, 2, 1), Vec::<String>::new(), "{what}");
    }
}

/// An apiserver that does not know who asks: now and then, or from some request on.
struct Authenticator {
    refuses: fn(usize) -> bool,
    requests: AtomicUsize,
}

impl Gate for Authenticator {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if call.port != Port::Cluster {
            return (0, Ruling::Go);
        }
        let refused = (self.refuses)(self.requests.fetch_add(1, Ordering::SeqCst));
        (0, if refused { Ruling::Wrong(Mishap::Status(401, "Unauthorized")) } else { Ruling::Go })
    }
}

async fn authenticated(refuses: fn(usize) -> bool) -> (Stage, Plan, Outcome) {
    let mut stage = Stage::new(Scene::new(2, 23));
    let plan = stage.plan().await;
    let gate = Arc::new(Authenticator { refuses, requests: AtomicUsize::new(0) });
    stage.ports = SimPorts::behind(&stage.world, gate);
    let outcome = stage.told(apply(&plan)).await;
    (stage, plan, outcome)
}

#[tokio::test(start_paused = true)]
async fn an_apiserver_that_refuses_one_request_and_takes_the_next_does_not_end_a_run() {
    // The first requests, before there is a lease, are a command that can be given again.
    let (stage, _, outcome) = authenticated(|request| request > 20 && request.is_multiple_of(9)).await;
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_apiserver_that_takes_the_credentials_no_more_ends_the_driver_and_nothing_is_undone() {
    for from in [40, 80, 120] {
        let (mut stage, plan, outcome) = authenticated(match from {
            40 => |request| request > 40,
            80 => |request| request > 80,
            _ => |request| request > 120,
        })
        .await;
        let why = outcome.failure.clone().unwrap_or_default();
        assert!(outcome.interrupted && why.contains("Unauthorized"), "{from}: {:?}: {why}", outcome.phase);
        stage.sign_in(usize::MAX);
        assert_eq!(stage.told(apply(&plan)).await.phase, Phase::Completed, "{from}");
        assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new(), "{from}");
    }
}

/// A certificate for hosts that is good for so many scripts.
struct Certificate(Arc<Session>);

impl Gate for Certificate {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let over = call.port == Port::Hosts && self.0.calls.fetch_add(1, Ordering::SeqCst) >= self.0.good_for;
        (0, if over { Ruling::Wrong(Mishap::NotLetIn) } else { Ruling::Go })
    }
}

impl Stage {
    fn certify(&mut self, good_for: usize) -> Arc<Session> {
        let session = Session::good_for(good_for);
        self.ports = SimPorts::behind(&self.world, Arc::new(Certificate(Arc::clone(&session))));
        session
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_certificate_for_hosts_runs_out_is_interrupted_and_goes_on_with_a_new_one() {
    let mut stage = Stage::new(Scene::new(2, 24));
    let plan = stage.plan().await;
    let session = stage.certify(usize::MAX);
    assert_eq!(stage.told(apply(&plan)).await.phase, Phase::Completed);
    let scripts = session.calls();
    assert!(scripts > 8, "{scripts}");
    for good_for in 0..scripts {
        let what = format!("after {good_for} of {scripts} scripts");
        let mut stage = Stage::new(Scene::new(2, 24));
        let plan = stage.plan().await;
        stage.certify(good_for);
        let outcome = stage.told(apply(&plan)).await;
        let why = outcome.failure.as_deref().unwrap_or_default();
        assert!(outcome.interrupted && why.contains("renew them"), "{what}: {:?}: {why}", outcome.phase);
        assert!([Phase::Preparing, Phase::Cutover].contains(&outcome.phase), "{what}: {:?}", outcome.phase);
        stage.certify(usize::MAX);
        let outcome = stage.told(apply(&plan)).await;
        assert_eq!(outcome.phase, Phase::Completed, "{what}: {:?}", outcome.failure);
        assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "{what}");
        assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new(), "{what}");
    }
}

/// Hosts that cannot ask who may log in for a few scripts of the cutover.
struct NobodyKnown(std::sync::atomic::AtomicUsize);

impl Gate for NobodyKnown {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let refused = call.name == "stop-service" && self.0.fetch_add(1, Ordering::SeqCst) < 6;
        (0, if refused { Ruling::Wrong(Mishap::NotLetIn) } else { Ruling::Go })
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_lets_nobody_in_for_a_moment_does_not_leave_production_down() {
    let mut stage = Stage::new(Scene::new(2, 25));
    let plan = stage.plan().await;
    stage.ports = SimPorts::behind(&stage.world, Arc::new(NobodyKnown(0.into())));
    let outcome = stage.told(apply(&plan)).await;
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
}

/// Hosts on which nobody may be root any more when their service is to be stopped.
struct NoRoot;

impl Gate for NoRoot {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        (0, if call.name == "stop-service" { Ruling::Wrong(Mishap::NoRoot) } else { Ruling::Go })
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_gives_no_root_ends_a_run_that_goes_forward() {
    let mut stage = Stage::new(Scene::new(2, 25));
    let plan = stage.plan().await;
    stage.ports = SimPorts::behind(&stage.world, Arc::new(NoRoot));
    let outcome = stage.told(apply(&plan)).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(outcome.failure.is_some_and(|why| why.contains("sudo: a password is required")));
    assert_eq!(checks::legacy_serving(&stage.world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_whose_credentials_run_out_is_not_stuck() {
    let mut stage = Stage::new(Scene::new(2, 22));
    let plan = stage.plan().await;
    assert_eq!(stage.told(apply(&plan)).await.phase, Phase::Completed);
    let session = stage.sign_in(usize::MAX);
    assert_eq!(stage.told(Command::RollbackDiscardWrites).await.phase, Phase::RolledBack);
    let calls = session.calls();
    for good_for in (0..calls).step_by(calls.div_ceil(PLACES)) {
        let what = format!("after {good_for} of {calls} calls");
        let mut stage = Stage::new(Scene::new(2, 22));
        let plan = stage.plan().await;
        assert_eq!(stage.told(apply(&plan)).await.phase, Phase::Completed);
        stage.sign_in(good_for);
        if good_for > 0 {
            interrupted(&stage.told(Command::RollbackDiscardWrites).await, &[Phase::Undoing], &what);
        }
        stage.sign_in(0);
        refused(&stage, Command::RollbackDiscardWrites, &what).await;
        stage.sign_in(usize::MAX);
        let outcome = stage.told(Command::RollbackDiscardWrites).await;
        assert_eq!(outcome.phase, Phase::RolledBack, "{what}: {:?}", outcome.failure);
        assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "{what}");
        assert_eq!(checks::legacy_serving(&stage.world), 2, "{what}");
        assert_eq!(checks::duplicates(&stage.world, 0, 0), Vec::<String>::new(), "{what}");
    }
}
