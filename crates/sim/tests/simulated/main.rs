//! The whole of rehome in the simulated world: emulator, simulated cluster, hosts and database, on paused time.
//!
//! One binary: each more would be compiled with its own copy of [`common`], and linked once more. A file is asked for by its name:
//! `cargo test --package rehome-sim --test simulated -- finalize::`.

mod common;
mod leftovers;
mod lint_cases;
mod lint_cases_set;
mod once;
mod opened;

mod account;
mod agreed;
mod checkers;
mod credentials;
mod facts;
mod faults;
mod finalize;
mod gate;
mod gc;
mod gc_strangers;
mod groups;
mod held;
mod keep_writes;
mod keep_writes_refused;
mod lease;
mod lint;
mod lint_evidence;
mod migration;
mod opening;
mod parked;
mod permissions;
mod placement;
mod plan;
mod planted;
mod prepared;
mod record;
mod restored;
mod scale;
mod scaled;
mod seeds;
mod silence;
mod starts;
mod survey_hosts;
mod tagged;
mod troubles;
mod way_back;
mod way_back_ec2;
