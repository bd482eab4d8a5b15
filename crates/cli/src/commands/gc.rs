//! `rehome gc`: what runs left behind.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use rehome_engine::{Clock, Collector, Deletion, GcError, GcOutcome, Removal, Scope, StoreError};
use rehome_model::collection::{Collection, Verdict};
use rehome_model::format;
use serde::Serialize;

use super::{confirm, drive, ending, look};
use crate::args::{Format, dns_label};
use crate::exit::{Exit, problem};
use crate::output::{say, show};
use crate::{connect, input, output};

/// Options of `gc`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The migration's name, if its file is lost. Without the file and without a run record, nothing in the cloud can
    /// be told from what another cluster's migration of the same name made, and stays; unless --cluster-gone says that there is
    /// no such other cluster.
    #[arg(required_unless_present = "file", conflicts_with = "file", value_parser = dns_label)]
    pub name: Option<String>,
    /// The migration file.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The target namespace, where there is no file.
    #[arg(
        short,
        long,
        required_unless_present_any = ["file", "cluster_gone"],
        conflicts_with = "file",
        value_parser = dns_label
    )]
    pub namespace: Option<String>,
    /// AWS region, where there is no file.
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    pub region: Option<String>,
    /// kubeconfig context, where there is no file; the current one if not given.
    #[arg(long, conflicts_with = "file")]
    pub context: Option<String>,
    /// Delete what the list calls orphaned, each thing after a look of its own. Without this nothing is deleted.
    #[arg(long)]
    pub delete: bool,
    /// Let parked claims go too. They keep a set that somebody scales up from starting on empty volumes: give this only
    /// when the set is gone, or may start empty.
    #[arg(long)]
    pub parked_claims: bool,
    /// The target cluster is deleted for good (and, without the file, no other one of the account has a migration of this name):
    /// look at the cloud only. What a slot had adopted cannot be told from an orphan then; the output says what you must be sure
    /// of. Without this, a volume that neither a run record nor a claim of the run tells of stays.
    #[arg(long, conflicts_with = "parked_claims")]
    pub cluster_gone: bool,
    /// Do not ask for the migration's name. Needed with -o json, which shows nothing to be confirmed.
    #[arg(long)]
    pub yes: bool,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What a program reads: the list, and what became of it.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    list: &'a Collection,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<&'a [Removal]>,
    /// Why the rest was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

/// Carries it out.
pub async fn gc(args: &Args) -> Result<Exit> {
    confirm::refuse_unseen(
        args.output,
        args.yes || !args.delete,
        "--yes, after a look at what is listed without --delete",
    )?;
    let (scope, region, context) = scope(args)?;
    let name = scope.migration.clone();
    let kube = if args.cluster_gone { None } else { Some(connect::kube(context.as_deref()).await?) };
    let collector = Collector {
        cloud: connect::cloud(&region).await?,
        kube,
        clock: Clock::on_this_machine(look::now_ms()),
        holder: drive::holder(),
        scope,
    };
    let list = collector.look().await.map_err(|error| failed(&error, "Nothing was deleted"))?;
    let orphaned = list.orphaned().count();
    if args.output == Format::Text {
        show!("{}", text(&list))?;
        if let Some(warning) = to_be_sure_of(&list, &region) {
            show!("{warning}")?;
        }
    }
    if !args.delete || orphaned == 0 {
        match args.output {
            Format::Text if orphaned > 0 => {
                say!("Nothing was deleted; --delete deletes what is orphaned.")?;
            }
            Format::Text => {}
            Format::Json => print_json(&list, None)?,
        }
        return Ok(Exit::Ok);
    }
    confirm::by_name(args.yes, &name, &format!("delete the {orphaned} orphaned things"))?;
    let deletion = collector.delete(&list).await.map_err(|error| failed(&error, "Nothing was deleted"))?;
    let removed = &deletion.removed;
    match args.output {
        Format::Text => show!("{}", ending(removed))?,
        Format::Json => print_json(&list, Some(&deletion))?,
    }
    if let Some(error) = &deletion.stopped {
        let tried = format!("{} of {orphaned} things were tried, see the list. {error}", removed.len());
        return Err(problem(Exit::Interrupted, tried, "mend the cause and run the same command again: it goes on"));
    }
    let all = removed.iter().all(|removal| removal.outcome == GcOutcome::Deleted);
    Ok(if all { Exit::Ok } else { Exit::Stuck })
}

/// What is looked for, in which region and context.
fn scope(args: &Args) -> Result<(Scope, String, Option<String>)> {
    let parked_claims = args.parked_claims;
    if let Some(file) = &args.file {
        let migration = input::migration(file)?;
        let (source, target) = (migration.spec.source, migration.spec.target);
        let scope = Scope {
            migration: migration.metadata.name,
            namespace: target.namespace,
            members: Some(source.members),
            parked_claims,
        };
        return Ok((scope, source.region, target.context));
    }
    let migration = args.name.clone().unwrap_or_default();
    input::check_name(&migration).map_err(|wrong| problem(Exit::Usage, wrong, "Nothing was changed"))?;
    let namespace = args.namespace.clone().unwrap_or_default();
    let scope = Scope { migration, namespace, members: None, parked_claims };
    Ok((scope, args.region.clone().unwrap_or_default(), args.context.clone()))
}

fn failed(error: &GcError, then: &str) -> anyhow::Error {
    let (exit, hint) = match error {
        GcError::Lease(error) => ending::of_lease(error),
        GcError::Store(error) if !matches!(error, StoreError::Kube(_)) => ending::of_store(error),
        GcError::Lost(_) => (Exit::Interrupted, "another driver came in between; see `rehome status`"),
        GcError::Account(_) => (Exit::Usage, ending::OTHER_ACCOUNT),
        GcError::Cloud(_) | GcError::Unknown(_) => (Exit::Unreachable, "see that the AWS CLI may do the same"),
        GcError::Kube(_) | GcError::Store(_) => {
            (Exit::Unreachable, "see that kubectl may do the same; --cluster-gone if the cluster is deleted for good")
        }
    };
    problem(exit, error.to_string(), &format!("{hint}. {then}"))
}

fn print_json(list: &Collection, deletion: Option<&Deletion>) -> Result<()> {
    let removed = deletion.map(|deletion| deletion.removed.as_slice());
    let stopped = deletion.and_then(|deletion| Some(deletion.stopped.as_ref()?.to_string()));
    show!("{}", output::json(format::GC, Document { list, removed, stopped })?)?;
    Ok(())
}

/// The list, what may go first.
fn text(list: &Collection) -> String {
    let place = list.namespace.as_ref().map_or("the cloud only".to_owned(), |name| format!("namespace {name}"));
    let mut text = format!("Migration {} ({place}): {} things carry its name.\n\n", list.migration, list.found.len());
    let mut counts = Vec::new();
    for (verdict, word) in [(Verdict::Orphaned, "orphaned"), (Verdict::Kept, "kept"), (Verdict::InUse, "in use")] {
        let found: Vec<_> = list.found.iter().filter(|found| found.verdict == verdict).collect();
        counts.push(format!("{} {word}", found.len()));
        for one in found {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {word:<8}  {:<44} {}", one.thing, one.why);
        }
    }
    let _ = writeln!(text, "\n{}.", counts.join(", "));
    text
}

/// What a person must be sure of before something is deleted that no record tells of.
fn to_be_sure_of(list: &Collection, region: &str) -> Option<String> {
    let name = &list.migration;
    let mut orphaned = list.orphaned();
    let (why, cluster) = match &list.namespace {
        None if orphaned.next().is_some() => (
            "The cluster is said to be gone, so what a slot had adopted looks like an orphan here.".to_owned(),
            "the target cluster is deleted for good, and no other cluster uses a volume of this list".to_owned(),
        ),
        Some(namespace) if !list.recorded && orphaned.any(|found| found.thing.is_in_the_cloud()) => (
            format!(
                "No run is recorded in namespace {namespace} of the cluster that was asked: one that is under way in another \
                 cluster, or by another kubectl context, needs its snapshots."
            ),
            "the migration ran in this cluster, and no other cluster uses a volume of this list".to_owned(),
        ),
        _ => return None,
    };
    Some(format!(
        "\n{why} Delete only if all of this is so:\n  - {cluster};\n  - no other cluster has a migration named {name} in this \
         account and {region}, unless the list comes from -f;\n  - nobody needs the data of these volumes: they hold all that \
         was written since the opening.\n\n"
    ))
}

fn ending(removed: &[Removal]) -> String {
    let mut text = String::new();
    for removal in removed {
        if let GcOutcome::Left(why) = &removal.outcome {
            let _ = writeln!(text, "  left      {:<44} {why}", removal.thing);
        }
    }
    let deleted = removed.iter().filter(|removal| removal.outcome == GcOutcome::Deleted).count();
    let _ = writeln!(text, "{deleted} deleted, {} left in place.", removed.len() - deleted);
    text
}

#[cfg(test)]
mod tests {
    use rehome_model::collection::Found;
    use rehome_model::format::Format;

    use rehome_model::collection::Thing;

    use super::*;

    fn list(namespace: Option<&str>, recorded: bool, thing: Thing) -> Collection {
        Collection {
            format: Format::current(format::GC),
            migration: "prod".to_owned(),
            namespace: namespace.map(str::to_owned),
            recorded,
            parked_claims: false,
            at_ms: 0,
            found: vec![Found { thing, verdict: Verdict::Orphaned, why: String::new() }],
        }
    }

    #[test]
    fn without_a_record_a_person_is_told_what_volumes_may_hold() {
        let volume = || Thing::Volume { id: "vol-1".into() };
        let snapshot = || Thing::Snapshot { id: "snap-1".into() };
        let warned = |list: &Collection| to_be_sure_of(list, "us-east-1");
        let here = warned(&list(Some("c"), false, volume())).expect("a warning");
        assert!(
            here.contains("No run is recorded in namespace c")
                && here.contains("all that was written since the opening")
        );
        assert!(here.contains("the migration ran in this cluster"));
        let gone = warned(&list(None, false, snapshot())).expect("a warning");
        assert!(gone.contains("The cluster is said to be gone") && gone.contains("migration named prod"));
        assert_eq!(warned(&list(Some("c"), true, volume())), None);
        let snapshots = warned(&list(Some("c"), false, snapshot())).expect("a run may be under way elsewhere");
        assert!(snapshots.contains("needs its snapshots"), "{snapshots}");
        let none = Collection { found: Vec::new(), ..list(None, false, volume()) };
        assert_eq!(warned(&none), None);
    }
}
