//! `rehome rollback --discard-writes`: the legacy side serves again as it was captured.

use std::fmt::Write as _;

use anyhow::Result;
use rehome_engine::{Command, Ports, Shown};
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
use rehome_profiles::Profile;

use super::{confirm, drive, look};
use crate::args::{Format, Rollback};
use crate::exit::Exit;
use crate::output::{self, eshow};

/// Carries it out.
pub async fn rollback(
    args: &Rollback,
    migration: &Migration,
    profile: &'static dyn Profile,
    ports: &Ports,
) -> Result<Exit> {
    let name = &migration.metadata.name;
    let (record, plan) = look::run_of(&ports.kube, migration, "there is nothing to roll back").await?;
    drive::refuse_finalized(&record)?;
    let shown = Shown::of(&plan, &record);
    if args.output == Format::Text {
        let undo = rehome_engine::rollback_plan(&plan, &record);
        let captured = record.header.cutover_at_ms.map(|at_ms| look::now_ms().saturating_sub(at_ms) / 1000);
        eshow!("{}", text(&undo, shown.opened, captured));
    }
    confirm::by_name(args.yes, name, "roll back and give up all writes made since the opening")?;
    drive::drive(ports, migration, profile, Command::RollbackDiscardWrites, Some(shown), args.output).await
}

/// What it does, to be reviewed line by line.
///
/// `opened` as soon as clients may have written, `captured` so many seconds ago.
fn text(plan: &Plan, opened: bool, captured: Option<u64>) -> String {
    let mut text = format!(
        "Roll back migration {}: the legacy cluster serves again, on its original volumes.\n\n",
        plan.migration
    );
    for step in &plan.steps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {} {}", output::sign(step), step.title);
    }
    if !opened {
        text.push_str(
            "\nNo client was let in by this run: nothing that was written is given up. The claims stay parked.\n",
        );
        return text;
    }
    let ago = captured.map_or_else(|| "before the cutover".to_owned(), |s| format!("{} ago", output::duration(s)));
    let _ = write!(
        text,
        "\nWhat was written since the opening is given up: it is on the new volumes only, and they are deleted. --keep-writes \
         brings it along.\n\nThe originals are as they were captured {ago}. An application that forgets its deletions after a \
         time (Cassandra: gc_grace_seconds) may bring back what was deleted before the capture, where a member had missed the \
         deletion: of tables whose time is shorter than that, run a repair before anything compacts.\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::staged::{Staged, staged};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rollback_shows_how_old_the_originals_are_and_no_estimates() {
        let Staged { plan, .. } = staged(2).await;
        let opened = text(&plan, true, Some(12 * 86_400));
        assert!(opened.contains("captured 288 h 0 min ago") && opened.contains("gc_grace_seconds"), "{opened}");
        assert!(text(&plan, true, None).contains("is given up"));
        let before = text(&plan, false, Some(7));
        assert!(before.contains("No client was let in") && !before.contains("gc_grace"), "{before}");
        assert!(!opened.contains("Estimates") && !opened.contains("a month"), "{opened}");
    }
}
