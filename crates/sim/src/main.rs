//! `rehome-sim`: whole migrations under random troubles; `cargo xtask sim` builds and runs it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use clap::Parser;
use rehome_sim::seeds::{Count, Entry, Options, Planted, RunResult, Scenario, Story, run_all, story, tell};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs whole migrations in the simulated world, each under the troubles that its seed draws, and checks the invariants.
#[derive(Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Only this scenario: calm, cloud, hosts, cluster, operator, drivers, strangers, rollback, keep, again, storm.
    #[arg(long, value_parser = scenario)]
    scenario: Option<Scenario>,
    /// Tell the first seed's story, whatever came of it.
    #[arg(long)]
    story: bool,
    /// Plant a bug, by its name in crates/sim/src/seeds/planted.rs, and stop at the first run in which its checker sees it.
    #[arg(long, value_parser = planted)]
    planted: Option<Planted>,
    /// Append the result to docs/evidence/sim.jsonl, and failing seeds to docs/evidence/failed-seeds.txt.
    #[arg(long)]
    record: bool,
}

fn scenario(name: &str) -> Result<Scenario, String> {
    Scenario::of(name).ok_or_else(|| {
        let all: Vec<String> =
            Scenario::ALL.iter().map(|known| format!("{}: {}", known.name(), known.about())).collect();
        format!("no such scenario; there are\n  {}", all.join("\n  "))
    })
}

fn planted(name: &str) -> Result<Planted, String> {
    let known = Planted::ALL.into_iter().map(|(planted, _)| planted);
    known.clone().find(|planted| format!("{planted:?}") == name).ok_or_else(|| {
        let all: Vec<String> = known.map(|planted| format!("{planted:?}")).collect();
        format!("no such bug; there are {}", all.join(", "))
    })
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    let migration = serde_saphyr::from_str(&rehome_sim::migration_yaml()).map_err(|error| error.to_string())?;
    let migration = Arc::new(migration);
    let options =
        Options { seeds: args.seeds, from: args.from, jobs: args.jobs, scenario: args.scenario, planted: args.planted };
    let commit = if args.record { Some(commit()?) } else { None };
    if args.story {
        let told = tell(&Story::of(args.from, args.scenario), &migration, args.planted, true);
        print!("{}", story(&told, &options));
    }
    let mut count = run_all(&options, &migration);
    print!("{}", count.stories(&options, &migration));
    if let Some(commit) = commit {
        record(args, &count, commit)?;
    }
    print!("{}", count.summary());
    Ok(count.failed.is_empty())
}

/// The commit that is run. A ledger that named a commit beside which something was changed would prove nothing.
fn commit() -> Result<String, String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().map_err(|error| format!("git: {error}"))?;
        Ok::<String, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--", ":!docs/evidence"])?;
    if !changed.is_empty() {
        return Err(format!("commit first: the ledger names commits, and there are changes beside it:\n{changed}"));
    }
    git(&["rev-parse", "HEAD"])
}

fn evidence() -> Result<PathBuf, String> {
    // At run time, not when this was built: checkouts may share a target directory.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("run this as `cargo xtask sim`")?;
    Ok(Path::new(&package).join("../../docs/evidence"))
}

fn record(args: &Args, count: &Count, commit: String) -> Result<(), String> {
    let scenario = args.scenario.map_or_else(String::new, |scenario| format!(" --scenario {}", scenario.name()));
    if count.failed.is_empty() {
        let entry = Entry {
            at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            commit,
            command: format!("cargo xtask sim --seeds {} --from {}{scenario}", args.seeds, args.from),
            from: args.from,
            seeds: count.runs,
            result: RunResult {
                violations: 0,
                stuck: count.stuck,
                runs_per_second: count.rate().round(),
                runs_per_cpu_second: count.cpu_rate().map(f64::round),
            },
        };
        return append("sim.jsonl", &serde_json::to_string(&entry).map_err(|error| error.to_string())?);
    }
    for told in &count.failed {
        let first = told.violations.first().map_or("", String::as_str);
        let name = args.scenario.map_or("-", Scenario::name);
        append("failed-seeds.txt", &format!("{} {name} {first}", told.story.seed))?;
    }
    Ok(())
}

fn append(file: &str, line: &str) -> Result<(), String> {
    let path = evidence()?.join(file);
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?;
    writeln!(file, "{line}").map_err(failed)
}
