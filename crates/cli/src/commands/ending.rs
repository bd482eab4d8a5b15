//! How commands that drive end: which exit code, and what to do next.

use anyhow::Result;
use rehome_engine::{EngineError, LeaseError, Outcome, StoreError};
use rehome_model::record::Phase;

use crate::exit::{Exit, problem};

/// A run that was taken up and let go at an end; an error with its exit code otherwise.
pub fn taken_up(outcome: Result<Outcome, EngineError>) -> Result<Outcome> {
    let outcome = outcome.map_err(|error| of_engine(&error))?;
    if !outcome.interrupted {
        return Ok(outcome);
    }
    let why = outcome.failure.unwrap_or_default();
    let hint = match outcome.phase {
        // `apply` does not take up a run whose undo has begun.
        Phase::Undoing => "run `rehome rollback --discard-writes` to go on: the run is being taken back",
        _ => "run the same command again to go on",
    };
    Err(problem(Exit::Interrupted, format!("the run was interrupted: {why}"), &format!("{hint}. {BEGUN}")))
}

const BEGUN: &str = "What was begun is recorded";

/// A command that the engine refused, or that stopped on its way.
pub fn of_engine(error: &EngineError) -> anyhow::Error {
    let (exit, hint) = match error {
        // The only one that comes after acts.
        EngineError::Stopped(_) => {
            let hint = format!("mend the cause and run the same command again: it goes on where it stopped. {BEGUN}");
            return problem(Exit::Interrupted, error.to_string(), &hint);
        }
        EngineError::Store(error) => of_store(error),
        EngineError::Lease(error) => of_lease(error),
        EngineError::Unseen(_) => (Exit::Unreachable, "run it again"),
        EngineError::CannotStart { .. } => (
            Exit::Findings,
            "allow it in the caller's policy (`rehome iam` prints one that has all) and run it again. Until then the new side \
             serves on",
        ),
        EngineError::OtherAccount(_) => (Exit::Usage, OTHER_ACCOUNT),
        EngineError::CutoverBegun { .. } => (Exit::Usage, "`rehome apply` without --until goes on with it"),
        EngineError::CannotKeepWrites { .. } => {
            (Exit::Findings, "mend what is named and run it again, or give the new writes up with --discard-writes")
        }
        EngineError::GoneOn { .. } => {
            (Exit::Usage, "another driver went on meanwhile: look at it again, with the same command")
        }
        _ => (Exit::Usage, "see `rehome status`"),
    };
    problem(exit, error.to_string(), &format!("{hint}. Nothing was changed by this command"))
}

/// What to do about credentials of another account.
pub const OTHER_ACCOUNT: &str =
    "use the AWS profile or role of the run's account, and the migration file that the run was begun with";

/// A record that could not be read.
pub fn of_store(error: &StoreError) -> (Exit, &'static str) {
    match error {
        StoreError::Kube(_) => (Exit::Unreachable, "see that kubectl reaches the cluster"),
        StoreError::Format(_) => (Exit::Usage, "use the rehome that wrote it, or a newer one"),
        StoreError::Damaged { .. } | StoreError::Changed { .. } => (
            Exit::Stuck,
            "put the ConfigMap back as it was, from a backup of the cluster. Do not delete it: it tells what was done, \
             and what is to be taken back",
        ),
        // Names meet: `x-cluster` would have the document in which `x` keeps its cluster's steps.
        StoreError::Stranger { of: Some(_), .. } => {
            (Exit::Usage, "give the migration another metadata.name, and leave that ConfigMap where it is")
        }
        StoreError::Stranger { of: None, .. } => {
            (Exit::Usage, "give the migration another metadata.name, or move that ConfigMap out of the way")
        }
        StoreError::NotOurs(_) => (Exit::Interrupted, "another driver came in between; see `rehome status`"),
    }
}

/// A lease that could not be taken.
pub fn of_lease(error: &LeaseError) -> (Exit, &'static str) {
    match error {
        LeaseError::Held { .. } => (Exit::Unreachable, "wait until it has ended, or end it; see `rehome status`"),
        LeaseError::Kube(_) => (Exit::Unreachable, "see that kubectl reaches the cluster"),
    }
}

#[cfg(test)]
mod tests {
    use rehome_engine::{KubeError, OtherAccount};
    use rehome_model::format::{Format, RUN};

    use super::super::staged::ended;
    use super::*;

    fn told(error: &anyhow::Error) -> (Exit, String) {
        (crate::exit::of(error), error.to_string())
    }

    fn interrupted(phase: Phase) -> Outcome {
        Outcome { interrupted: true, ..ended(phase, Some("the credentials are not taken")) }
    }

    #[test]
    fn what_stopped_on_its_way_does_not_say_that_nothing_was_changed() {
        let (exit, said) = told(&of_engine(&EngineError::Stopped("the record was not written".to_owned())));
        assert_eq!(exit, Exit::Interrupted);
        assert!(said.contains("same command again") && !said.contains("othing was changed"), "{said}");
        let (exit, said) = told(&of_engine(&EngineError::Unseen("no answer".to_owned())));
        assert_eq!(exit, Exit::Unreachable);
        assert!(said.contains("Nothing was changed"), "{said}");
    }

    #[test]
    fn credentials_of_another_account_are_a_wrong_use_and_nothing_was_changed() {
        let place = |account: &str| format!("{account} in us-east-1");
        let other = OtherAccount { planned: place("111122223333"), actual: place("444455556666") };
        let (exit, said) = told(&of_engine(&other.into()));
        assert_eq!(exit, Exit::Usage);
        for part in ["111122223333", "444455556666", "AWS profile or role", "Nothing was changed"] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn an_interruption_says_why_and_which_command_goes_on() {
        let (exit, said) = told(&taken_up(Ok(interrupted(Phase::Cutover))).unwrap_err());
        assert_eq!(exit, Exit::Interrupted);
        assert!(said.contains("credentials are not taken") && said.contains("same command again"), "{said}");
        // `apply` would refuse it.
        let (_, said) = told(&taken_up(Ok(interrupted(Phase::Undoing))).unwrap_err());
        assert!(said.contains("rehome rollback --discard-writes"), "{said}");
    }

    #[test]
    fn only_a_cluster_that_does_not_answer_is_out_of_reach() {
        let away = KubeError::Transport { verb: "GET", path: String::new(), message: String::new() };
        assert_eq!(of_store(&away.into()).0, Exit::Unreachable);
        let newer = Format { name: RUN.0.to_owned(), version: RUN.1 + 1 }.check(RUN).unwrap_err();
        let (exit, hint) = of_store(&newer.into());
        assert!(exit == Exit::Usage && hint.contains("newer"), "{exit:?} {hint}");
        let damaged = StoreError::Damaged { name: String::new(), reason: String::new() };
        assert_eq!(of_store(&damaged).0, Exit::Stuck);
        let stranger = |of| StoreError::Stranger { name: String::new(), migration: String::new(), of };
        let (exit, hint) = of_store(&stranger(None));
        assert!(exit == Exit::Usage && hint.contains("out of the way"), "{exit:?} {hint}");
        let (exit, hint) = of_store(&stranger(Some("x".to_owned())));
        assert!(exit == Exit::Usage && hint.contains("leave that ConfigMap"), "{exit:?} {hint}");
    }
}
