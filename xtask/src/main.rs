//! The project's own tasks.

mod bench;
mod cache;
mod cargo;
mod control_plane;
mod evidence;
mod foreign;
mod fuzz;
mod go;
mod lab;
mod mutants;
mod python;
mod sim;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run everything that guards the project, and say plainly what was not run and why.
    Test,
    /// Measure the demo and the binary; ratios where two things are compared.
    Bench,
    /// Try the engine against a real Kubernetes control plane (built from its Go modules: ten minutes the first time), and
    /// the simulated Kubernetes against it over random sequences of operations.
    #[command(name = "control-plane")]
    ControlPlane(control_plane::Comparison),
    /// Real parts on this machine: Kubernetes, EC2's emulator, EBS volumes, a legacy Cassandra. Needs root.
    #[command(subcommand)]
    Lab(lab::Lab),
    /// Hold the EC2 emulator to boto3, the AWS CLI and botocore's service models (from PyPI, into the cache).
    Foreign,
    /// Fuzz what reads other people's bytes: requests, files, records, outputs. Without TARGET, one after the other.
    Fuzz {
        /// How long each target runs.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Note a clean run in docs/evidence/fuzz.jsonl; needs a checkout without changes.
        #[arg(long)]
        record: bool,
        /// Targets: files of fuzz/fuzz_targets, without their ending.
        targets: Vec<String>,
    },
    /// Put small mistakes into a crate, one at a time, and see whether a test notices (cargo-mutants; six seconds each).
    Mutants(mutants::Mutants),
    /// Run whole migrations in the simulated world under random troubles: --seeds N [--from S] [--jobs J]
    /// [--scenario NAME] [--story] [--record].
    #[command(disable_help_flag = true)]
    Sim {
        /// For the runner; `cargo xtask sim --help` names them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match &Args::parse().task {
        Task::Test => test::test(),
        Task::Bench => bench::bench(),
        Task::ControlPlane(of) => control_plane::test(of),
        Task::Lab(what) => lab::lab(what),
        Task::Foreign => foreign::test(),
        Task::Fuzz { seconds, record, targets } => fuzz::fuzz(*seconds, *record, targets),
        Task::Mutants(asked) => mutants::mutants(asked),
        Task::Sim { arguments } => sim::sim(arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
