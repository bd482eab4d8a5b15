//! Commands that change something.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use rehome_engine::{Clock, Command, Driver, EngineError, Outcome, Ports, Shown};
use rehome_model::ids::StepId;
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
use rehome_model::record::{Phase, RunRecord};
use rehome_profiles::Profile;
use tokio::sync::{mpsc, oneshot, watch};

use super::interrupt::Signals;
use super::{confirm, discard_writes, ending, events, keep_writes, look};
use crate::args::{Apply, Format, Rollback, Until};
use crate::exit::{Exit, problem};
use crate::output::{esay, eshow};
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
}

impl Chosen {
    /// A plan of which nothing is recorded.
    fn new(plan: Plan) -> Self {
        Self { plan, begun: BTreeSet::new(), recorded: None, completed: false }
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
            Chosen { plan, begun: record.steps.into_keys().collect(), recorded, completed }
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
    let survey = look::facts(ports, migration, profile, look::now_ms()).await?;
    let differences = rehome_planner::differences(&chosen.plan, &survey, &chosen.begun);
    if differences.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = differences
        .iter()
        .map(|d| {
            let now = d.now.as_deref().unwrap_or("(not seen)");
            format!("  {}: planned {:?}, now {now:?} ({})", d.fact.path, d.fact.value, d.fact.why)
        })
        .collect();
    // Why something is not seen may be all that there is to mend.
    lines.extend(survey.members.iter().filter_map(|member| {
        let of_view = || member.host.as_ref()?.view_error.as_ref();
        let why = member.host_error.as_ref().or_else(of_view)?;
        let of_it = |path: &str| path.starts_with(&format!("member/{}/", member.name));
        let missed = differences.iter().any(|d| d.now.is_none() && of_it(&d.fact.path));
        missed.then(|| format!("  {} could not be looked at: {why}", member.name))
    }));
    let unasked = differences.iter().all(|difference| difference.unasked.is_some());
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

/// `rehome rollback`.
pub async fn rollback(args: &Rollback) -> Result<Exit> {
    confirm::refuse_unseen(args.output, args.yes, "--yes")?;
    let migration = input::migration(&args.file)?;
    let profile = input::profile(&migration.spec.application.profile)?;
    let ports = connect::ports(&migration).await?;
    if args.keep_writes {
        return keep_writes::rollback(args, &migration, profile, &ports).await;
    }
    discard_writes::rollback(args, &migration, profile, &ports).await
}

/// After a finalize neither plan nor question is of any use, nor is another command while volumes go back with their
/// writes. The engine refuses it too.
pub fn refuse_finalized(record: &RunRecord) -> Result<()> {
    let run = record.header.run.clone();
    let refused = match record.header.phase {
        Phase::Finalizing | Phase::Finalized => EngineError::Finalized { run },
        Phase::Returning => EngineError::BeingReturned { run },
        _ => return Ok(()),
    };
    Err(problem(Exit::Usage, refused.to_string(), "see `rehome status`. Nothing was changed"))
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

/// Drives an apply or a discarding rollback, and says how it ended.
pub async fn drive(
    ports: &Ports,
    migration: &Migration,
    profile: &'static dyn Profile,
    command: Command,
    shown: Option<Shown>,
    format: Format,
) -> Result<Exit> {
    let asked = if matches!(command, Command::RollbackDiscardWrites) { Asked::Rollback } else { Asked::Apply };
    report(asked, driven(ports, migration, profile, command, shown, format).await?)
}

/// Drives a command, and shows its events.
pub async fn driven(
    ports: &Ports,
    migration: &Migration,
    profile: &'static dyn Profile,
    command: Command,
    shown: Option<Shown>,
    format: Format,
) -> Result<Result<Outcome, EngineError>> {
    let (sender, received) = mpsc::unbounded_channel();
    let (stopper, stop) = watch::channel(false);
    let driver = Driver {
        ports: ports.clone(),
        clock: Clock::on_this_machine(look::now_ms()),
        holder: holder(),
        events: sender,
        stop,
        shown,
    };
    let (told, all_told) = oneshot::channel();
    std::thread::spawn(move || {
        events::print(received, format);
        // Nobody waits where the run was given up.
        let _ = told.send(());
    });
    let interrupt = tokio::spawn(Signals::new()?.obey(stopper));
    let outcome = driver.drive(&migration.spec.target.namespace, &migration.metadata.name, profile, command).await;
    drop(driver);
    interrupt.abort();
    // What was driven is driven, whatever became of its printer.
    let _ = all_told.await;
    Ok(outcome)
}

/// Who drives: unlike every other process that may drive at the same time, on this machine or another.
pub fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "host".to_owned());
    format!("{}/{}/{}", host.trim(), std::process::id(), look::now_ms())
}

/// What the user asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Apply,
    Rollback,
}

fn report(asked: Asked, outcome: Result<Outcome, EngineError>) -> Result<Exit> {
    let outcome = ending::taken_up(outcome)?;
    let why = outcome.failure.clone().unwrap_or_default();
    match outcome.phase {
        Phase::Completed => {
            esay!(
                "Completed. The legacy side is stopped and kept: `rehome rollback` can go back to it until `rehome \
                 finalize` says that it is no longer needed."
            );
            Ok(Exit::Ok)
        }
        // Whatever the run had met before: that is what was asked for.
        Phase::RolledBack if asked == Asked::Rollback => {
            esay!("Rolled back. The legacy cluster serves on its original volumes; the claims stay parked.");
            Ok(Exit::Ok)
        }
        Phase::RolledBack => Err(problem(
            Exit::Failed,
            format!("the run failed and was undone: {why}"),
            "the legacy cluster serves on its original volumes; mend the cause and plan again",
        )),
        Phase::Preparing if outcome.failure.is_none() => {
            esay!(
                "Prepared, up to the cutover: production serves. `rehome apply` without --until goes on, and stops it. The \
                 more is written until then, the longer the final snapshot takes in the downtime."
            );
            Ok(Exit::Ok)
        }
        Phase::Stuck => Err(problem(
            Exit::Stuck,
            format!("the run is stuck: {why}"),
            "mend the cause, then run `rehome rollback --discard-writes` again; it goes on where it stopped",
        )),
        phase => Err(problem(
            Exit::Stuck,
            format!("the run stopped while it was {phase}: {why}"),
            "clients may be writing to the new side already: mend the cause and apply again, or roll back",
        )),
    }
}

#[cfg(test)]
mod tests {
    use rehome_model::event::EventKind;

    use super::super::staged::{Staged, ended, staged};
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

    #[tokio::test(start_paused = true)]
    async fn a_run_whose_legacy_instance_is_terminated_after_its_capture_goes_on() {
        let staged = staged(2).await;
        let member = staged.plan.members[0].clone();
        let outcome = applied_until(&staged, Some(&format!("stop-instance:{}", member.name))).await;
        assert!(outcome.interrupted, "{:?}", outcome.failure);
        // What EC2 shows of it for an hour, and then.
        for forgotten in [false, true] {
            staged.world.ec2().with(|inner, _| {
                let instance = inner.core.instances.get_mut(&member.instance).unwrap();
                instance.state = rehome_model::cloud::InstanceState::Terminated;
                instance.block_devices.clear();
                if forgotten {
                    inner.core.instances.remove(&member.instance);
                }
            });
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

    #[test]
    fn a_rollback_that_was_asked_for_and_succeeds_is_no_failure_whatever_came_before() {
        let reason = "undo of start-set:refdb: not done within 1800 s";
        assert_eq!(report(Asked::Rollback, Ok(ended(Phase::RolledBack, Some(reason)))).unwrap(), Exit::Ok);
        let error = report(Asked::Apply, Ok(ended(Phase::RolledBack, Some(reason)))).unwrap_err();
        assert_eq!(crate::exit::of(&error), Exit::Failed, "{error}");
    }
}
