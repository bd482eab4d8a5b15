//! What commands that change something have in common: the engine drives, its events are shown, and how it ended is said.

use anyhow::Result;
use rehome_engine::{Clock, Command, Driver, EngineError, Outcome, Ports, Shown};
use rehome_model::migration::Migration;
use rehome_model::record::{Phase, RunRecord};
use rehome_profiles::Profile;
use tokio::sync::{mpsc, oneshot, watch};

use super::interrupt::Signals;
use super::{confirm, discard_writes, ending, events, keep_writes, look};
use crate::args::{Format, Rollback};
use crate::exit::{Exit, problem};
use crate::output::esay;
use crate::{connect, input};

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
    use super::super::staged::ended;
    use super::*;

    #[test]
    fn a_rollback_that_was_asked_for_and_succeeds_is_no_failure_whatever_came_before() {
        let reason = "undo of start-set:refdb: not done within 1800 s";
        assert_eq!(report(Asked::Rollback, Ok(ended(Phase::RolledBack, Some(reason)))).unwrap(), Exit::Ok);
        let error = report(Asked::Apply, Ok(ended(Phase::RolledBack, Some(reason)))).unwrap_err();
        assert_eq!(crate::exit::of(&error), Exit::Failed, "{error}");
    }
}
