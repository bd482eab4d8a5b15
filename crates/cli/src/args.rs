//! The command line. Doc comments here are the help texts.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Moves a running stateful cluster from EC2 instances with EBS volumes into a Kubernetes StatefulSet, without copying
/// its data.
#[derive(Debug, Parser)]
#[command(
    name = "rehome",
    version,
    after_help = "\
Exit codes (docs/interface.md):
  0  done
  1  not done: a failed run was put back, and production serves; or verify found something wrong
  2  wrong command line or file, or the run is not where this may be done
  3  checks found errors, facts changed, or something is in a rollback's way
  4  cloud, cluster or hosts out of reach, or another driver is at work: try again later
  5  a person must look: see `rehome status`
  6  interrupted: the same command goes on, or, where a run was being taken back, the one that the hint names

REHOME_LOG=warn logs on stderr what rehome tries again, REHOME_LOG=debug what its libraries do, too.

See it work first: `rehome demo` needs no account, no cluster and no root."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a migration file with comments, to start from.
    Init(Init),
    /// Look at cloud, hosts and cluster, and say what stands in the way. Changes nothing.
    Check(FromMigration),
    /// Explain a finding's code.
    Explain {
        /// The code, such as RH0301. All codes are listed without it.
        code: Option<String>,
    },
    /// Show what a migration will do, step by step. Changes nothing.
    Plan(Plan),
    /// Carry out a migration, or go on with one that was interrupted. Production stops between cutover and opening.
    ///
    /// Shows the plan and asks for the migration's name. First, while production serves, it creates parked claims and the gate's
    /// ConfigMap in the cluster, protects the instances, and takes base snapshots. Then the cutover: every member is drained,
    /// stopped, captured and its instance stopped; volumes are made and bound to the claims, the set is scaled up, and once its
    /// members are verified clients are let in. With --until cutover it ends before the cutover, and you choose when to go on. What
    /// fails before clients are let in is taken back by itself, and production serves again (exit code 1). Ctrl-C or SIGTERM stops
    /// after what is under way, a second one at once (exit code 6). The same command goes on then, and so it does after a kill; if
    /// the run was being taken back already, `rehome rollback --discard-writes` does (the hint and `rehome status` say which). A
    /// terminal that is closed stops nothing.
    Apply(Apply),
    /// Show where a migration stands, from the record in the cluster. Needs no access to the cloud.
    Status(Target),
    /// Look whether the moved cluster is as the plan promised: pods, claims, volumes, identities. Changes nothing.
    Verify(FromMigration),
    /// Bring the legacy cluster back to serving: on its original volumes, or with all that was written since.
    ///
    /// Before the opening --discard-writes loses nothing, and --keep-writes is refused. After it you choose.
    /// --discard-writes starts the legacy cluster on its original volumes, as they were captured at the cutover, and once
    /// it serves deletes the new volumes and the base and final snapshots: the originals are the only copy from then on.
    /// --keep-writes closes the set for good, stops the pods, and attaches the volumes they wrote to to the legacy instances
    /// in place of the originals, which are detached, tagged rehome.dev/replaced-by and kept; owners are put back, the
    /// service is started by the host's own fstab and unit. It is refused, before anything is changed, if zone, fstab,
    /// owners, application version or anything else would lose writes (exit code 3). Either can be interrupted, and goes on
    /// when it is run again; once begun, neither turns into the other.
    Rollback(Rollback),
    /// Say that the old side is no longer needed: the end of the way back. Deletes nothing legacy.
    ///
    /// Looks once more whether every pod runs on its own volumes and every member is up and open, those that were added since
    /// among them; if not, nothing is changed. Then the final snapshots are tagged with the time until which they are kept, and
    /// the base snapshots and the gate go. Rollback and apply are refused from then on. The legacy instances stay stopped and
    /// protected unless --release-legacy is given, which can be done later too.
    Finalize(crate::commands::finalize::Args),
    /// List what a migration's runs made, in use or orphaned and why; delete the orphans if told to.
    ///
    /// Works without a run record, and without the cluster (--cluster-gone). Finds volumes and snapshots by tag, and
    /// claims, PersistentVolumes, ConfigMaps and the Lease by label. What rehome did not make stays, and so does everything of
    /// which it is not certain that nobody needs it any more.
    Gc(crate::commands::gc::Args),
    /// Print the exact Kubernetes objects a migration creates, as YAML.
    Render(FromMigration),
    /// Print the role that the caller needs in the cluster, as YAML.
    Rbac {
        /// The target namespace.
        #[arg(long, value_parser = dns_label)]
        namespace: String,
    },
    /// Print the IAM policy that the caller needs in the account, as JSON.
    ///
    /// With a file, what is done to instances is allowed for its members alone, scripts that run as root on them among it; without
    /// one, for all instances. Nothing can be deleted without the tag that runs give to what they make, and nothing that exists
    /// already can be given that tag. The last statements are of use only for members of Auto Scaling groups, hosts by SSM, and
    /// encrypted volumes.
    Iam {
        /// The migration file whose members it is for.
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The partition of the ARNs.
        #[arg(long, value_enum, default_value_t)]
        partition: Partition,
    },
    /// Move a cluster on the embedded EC2 and Kubernetes, in virtual time.
    Demo(Demo),
    /// Serve an emulated cloud on this machine, for tests of anything that talks to it.
    #[cfg(feature = "emulate")]
    #[command(subcommand)]
    Emulate(Emulate),
    /// Print the JSON Schema of the migration file.
    Schema,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// A partition of AWS, which ARNs name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Partition {
    #[default]
    Aws,
    AwsCn,
    AwsUsGov,
    AwsEusc,
    AwsIso,
    AwsIsoB,
}

impl Partition {
    /// As ARNs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsEusc => "aws-eusc",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
        }
    }
}

/// A name as Kubernetes takes it for a namespace, and rehome for a migration.
pub fn dns_label(text: &str) -> Result<String, String> {
    if rehome_model::names::is_dns_label(text) {
        return Ok(text.to_owned());
    }
    Err("no DNS label: at most 63 lower case letters, digits and '-', a letter or digit at both ends".to_owned())
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document with its format, a name and a version, and the value. Where no plan is made, that
    /// is what was found.
    Json,
}

/// A migration file.
#[derive(Debug, ClapArgs)]
pub struct FromMigration {
    /// The migration file.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Options of `plan`.
#[derive(Debug, ClapArgs)]
pub struct Plan {
    /// What it is made of.
    #[command(flatten)]
    pub from: FromMigration,
    /// Write the plan to a file that `apply --plan` takes.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Options of `apply`.
#[derive(Debug, ClapArgs)]
pub struct Apply {
    /// The migration file.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Carry out this plan, made by `plan --out`, and no other.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Stop before production would: once claims are parked, instances protected and base snapshots completed, which may take
    /// hours. The same command without it goes on when you are there. The more is written until then, the longer the final
    /// snapshot takes.
    #[arg(long, value_enum, value_name = "STAGE")]
    pub until: Option<Until>,
    /// Do not ask for the migration's name. Needed with -o json, which shows nothing to be confirmed.
    #[arg(long)]
    pub yes: bool,
    /// Form of the output: with json, one event a line, after a first line with the format and version of the others.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// How far a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// Up to the cutover.
    Cutover,
}

/// Where a migration's record is.
#[derive(Debug, ClapArgs)]
pub struct Target {
    /// The migration's name.
    #[arg(value_parser = dns_label)]
    pub name: String,
    /// The target namespace.
    #[arg(short, long, value_parser = dns_label)]
    pub namespace: String,
    /// kubeconfig context; the current one if not given.
    #[arg(long)]
    pub context: Option<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Options of `rollback`.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("writes").required(true).args(["discard_writes", "keep_writes"]))]
pub struct Rollback {
    /// The migration file.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Give up all writes made since the opening: the legacy volumes are as they were captured.
    #[arg(long)]
    pub discard_writes: bool,
    /// Keep all writes made since the opening: the volumes that the pods wrote to go back to the legacy instances.
    #[arg(long)]
    pub keep_writes: bool,
    /// Do not ask for the migration's name. Needed with -o json, which shows nothing to be confirmed.
    #[arg(long)]
    pub yes: bool,
    /// Form of the output: with json, one event a line, after a first line with the format and version of the others.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Options of `init`.
#[derive(Debug, ClapArgs)]
pub struct Init {
    /// The migration's name.
    #[arg(long)]
    pub name: String,
    /// The application's profile.
    #[arg(long, default_value = "cassandra")]
    pub profile: String,
    /// AWS region.
    #[arg(long)]
    pub region: String,
    /// A tag that all members carry, as KEY=VALUE.
    #[arg(long, value_name = "KEY=VALUE")]
    pub tag: String,
    /// A volume that moves, as ROLE=PATH: where it is mounted on the legacy hosts, and the claim template of the same
    /// name. May be given several times.
    #[arg(long = "volume", value_name = "ROLE=PATH", default_value = "data=/var/lib/cassandra")]
    pub volumes: Vec<String>,
    /// The target namespace.
    #[arg(long)]
    pub namespace: String,
    /// The target StatefulSet.
    #[arg(long)]
    pub set: String,
}

/// Options of `demo`.
#[derive(Debug, ClapArgs)]
pub struct Demo {
    /// Members of the cluster that moves.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub members: u32,
    /// Seed of all ids.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Die at the N-th call that changes something, then go on with a new process.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub kill_at: Option<u64>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What is emulated.
#[cfg(feature = "emulate")]
#[derive(Debug, Subcommand)]
pub enum Emulate {
    /// Serve EC2, EBS, Auto Scaling, SSM and STS, until interrupted.
    ///
    /// Point any AWS client at it with AWS_ENDPOINT_URL and any credentials. Signatures are not checked: serve it to
    /// loopback, or to a network that nobody else is in.
    Ec2(EmulateEc2),
}

/// Options of `emulate ec2`.
#[cfg(feature = "emulate")]
#[derive(Debug, ClapArgs)]
pub struct EmulateEc2 {
    /// Directory of the account, its volumes and its snapshots. A file system with reflinks (XFS, Btrfs) makes
    /// snapshots instant. An emulator that is started again goes on with it.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Port to serve on; 0 takes a free one, which is printed.
    #[arg(long, default_value_t = 4566)]
    pub port: u16,
    /// Address to serve on.
    #[arg(long, default_value = "127.0.0.1")]
    pub address: std::net::IpAddr,
    /// All delays times this: 0 makes everything ready at once, 1 is as EC2 is. Applies to a new state only.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = scale)]
    pub time_scale: f64,
    /// Show attached volumes as loop devices of this machine, with links in /dev/disk/by-id. Needs root.
    #[arg(long)]
    pub devices: bool,
    /// The program that runs instances as machines: start, stop, attach, exec. `docs/emulator.md` says how it is called.
    /// Without --devices it is not shown any volume.
    #[arg(long, value_name = "PROGRAM")]
    pub guests: Option<PathBuf>,
    /// Seed of ids and delays. Applies to a new state only.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Add each request and its reply to this file, one a line, as JSON.
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,
    /// What shall go wrong: a YAML or JSON file of faults, by action, resource, caller, call and time. While it serves,
    /// faults are set and looked at under /_emulator/faults. `docs/emulator.md` has the form, and what can go wrong.
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
}

#[cfg(feature = "emulate")]
fn scale(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("must be from 0 to 100".to_owned()) }
}
