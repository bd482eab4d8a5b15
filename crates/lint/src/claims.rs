//! The claims that a set's pods start on: those of the members, and whatever else has their names.

use std::collections::BTreeSet;

use rehome_model::cluster::{ClaimReport, StatefulSetReport};
use rehome_model::migration::SetSlots;
use rehome_model::{labels, names};

use crate::context::{Context, at_most, template_of};

pub(crate) fn check(context: &mut Context<'_>, subject: &str, slots: &SetSlots, set: &StatefulSetReport) {
    let ordinals: BTreeSet<u32> = context.landing(slots, set).into_iter().map(|(ordinal, _)| ordinal).collect();
    check_names(context, slots, set, &ordinals);
    check_leftovers(context, subject, set, &ordinals);
}

/// Whether this migration has parked all claims of some ordinals before, and they still are.
pub(crate) fn are_parked(
    context: &Context<'_>,
    slots: &SetSlots,
    set: &StatefulSetReport,
    ordinals: &BTreeSet<u32>,
) -> bool {
    let claims = &context.survey.cluster.claims;
    claims_of(context, slots, set, ordinals)
        .iter()
        .all(|(claim, volume)| claims.iter().any(|found| found.name == *claim && is_parked(context, found, volume)))
}

/// Claims of the set that no member lands on are of a trial, or of an earlier set: whoever adds a replica later gets a pod on
/// what they hold, under production's name.
fn check_leftovers(context: &mut Context<'_>, subject: &str, set: &StatefulSetReport, ordinals: &BTreeSet<u32>) {
    let ordinal_of = |claim: &ClaimReport| {
        set.templates.iter().find_map(|template| {
            let rest = claim.name.strip_prefix(&format!("{}-{}-", template.name, set.name))?;
            rest.bytes().all(|byte| byte.is_ascii_digit()).then(|| rest.parse::<u32>().ok())?
        })
    };
    let all = context.survey.cluster.claims.iter();
    let left: Vec<&ClaimReport> =
        all.filter(|claim| ordinal_of(claim).is_some_and(|ordinal| !ordinals.contains(&ordinal))).collect();
    if left.is_empty() {
        return;
    }
    let lines = left.iter().map(|claim| {
        let on = claim.volume_name.as_deref().unwrap_or("no volume");
        format!("claim {} is {} on {on}", claim.name, claim.phase)
    });
    let mut seen = at_most(lines.collect());
    if left.iter().any(|claim| claim.phase != "Pending") {
        seen.push("after the opening `rollback --keep-writes` is refused while one of them is bound".to_owned());
    }
    let message = "it has claims of ordinals that no member lands on".to_owned();
    context.report("RH0404", subject.to_owned(), message, seen);
}

/// The names that claims and PersistentVolumes will have must be free, or parked by this migration before.
fn check_names(context: &mut Context<'_>, slots: &SetSlots, set: &StatefulSetReport, ordinals: &BTreeSet<u32>) {
    let namespace = context.namespace().to_owned();
    let cluster = &context.survey.cluster;
    let mut taken = Vec::new();
    for (claim, volume) in claims_of(context, slots, set, ordinals) {
        if let Some(found) = cluster.claims.iter().find(|found| found.name == claim)
            && !is_parked(context, found, &volume)
        {
            let on = found.volume_name.as_deref().unwrap_or("no volume");
            taken.push(("RH0401", format!("claim {namespace}/{claim}"), format!("it is {} on {on}", found.phase)));
        }
        if let Some(found) = cluster.volumes.iter().find(|found| found.name == volume) {
            taken.push(("RH0402", format!("persistentvolume {volume}"), format!("it is {}", found.phase)));
        }
    }
    for (code, subject, seen) in taken {
        context.report(code, subject, "the name is taken".to_owned(), vec![seen]);
    }
}

/// The claims of some ordinals of a set, each with the PersistentVolume that it names while it is parked.
fn claims_of(
    context: &Context<'_>,
    slots: &SetSlots,
    set: &StatefulSetReport,
    ordinals: &BTreeSet<u32>,
) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for source in &context.migration.spec.source.volumes {
        let template = template_of(slots, &source.role);
        for ordinal in ordinals {
            let claim = names::claim(template, &set.name, *ordinal);
            let volume = names::persistent_volume(context.namespace(), &claim);
            all.push((claim, volume));
        }
    }
    all
}

/// Whether this migration has parked a claim before, and it still is: no pod starts on it.
fn is_parked(context: &Context<'_>, claim: &ClaimReport, volume: &str) -> bool {
    claim.labels.get(labels::MIGRATION) == Some(&context.migration.metadata.name)
        && claim.volume_name.as_deref() == Some(volume)
        && claim.phase == "Pending"
        && !claim.going
}
