//! What a share of the seeds has beyond its scenario: troubles of machines, members with a commit log, clocks apart.
//!
//! Each is drawn with dice of its own, so that the rest of a seed's story stays what it was without.

use rehome_model::ids::RoleName;
use rehome_model::migration::{Migration, SourceVolume};

use super::dice::Dice;
use super::story::{LAST_S, Scenario};
use super::trouble::{Stranger, Trouble};
use crate::scene::LOG_PATH;

/// Roles of members with a commit log.
pub const ROLES: [&str; 2] = ["data", "commitlog"];

/// Whether the seed's members have a commit log on a volume of its own.
pub(super) fn has_commitlogs(seed: u64) -> bool {
    Dice::new(seed, 5).one_in(4)
}

/// How far the clocks of the machines are apart from which rehome is run: for most seeds not at all.
pub(super) fn clocks_apart_ms(seed: u64) -> u64 {
    let mut dice = Dice::new(seed, 8);
    if dice.one_in(4) { dice.pick(&[10_000, 60_000, 3_600_000, 86_400_000]) } else { 0 }
}

/// The troubles that the seed has besides those of its scenario.
pub(super) fn troubles(seed: u64, scenario: Scenario) -> Option<Trouble> {
    let mut dice = Dice::new(seed, 6);
    let share = match scenario {
        Scenario::Calm => return None,
        Scenario::Hosts | Scenario::Cluster | Scenario::Strangers => 3,
        _ => 6,
    };
    if !dice.one_in(share) {
        return None;
    }
    let (member, at_s) = (dice.below(3) as u32, dice.below(LAST_S));
    let kind = match scenario {
        Scenario::Hosts => dice.below(2),
        Scenario::Cluster => 2,
        Scenario::Strangers => 3,
        _ => dice.below(4),
    };
    Some(match kind {
        0 => Trouble::DiskFull { member, at_s, for_s: dice.pick(&[20, 120, 700]) },
        1 => Trouble::Reboots { member, at_s, for_s: dice.between(20, 90) },
        2 => Trouble::NodeLost { node: member, at_s: at_s + dice.below(LAST_S) },
        _ => Trouble::Stranger { at_s, what: Stranger::BacksUpVolume(member) },
    })
}

/// What was found by reading and not by seeds: a gate that somebody opens, a set that somebody deletes, a legacy side that
/// somebody brings back between two drivers.
pub(super) fn found_by_reading(seed: u64, scenario: Scenario, troubles: &[Trouble]) -> Option<Trouble> {
    let mut dice = Dice::new(seed, 9);
    let share = match scenario {
        Scenario::Calm => return None,
        Scenario::Operator | Scenario::Strangers => 3,
        _ => 6,
    };
    if !dice.one_in(share) {
        return None;
    }
    let at_s = dice.below(2 * LAST_S);
    let stranger = |what| Trouble::Stranger { at_s, what };
    let trouble = match dice.below(8) {
        0 | 1 => stranger(Stranger::OpensGate),
        2 => stranger(Stranger::UngatesSet),
        3 => stranger(Stranger::DeletesSet),
        4 => stranger(Stranger::ReplacesSet(dice.pick(&[0, 3]))),
        // Of two sides that both have new writes no tool makes one.
        _ if scenario == Scenario::Keep => return None,
        _ => Trouble::RestoredByHand { at_s: at_s % LAST_S },
    };
    let has = |what: fn(&Trouble) -> bool| troubles.iter().any(what);
    // Of a set that is gone nothing holds the volumes any more: whoever deletes one of them then deletes the only copy.
    let clashes = trouble.starts_pods() && has(Trouble::opens_the_claims)
        || trouble.takes_the_set() && has(Trouble::is_damage)
        || matches!(trouble, Trouble::RestoredByHand { .. }) && has(Trouble::acts_beside);
    (!clashes).then_some(trouble)
}

/// What was found by reading later: a template that somebody changes, members of a group that somebody puts back into service. A
/// group terminates what it finds stopped.
pub(super) fn found_later(seed: u64, scenario: Scenario, auto_scaling: bool) -> Option<Trouble> {
    let mut dice = Dice::new(seed, 10);
    let share = match scenario {
        Scenario::Calm => return None,
        Scenario::Strangers => 4,
        _ => 12,
    };
    let at_s = dice.below(2 * LAST_S);
    let drawn = dice.one_in(share);
    let in_group = auto_scaling && dice.one_in(3);
    let what = if in_group { Stranger::ExitsStandby } else { Stranger::DeploysImage };
    (in_group || drawn).then_some(Trouble::Stranger { at_s, what })
}

/// The migration, of members with a commit log.
pub(super) fn with_commitlogs(migration: &Migration) -> Migration {
    let mut wider = migration.clone();
    let log = SourceVolume { role: RoleName::from("commitlog"), mount_path: LOG_PATH.to_owned() };
    wider.spec.source.volumes.push(log);
    wider
}
