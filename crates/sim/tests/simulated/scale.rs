//! Large clusters, in virtual time: as fast as EC2's limits let it be, and with hardly a call more than needed.

use rehome_sim::bench::{Measured, Stage};

/// An apiserver takes ConfigMaps of 1 MiB (kubernetes `pkg/apis/core/validation`, MaxSecretSize).
const OBJECT_BYTES: usize = 1 << 20;

async fn moved(members: u32, share: u8) -> Measured {
    let stage = Stage::new(members, share).expect("a scene");
    let survey = stage.survey().await.expect("a survey");
    let findings = stage.check(&survey);
    let plan = stage.plan(&survey, findings).expect("a plan");
    stage.apply(&plan).await.expect("a move without a violation")
}

#[tokio::test(start_paused = true)]
async fn a_hundred_members_take_a_tenth_more_than_the_least_time_and_a_fifth_more_than_the_least_calls() {
    let moved = moved(100, 100).await;
    let calls: u64 = moved.ec2.values().sum();
    assert!(moved.makespan_ms >= moved.bound.opened_ms, "faster than can be: the bound is wrong: {moved:?}");
    assert!(moved.makespan_ms * 10 <= moved.bound.opened_ms * 11, "{} of {:?}", moved.makespan_ms, moved.bound);
    assert!(calls >= moved.least_calls, "fewer than can be: {calls} of {}: {:?}", moved.least_calls, moved.ec2);
    assert!(calls * 10 <= moved.least_calls * 12, "{calls} of {}: {:?}", moved.least_calls, moved.ec2);
    assert_eq!(moved.throttled, 0, "whoever keeps to the documented rates is not refused");
    assert!(moved.record.largest_bytes < OBJECT_BYTES, "{:?}", moved.record);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_may_use_half_of_the_rates_takes_longer_where_they_are_what_limits_it() {
    let (all, half) = (moved(40, 100).await, moved(40, 50).await);
    let protecting = |moved: &Measured| moved.spans["protect-instance"].until_ms;
    // 80 changes: 30 beyond the burst at 5 a second, or 55 beyond half the burst at 2.5.
    assert!(protecting(&all) < 9_000, "{}", protecting(&all));
    assert!(protecting(&half) > 21_000, "{}", protecting(&half));
    assert_eq!((all.throttled, half.throttled), (0, 0));
}
