//! `rehome rollback --keep-writes`: the legacy side serves again, with all that the new side was told.

use std::fmt::Write as _;

use anyhow::Result;
use rehome_engine::{Command, EngineError, Outcome, Ports, Shown};
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
use rehome_model::record::Phase;
use rehome_profiles::Profile;

use super::{confirm, drive, ending, look};
use crate::args::{Format, Rollback};
use crate::exit::{Exit, problem};
use crate::output::{self, esay, eshow};

/// Carries it out.
pub async fn rollback(
    args: &Rollback,
    migration: &Migration,
    profile: &'static dyn Profile,
    ports: &Ports,
) -> Result<Exit> {
    let name = &migration.metadata.name;
    let (record, plan) = look::run_of(&ports.kube, migration, "there is nothing to roll back").await?;
    let agreed = Shown::of(&plan, &record);
    let shown = rehome_engine::keep_writes_plan(ports, profile, &plan, &record, look::now_ms()).await;
    let shown = shown.map_err(|error| ending::of_engine(&error))?;
    if args.output == Format::Text {
        eshow!("{}", text(&shown));
    }
    confirm::by_name(args.yes, name, "roll back and keep all writes made since the opening")?;
    report(drive::driven(ports, migration, profile, Command::RollbackKeepWrites, Some(agreed), args.output).await?)
}

/// The plan, to be reviewed line by line.
fn text(plan: &Plan) -> String {
    let mut text = format!(
        "Roll back migration {}: the volumes with all new writes go back to their instances.\n\n",
        plan.migration
    );
    for step in &plan.steps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {} {}\n      {}", output::sign(step), step.title, step.why);
    }
    text.push_str("\nNothing is deleted: the original volumes are detached, tagged and kept.\n");
    text
}

fn report(outcome: Result<Outcome, EngineError>) -> Result<Exit> {
    let outcome = ending::taken_up(outcome)?;
    let why = outcome.failure.clone().unwrap_or_default();
    if outcome.phase != Phase::Returned {
        return Err(problem(
            Exit::Stuck,
            format!("the rollback stopped on its way: {why}"),
            "no write is lost: the volumes are kept, wherever they are attached. Mend the cause, then run the same \
             command again; it goes on where it stopped",
        ));
    }
    esay!(
        "Rolled back. The legacy cluster serves with all writes, on the volumes that the pods wrote to; the claims stay \
         parked."
    );
    let devices = outcome.record.header.keep_writes.map(|choice| choice.devices).unwrap_or_default();
    for (original, device) in devices {
        esay!("  kept: {original}, detached, as it was captured at the cutover (it was at {device})");
    }
    Ok(Exit::Ok)
}
