//! One run of one story, from the plan to the checks.

use std::sync::Arc;
use std::time::Duration;

use rehome_ec2_emulator::core::Effect;
use rehome_model::migration::Migration;
use rehome_model::plan::{Action, Plan, Step};
use rehome_model::record::{Phase, RunRecord};

use super::bystanders::Bystanders;
use super::check;
use super::meddle;
use super::person::{Efforts, Over, Person};
use super::planted::Planted;
use super::seat::Tally;
use super::stage::{Stage, Wish};
use super::story::{Course, Story};
use super::trouble::{Stranger, Trouble};
use super::wider;
use crate::kubernetes::Key;
use crate::scene::Scene;
use crate::world::World;

/// How long the world goes on after the last driver, before it is looked at.
const AFTERMATH: Duration = Duration::from_secs(120);
/// The longest that a run with all its persons may take.
const LONGEST: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Between plan and apply: longer than describes may be late.
const THINKING: Duration = Duration::from_secs(20);

/// What came of a story.
#[derive(Clone, Debug)]
pub struct Told {
    /// The story.
    pub story: Story,
    /// How it ended.
    pub over: Over,
    /// What the first person did.
    pub efforts: Efforts,
    /// What is broken.
    pub violations: Vec<String>,
    /// What happened, if it was written down: ms since the beginning, and words.
    pub log: Vec<(u64, String)>,
    /// What the run says it left in place.
    pub left: Vec<String>,
    /// Calls that changed something.
    pub mutations: u64,
    /// Virtual time it took, in ms.
    pub took_ms: u64,
}

/// Runs a story in a runtime of its own, on paused time. A panic anywhere in it is a violation like any other.
pub fn tell(story: &Story, migration: &Arc<Migration>, planted: Option<Planted>, log: bool) -> Told {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        match runtime {
            Ok(runtime) => runtime.block_on(play(story, migration, planted, log)),
            Err(error) => nothing(story, format!("no runtime: {error}")),
        }
    }));
    caught.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        nothing(story, format!("panic: {}", said.unwrap_or_default()))
    })
}

fn nothing(story: &Story, why: String) -> Told {
    Told {
        story: story.clone(),
        over: Over::Refused(why.clone()),
        efforts: Efforts::default(),
        violations: vec![why],
        log: Vec::new(),
        left: Vec::new(),
        mutations: 0,
        took_ms: 0,
    }
}

fn scene(story: &Story) -> Scene {
    let scene = if story.weather.commitlogs { Scene::with_commitlogs } else { Scene::new };
    scene(story.members, story.seed)
}

fn world(story: &Story) -> World {
    let weather = &story.weather;
    let mut scene = scene(story);
    scene.spare_nodes = story.troubles.iter().any(|trouble| matches!(trouble, Trouble::NodeLost { .. }));
    scene.ec2.consistency.lag_ms = weather.lag_ms;
    scene.ec2.timing.snapshot_ms = weather.snapshot_ms;
    scene.ec2.limits.failed_volumes_vanish = weather.failed_volumes_vanish;
    scene.auto_scaling = weather.auto_scaling;
    let world = scene.begin();
    world.with(|state, _| {
        state.cluster.timing.binder_resync_ms = weather.binder_resync_ms;
        state.cluster.timing.pull_ms = weather.pull_ms;
    });
    world
}

async fn play(story: &Story, migration: &Arc<Migration>, planted: Option<Planted>, log: bool) -> Told {
    let world = world(story);
    let bystanders = Bystanders::enter(&world);
    let tally = Tally::new(&world, log);
    let wider = story.weather.commitlogs.then(|| Arc::new(wider::with_commitlogs(migration)));
    let apart_ms = story.weather.clocks_apart_ms;
    let Some(stage) = Stage::new(world, tally, wider.as_ref().unwrap_or(migration), planted, apart_ms) else {
        return nothing(story, "the migration names no known profile".to_owned());
    };
    let Ok(plan) = stage.first_plan().await else {
        return nothing(story, "no plan was made of a healthy world".to_owned());
    };
    for trouble in &story.troubles {
        if let Trouble::BeforeApply { what } = trouble {
            meddle::act(&stage, *what, story.members).await;
        }
    }
    tokio::time::sleep(THINKING).await;
    let began_ms = stage.world.ec2().now();
    stage.tally.begin(&story.troubles);
    weather_ahead(&stage, story, began_ms);

    let meddling = async {
        meddle::strangers(&stage, &story.troubles, story.members).await;
        std::future::pending::<()>().await;
    };
    let (over, efforts) = tokio::select! {
        biased;
        done = everybody(&stage, story, &plan, began_ms) => done,
        () = tokio::time::sleep(LONGEST) => (Over::Endless(format!("not over after {LONGEST:?}")), Efforts::default()),
        () = meddling => unreachable!("it never ends"),
    };
    let over = settle(&stage, story, over, began_ms).await;
    if let (Over::Returned, Ok(Some((record, _)))) = (&over, stage.recorded().await) {
        // Whoever brought it there may not have lived to tell.
        stage.tally.returned(record.header.run);
    }
    let mut violations = check::at_the_end(&stage, story, &over, &bystanders);
    let recorded = stage.recorded().await.ok().flatten();
    violations.extend(stale_plan(&stage, story, recorded.as_ref()));
    let parked = recorded.as_ref().is_some_and(|(_, plan)| parked(&stage, plan));
    if parked {
        violations.extend(clones_after_rollback(&stage, story, &over).await);
    }
    // Before the first act has parked the claims the set is the user's own: what a stranger starts then is blank.
    if !parked && story.troubles.iter().any(Trouble::starts_pods) {
        violations.retain(|violation| !violation.starts_with("I5:"));
    }
    violations.sort();
    violations.dedup();
    for violation in &violations {
        stage.tally.note(|| format!("VIOLATION {violation}"));
    }
    Told {
        story: story.clone(),
        over,
        efforts,
        violations,
        log: stage.tally.log(),
        left: recorded.iter().flat_map(|(record, _)| record.left()).map(str::to_owned).collect(),
        mutations: stage.tally.mutations(),
        took_ms: stage.world.ec2().now() - began_ms,
    }
}

/// What is decided by time and not by calls.
fn weather_ahead(stage: &Stage, story: &Story, began_ms: u64) {
    let window = |at_s: u64, for_s: u64| (began_ms + at_s * 1_000, began_ms + (at_s + for_s) * 1_000);
    for trouble in &story.troubles {
        match trouble {
            Trouble::AgentGone { member, at_s, for_s } => {
                let (from, until) = window(*at_s, *for_s);
                if let Some(id) = meddle::instance(&stage.world, *member) {
                    stage.world.with(|state, _| state.agents_gone.push((id, from, until)));
                }
            }
            Trouble::DiskFull { member, at_s, for_s } => {
                let (from, until) = window(*at_s, *for_s);
                if let Some(id) = meddle::instance(&stage.world, *member) {
                    stage.world.with(|state, _| state.disks_full.push((id, from, until)));
                }
            }
            Trouble::Reboots { member, at_s, for_s } => {
                let (from, until) = window(*at_s, *for_s);
                if let Some(id) = meddle::instance(&stage.world, *member) {
                    stage.world.with(|state, _| state.reboots.push((id, from, until)));
                }
            }
            Trouble::ApiserverAway { at_s, for_s } => {
                stage.world.with(|state, _| state.apiserver_away.push(window(*at_s, *for_s)));
            }
            Trouble::FailsLater { action, nth } => {
                stage.world.ec2().with(|inner, _| inner.core.faults.at(action, *nth, Effect::FailLater));
            }
            Trouble::Slow { action, nth, by_s } => {
                stage.world.ec2().with(|inner, _| inner.core.faults.at(action, *nth, Effect::Slow(by_s * 1_000)));
            }
            _ => {}
        }
    }
}

/// All persons of a story, until all are done. The answer is the first person's.
async fn everybody(stage: &Stage, story: &Story, plan: &Plan, began_ms: u64) -> (Over, Efforts) {
    let others = story.troubles.iter().enumerate().filter_map(|(number, trouble)| match trouble {
        Trouble::SecondApply { at_s } => Some((number, *at_s, Wish::Apply)),
        Trouble::SecondRollback { at_s } => Some((number, *at_s, Wish::RollBack)),
        _ => None,
    });
    let others = others.map(|(number, at_s, wish)| async move {
        tokio::time::sleep(Duration::from_secs(at_s)).await;
        let name = format!("bob{number}");
        let (mut bob, _stop) = Person::new(stage, &name);
        bob.see_to_it(wish, None).await;
    });
    let (first, _) = futures::join!(ann(stage, story, plan, began_ms), futures::future::join_all(others));
    first
}

async fn ann(stage: &Stage, story: &Story, plan: &Plan, began_ms: u64) -> (Over, Efforts) {
    let (mut ann, stopper) = Person::new(stage, "ann");
    let kills = story.troubles.iter().filter_map(|trouble| match trouble {
        Trouble::Killed { at_s } | Trouble::RestoredByHand { at_s } => Some(began_ms + at_s * 1_000),
        _ => None,
    });
    ann.kills = kills.collect();
    ann.kills.sort_unstable();
    let restores = story.troubles.iter().filter_map(|trouble| match trouble {
        Trouble::RestoredByHand { at_s } => Some(began_ms + at_s * 1_000),
        _ => None,
    });
    ann.restores = restores.collect();
    let over = match story.course {
        Course::Apply => ann.see_to_it(Wish::Apply, Some(plan)).await,
        Course::ApplyThenRollBack => {
            let over = ann.see_to_it(Wish::Apply, Some(plan)).await;
            if over == Over::Completed { ann.see_to_it(Wish::RollBack, None).await } else { over }
        }
        Course::RollBackAt(at_s) => {
            let stopping = async {
                tokio::time::sleep(Duration::from_secs(at_s)).await;
                // The run may be over.
                let _ = stopper.send(true);
            };
            futures::join!(ann.see_to_it(Wish::Apply, Some(plan)), stopping);
            let _ = stopper.send(false);
            ann.see_to_it(Wish::RollBack, None).await
        }
        Course::ApplyThenKeep => keep(stage, story, &mut ann, plan).await,
        Course::KeepAt(at_s) => {
            let stopping = async {
                tokio::time::sleep(Duration::from_secs(at_s)).await;
                // The run may be over.
                let _ = stopper.send(true);
            };
            futures::join!(ann.see_to_it(Wish::Apply, Some(plan)), stopping);
            let _ = stopper.send(false);
            let over = ann.see_to_it(Wish::KeepWrites, None).await;
            refused_for_nothing(stage, story, over)
        }
        Course::KeepThenAgain => {
            let over = keep(stage, story, &mut ann, plan).await;
            if over == Over::Returned { ann.see_to_it(Wish::Apply, None).await } else { over }
        }
        Course::Again => {
            let mut over = ann.see_to_it(Wish::Apply, Some(plan)).await;
            if over == Over::Completed {
                over = ann.see_to_it(Wish::RollBack, None).await;
            }
            if matches!(over, Over::RolledBack { .. }) { ann.see_to_it(Wish::Apply, None).await } else { over }
        }
    };
    (over, ann.efforts)
}

async fn keep(stage: &Stage, story: &Story, ann: &mut Person<'_>, plan: &Plan) -> Over {
    match ann.see_to_it(Wish::Apply, Some(plan)).await {
        Over::Completed => refused_for_nothing(stage, story, ann.see_to_it(Wish::KeepWrites, None).await),
        over => over,
    }
}

/// The way back is promised as long as nobody takes something away that it needs.
fn refused_for_nothing(stage: &Stage, story: &Story, over: Over) -> Over {
    if let Over::Refused(why) = &over
        && why.contains("cannot be taken back")
        && !story.is_damaged()
        && !story.troubles.iter().any(Trouble::hides_the_version)
    {
        stage.tally.violate(format!("I8: refused though nothing was taken away: {why}"));
    }
    over
}

/// Lets the dust settle, and has somebody bring to an end what the others left.
async fn settle(stage: &Stage, story: &Story, over: Over, began_ms: u64) -> Over {
    stage.tally.calm();
    // Until the last machine is back.
    let back_s = story.troubles.iter().filter_map(|trouble| match trouble {
        Trouble::Reboots { at_s, for_s, .. } => Some(at_s + for_s),
        _ => None,
    });
    let back_ms = began_ms + back_s.max().unwrap_or(0) * 1_000;
    tokio::time::sleep(Duration::from_millis(back_ms.saturating_sub(stage.world.ec2().now()))).await;
    tokio::time::sleep(AFTERMATH).await;
    let phase = phase(stage).await;
    let over = match (phase, over) {
        (_, over @ (Over::Stuck(_) | Over::Endless(_))) | (None, over) => over,
        (Some(Phase::Completed), _) => Over::Completed,
        (Some(Phase::RolledBack), over) => rolled_back(story, over),
        (Some(Phase::Returned), _) => Over::Returned,
        // Somebody else took the run up after the first person was done, and left it.
        (Some(_), _) => {
            let (mut clara, _stop) = Person::new(stage, "clara");
            match clara.see_to_it(Wish::Apply, None).await {
                over @ Over::RolledBack { .. } => rolled_back(story, over),
                over => over,
            }
        }
    };
    // Whoever deleted the set, or somebody else, installs it again.
    meddle::install(&stage.world, scene(story).set(), 0);
    if over == Over::Completed {
        // Whatever strangers did to the set, its pods can come back.
        meddle::act(stage, Stranger::Scales(story.members), story.members).await;
        tokio::time::sleep(AFTERMATH + slowest(story)).await;
    }
    over
}

/// How much longer what EC2 was told to do may take.
fn slowest(story: &Story) -> Duration {
    let slow_s = story.troubles.iter().filter_map(|trouble| match trouble {
        Trouble::Slow { by_s, .. } => Some(*by_s),
        _ => None,
    });
    Duration::from_secs(slow_s.max().unwrap_or(0))
}

/// Whether anybody asked for the rollback, and so gave up what was written to the new side.
fn rolled_back(story: &Story, over: Over) -> Over {
    let asked = !matches!(story.course, Course::Apply | Course::Again | Course::KeepThenAgain)
        || story.troubles.iter().any(|trouble| matches!(trouble, Trouble::SecondRollback { .. }));
    match over {
        Over::RolledBack { by_user, why } => Over::RolledBack { by_user: by_user || asked, why },
        _ => Over::RolledBack { by_user: asked, why: String::new() },
    }
}

async fn phase(stage: &Stage) -> Option<Phase> {
    const LOOKS: u32 = 200;
    for _ in 0..LOOKS {
        match stage.phase().await {
            Ok(phase) => return phase,
            // The apiserver is away for a while yet.
            Err(_) => tokio::time::sleep(THINKING).await,
        }
    }
    None
}

/// I9: a plan whose facts changed before it was begun is not carried out.
fn stale_plan(stage: &Stage, story: &Story, recorded: Option<&(RunRecord, Plan)>) -> Vec<String> {
    let grown = story.troubles.iter().any(|t| matches!(t, Trouble::BeforeApply { what: Stranger::GrowsVolume(_) }));
    let Some((_, plan)) = recorded else { return Vec::new() };
    if !grown {
        return Vec::new();
    }
    let volumes = plan.members.iter().flat_map(|member| &member.volumes);
    let size = |id| stage.world.ec2().with(|inner, _| inner.core.volumes.get(id).map(|v| v.spec.size_gib));
    volumes
        .filter(|volume| size(&volume.legacy_volume) != Some(volume.spec.size_gib))
        .map(|volume| format!("I9: the plan was carried out though {} has another size now", volume.legacy_volume))
        .collect()
}

/// Whether all claims that the plan parks are there, parked or bound.
fn parked(stage: &Stage, plan: &Plan) -> bool {
    stage.world.with(|state, _| {
        let there = |step: &Step| match &step.action {
            Action::ParkClaim { claim } => {
                let found = state.cluster.get(&Key::new("persistentvolumeclaims", &claim.namespace, &claim.name));
                found.is_some_and(|found| found["spec"]["volumeName"] == claim.volume_name.as_str())
            }
            _ => true,
        };
        plan.steps.iter().all(there)
    })
}

/// I5 after a rollback of a run that had parked all claims: whoever scales the set up starts nothing.
async fn clones_after_rollback(stage: &Stage, story: &Story, over: &Over) -> Vec<String> {
    let untouched = !story.troubles.iter().any(Trouble::opens_the_claims);
    if !(untouched && matches!(over, Over::RolledBack { .. } | Over::Returned)) {
        return Vec::new();
    }
    meddle::act(stage, Stranger::Scales(story.members), story.members).await;
    tokio::time::sleep(AFTERMATH).await;
    let running = crate::checks::pods_running(&stage.world);
    let mut found = crate::checks::violations(&stage.world);
    if running > 0 {
        found.push(format!("I5: {running} pods started after the rollback"));
    }
    found
}
