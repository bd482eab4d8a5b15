//! `rehome apply`: which plan is carried out, and whether what it relies on still holds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use rehome_engine::{Command, EngineError, Ports, Shown};
use rehome_model::ids::StepId;
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
use rehome_model::record::{Phase, RunRecord};
use rehome_profiles::Profile;

use super::drive::{drive, refuse_finalized};
use super::{confirm, look};
use crate::args::{Apply, Format, Until};
use crate::exit::{Exit, problem};
use crate::output::eshow;
use crate::{connect, input, output};

/// `rehome apply`.
pub async fn apply(args: &Apply) -> Result<Exit> {
    confirm::refuse_unseen(args.output, args.yes, "--yes, with a plan that was reviewed by --plan")?;
    let migration = input::migration(&args.file)?;
    let given = args.plan.as_deref().map(input::read_plan).transpose()?;
    if let Some(plan) = &given {
        input::same_migration(plan, &migration)?;
    }
    let profile = input::profile(&migration.spec.application.profile)?;
    let ports = connect::ports(&migration).await?;
    let chosen = plan_to_apply(&ports, &migration, profile, given).await?;
    if chosen.completed {
        // There is nothing to show or to ask: the engine says that it is done.
        let command = Command::Apply(Box::new(chosen.plan));
        return drive(&ports, &migration, profile, command, chosen.recorded, args.output).await;
    }
    let plan = &chosen.plan;
    if args.output == Format::Text {
        // A warning that nobody sees before the answer is none. Of a run that goes on they were seen.
        if chosen.recorded.is_none() {
            eshow!("{}\n", output::findings(&plan.findings));
        }
        eshow!("{}", output::plan(plan));
    }
    let asked = Instant::now();
    let what = match args.until {
        Some(Until::Cutover) => "carry out this plan up to its cutover",
        None => "carry out this plan",
    };
    confirm::by_name(args.yes, &migration.metadata.name, what)?;
    if asked.elapsed() > LOOK_GOOD_FOR {
        compare(&ports, &migration, profile, &chosen).await?;
    }
    let plan = Box::new(chosen.plan);
    let command = if args.until.is_some() { Command::Prepare(plan) } else { Command::Apply(plan) };
    drive(&ports, &migration, profile, command, chosen.recorded, args.output).await
}

/// How long the look at a plan's facts counts: a question may stay on a screen over a weekend. Shorter, everybody who reads
/// the plan before the answer would wait for a second look.
const LOOK_GOOD_FOR: Duration = Duration::from_secs(5 * 60);

/// A plan that may be carried out, by the last look at its facts.
struct Chosen {
    plan: Plan,
    /// Steps that a recorded run has begun: what they changed is expected.
    begun: BTreeSet<StepId>,
    /// The run of it that is recorded.
    recorded: Option<Shown>,
    /// Whether that run is completed: it relies on nothing any more.
    completed: bool,
    /// Whether that run has begun to take members out of service: it goes on with them, whatever selects them.
    cut_over: bool,
}

impl Chosen {
    /// A plan of which nothing is recorded.
    fn new(plan: Plan) -> Self {
        Self { plan, begun: BTreeSet::new(), recorded: None, completed: false, cut_over: false }
    }
}

/// The plan of the run that is under way, else the given one if its facts still hold, else a new one.
async fn plan_to_apply(
    ports: &Ports,
    migration: &Migration,
    profile: &dyn Profile,
    given: Option<Plan>,
) -> Result<Chosen> {
    let recorded = look::recorded(&ports.kube, &migration.spec.target.namespace, &migration.metadata.name).await?;
    if let Some((record, _)) = &recorded {
        refuse_finalized(record)?;
        refuse_undone(record)?;
    }
    // A run that goes on does so with what it was planned with; one that was taken back leaves its plan behind, and the file may
    // have been mended since.
    match &recorded {
        Some((record, plan)) if !record.header.phase.is_back() => input::same_as_recorded(plan, migration)?,
        _ => input::check_settings(migration)?,
    }
    let chosen = match (recorded, given) {
        (Some((record, plan)), given) if !record.header.phase.is_back() => {
            let completed = record.header.phase == Phase::Completed;
            // As the engine has it: what another build wrote may have another hash, and read the same.
            if given.is_some_and(|given| given.hash() != record.header.plan_hash && given != plan) {
                let (stands, hint) = if completed {
                    ("completed", "see `rehome status`; roll it back before you apply another")
                } else {
                    ("under way", "go on without --plan, or roll it back first")
                };
                let message = format!("run {} of another plan is {stands}", record.header.run);
                return Err(problem(Exit::Usage, message, &format!("{hint}. Nothing was changed")));
            }
            let recorded = Some(Shown::of(&plan, &record));
            let cut_over = record.header.phase != Phase::Preparing;
            Chosen { plan, begun: record.steps.into_keys().collect(), recorded, completed, cut_over }
        }
        (_, Some(plan)) => Chosen::new(plan),
        (_, None) => {
            let plan = look::make_plan(ports, migration, profile, look::now_ms()).await?.2;
            return Ok(Chosen::new(plan));
        }
    };
    if chosen.completed {
        return Ok(chosen);
    }
    compare(ports, migration, profile, &chosen).await?;
    Ok(chosen)
}

/// Refuses a plan whose facts do not hold any more.
async fn compare(ports: &Ports, migration: &Migration, profile: &dyn Profile, chosen: &Chosen) -> Result<()> {
    // From its cutover on a run goes on with its own members. Before that they must be those whom the file and the tags name.
    let carried_out = chosen.cut_over.then_some(&chosen.plan);
    let survey = look::facts(ports, migration, profile, carried_out, look::now_ms()).await?;
    let differences = rehome_planner::differences(&chosen.plan, &survey, &chosen.begun);
    let unplanned = rehome_planner::unplanned(&chosen.plan, &survey);
    if differences.is_empty() && unplanned.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = differences
        .iter()
        .map(|d| {
            let now = d.now.as_deref().unwrap_or("(not seen)");
            format!("  {}: planned {:?}, now {now:?} ({})", d.fact.path, d.fact.value, d.fact.why)
        })
        .collect();
    lines.extend(
        unplanned.iter().map(|instance| {
            format!("  {instance}: spec.source.members selects it too, and the plan has no such member")
        }),
    );
    // Why something is not seen may be all that there is to mend.
    lines.extend(survey.members.iter().filter_map(|member| {
        let of_view = || member.host.as_ref()?.view_error.as_ref();
        let why = member.host_error.as_ref().or_else(of_view)?;
        let of_it = |path: &str| path.starts_with(&format!("member/{}/", member.name));
        let missed = differences.iter().any(|d| d.now.is_none() && of_it(&d.fact.path));
        missed.then(|| format!("  {} could not be looked at: {why}", member.name))
    }));
    let unasked = unplanned.is_empty() && differences.iter().all(|difference| difference.unasked.is_some());
    let (exit, what) = if unasked {
        (Exit::Unreachable, "what the plan relies on cannot be seen now")
    } else {
        (Exit::Findings, "the plan relied on facts that have changed")
    };
    let message = format!("{what}:\n{}", lines.join("\n"));
    // A run that is recorded keeps its plan, even if none of its steps was begun: planning again would not help.
    let hint = match (unasked, chosen.recorded.is_some()) {
        (true, _) => "apply again once the hosts answer",
        (false, true) => "put them back and apply again, or roll back",
        (false, false) => "plan again",
    };
    Err(problem(exit, message, &format!("{hint}. Nothing was changed by this command")))
}

/// A run that is being taken back is not carried out first. The engine refuses it too.
fn refuse_undone(record: &RunRecord) -> Result<()> {
    if !matches!(record.header.phase, Phase::Undoing | Phase::Stuck) {
        return Ok(());
    }
    let refused = EngineError::BeingUndone { run: record.header.run.clone() };
    Err(problem(
        Exit::Usage,
        refused.to_string(),
        "`rehome rollback --discard-writes` goes on with it; see `rehome status`. Nothing was changed",
    ))
}

#[cfg(test)]
mod tests {
    use rehome_engine::{Clock, Driver, Outcome};
    use rehome_model::cloud::{InstanceState, Tags};
    use rehome_model::event::EventKind;
    use rehome_model::ids::InstanceId;
    use tokio::sync::{mpsc, watch};

    use super::super::drive::holder;
    use super::super::staged::{Staged, staged};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_changed_while_the_question_was_open_is_found_by_the_second_look() {
        let Staged { world, ports, migration, profile, plan } = staged(2).await;
        let legacy = plan.members[0].volumes[0].legacy_volume.clone();
        let chosen = Chosen::new(plan);
        compare(&ports, &migration, profile, &chosen).await.unwrap();
        world.ec2().with(|inner, _| inner.core.volumes.get_mut(&legacy).unwrap().spec.size_gib += 1);
        let error = compare(&ports, &migration, profile, &chosen).await.unwrap_err();
        assert_eq!(crate::exit::of(&error), Exit::Findings, "{error}");
        assert!(error.to_string().contains("plan again"), "{error}");
    }

    /// Applies until a step has ended, and lets go of the run, as after Ctrl-C.
    async fn applied_until(staged: &Staged, wanted: Option<&str>) -> Outcome {
        let (sender, mut events) = mpsc::unbounded_channel();
        let (stopper, stop) = watch::channel(false);
        let clock = Clock::starting_at(staged.world.ec2().now());
        let driver = Driver { ports: staged.ports.clone(), clock, holder: holder(), events: sender, stop, shown: None };
        let (namespace, name) = (&staged.migration.spec.target.namespace, &staged.migration.metadata.name);
        let command = Command::Apply(Box::new(staged.plan.clone()));
        let driven = async {
            let outcome = driver.drive(namespace, name, staged.profile, command).await;
            drop(driver);
            outcome.unwrap()
        };
        let watched = async {
            while let Some(event) = events.recv().await {
                let ended = matches!(&event.kind, EventKind::StepEnded { step, .. } if Some(step.as_str()) == wanted);
                if ended {
                    stopper.send(true).unwrap();
                }
            }
        };
        tokio::join!(driven, watched).0
    }

    fn terminate(staged: &Staged, id: &InstanceId, forgotten: bool) {
        staged.world.ec2().with(|inner, _| {
            let instance = inner.core.instances.get_mut(id).unwrap();
            instance.state = InstanceState::Terminated;
            instance.block_devices.clear();
            if forgotten {
                inner.core.instances.remove(id);
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_whose_legacy_instance_is_terminated_after_its_capture_goes_on() {
        let staged = staged(2).await;
        let member = staged.plan.members[0].clone();
        let outcome = applied_until(&staged, Some(&format!("stop-instance:{}", member.name))).await;
        assert!(outcome.interrupted, "{:?}", outcome.failure);
        // What EC2 shows of it for an hour, and then.
        for forgotten in [false, true] {
            terminate(&staged, &member.instance, forgotten);
            let chosen = plan_to_apply(&staged.ports, &staged.migration, staged.profile, None).await.unwrap();
            assert!(chosen.recorded.is_some() && !chosen.completed);
        }
        // What another member stands on is still compared.
        let other = staged.plan.members[1].volumes[0].legacy_volume.clone();
        staged.world.ec2().with(|inner, _| inner.core.volumes.get_mut(&other).unwrap().spec.size_gib += 1);
        let refused = plan_to_apply(&staged.ports, &staged.migration, staged.profile, None).await;
        assert!(refused.err().unwrap().to_string().contains("facts that have changed"));
        staged.world.ec2().with(|inner, _| inner.core.volumes.get_mut(&other).unwrap().spec.size_gib -= 1);
        assert_eq!(applied_until(&staged, None).await.phase, Phase::Completed);
    }

    /// The migration's selector finds none of them then. The run is the only way on which the cluster serves again.
    #[tokio::test(start_paused = true)]
    async fn a_run_goes_on_whose_legacy_instances_are_all_gone_or_are_found_by_no_tag() {
        for forgotten in [None, Some(false), Some(true)] {
            let staged = staged(2).await;
            let outcome = applied_until(&staged, Some("legacy-fenced")).await;
            assert!(outcome.interrupted, "{:?}", outcome.failure);
            for member in &staged.plan.members {
                match forgotten {
                    Some(forgotten) => terminate(&staged, &member.instance, forgotten),
                    None => staged.world.ec2().with(|inner, _| {
                        inner.core.instances.get_mut(&member.instance).unwrap().tags.clear();
                    }),
                }
            }
            let chosen = plan_to_apply(&staged.ports, &staged.migration, staged.profile, None).await.unwrap();
            assert!(chosen.recorded.is_some() && !chosen.completed);
            assert_eq!(applied_until(&staged, None).await.phase, Phase::Completed);
        }
    }

    /// I9: a plan is of those whom the file and the tags name when they are taken out of service.
    #[tokio::test(start_paused = true)]
    async fn before_its_cutover_a_plan_is_refused_where_the_selector_finds_others() {
        let staged = staged(2).await;
        let tags =
            |id: &InstanceId| staged.world.ec2().with(|inner, _| inner.core.instances.get(id).unwrap().tags.clone());
        let tag = |id: &InstanceId, tags: Tags| {
            staged.world.ec2().with(|inner, _| inner.core.instances.get_mut(id).unwrap().tags = tags);
        };
        let given = || plan_to_apply(&staged.ports, &staged.migration, staged.profile, Some(staged.plan.clone()));
        assert!(given().await.is_ok());
        let one = staged.plan.members[1].instance.clone();
        let before = tags(&one);
        tag(&one, Tags::new());
        let refused = given().await.err().unwrap().to_string();
        assert!(refused.contains("facts that have changed") && refused.contains("(not seen)"), "{refused}");
        tag(&one, before.clone());
        let mut without = staged.plan.clone();
        without.members.pop();
        without.facts.retain(|fact| !fact.path.contains(staged.plan.members[1].name.as_str()));
        let refused = plan_to_apply(&staged.ports, &staged.migration, staged.profile, Some(without)).await;
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains(&format!("{one}: spec.source.members selects it too")), "{refused}");
        // Days may pass before the cutover.
        assert!(applied_until(&staged, Some("base-snapshots-completed")).await.interrupted);
        assert!(given().await.is_ok());
        tag(&one, Tags::new());
        assert!(given().await.err().unwrap().to_string().contains("(not seen)"));
    }

    /// What the pods' nodetool needs is found out when they run, and such a run undoes itself.
    #[tokio::test(start_paused = true)]
    async fn settings_that_were_mended_after_a_rollback_are_planned_with() {
        let mut staged = staged(2).await;
        let outcome = applied_until(&staged, Some("base-snapshots-completed")).await;
        assert!(outcome.interrupted, "{:?}", outcome.failure);
        staged.migration.spec.application.settings.insert("podNodetool".to_owned(), "nodetool -u me".to_owned());
        let refused = plan_to_apply(&staged.ports, &staged.migration, staged.profile, None).await;
        assert!(refused.err().unwrap().to_string().contains("settings.podNodetool"), "a run that goes on");
        let command = Command::RollbackDiscardWrites;
        let exit = drive(&staged.ports, &staged.migration, staged.profile, command, None, Format::Json).await.unwrap();
        assert_eq!(exit, Exit::Ok);
        let chosen = plan_to_apply(&staged.ports, &staged.migration, staged.profile, None).await.unwrap();
        assert_eq!(chosen.plan.settings, staged.migration.spec.application.settings);
        // Of a new plan the profile has its say.
        staged.migration.spec.application.profile = "cassandra".to_owned();
        staged.migration.spec.application.settings.insert("nodetool".to_owned(), "nodetool -pw secret".to_owned());
        let refused = plan_to_apply(&staged.ports, &staged.migration, staged.profile, None).await;
        assert!(refused.err().unwrap().to_string().contains("spec.application.settings.nodetool"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_completed_run_is_not_asked_for_its_facts() {
        let staged = staged(2).await;
        assert_eq!(applied_until(&staged, None).await.phase, Phase::Completed);
        let legacy = staged.plan.members[0].volumes[0].legacy_volume.clone();
        staged.world.ec2().with(|inner, _| inner.core.volumes.get_mut(&legacy).unwrap().spec.size_gib += 1);
        let chosen = plan_to_apply(&staged.ports, &staged.migration, staged.profile, None).await.unwrap();
        assert!(chosen.completed);
        // Nothing is asked either: the answer is that it is done.
        let command = Command::Apply(Box::new(chosen.plan));
        let exit = drive(&staged.ports, &staged.migration, staged.profile, command, None, Format::Json).await.unwrap();
        assert_eq!(exit, Exit::Ok);
    }
}
