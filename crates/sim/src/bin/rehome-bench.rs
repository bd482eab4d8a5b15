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
    /// Only plan.
    #[arg(long)]
    plan_only: bool,
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
        let world = memory_kib("VmRSS:");
        let survey = stage.survey().await?;
        let with_survey = memory_kib("VmRSS:");
        // The most memory from here on: what the simulated hosts took while they answered is not the plan's.
        let forgotten = std::fs::write("/proc/self/clear_refs", "5").is_ok();
        let began = Instant::now();
        let findings = stage.check(&survey);
        let (checked, with_findings) = (began.elapsed(), memory_kib("VmRSS:"));
        let plan = stage.plan(&survey, findings)?;
        let planned = began.elapsed();
        let most = memory_kib("VmHWM:").filter(|_| forgotten);
        let above = |now: Option<u64>| Some(now?.saturating_sub(world?));
        let plan_result = json!({
            "steps": plan.steps.len(),
            "plan_bytes": serde_json::to_vec(&plan).map_err(|error| error.to_string())?.len(),
            "check_us": checked.as_micros(), "plan_us": planned.as_micros(),
            "survey_kib": above(with_survey), "findings_kib": above(with_findings), "most_kib": above(most),
        });
        let apply = if args.plan_only { None } else { Some(stage.apply(&plan).await?) };
        Ok(json!({"plan": plan_result, "apply": apply, "delays": stage.delays()}).to_string())
    })
}

/// A line of Linux' account of this process' memory, in KiB.
fn memory_kib(line: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let found = status.lines().find_map(|found| found.strip_prefix(line))?;
    found.trim().trim_end_matches(" kB").trim().parse().ok()
}
