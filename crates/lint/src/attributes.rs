//! What the data says of its member, and a pod must say alike: the application refuses to start with anything else.

use std::collections::BTreeMap;

use rehome_model::answer::MemberIdentity;
use rehome_model::cluster::StatefulSetReport;
use rehome_model::migration::SetSlots;
use rehome_profiles::SetConfiguration;

use crate::context::{Context, at_most};

/// Runs of ordinals that one line names; of more it says how many pods there are.
const RUNS_IN_LINE: usize = 12;

pub(crate) fn check(
    context: &mut Context<'_>,
    subject: &str,
    slots: &SetSlots,
    set: &StatefulSetReport,
    configuration: &SetConfiguration,
) {
    check_attributes(context, subject, slots, configuration);
    check_unknown(context, subject, slots, set, configuration);
}

/// Attribute of the configuration, its check, and how a member's value of it is read.
type Attribute = (&'static str, &'static str, fn(&MemberIdentity) -> Option<String>);

const ATTRIBUTES: &[Attribute] = &[
    ("cluster", "RH0601", |identity| Some(identity.cluster.clone())),
    ("data_center", "RH0602", |identity| identity.attributes.get("data_center").cloned()),
    ("rack", "RH0603", |identity| identity.attributes.get("rack").cloned()),
    ("token_count", "RH0604", |identity| {
        identity.attributes.get("tokens").map(|tokens| tokens.split(',').count().to_string())
    }),
];

fn check_attributes(context: &mut Context<'_>, subject: &str, slots: &SetSlots, configuration: &SetConfiguration) {
    let members = context.members_of(slots);
    let identities = || members.iter().filter_map(|m| Some((&m.name, &m.host.as_ref()?.view.as_ref()?.identity)));
    for (attribute, code, read) in ATTRIBUTES {
        let Some(configured) = configuration.attributes.get(*attribute) else { continue };
        let wrong: Vec<String> = identities()
            .filter_map(|(name, identity)| Some((name, read(identity)?)))
            .filter(|(_, value)| value != configured)
            .map(|(name, value)| format!("{name} has {value:?}"))
            .collect();
        if !wrong.is_empty() {
            let message = format!("its {} is {configured:?}, the members' is not", attribute.replace('_', " "));
            context.report(code, subject.to_owned(), message, wrong);
        }
    }
}

/// What nobody can compare a person must: told by value, since a thousand pods have a handful of racks.
fn check_unknown(
    context: &mut Context<'_>,
    subject: &str,
    slots: &SetSlots,
    set: &StatefulSetReport,
    configuration: &SetConfiguration,
) {
    let landing = context.landing(slots, set);
    let mut seen = Vec::new();
    for (attribute, _, read) in ATTRIBUTES {
        if !configuration.unknown_attributes.iter().any(|unknown| unknown == attribute) {
            continue;
        }
        let mut pods: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (ordinal, member) in &landing {
            let identity = member.host.as_ref().and_then(|host| host.view.as_ref()).map(|view| &view.identity);
            if let Some(value) = identity.and_then(read) {
                pods.entry(value).or_default().push(*ordinal);
            }
        }
        let (name, alike) = (attribute.replace('_', " "), pods.len() == 1);
        seen.extend(pods.into_iter().map(|(value, ordinals)| {
            let place = if alike { "every pod".to_owned() } else { format!("pods {}", runs(ordinals)) };
            format!("{name} must be {value:?} in {place}")
        }));
    }
    if !seen.is_empty() {
        let message = "it cannot be told that its pods say of themselves what the members' data says".to_owned();
        context.report("RH0621", subject.to_owned(), message, at_most(seen));
    }
}

/// Ordinals in short: `0, 3-5, 9`.
fn runs(mut ordinals: Vec<u32>) -> String {
    ordinals.sort_unstable();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for ordinal in ordinals {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(ordinal) => *last = ordinal,
            _ => runs.push((ordinal, ordinal)),
        }
    }
    let (told, left) = runs.split_at(runs.len().min(RUNS_IN_LINE));
    let told: Vec<String> = told
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    let more: u64 = left.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
    if more == 0 { told.join(", ") } else { format!("{} and {more} more", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn ordinals_that_follow_each_other_are_one_run_and_of_many_runs_the_first_are_named() {
        assert_eq!(runs(vec![5, 0, 4, 3, 9]), "0, 3-5, 9");
        assert_eq!(runs((0..1000).collect()), "0-999");
        assert_eq!(runs((0..30).map(|n| n * 3).collect()), "0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33 and 18 more");
        assert_eq!(runs(vec![u32::MAX]), "4294967295");
    }
}
