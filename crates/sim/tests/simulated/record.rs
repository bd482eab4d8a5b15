//! The run record: nothing is done that it does not say would be, and nothing is built on what it does not say.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::{End, Stage, told_before_acted};
use rehome_engine::{Command, EngineError};
use rehome_model::{labels, names};
use rehome_sim::{Call, Gate, Kill, Mishap, Port, Ruling, Scene, SimPorts};

/// An apiserver that takes a run's plan and header, and nothing of its progress.
#[derive(Default)]
struct NoProgress {
    documents: Mutex<u32>,
    /// What was changed beside the run record.
    acts: Mutex<Vec<String>>,
}

impl Gate for NoProgress {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if call.port == Port::Cluster && call.subject.contains("/configmaps") {
            let mut documents = self.documents.lock().expect("whole");
            *documents += u32::from(call.name == "kube create");
            let refused = *documents > 2 && call.mutates;
            return (0, if refused { Ruling::Wrong(Mishap::Status(500, "InternalError")) } else { Ruling::Go });
        }
        if call.mutates {
            self.acts.lock().expect("whole").push(format!("{} {}", call.name, call.subject));
        }
        (0, Ruling::Go)
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_intent_cannot_be_written_does_nothing_however_often_it_is_tried() {
    let mut stage = Stage::new(Scene::new(2, 8));
    let plan = stage.plan().await;
    let gate = Arc::new(NoProgress::default());
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
    // Longer than the tries of one write, and than the step's deadline.
    let end = tokio::time::timeout(std::time::Duration::from_secs(3600), stage.apply(&plan)).await;
    assert!(end.is_ok(), "it gives up");
    assert_eq!(*gate.acts.lock().expect("whole"), Vec::<String>::new());
}

/// An apiserver that never answers the writes of one document of the record, from one of them on.
struct StandsStill {
    document: String,
    from: u32,
    writes: Mutex<u32>,
}

impl Gate for StandsStill {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let writes = call.port == Port::Cluster && call.mutates && call.subject.ends_with(&self.document);
        let mut seen = self.writes.lock().expect("whole");
        *seen += u32::from(writes);
        (0, if writes && *seen >= self.from { Ruling::Never } else { Ruling::Go })
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_built_on_a_result_that_is_not_written() {
    // A result is written with what its successors write; those in another document must wait for it all the same.
    let member = rehome_model::ids::MemberName("refdb-0".to_owned());
    for document in [names::member_record("refdb", &member), format!("{}-cluster", names::record("refdb"))] {
        for from in 1.. {
            let mut stage = Stage::new(Scene::new(2, 9));
            let plan = stage.plan().await;
            let still = StandsStill { document: document.clone(), from, writes: Mutex::default() };
            let calm = std::mem::replace(&mut stage.ports, SimPorts::behind(&stage.world, Arc::new(still)));
            // Longer than all that does not wait for the document takes.
            let end = tokio::time::timeout(std::time::Duration::from_secs(900), stage.apply(&plan)).await;
            stage.ports = calm;
            told_before_acted(&stage, &format!("{document} stands still from write {from} on")).await;
            if end.is_ok() {
                assert!(from > 5, "{document} was written {from} times: not those of a whole run");
                break;
            }
        }
    }
}

/// From the first write of the cluster's document after the first PersistentVolume on: an apiserver that never answers the
/// writes of this document, and refuses the members' for a while.
struct IntentStandsStill {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    released: bool,
    intended: bool,
    refused: u32,
    scaled: bool,
}

impl Gate for IntentStandsStill {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let mut seen = self.seen.lock().expect("whole");
        if call.port != Port::Cluster || !call.mutates {
            return (0, Ruling::Go);
        }
        seen.released |= call.subject.contains("/persistentvolumes");
        seen.scaled |= call.subject.ends_with("/scale");
        let document = call.subject.contains("/configmaps/rehome-run-refdb-");
        let of_cluster = document && call.subject.ends_with("-cluster");
        seen.intended |= seen.released && of_cluster;
        let ruling = match (seen.intended && document, of_cluster) {
            (true, true) => Ruling::Never,
            // As often as one write of each is tried.
            (true, false) if seen.refused < 12 => {
                seen.refused += 1;
                Ruling::Wrong(Mishap::Status(500, "InternalError"))
            }
            _ => Ruling::Go,
        };
        (0, ruling)
    }
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_is_still_being_written_is_not_taken_for_written() {
    // What the step is built on cannot be written at first: its own write must not be given up for that.
    let mut stage = Stage::new(Scene::new(2, 11));
    let plan = stage.plan().await;
    let gate = Arc::new(IntentStandsStill { seen: Mutex::default() });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&gate) as Arc<_>);
    let end = tokio::time::timeout(std::time::Duration::from_secs(1800), stage.apply(&plan)).await;
    let seen = gate.seen.lock().expect("whole");
    assert!(end.is_err() && seen.released && seen.refused == 12, "it came as far as the volumes, and no further");
    assert!(!seen.scaled, "the set was scaled before the record said that it would be");
}

#[tokio::test(start_paused = true)]
async fn a_record_of_which_a_part_has_lost_its_label_is_refused() {
    // Passed over, its steps would be taken for never begun: neither looked for by apply nor taken back by a rollback.
    let member = rehome_model::ids::MemberName("refdb-0".to_owned());
    for name in [names::record("refdb"), names::plan_record("refdb"), names::member_record("refdb", &member)] {
        let stage = Stage::new(Scene::new(2, 12));
        let plan = stage.plan().await;
        stage.control.arm(60, Kill::Before);
        assert!(matches!(stage.apply(&plan).await, End::Killed));
        stage.control.disarm();
        let path = format!("/api/v1/namespaces/refdb/configmaps/{name}");
        let without = serde_json::json!({"metadata": {"labels": {labels::MIGRATION: null}}});
        let kube = rehome_engine::Kube::new(stage.ports.kube());
        kube.merge_patch(&path, &without).await.expect("patched");
        for command in [Command::Apply(Box::new(plan)), Command::RollbackDiscardWrites] {
            let End::Refused(error) = stage.drive(command).await else { panic!("{name} was passed over") };
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("in memory");
    encoder.finish().expect("in memory")
}

/// What a newer build wrote has a hash of its own. One that does not know every field of it goes on with what it reads.
#[tokio::test(start_paused = true)]
async fn a_recorded_plan_is_gone_on_with_also_where_its_hash_is_of_more_than_this_build_knows() {
    let stage = Stage::new(Scene::new(2, 10));
    let plan = stage.plan().await;
    stage.control.arm(12, Kill::Before);
    assert!(matches!(stage.apply(&plan).await, End::Killed));
    let mut newer = serde_json::to_value(&plan).expect("a plan");
    newer["known_to_newer_builds_only"] = serde_json::json!({"a": 1});
    let newer = newer.to_string().into_bytes();
    let hash = blake3::hash(&newer).to_hex().to_string();
    stage.world.change_objects("configmaps", |map| {
        if let Some(header) = map["data"]["run.json"].as_str() {
            map["data"]["run.json"] = header.replace(&plan.hash(), &hash).into();
        }
        if map["binaryData"]["plan.json.gz"].is_string() {
            map["binaryData"]["plan.json.gz"] = STANDARD.encode(packed(&newer)).into();
        }
    });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    stage.control.disarm();
    let (_, recorded) =
        rehome_engine::status(stage.ports.kube(), "refdb", "refdb").await.expect("read").expect("there");
    let mut another = recorded.clone();
    another.account.push('0');
    assert!(matches!(stage.apply(&another).await, End::Refused(EngineError::OtherPlan { .. })));
    assert_eq!(stage.apply(&recorded).await.outcome().phase, rehome_model::record::Phase::Completed);
}

/// `x-cluster` would have the document in which `x` keeps its cluster's steps: it is refused, with the name of the other.
#[tokio::test(start_paused = true)]
async fn a_migration_whose_record_would_be_part_of_anothers_is_refused_and_told_whose() {
    let stage = Stage::new(Scene::new(2, 11));
    let plan = stage.plan().await;
    stage.control.arm(40, Kill::Before);
    assert!(matches!(stage.apply(&plan).await, End::Killed));
    stage.control.disarm();
    let refused =
        rehome_engine::status(stage.ports.kube(), "refdb", "refdb-cluster").await.expect_err("it is another's");
    let said = refused.to_string();
    assert!(
        said.contains("rehome-run-refdb-cluster") && said.contains("of the run record of migration refdb"),
        "{said}"
    );
}
