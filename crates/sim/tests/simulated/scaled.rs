//! A set that somebody scales to more pods than members move to it.

use crate::once::{a_member_is_flushed, applied, notes};
use rehome_model::record::Phase;
use rehome_sim::{Call, Port, World, checks};
use serde_json::json;

type When = fn(&Call<'_>) -> bool;

fn scale_to_five(world: &World) {
    world.change_objects("statefulsets", |set| set["spec"]["replicas"] = json!(5));
}

fn a_pod_is_asked(call: &Call<'_>) -> bool {
    call.port == Port::Pods
}

fn its_pods_are_looked_at(call: &Call<'_>) -> bool {
    call.name == "kube get" && call.subject.ends_with("/pods")
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_for_more_pods_than_members_ends_the_run_while_all_members_serve() {
    let (stage, outcome, _) = applied(71, a_member_is_flushed, scale_to_five).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let failure = outcome.failure.expect("a reason");
    let why = "StatefulSet refdb/refdb asks for 5 pods, and 3 members move to it";
    assert!(failure.starts_with("legacy-whole") && failure.contains(why), "{failure}");
    assert!(!outcome.record.steps.keys().any(|id| id.as_str().starts_with("stop-service")));
    assert_eq!(checks::legacy_serving(&stage.world), 3);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_scaled_up_before_the_opening_is_scaled_down_again_and_told_of() {
    // While the pods are waited for, and when they run and are asked.
    let early: When = its_pods_are_looked_at;
    for (before, started) in [(early, false), (a_pod_is_asked, true)] {
        let (stage, outcome, events) = applied(72, before, scale_to_five).await;
        assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
        assert_eq!(notes(&events, "refdb/refdb was scaled up to 5 by somebody since this run scaled it to 3"), 1);
        assert_eq!(stage.world.landed().len(), 3, "a pod of no member runs");
        // In the second case the blank pods have started by then; nothing of the migrated data is on them.
        let found = checks::violations(&stage.world);
        assert_eq!(found.iter().any(|found| found.contains("which holds no member")), started, "{found:?}");
    }
}
