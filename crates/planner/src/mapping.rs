//! Which member lands in which slot, and why.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::ids::MemberName;
use rehome_model::migration::{SetSlots, Slots};
use rehome_model::survey::Survey;

use crate::error::PlanError;

/// A member's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The member.
    pub member: MemberName,
    /// The set.
    pub set: String,
    /// The ordinal.
    pub ordinal: u32,
    /// Why there.
    pub reason: String,
}

/// Places every member: those with an ordinal of their own first, the others in the order of their names on the
/// ordinals that are left. Any ordinal fits any zone: the volume's zone draws the pod there.
pub fn place(slots: &Slots, survey: &Survey) -> Result<Vec<Placement>, PlanError> {
    let Slots::StatefulSets(sets) = slots else { return Err(PlanError::ClaimPattern) };
    let mut placed: BTreeMap<MemberName, Placement> = BTreeMap::new();
    let mut taken: BTreeMap<(usize, u32), MemberName> = BTreeMap::new();
    for (index, set) in sets.iter().enumerate() {
        for (named, ordinal) in &set.ordinals {
            let member = find(survey, named).ok_or_else(|| unknown(survey, set, named))?;
            if let Some(first) = taken.insert((index, *ordinal), member.clone()) {
                return Err(PlanError::SameSlot { first, second: member, set: set.name.clone(), ordinal: *ordinal });
            }
            let reason = "the migration says so".to_owned();
            let placement = Placement { member: member.clone(), set: set.name.clone(), ordinal: *ordinal, reason };
            if let Some(first) = placed.insert(member.clone(), placement) {
                let slot = |set: &str, ordinal: u32| format!("{ordinal} of {set}");
                let (first, second) = (slot(&first.set, first.ordinal), slot(&set.name, *ordinal));
                return Err(PlanError::TwoSlots { member, first, second });
            }
        }
    }
    let left: Vec<&MemberName> =
        survey.members.iter().map(|member| &member.name).filter(|name| !placed.contains_key(*name)).collect();
    if let ([set], true) = (sets.as_slice(), !left.is_empty()) {
        let first = survey.cluster.sets.iter().find(|s| s.name == set.name).map_or(0, |s| s.first_ordinal);
        let used: BTreeSet<u32> = taken.keys().map(|(_, ordinal)| *ordinal).collect();
        let free = (first..).filter(|ordinal| !used.contains(ordinal));
        for (member, ordinal) in left.iter().zip(free) {
            let reason = "members in the order of their names, on the ordinals that are free".to_owned();
            let placement = Placement { member: (*member).clone(), set: set.name.clone(), ordinal, reason };
            placed.insert((*member).clone(), placement);
        }
    } else if let Some(member) = left.first() {
        return Err(PlanError::NoSlot((*member).clone()));
    }
    for set in sets {
        without_gaps(set, survey, placed.values().filter(|placement| placement.set == set.name))?;
    }
    let order = |set: &str| sets.iter().position(|s| s.name == set);
    let mut placements: Vec<Placement> = placed.into_values().collect();
    placements.sort_by_key(|placement| (order(&placement.set), placement.ordinal));
    Ok(placements)
}

/// The set's controller starts pods on all ordinals from the first one on: one that no member lands on would start blank.
fn without_gaps<'a>(
    set: &SetSlots,
    survey: &Survey,
    placements: impl Iterator<Item = &'a Placement>,
) -> Result<(), PlanError> {
    let first = survey.cluster.sets.iter().find(|s| s.name == set.name).map_or(0, |s| s.first_ordinal);
    let ordinals: BTreeSet<u32> = placements.map(|placement| placement.ordinal).collect();
    if ordinals.iter().copied().eq((first..).take(ordinals.len())) {
        return Ok(());
    }
    let listed: Vec<String> = ordinals.iter().map(u32::to_string).collect();
    Err(PlanError::Gap { set: set.name.clone(), first, ordinals: listed.join(", ") })
}

fn find(survey: &Survey, named: &str) -> Option<MemberName> {
    let is = |member: &&rehome_model::survey::MemberSurvey| {
        member.name.as_str() == named || member.instance.id.as_str() == named
    };
    survey.members.iter().find(is).map(|member| member.name.clone())
}

fn unknown(survey: &Survey, set: &SetSlots, named: &str) -> PlanError {
    let known: Vec<&str> = survey.members.iter().map(|member| member.name.as_str()).collect();
    PlanError::UnknownMember { member: named.to_owned(), set: set.name.clone(), known: known.join(", ") }
}
