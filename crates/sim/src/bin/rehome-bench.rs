//! `rehome-bench`: one large migration in the simulated world, measured; `cargo xtask bench` builds and runs it.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use rehome_sim::bench::Stage;
use serde_json::json;

/// Moves a simulated cluster of members with two volumes each, and prints what it took as JSON.
#[derive(Parser)]
struct Args {
    /// Members.
    #[arg(long, default_value_t = 1000)]
    members: u32,
    /// The share of EC2's rates of calls that the run may use, in percent.
    #[arg(long, default_value_t = 100)]
    share: u8,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let stage = Stage::new(args.members, args.share)?;
        eprintln!("set: {} MiB", peak_mib());
        let began = Instant::now();
        let survey = stage.survey().await?;
        eprintln!("survey {:?}, {} MiB", began.elapsed(), peak_mib());
        let began = Instant::now();
        let plan = stage.plan(&survey)?;
        eprintln!("plan {:?}, {} steps, {} MiB", began.elapsed(), plan.steps.len(), peak_mib());
        eprintln!("plan {} bytes", serde_json::to_vec(&plan).map_err(|e| e.to_string())?.len());
        let measured = stage.apply(&plan).await?;
        eprintln!("apply {} ms, {} MiB", measured.wall_ms, peak_mib());
        Ok(serde_json::to_string_pretty(&json!(measured)).unwrap_or_default())
    })
}

/// The most memory this process has had, in MiB (Linux).
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1024
}
