//! `rehome finalize`: the old side is no longer needed.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use rehome_engine::{Command, EngineError, Outcome, Shown};
use rehome_model::format;
use rehome_model::plan::Plan;
use rehome_model::record::{FinalizeChoice, Phase};

use super::{confirm, drive, ending, look};
use crate::args::Format;
use crate::exit::{Exit, problem};
use crate::output::{esay, eshow, show};
use crate::{connect, input, output};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Options of `finalize`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The migration file.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Days for which the final snapshots, the legacy data as it was captured, are kept. `gc` deletes them after that,
    /// when you run it.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3650))]
    pub keep_days: u64,
    /// Put the legacy instances' termination protection and DeleteOnTermination back as they were, so that you can
    /// terminate them: with DeleteOnTermination on, their volumes go with them. They stay stopped, their service masked
    /// and their Auto Scaling group's hands off them: started, they could meet the new cluster.
    #[arg(long)]
    pub release_legacy: bool,
    /// Print the plan and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for the migration's name. Needed with -o json, which shows nothing to be confirmed.
    #[arg(long)]
    pub yes: bool,
    /// Form of the output: with json, one event a line, after a first line with their format and version; with
    /// --dry-run, the plan as one document.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Carries it out.
pub async fn finalize(args: &Args) -> Result<Exit> {
    confirm::refuse_unseen(args.output, args.yes || args.dry_run, "--yes, after a look at --dry-run")?;
    let migration = input::migration(&args.file)?;
    let profile = input::profile(&migration.spec.application.profile)?;
    let name = &migration.metadata.name;
    let at_ms = look::now_ms();
    let choice =
        FinalizeChoice { at_ms, keep_until_ms: at_ms + args.keep_days * DAY_MS, release_legacy: args.release_legacy };
    let ports = connect::ports(&migration).await?;
    let (record, plan) = look::run_of(&ports.kube, &migration, "only a completed run can be finalized").await?;
    let agreed = Shown::of(&plan, &record);
    let shown = rehome_engine::finalize_plan(&plan, &record, &choice)
        .map_err(|error| problem(Exit::Usage, error.to_string(), "see `rehome status`. Nothing was changed"))?;
    match args.output {
        // What was asked for is data; what is to be confirmed is not.
        Format::Text if args.dry_run => show!("{}", text(&shown))?,
        Format::Text => eshow!("{}", text(&shown)),
        Format::Json if args.dry_run => show!("{}", output::json(format::PLAN, &shown)?)?,
        Format::Json => {}
    }
    if args.dry_run {
        return Ok(Exit::Ok);
    }
    confirm::by_name(args.yes, name, "end the way back for good")?;
    let outcome =
        drive::driven(&ports, &migration, profile, Command::Finalize(choice), Some(agreed), args.output).await?;
    report(outcome)
}

/// The plan, to be reviewed line by line.
fn text(plan: &Plan) -> String {
    let mut text = format!("Finalize migration {}: after this nothing can be rolled back.\n\n", plan.migration);
    for step in &plan.steps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {} {}\n      {}", output::sign(step), step.title, step.why);
    }
    text.push_str("\nNothing legacy is deleted: instances and volumes stay until you terminate them.\n");
    text
}

fn report(outcome: Result<Outcome, EngineError>) -> Result<Exit> {
    let outcome = ending::taken_up(outcome)?;
    let why = outcome.failure.clone().unwrap_or_default();
    match outcome.phase {
        // What is left of one that is finalized is the release of the legacy side, by its own gates.
        Phase::Finalized if outcome.failure.is_some() => Err(problem(
            Exit::Failed,
            format!("already finalized; the legacy side was not released: {why}"),
            "see `rehome verify`, mend it and run the same command again",
        )),
        Phase::Finalized => {
            esay!(
                "Finalized. The new side is the only one; `rehome gc` lists what is left, and deletes the final \
                 snapshots when their time is over."
            );
            Ok(Exit::Ok)
        }
        Phase::Completed => Err(problem(
            Exit::Failed,
            format!("the new side is not whole, so the way back is kept: {why}"),
            "see `rehome verify`, mend it and finalize again. Nothing was deleted",
        )),
        phase => Err(problem(
            Exit::Stuck,
            format!("the finalize stopped while the run was {phase}: {why}"),
            "what was done stays done, and there is no way back any more; mend the cause and finalize again",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::staged::ended;
    use super::*;

    #[test]
    fn a_release_that_was_not_done_is_no_success() {
        assert_eq!(report(Ok(ended(Phase::Finalized, None))).expect("a success"), Exit::Ok);
        let outcome = ended(Phase::Finalized, Some("pod c-2 is not there yet"));
        let error = report(Ok(outcome)).expect_err("nothing was released");
        assert_eq!(crate::exit::of(&error), Exit::Failed);
        let said = error.to_string();
        assert!(
            said.contains("already finalized; the legacy side was not released: pod c-2 is not there yet"),
            "{said}"
        );
    }
}
