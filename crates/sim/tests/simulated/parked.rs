//! A slot is closed while its claim is parked, whatever else goes on: quotas, drivers that stand still, lost records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use crate::common::Stage;
use crate::leftovers::{by_name, delete, forget_record, verdict};
use crate::opened::{claim_path, completed};
use rehome_engine::{Command, Kube};
use rehome_lint::lint;
use rehome_model::collection::Verdict;
use rehome_model::labels;
use rehome_model::migration::Slots;
use rehome_model::record::Phase;
use rehome_planner::manifests::{self, Maker};
use rehome_sim::{Call, Gate, Ruling, Scene, SimPorts, World, checks};
use serde_json::json;
use tokio::time::Instant;

/// A quota that is used up by the claims of the slots. It refuses what is there already, and for a moment what has just gone.
#[tokio::test(start_paused = true)]
async fn a_quota_without_room_to_spare_stands_neither_in_the_way_back_nor_in_the_next_apply() {
    let stage = Stage::new(Scene::new(3, 110));
    stage.world.limit_claims(3);
    let plan = stage.plan().await;
    for _ in 0..2 {
        let outcome = stage.apply(&plan).await.outcome();
        assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
        let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
        assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
        assert_eq!(checks::legacy_serving(&stage.world), 3);
        assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_too_small_is_told_at_the_first_claim_that_has_no_room() {
    let stage = Stage::new(Scene::new(3, 110));
    stage.world.limit_claims(2);
    let plan = stage.plan().await;
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack);
    assert!(outcome.failure.is_some_and(|why| why.contains("exceeded quota: claims")));
}

/// The machine of a driver stands still right before it creates a PersistentVolume, which it then does. All else that it sends
/// afterwards is lost.
struct StandsStill {
    pause: Duration,
    until: OnceLock<Instant>,
}

impl StandsStill {
    fn began(&self) -> bool {
        self.until.get().is_some()
    }

    fn lasts(&self) -> bool {
        self.until.get().is_some_and(|until| Instant::now() < *until)
    }
}

impl Gate for StandsStill {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if self.began() {
            return (0, Ruling::Never);
        }
        if call.name != "kube create" || call.subject != "/api/v1/persistentvolumes" {
            return (0, Ruling::Go);
        }
        self.until.get_or_init(|| Instant::now() + self.pause);
        (0, Ruling::Late(self.pause))
    }

    fn after(&self, _: u64, _: &Call<'_>) -> Ruling {
        if self.began() { Ruling::Never } else { Ruling::Go }
    }
}

#[tokio::test(start_paused = true)]
async fn a_persistent_volume_that_arrives_after_its_slot_was_taken_back_lets_nothing_start() {
    let mut landed = 0;
    // While the members come back, and when all is over.
    for pause_s in [22, 24, 27, 30, 34, 40, 60, 600] {
        let stage = Stage::new(Scene::new(3, 111));
        let plan = stage.plan().await;
        let gate = Arc::new(StandsStill { pause: Duration::from_secs(pause_s), until: OnceLock::new() });
        let old = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
        let mut driver = Box::pin(stage.drive_at(&old, Command::Apply(Box::new(plan.clone()))));
        let stands_still =
            std::future::poll_fn(|cx| if gate.lasts() { Poll::Pending } else { driver.as_mut().poll(cx) });
        let others = async {
            while !gate.began() {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            tokio::time::sleep(Duration::from_secs(20)).await;
            let outcome = stage.drive(Command::RollbackDiscardWrites).await.outcome();
            assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
            tokio::time::sleep(Duration::from_secs(600)).await;
        };
        let scales = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if gate.began() {
                    stage.scale(3).await;
                }
                assert_eq!(checks::violations(&stage.world), Vec::<String>::new(), "{pause_s} s");
                let (pods, legacy) = (checks::pods_running(&stage.world), checks::legacy_serving(&stage.world));
                assert!(pods == 0 || legacy == 0, "{pause_s} s: {pods} pods beside {legacy} members");
            }
        };
        tokio::select! {
            _ = stands_still => panic!("it stands still"),
            () = scales => unreachable!("for ever"),
            () = others => {}
        }
        assert_eq!((checks::legacy_serving(&stage.world), checks::pods_running(&stage.world)), (3, 0), "{pause_s} s");
        let kube = Kube::new(stage.ports.kube());
        let late = kube.list("/api/v1/persistentvolumes").await.expect("answered");
        assert!(late.iter().all(|volume| volume["status"]["phase"] == "Released"), "{pause_s} s: {late:?}");
        landed += late.len();
        // The record tells that they are of no use; nothing else does.
        let collector = by_name(&stage);
        let of_run = |run: serde_json::Value| {
            stage
                .world
                .change_objects("persistentvolumes", |volume| volume["metadata"]["labels"][labels::RUN] = run.clone());
        };
        of_run(json!("r-another"));
        let shown = collector.look().await.expect("seen");
        assert_eq!(verdict(&shown, "PersistentVolume"), vec![Verdict::InUse; late.len()], "{pause_s} s: {shown:?}");
        for volume in &late {
            of_run(volume["metadata"]["labels"][labels::RUN].clone());
        }
        let shown = collector.look().await.expect("seen");
        assert_eq!(verdict(&shown, "PersistentVolume"), vec![Verdict::Orphaned; late.len()], "{pause_s} s: {shown:?}");
        delete(&collector, &shown).await;
        assert!(kube.list("/api/v1/persistentvolumes").await.expect("answered").is_empty(), "{pause_s} s");
        for ordinal in 0..3 {
            let claim = kube.get(&claim_path(ordinal)).await.expect("answered").expect("parked");
            assert_eq!(claim["status"]["phase"], "Pending", "{pause_s} s: {claim}");
        }
    }
    // Those that came while their slot was taken back went with it.
    assert!(landed >= 2, "{landed}");
}

/// Right before a PersistentVolume is created, somebody makes its claim anew.
struct AnotherClaim(World, AtomicBool);

impl Gate for AnotherClaim {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let creates = call.name == "kube create" && call.subject == "/api/v1/persistentvolumes";
        if creates && !self.1.swap(true, Ordering::SeqCst) {
            self.0.change_objects("persistentvolumeclaims", |claim| {
                claim["metadata"]["uid"] = json!(format!("{}-anew", claim["metadata"]["uid"].as_str().expect("a uid")));
            });
        }
        (0, Ruling::Go)
    }
}

#[tokio::test(start_paused = true)]
async fn a_persistent_volume_for_a_claim_that_is_gone_is_made_anew_for_the_one_that_is_there() {
    let mut stage = Stage::new(Scene::new(3, 112));
    let plan = stage.plan().await;
    let gate = Arc::new(AnotherClaim(stage.world.clone(), AtomicBool::new(false)));
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
    // The binder has not looked at it yet, when the driver is told that it is there.
    let outcome = stage.apply(&plan).await.outcome();
    assert!(gate.1.load(Ordering::SeqCst));
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
}

/// The record is lost, the cluster is kept, and the members serve again: the slots are still live on the copies.
#[tokio::test(start_paused = true)]
async fn claims_of_ours_that_are_not_parked_any_more_are_in_the_way() {
    let (stage, plan) = completed(Scene::new(2, 12)).await;
    forget_record(&stage).await;
    stage.scale(0).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let survey = stage.survey().await;
    let codes = |survey: &rehome_model::survey::Survey| {
        let found = lint(&stage.migration, survey, stage.profile());
        let of = |code: &str| found.iter().filter(|finding| finding.code.as_str() == code).count();
        (of("RH0401"), of("RH0402"), of("RH0516"))
    };
    assert_eq!(codes(&survey), (2, 2, 0));
    let mut scaled = survey.clone();
    scaled.cluster.sets[0].current_replicas = 1;
    assert_eq!(codes(&scaled), (2, 2, 1));
    let mut parked = scaled.clone();
    parked.cluster.claims.iter_mut().for_each(|claim| "Pending".clone_into(&mut claim.phase));
    assert_eq!(codes(&parked), (0, 2, 0));
    parked.cluster.claims[1].going = true;
    assert_eq!(codes(&parked), (1, 2, 0));
    // A plan from before knows nothing of it.
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, Phase::RolledBack);
    assert!(outcome.failure.is_some_and(|why| why.starts_with("park-claim") && why.contains("is Bound, not parked")));
}

/// The resizer would grow the volume to it as soon as it is bound.
#[tokio::test(start_paused = true)]
async fn a_parked_claim_that_asks_for_more_than_its_volume_has_is_not_released() {
    for (more, phase) in [(0, Phase::Completed), (1, Phase::RolledBack)] {
        let stage = Stage::new(Scene::new(2, 12));
        let plan = stage.plan().await;
        let claim = &plan.members[0].volumes[0].claim;
        let asks = format!("{}Gi", claim.size_gib + more);
        let maker = Maker { migration: &plan.migration, run: &"r-0".into(), step: &"park-claim".into() };
        let mut object = manifests::claim(maker, claim);
        object["spec"]["resources"]["requests"]["storage"] = json!(asks);
        stage.world.add_object("persistentvolumeclaims", "refdb", &claim.name, object);
        let outcome = stage.apply(&plan).await.outcome();
        assert_eq!(outcome.phase, phase, "{asks}: {:?}", outcome.failure);
        let told = outcome.failure.is_some_and(|why| why.contains("asks for more than"));
        assert_eq!(told, phase == Phase::RolledBack, "{asks}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_names_that_are_looked_at_are_those_of_the_ordinals_that_members_land_on() {
    let stage = Stage::new(Scene::new(3, 12));
    let mut survey = stage.survey().await;
    let name = |ordinal| rehome_model::names::claim("data", "refdb", ordinal);
    for ordinal in 0..6 {
        let claim = rehome_model::cluster::ClaimReport { name: name(ordinal), ..Default::default() };
        survey.cluster.claims.push(claim);
    }
    let mut migration = stage.migration.clone();
    let Slots::StatefulSets(sets) = &mut migration.spec.target.slots else { panic!("no sets") };
    sets[0].ordinals = [("refdb-0".to_owned(), 4), ("refdb-1".to_owned(), 0)].into();
    let found = lint(&migration, &survey, stage.profile());
    let taken =
        found.iter().filter(|finding| finding.code.as_str() == "RH0401").map(|finding| finding.subject.as_str());
    let expected = [0, 1, 4].map(|ordinal| format!("claim refdb/{}", name(ordinal)));
    assert_eq!(taken.collect::<Vec<_>>(), expected);
}
