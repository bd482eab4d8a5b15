//! Letting clients in, pod by pod.

use std::sync::Arc;
use std::time::Duration;

use crate::common::Stage;
use rehome_sim::{Call, Gate, Mishap, Port, Ruling, Scene, SimPorts};

/// One pod answers at once that it cannot be asked, and the others take their time.
struct OneRefuses;

impl Gate for OneRefuses {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        let ruling = match call.subject {
            _ if call.port != Port::Pods || call.name != "open" => Ruling::Go,
            "refdb-1" => Ruling::Wrong(Mishap::NoReply),
            _ => Ruling::Late(Duration::from_secs(5)),
        };
        (0, ruling)
    }
}

/// Nothing is taken back any more: a quorum that serves is better than none.
#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_asked_does_not_keep_the_others_closed() {
    let mut stage = Stage::new(Scene::new(3, 26));
    let plan = stage.plan().await;
    stage.ports = SimPorts::behind(&stage.world, Arc::new(OneRefuses));
    let outcome = stage.apply(&plan).await.outcome();
    assert!(outcome.failure.as_ref().is_some_and(|why| why.contains("refdb-1")), "{:?}", outcome.failure);
    // Clients write through the two.
    assert!(!stage.world.ledger().by_pods.is_empty());
}
