//! Seeds: the same one tells the same story, a few of each scenario hold, and those that ever failed hold now.

use std::sync::Arc;

use rehome_model::migration::Migration;
use rehome_sim::seeds::{Options, Scenario, Story, entries, past_failures, run_all, tell};

fn migration() -> Arc<Migration> {
    Arc::new(serde_saphyr::from_str(&rehome_sim::migration_yaml()).expect("the migration is valid"))
}

fn evidence(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/evidence").join(file);
    std::fs::read_to_string(path).expect("the evidence is checked in")
}

#[test]
fn the_same_seed_tells_the_same_story_to_the_millisecond() {
    let migration = migration();
    for seed in 0..12 {
        let story = Story::of(seed, Some(Scenario::Storm));
        let (first, second) = (tell(&story, &migration, None, true), tell(&story, &migration, None, true));
        assert!(!first.log.is_empty());
        assert_eq!(first.log, second.log, "seed {seed}");
        assert_eq!((first.over, first.mutations), (second.over, second.mutations), "seed {seed}");
    }
}

#[test]
fn some_seeds_of_every_scenario_hold() {
    let migration = migration();
    for scenario in Scenario::ALL {
        let options = Options { seeds: 8, from: 1_000_000, jobs: 1, scenario: Some(scenario), planted: None };
        let mut count = run_all(&options, &migration);
        assert_eq!(count.stories(&options, &migration), "", "{}", scenario.name());
        assert_eq!(count.runs, 8);
    }
}

#[test]
fn seeds_that_once_failed_hold() {
    let migration = migration();
    let failures = past_failures(&evidence("failed-seeds.txt")).expect("a list of seeds");
    assert!(!failures.is_empty());
    for (seed, scenario, why) in failures {
        let told = tell(&Story::of(seed, scenario), &migration, None, false);
        assert_eq!(told.violations, Vec::<String>::new(), "seed {seed}, which once failed by {why}");
    }
}

#[test]
fn the_ledger_is_well_formed_and_speaks_of_no_violation() {
    let found = entries(&evidence("sim.jsonl")).expect("a ledger");
    assert!(!found.is_empty());
}

#[test]
fn a_ledger_with_a_violation_or_a_broken_line_is_refused() {
    let line = |at: &str, violations: u32| {
        format!(
            r#"{{"at":"{at}","commit":"{}","command":"c","from":0,"seeds":9,"result":{{"violations":{violations},"stuck":0,"runs_per_second":1.0}}}}"#,
            "a".repeat(40)
        )
    };
    let (early, late) = ("2026-11-25T01:00:00Z", "2026-11-25T02:00:00Z");
    assert_eq!(entries(&format!("{}\n{}\n", line(early, 0), line(late, 0))).map(|all| all.len()), Ok(2));
    assert!(entries(&line(early, 1)).is_err_and(|why| why.contains("1 violations in 9 runs")));
    assert!(entries(&format!("{}\n{}\n", line(late, 0), line(early, 0))).is_err_and(|why| why.contains("appended")));
    assert!(entries("{}").is_err());
}
