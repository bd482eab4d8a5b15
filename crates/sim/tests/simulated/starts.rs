//! Pods whose containers do not start, or whose volumes do not attach: those that never will are not waited for, and the others
//! are.

use std::time::Duration;

use crate::gate::{self, Act};
use crate::once::{applied, notes, the_set_is_scaled};
use rehome_ec2_emulator::api::ApiError;
use rehome_ec2_emulator::core::{Effect, Rule};
use rehome_engine::Outcome;
use rehome_model::event::{Event, EventKind};
use rehome_model::labels;
use rehome_model::record::Phase;
use rehome_sim::checks;
use rehome_sim::kubernetes::Ailment;
use rehome_sim::{Call, World};

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

const WRONG_TYPE: &str = "wrong fs type, bad option, bad superblock on /dev/nvme1n1, missing codepage or helper program, or \
                          other error.";

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_never_mounted_brings_the_legacy_side_back_long_before_the_deadline_and_says_why() {
    let (stage, outcome, events) =
        applied(83, the_set_is_scaled, |world| world.ail("refdb-1", Ailment::Unmounted(WRONG_TYPE), FOR_EVER)).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    let failure = outcome.failure.expect("a reason");
    let begins = "pods-run: pod refdb-1: a volume of it is not mounted for ";
    assert!(failure.starts_with(begins) && failure.ends_with(WRONG_TYPE), "{failure}");
    assert!(failure.contains(" s: FailedMount on node node-1: mount: "), "{failure}");
    let taken_s = (stage.world.ec2().now() - outcome.record.header.cutover_at_ms.expect("a cutover")) / 1000;
    assert!(taken_s < 600, "{taken_s} s");
    // Whoever looks on is told meanwhile, and no look is made twice in a quarter of a minute.
    let told = |event: &Event| matches!(&event.kind, EventKind::StepWaiting { reason, .. } if reason.contains("wrong fs type"));
    assert!(events.iter().any(told));
    let looks = stage.world.cluster_calls()["GET events"];
    assert!((15..=taken_s / 15).contains(&looks), "{looks} looks in {taken_s} s");
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_mounted_late_is_waited_for() {
    let cases = [(WRONG_TYPE, 250), (WRONG_TYPE, 340), ("special device /dev/nvme1n1 does not exist.", 1_200)];
    for (output, for_s) in cases {
        let (outcome, _) = ends(Ailment::Unmounted(output), Duration::from_secs(for_s)).await;
        assert_eq!(outcome.phase, Phase::Completed, "{output}: {:?}", outcome.failure);
    }
}

/// The pod's events are kept for an hour: what they told of is over, and its image takes its time.
#[tokio::test(start_paused = true)]
async fn a_volume_that_was_mounted_at_last_is_not_given_up_for_what_was_said_before() {
    for for_s in [100, 200, 260, 300, 340] {
        let (_, outcome, _) = applied(84, the_set_is_scaled, move |world| {
            world.ail("refdb-1", Ailment::Unmounted(WRONG_TYPE), Duration::from_secs(for_s));
            world.ail("refdb-1", Ailment::Waits("ContainerCreating"), Duration::from_secs(900));
        })
        .await;
        assert_eq!(outcome.phase, Phase::Completed, "{for_s} s: {:?}", outcome.failure);
    }
}

#[tokio::test(start_paused = true)]
async fn where_events_may_not_be_listed_pods_are_waited_for_all_the_same() {
    let (_, outcome, events) = applied(85, the_set_is_scaled, |world| {
        world.deny("list events");
        world.ail("refdb-1", Ailment::Unmounted(WRONG_TYPE), Duration::from_secs(400));
    })
    .await;
    assert_eq!(outcome.phase, Phase::Completed, "{:?}", outcome.failure);
    assert_eq!(notes(&events, "what the kubelet says of pods that wait is not seen"), 1);
}

/// The cluster's own calls of EC2 to attach a volume fail for a while from when the set is scaled up: how the run ends, after how
/// many seconds of downtime, and what it told.
async fn ends_unattached(
    effect: Effect,
    for_a_while: Duration,
    denied: Option<&'static str>,
) -> (Outcome, u64, Vec<Event>) {
    let until_ms = u64::try_from(for_a_while.as_millis()).ok();
    let of_driver = |action: &str, effect: Effect| Rule {
        caller: Some("machine".to_owned()),
        until_ms,
        ..Rule::of(action, effect)
    };
    // One and the same statement of a policy allows both.
    let detaches = matches!(effect, Effect::Deny).then(|| of_driver("DetachVolume", effect.clone()));
    let rules: Vec<Rule> = [of_driver("AttachVolume", effect)].into_iter().chain(detaches).collect();
    let act = move |world: &World| {
        world.ec2().with(|inner, now| inner.core.faults.set(now, rules.clone())).expect("valid rules");
        if let Some(what) = denied {
            world.deny(what);
        }
    };
    let (stage, outcome, events) = applied(82, the_set_is_scaled, act).await;
    let from = outcome.record.header.cutover_at_ms.expect("a cutover");
    let taken_s = (stage.world.ec2().now() - from) / 1000;
    // One by the survey; each lists those of the whole cluster.
    let looks = stage.world.cluster_calls()["GET volumeattachments"] - 1;
    assert!(looks <= taken_s / 15, "{looks} looks in {taken_s} s");
    assert_eq!(checks::violations(&stage.world), Vec::<String>::new());
    (outcome, taken_s, events)
}

fn fails(code: &str) -> Effect {
    Effect::Fail(ApiError::new(code, "no, and not later"))
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_never_attaches_brings_the_legacy_side_back_long_before_the_deadline_and_says_why() {
    let denied = (Effect::Deny, "UnauthorizedOperation");
    let codes = ["CustomerKeyHasBeenRevoked", "InvalidVolume.NotFound", "InvalidVolume.ZoneMismatch"];
    for (effect, code) in codes.into_iter().map(|code| (fails(code), code)).chain([denied]) {
        let (outcome, taken_s, events) = ends_unattached(effect, FOR_EVER, None).await;
        assert_eq!(outcome.phase, Phase::RolledBack, "{code}: {:?}", outcome.failure);
        let failure = outcome.failure.expect("a reason");
        assert!(failure.starts_with("pods-run: pod refdb-0: volume "), "{failure}");
        assert!(failure.contains(&format!("does not attach to node node-0 for 120 s: {code}: ")), "{failure}");
        assert!(taken_s < 600, "{code}: {taken_s} s");
        // Whoever looks on is told meanwhile.
        let told =
            |event: &Event| matches!(&event.kind, EventKind::StepWaiting { reason, .. } if reason.contains(code));
        assert!(events.iter().any(told), "{code}");
        // Who may not attach may not detach, and the object stays for somebody to mend.
        let left = notes(&events, "goes when VolumeAttachment csi-");
        assert_eq!(left > 0, code == "UnauthorizedOperation", "{code}: {left}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_never_attaches_for_want_of_its_node_is_given_up_once_its_pod_would_be_elsewhere() {
    let (outcome, taken_s, _) = ends_unattached(fails("InvalidInstanceID.NotFound"), FOR_EVER, None).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(
        outcome
            .failure
            .is_some_and(|why| why.contains("does not attach") && why.contains("InvalidInstanceID.NotFound"))
    );
    assert!((600..1_200).contains(&taken_s), "{taken_s} s");
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_attaches_late_is_waited_for() {
    let cases = [
        (Effect::Deny, 100),
        // The old attachment goes, or the node is about to be shown.
        (fails("VolumeInUse"), 900),
        (fails("IncorrectState"), 900),
        // The node's instance is gone, and the pod is about to be made anew elsewhere.
        (fails("InvalidInstanceID.NotFound"), 400),
    ];
    for (effect, for_s) in cases {
        let (outcome, _, events) = ends_unattached(effect.clone(), Duration::from_secs(for_s), None).await;
        assert_eq!(outcome.phase, Phase::Completed, "{effect:?} for {for_s} s: {:?}", outcome.failure);
        let told = |event: &Event| matches!(&event.kind, EventKind::StepWaiting { reason, .. } if reason.contains("does not attach to node"));
        assert!(events.iter().any(told), "{effect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_see_attachments_waits_as_long_as_a_pod_may_take() {
    let denied = Some("list volumeattachments");
    let (outcome, taken_s, events) = ends_unattached(Effect::Deny, FOR_EVER, denied).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
    assert!(taken_s > 1_800, "{taken_s} s");
    assert_eq!(notes(&events, "whether volumes attach is not seen: "), 1);
}

/// A pod never starts, and volumes take their time to be detached, as those of a lost node do.
fn ail_and_detach_slowly(world: &World) {
    world.ail("refdb-1", Ailment::Waits("InvalidImageName"), FOR_EVER);
    let slow = Rule { caller: Some("machine".to_owned()), ..Rule::of("DetachVolume", Effect::Slow(300_000)) };
    world.ec2().with(|inner, now| inner.core.faults.set(now, vec![slow])).expect("a valid rule");
}

fn an_instance_is_started(call: &Call<'_>, _: &World) -> bool {
    call.name == "StartInstances"
}

fn no_volume_of_the_run_is_attached(world: &World) {
    world.ec2().with(|inner, _| {
        let of_run = inner.core.volumes.iter().filter(|(_, volume)| volume.tags.contains_key(labels::RUN));
        let attached: Vec<_> = of_run.filter(|(_, volume)| !volume.attachments.is_empty()).map(|(id, _)| id).collect();
        assert!(attached.is_empty(), "{attached:?} are attached to a node while a legacy member starts");
    });
}

#[tokio::test(start_paused = true)]
async fn no_legacy_member_starts_while_a_new_volume_is_attached_to_a_node() {
    let acts: [Act; 2] =
        [(gate::the_set_is_scaled, ail_and_detach_slowly), (an_instance_is_started, no_volume_of_the_run_is_attached)];
    let (_, outcome, _) = gate::applied(&acts, None).await;
    assert_eq!(outcome.phase, Phase::RolledBack, "{:?}", outcome.failure);
}
