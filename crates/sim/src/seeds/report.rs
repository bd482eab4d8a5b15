//! Many seeds: run on some threads, counted, and the failing ones told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rehome_model::migration::Migration;

use super::person::Over;
use super::planted::Planted;
use super::run::{Told, tell};
use super::story::{Scenario, Story};

/// Stories that are told in full; the others get a line.
const TOLD_IN_FULL: usize = 3;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many seeds.
    pub seeds: u64,
    /// The first.
    pub from: u64,
    /// Threads.
    pub jobs: usize,
    /// The scenario; each seed's own if none.
    pub scenario: Option<Scenario>,
    /// A planted bug: the first run that its checker catches is the last.
    pub planted: Option<Planted>,
}

/// What came of many.
#[derive(Debug, Default)]
pub struct Count {
    /// Runs.
    pub runs: u64,
    /// How they ended.
    pub ends: BTreeMap<&'static str, u64>,
    /// Runs that were stuck at some time.
    pub stuck: u64,
    /// What they were stuck at, and how often.
    pub stuck_at: BTreeMap<String, u64>,
    /// Processes that all persons started.
    pub processes: u64,
    /// Runs with violations.
    pub failed: Vec<Told>,
    /// How long it took.
    pub took: Duration,
    /// How much processor time it took, if the system tells.
    pub took_cpu: Option<Duration>,
}

impl Count {
    fn add(&mut self, told: Told) {
        self.runs += 1;
        let end = match told.over {
            Over::Completed => "completed",
            Over::RolledBack { by_user: true, .. } => "rolled back",
            Over::RolledBack { by_user: false, .. } => "undone by itself",
            Over::Returned => "rolled back with its writes",
            Over::Stuck(_) => "stuck for good",
            Over::Refused(_) => "not begun",
            Over::Endless(_) => "endless",
        };
        *self.ends.entry(end).or_default() += 1;
        self.processes += u64::from(told.efforts.tries);
        if let Some(because) = &told.efforts.stuck_because {
            self.stuck += 1;
            let step = because.split(':').take(2).collect::<Vec<_>>().join(":");
            *self.stuck_at.entry(step).or_default() += 1;
        }
        if !told.violations.is_empty() {
            self.failed.push(told);
        }
    }

    /// Runs a second.
    pub fn rate(&self) -> f64 {
        self.runs as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// Runs a second of processor time.
    pub fn cpu_rate(&self) -> Option<f64> {
        self.took_cpu.map(|took| self.runs as f64 / took.as_secs_f64().max(0.001))
    }

    /// The summary: how runs ended, how rare stuck is, and the line that counts.
    pub fn summary(&self) -> String {
        let ends: Vec<String> = self.ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
        let share = self.stuck as f64 * 100.0 / self.runs.max(1) as f64;
        let mut text = format!("ends:  {}; {} processes\n", ends.join(", "), self.processes);
        text += &format!("stuck: {} runs at some time ({share:.3} %)", self.stuck);
        for (step, count) in &self.stuck_at {
            text += &format!("\n       {count} at {step}");
        }
        if let Some(rate) = self.cpu_rate() {
            text += &format!("\ncpu:   {rate:.0} runs a second of processor time");
        }
        let (runs, failed) = (self.runs, self.failed.len());
        text + &format!("\nsim: {runs} runs, {failed} violations, {:.0} runs/s\n", self.rate())
    }

    /// The failing stories: the shortest first and in full, the others by a line each.
    pub fn stories(&mut self, options: &Options, migration: &Arc<Migration>) -> String {
        self.failed.sort_by_key(|told| (told.story.troubles.len(), told.story.seed));
        let mut text = String::new();
        for told in self.failed.iter().take(TOLD_IN_FULL) {
            text += &story(&shortened(&told.story, &told.violations, migration, options.planted), options);
        }
        for told in self.failed.iter().skip(TOLD_IN_FULL) {
            let first = told.violations.first().map_or("", String::as_str);
            text += &format!("seed {}: {first}\n", told.story.seed);
        }
        text
    }
}

/// The same story without the troubles that do not matter for what it broke, told anew with its log.
fn shortened(story: &Story, broken: &[String], migration: &Arc<Migration>, planted: Option<Planted>) -> Told {
    let invariant = |violation: &str| violation.split(':').next().unwrap_or_default().to_owned();
    let wanted = broken.first().map(|first| invariant(first)).unwrap_or_default();
    let mut shortest = story.clone();
    let mut index = 0;
    while index < shortest.troubles.len() {
        let mut shorter = shortest.clone();
        shorter.troubles.remove(index);
        let told = tell(&shorter, migration, planted, false);
        if told.violations.iter().any(|violation| invariant(violation) == wanted) {
            shortest = shorter;
        } else {
            index += 1;
        }
    }
    tell(&shortest, migration, planted, true)
}

/// A story with all that happened in it.
pub fn story(told: &Told, options: &Options) -> String {
    let Told { story, over, violations, log, .. } = told;
    let mut text = format!("seed {}, scenario {}: {}\n", story.seed, story.scenario.name(), story.course);
    text += &format!("  weather: {:?}\n", story.weather);
    for trouble in &story.troubles {
        text += &format!("  trouble: {trouble}\n");
    }
    for (at_ms, what) in log {
        text += &format!("{:>10.3} s  {what}\n", *at_ms as f64 / 1000.0);
    }
    text += &format!("  end: {over:?}\n");
    for violation in violations {
        text += &format!("  VIOLATION {violation}\n");
    }
    let scenario = options.scenario.map_or_else(String::new, |scenario| format!(" --scenario {}", scenario.name()));
    text + &format!("  again: cargo xtask sim --seeds 1 --from {}{scenario} --story\n\n", story.seed)
}

/// Runs all seeds.
pub fn run_all(options: &Options, migration: &Arc<Migration>) -> Count {
    let (started, started_cpu) = (Instant::now(), processor_time());
    let count = Mutex::new(Count::default());
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.seeds);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let mut told = tell(&Story::of(seed, options.scenario), migration, options.planted, false);
                    if let Some(by) = options.planted.and_then(Planted::caught_by) {
                        // What counts is that the checker catches it that should.
                        told.violations.retain(|violation| violation.starts_with(&format!("{by}:")));
                    }
                    if options.planted.is_some() && !told.violations.is_empty() {
                        next.store(end, Ordering::Relaxed);
                    }
                    count.lock().unwrap_or_else(PoisonError::into_inner).add(told);
                }
            });
        }
    });
    let mut count = count.into_inner().unwrap_or_else(PoisonError::into_inner);
    count.took = started.elapsed();
    count.took_cpu = processor_time().zip(started_cpu).map(|(now, then)| now.saturating_sub(then));
    count
}

/// Processor time of all threads of this process, as Linux tells it (proc(5): utime and stime of /proc/self/stat).
fn processor_time() -> Option<Duration> {
    /// USER_HZ: the same on every Linux that this is built for.
    const TICK_MS: u64 = 10;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold anything but ends with the last parenthesis; `state` follows it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(Duration::from_millis((user + system) * TICK_MS))
}
