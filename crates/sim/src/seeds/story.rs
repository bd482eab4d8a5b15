//! A story: everything that a seed decides before the run begins.

use std::fmt;

use super::dice::Dice;
use super::trouble::{How, Stranger, Trouble};
use super::wider;
use crate::gate::Port;

/// What a run is about; `--scenario` takes these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "described by `about`")]
pub enum Scenario {
    Calm,
    Cloud,
    Hosts,
    Cluster,
    Operator,
    Drivers,
    Strangers,
    Rollback,
    Keep,
    Again,
    Storm,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Calm,
        Self::Cloud,
        Self::Hosts,
        Self::Cluster,
        Self::Operator,
        Self::Drivers,
        Self::Strangers,
        Self::Rollback,
        Self::Keep,
        Self::Again,
        Self::Storm,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Cloud => "cloud",
            Self::Hosts => "hosts",
            Self::Cluster => "cluster",
            Self::Operator => "operator",
            Self::Drivers => "drivers",
            Self::Strangers => "strangers",
            Self::Rollback => "rollback",
            Self::Keep => "keep",
            Self::Again => "again",
            Self::Storm => "storm",
        }
    }

    /// The scenario of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// What it is about.
    pub fn about(self) -> &'static str {
        match self {
            Self::Calm => "nothing goes wrong",
            Self::Cloud => "EC2 throttles, fails, loses replies, is late and fails what it accepted",
            Self::Hosts => "agents are gone, scripts time out and go on, output is cut",
            Self::Cluster => "conflicts, lost replies, an apiserver that is away, a slow binder",
            Self::Operator => "the driver is killed again and again",
            Self::Drivers => "two drivers at once, one of which stands still between its check and its act",
            Self::Strangers => "others scale, evict, delete, attach, tag and steal",
            Self::Rollback => "the user rolls back, at the end or in the middle, while things go wrong",
            Self::Keep => "the user rolls back and keeps the new writes, while things go wrong",
            Self::Again => "rolled back, and applied once more",
            Self::Storm => "everything at once",
        }
    }
}

/// What the user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Applies.
    Apply,
    /// Applies, and rolls back once that is over.
    ApplyThenRollBack,
    /// Stops the run in the middle and rolls back.
    RollBackAt(u64),
    /// Applies, and takes the volumes back with their new writes once that is over.
    ApplyThenKeep,
    /// The same, stopped in the middle. Before the opening nothing is there to keep.
    KeepAt(u64),
    /// Applies, takes the volumes back with their new writes, and applies again.
    KeepThenAgain,
    /// Applies, rolls back, applies.
    Again,
}

/// How the world is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// How late EC2's describes may be.
    pub lag_ms: u64,
    /// A snapshot's fixed time.
    pub snapshot_ms: u64,
    /// The binder's resync.
    pub binder_resync_ms: u64,
    /// Pulling the image.
    pub pull_ms: u64,
    /// Whether volumes that fail vanish instead of staying in `error`.
    pub failed_volumes_vanish: bool,
    /// Whether an Auto Scaling group holds the members.
    pub auto_scaling: bool,
    /// Whether members have a commit log on a volume of its own.
    pub commitlogs: bool,
    /// How far the clocks of the machines are apart from which rehome is run.
    pub clocks_apart_ms: u64,
}

/// Everything a seed decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The seed.
    pub seed: u64,
    /// What it is about.
    pub scenario: Scenario,
    /// Members.
    pub members: u32,
    /// How the world is.
    pub weather: Weather,
    /// What the user does.
    pub course: Course,
    /// What goes wrong.
    pub troubles: Vec<Trouble>,
}

/// Until when after the beginning things may go wrong: a run in fair weather takes about two minutes.
pub(super) const LAST_S: u64 = 160;
/// The least limit of a script: where it is over, the ports end the script where it runs (crates/ports/src/hosts.rs).
const SCRIPT_LIMIT_S: u64 = 600;
/// Changing calls of a run of three members, and some.
const CALLS: u64 = 190;

/// A second half of a run begins about then, and after about so many changing calls: for troubles that belong to it.
const AFTER_S: u64 = 120;
/// See [`AFTER_S`].
const AFTER_CALLS: u64 = 120;

impl Story {
    /// The story of a seed, of a scenario that the seed chooses unless one is given.
    pub fn of(seed: u64, scenario: Option<Scenario>) -> Self {
        let mut dice = Dice::new(seed, 1);
        let drawn = match dice.below(32) {
            0 => Scenario::Calm,
            1..=4 => Scenario::Cloud,
            5..=7 => Scenario::Hosts,
            8..=10 => Scenario::Cluster,
            11..=14 => Scenario::Operator,
            15..=18 => Scenario::Drivers,
            19..=22 => Scenario::Strangers,
            23..=26 => Scenario::Rollback,
            27 => Scenario::Again,
            _ => Scenario::Storm,
        };
        // By a throw of its own: the stories of seeds that were told before stay what they were.
        let keeps =
            matches!(drawn, Scenario::Calm | Scenario::Rollback | Scenario::Storm) && Dice::new(seed, 3).one_in(3);
        let scenario = scenario.unwrap_or(if keeps { Scenario::Keep } else { drawn });
        // The part of the dice that a given scenario does not change comes from a throw of its own.
        let mut dice = Dice::new(seed, 2);
        let weather = weather(&mut dice);
        let course = course(&mut dice, scenario);
        let mut troubles = Vec::new();
        for _ in 0..count(&mut dice, scenario) {
            let kind = match scenario {
                Scenario::Rollback | Scenario::Keep | Scenario::Again | Scenario::Storm => dice.pick(&[
                    Scenario::Cloud,
                    Scenario::Hosts,
                    Scenario::Cluster,
                    Scenario::Operator,
                    Scenario::Drivers,
                    Scenario::Strangers,
                ]),
                own => own,
            };
            let mut trouble = draw(&mut dice, kind);
            if scenario == Scenario::Keep && dice.one_in(2) {
                trouble = trouble.later(AFTER_S, AFTER_CALLS);
            }
            let one_of_each = !(trouble.opens_the_claims() && troubles.iter().any(Trouble::starts_pods)
                || trouble.starts_pods() && troubles.iter().any(Trouble::opens_the_claims));
            if one_of_each {
                troubles.push(trouble);
            }
        }
        troubles.extend(wider::troubles(seed, scenario));
        troubles.extend(wider::found_by_reading(seed, scenario, &troubles));
        troubles.extend(wider::found_later(seed, scenario, weather.auto_scaling));
        let clocks_apart_ms = wider::clocks_apart_ms(seed);
        let weather = Weather { commitlogs: wider::has_commitlogs(seed), clocks_apart_ms, ..weather };
        Self { seed, scenario, members: 3, weather, course, troubles }
    }

    /// Whether somebody takes something away that the run cannot make again.
    pub fn is_damaged(&self) -> bool {
        self.troubles.iter().any(Trouble::is_damage)
    }
}

fn weather(dice: &mut Dice) -> Weather {
    Weather {
        lag_ms: dice.pick(&[0, 800, 800, 2_000, 5_000, 15_000]),
        snapshot_ms: dice.pick(&[5_000, 20_000, 20_000, 60_000]),
        binder_resync_ms: dice.pick(&[15_000, 15_000, 60_000]),
        pull_ms: dice.pick(&[500, 3_000, 30_000]),
        failed_volumes_vanish: dice.one_in(2),
        auto_scaling: dice.one_in(6),
        commitlogs: false,
        clocks_apart_ms: 0,
    }
}

fn course(dice: &mut Dice, scenario: Scenario) -> Course {
    match scenario {
        Scenario::Rollback => match dice.below(2) {
            0 => Course::ApplyThenRollBack,
            _ => Course::RollBackAt(dice.between(1, LAST_S)),
        },
        Scenario::Keep => match dice.below(8) {
            0..=4 => Course::ApplyThenKeep,
            5 | 6 => Course::KeepAt(dice.between(1, LAST_S)),
            _ => Course::KeepThenAgain,
        },
        Scenario::Again => Course::Again,
        Scenario::Storm if dice.one_in(4) => Course::ApplyThenRollBack,
        Scenario::Drivers if dice.one_in(5) => Course::RollBackAt(dice.between(1, LAST_S)),
        _ => Course::Apply,
    }
}

fn count(dice: &mut Dice, scenario: Scenario) -> u64 {
    match scenario {
        Scenario::Calm => 0,
        Scenario::Storm => dice.between(3, 8),
        Scenario::Rollback | Scenario::Keep | Scenario::Again => dice.between(0, 3),
        _ => dice.between(1, 4),
    }
}

fn draw(dice: &mut Dice, scenario: Scenario) -> Trouble {
    match scenario {
        Scenario::Cloud => cloud(dice),
        Scenario::Hosts => hosts(dice),
        Scenario::Cluster => cluster(dice),
        Scenario::Operator => operator(dice),
        Scenario::Drivers => drivers(dice),
        _ => strangers(dice),
    }
}

/// EC2's passing errors (EC2 developer guide, "Error codes for the Amazon EC2 API").
const PASSING: [&str; 4] = ["RequestLimitExceeded", "InternalError", "Unavailable", "ServiceUnavailable"];

fn cloud(dice: &mut Dice) -> Trouble {
    let port = Some(Port::Cloud);
    match dice.below(6) {
        0 => Trouble::Call { port, nth: dice.between(1, 45), how: How::Code(dice.pick(&PASSING)) },
        1 | 2 => Trouble::Call { port, nth: dice.between(1, 45), how: How::LosesReply },
        3 => {
            let how = How::Code(dice.pick(&PASSING));
            Trouble::Read { port: Port::Cloud, nth: dice.between(1, 200), times: dice.between(1, 30), how }
        }
        4 => {
            let action = dice.pick(&["CreateVolume", "CreateVolume", "CreateSnapshots"]);
            Trouble::FailsLater { action, nth: dice.between(1, 6) }
        }
        _ => {
            let action =
                dice.pick(&["CreateSnapshots", "CreateVolume", "StopInstances", "AttachVolume", "DetachVolume"]);
            Trouble::Slow { action, nth: dice.between(1, 5), by_s: dice.between(5, 400) }
        }
    }
}

fn hosts(dice: &mut Dice) -> Trouble {
    let port = Some(Port::Hosts);
    match dice.below(6) {
        0 | 1 => Trouble::AgentGone {
            member: dice.below(3) as u32,
            at_s: dice.below(LAST_S),
            for_s: dice.pick(&[5, 30, 120, 600, 3_600]),
        },
        2 => Trouble::Call { port, nth: dice.between(1, 10), how: How::Fails },
        3 => Trouble::Call { port, nth: dice.between(1, 10), how: How::GoesOn(dice.between(1, SCRIPT_LIMIT_S - 10)) },
        4 => Trouble::Call { port, nth: dice.between(1, 10), how: How::LosesReply },
        _ => {
            let port = dice.pick(&[Port::Hosts, Port::Pods]);
            Trouble::Read { port, nth: dice.between(1, 30), times: dice.between(1, 3), how: How::CutOutput }
        }
    }
}

fn cluster(dice: &mut Dice) -> Trouble {
    let port = Some(Port::Cluster);
    match dice.below(6) {
        0 => Trouble::Call { port, nth: dice.between(1, 130), how: How::Status(409, "Conflict") },
        1 => Trouble::Call { port, nth: dice.between(1, 130), how: How::Fails },
        2 => Trouble::Call { port, nth: dice.between(1, 130), how: How::LosesReply },
        3 => Trouble::Call {
            port,
            nth: dice.between(1, 130),
            how: dice.pick(&[How::Status(503, "ServiceUnavailable"), How::Status(429, "TooManyRequests")]),
        },
        4 => {
            let how = dice.pick(&[How::Fails, How::Status(504, "Timeout")]);
            Trouble::Read { port: Port::Cluster, nth: dice.between(1, 300), times: dice.between(1, 10), how }
        }
        _ => Trouble::ApiserverAway { at_s: dice.below(LAST_S), for_s: dice.pick(&[1, 6, 12, 30, 120, 900]) },
    }
}

fn operator(dice: &mut Dice) -> Trouble {
    match dice.below(3) {
        0 => Trouble::Call { port: None, nth: dice.between(1, CALLS), how: How::KillsBefore },
        1 => Trouble::Call { port: None, nth: dice.between(1, CALLS), how: How::KillsAfter },
        _ => Trouble::Killed { at_s: dice.below(LAST_S) },
    }
}

fn drivers(dice: &mut Dice) -> Trouble {
    match dice.below(6) {
        0 => Trouble::SecondApply { at_s: dice.below(LAST_S) },
        1 => Trouble::SecondRollback { at_s: dice.below(LAST_S) },
        2 => Trouble::Call {
            port: dice.pick(&[None, Some(Port::Cloud), Some(Port::Hosts)]),
            nth: dice.between(1, 45),
            how: How::Pauses(dice.pick(&[3, 8, 14, 20])),
        },
        3 => Trouble::Stranger { at_s: dice.below(LAST_S), what: Stranger::StealsLease },
        _ => Trouble::Call {
            port: dice.pick(&[None, Some(Port::Cloud), Some(Port::Hosts), Some(Port::Cluster)]),
            nth: dice.between(1, 60),
            how: How::Pauses(dice.between(16, 400)),
        },
    }
}

fn strangers(dice: &mut Dice) -> Trouble {
    let member = dice.below(3) as u32;
    let at_s = dice.below(LAST_S);
    let what = match dice.below(26) {
        0..=3 => Stranger::Scales(dice.between(0, 3) as u32),
        4 => Stranger::KeepsScaling,
        5..=7 => Stranger::EvictsPod(member),
        8 => Stranger::DeletesClaim(member),
        9 => Stranger::StealsLease,
        10 => Stranger::StartsService(member),
        21 => Stranger::SetsUpService(member),
        11..=13 => Stranger::TagsVolume(member),
        14 => Stranger::DeletesVolume(member),
        15 => Stranger::DeletesSnapshot(member),
        16..=18 => Stranger::BorrowsVolume(member),
        19 | 20 => return Trouble::BeforeApply { what: Stranger::GrowsVolume(member) },
        _ => Stranger::TakesSnapshot(member),
    };
    Trouble::Stranger { at_s, what }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply => write!(f, "the user applies"),
            Self::ApplyThenRollBack => write!(f, "the user applies, and rolls back at the end"),
            Self::RollBackAt(at_s) => write!(f, "the user stops the run at {at_s} s and rolls back"),
            Self::ApplyThenKeep => write!(f, "the user applies, and rolls back at the end, keeping the new writes"),
            Self::KeepAt(at_s) => write!(f, "the user stops the run at {at_s} s and rolls back, keeping new writes"),
            Self::KeepThenAgain => write!(f, "the user applies, rolls back keeping the new writes, and applies again"),
            Self::Again => write!(f, "the user applies, rolls back, and applies again"),
        }
    }
}
