//! Pods whose containers do not start: those that never will are not waited for, and the others are.

use std::time::Duration;

use crate::once::{applied, the_set_is_scaled};
use rehome_engine::Outcome;
use rehome_model::record::Phase;
use rehome_sim::checks;
use rehome_sim::kubernetes::Ailment;

const FOR_EVER: Duration = Duration::from_hours(24);

/// How a run ends one of whose pods does not start for a while from when its set is scaled up, and the seconds of downtime.
async fn ends(ailment: Ailment, for_a_while: Duration) -> (Outcome, u64) {
    let (stage, outcome, _) =
        applied(81, the_set_is_scaled, move |world| world.ail("refdb-1", ailment, for_a_while)).await;
    let from = outcome.record.header.cutover_at_ms.expect("a cutover");
    let taken_s = (stage.world.ec2().now() - from) / 1000;
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    (outcome, taken_s)
}

#[tokio::test(start_paused = true)]
async fn one_that_never_starts_brings_the_legacy_side_back_long_before_the_deadline_and_says_why() {
    let cases = [
        (Ailment::Waits("InvalidImageName"), "container refdb is waiting: InvalidImageName", 600),
        (Ailment::Waits("CreateContainerConfigError"), "is waiting: CreateContainerConfigError", 600),
        (Ailment::Waits("ImagePullBackOff"), "is waiting: ImagePullBackOff", 900),
        (Ailment::Crashes(0), "ends with exit code 3, Error: no such option: heap", 900),
        // It runs whenever it is looked at first.
        (Ailment::Crashes(8_000), "ends with exit code 3, Error: no such option: heap", 900),
    ];
    for (ailment, why, within_s) in cases {
        let (outcome, taken_s) = ends(ailment, FOR_EVER).await;
        assert_eq!(outcome.phase, Phase::RolledBack, "{ailment:?}: {:?}", outcome.failure);
        let failure = outcome.failure.expect("a reason");
        let step =
            if ailment == Ailment::Crashes(8_000) { "verify-closed: pod refdb-1" } else { "pods-run: pod refdb-1" };
        assert!(failure.starts_with(step) && failure.contains(why), "{ailment:?}: {failure}");
        assert!(taken_s < within_s, "{ailment:?}: {taken_s} s");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_starts_late_is_waited_for() {
    let cases = [
        (Ailment::Waits("CreateContainerConfigError"), 50),
        (Ailment::Waits("ErrImagePull"), 500),
        (Ailment::Waits("ContainerCreating"), 1200),
        // While it waits for something.
        (Ailment::Crashes(1_000), 300),
        (Ailment::Crashes(8_000), 300),
    ];
    for (ailment, for_s) in cases {
        let (outcome, _) = ends(ailment, Duration::from_secs(for_s)).await;
        assert_eq!(outcome.phase, Phase::Completed, "{ailment:?} for {for_s} s: {:?}", outcome.failure);
    }
}
