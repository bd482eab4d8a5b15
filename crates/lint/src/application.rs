//! What the set's configuration says of the application, against what the members are.

use std::collections::BTreeSet;

use rehome_model::cluster::{ContainerReport, EnvValue, StatefulSetReport};
use rehome_model::host::UNKNOWN;
use rehome_model::migration::SetSlots;
use rehome_model::names;
use rehome_profiles::SetConfiguration;

use crate::context::Context;
use crate::{attributes, directories, owners, seeds};

pub(crate) fn check(context: &mut Context<'_>) {
    for (slots, set) in context.sets() {
        let subject = format!("statefulset {}/{}", set.namespace, set.name);
        let container = match &slots.container {
            Some(name) => set.containers.iter().find(|container| container.name == *name),
            None => set.containers.first(),
        };
        let Some(container) = container else {
            let wanted = slots.container.as_deref().unwrap_or("(the first)");
            context.report("RH0609", subject, format!("it has no container {wanted}"), Vec::new());
            continue;
        };
        let configuration =
            context.profile.set_configuration(set, container, &context.migration.spec.application.settings);
        attributes::check(context, &subject, slots, set, &configuration);
        check_version(context, &subject, slots, &configuration);
        check_gate(context, &subject, set, container);
        check_start(context, &subject, &configuration);
        seeds::check(context, &subject, &configuration);
        directories::check_mounts(context, &subject, slots, set, container);
        directories::check_places(context, &subject, slots, container, &configuration);
        check_settings(context, &subject, slots, &configuration);
        owners::check(context, &subject, slots, set, &configuration);
    }
}

/// An image that is older cannot serve at all; after any other than the very same there is no way back with the new writes.
fn check_version(context: &mut Context<'_>, subject: &str, slots: &SetSlots, configuration: &SetConfiguration) {
    let image = configuration.version.as_deref().unwrap_or("of no version");
    let (mut newer, mut other) = (Vec::new(), Vec::new());
    for member in context.members_of(slots) {
        let view = member.host.as_ref().and_then(|host| host.view.as_ref());
        let Some(version) = view.and_then(|view| view.identity.version.as_ref()) else { continue };
        let line = format!("{} runs {version}, the image is {image}", member.name);
        if configuration.version.as_ref().is_some_and(|image| is_older(image, version)) {
            newer.push(line);
        } else if !configuration.is_of_version(version) {
            other.push(line);
        }
    }
    if !newer.is_empty() {
        context.report("RH0605", subject.to_owned(), "its image is older than the data".to_owned(), newer);
    }
    if !other.is_empty() {
        let message = "its image does not name the members' version".to_owned();
        context.report("RH0619", subject.to_owned(), message, other);
    }
}

/// Whether version `left` is before `right`, number by number; what is no number ends the comparison.
fn is_older(left: &str, right: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> { text.split(['.', '-']).map_while(|part| part.parse().ok()).collect() };
    let (left, right) = (numbers(left), numbers(right));
    let common = left.len().min(right.len());
    left[..common] < right[..common]
}

/// Any other ConfigMap, or another key of it, would leave the pods open: the planner writes this one.
fn check_gate(context: &mut Context<'_>, subject: &str, set: &StatefulSetReport, container: &ContainerReport) {
    let variable = context.profile.gate().variable;
    let wanted = names::gate(&set.name);
    let found = match container.env.get(variable) {
        Some(EnvValue::ConfigMap { name, key, optional: true, .. }) if *name == wanted && key == variable => return,
        Some(EnvValue::ConfigMap { name, key, optional, .. }) => {
            format!("it is taken from key {key} of ConfigMap {name}, optional: {optional}")
        }
        Some(EnvValue::Literal(value)) => format!("it is {value:?}"),
        Some(EnvValue::Other(from)) => format!("it is taken from {from}"),
        None => "it is not set".to_owned(),
    };
    let message = format!(
        "it cannot start closed: container {} does not take {variable} from key {variable} of ConfigMap {wanted}, optional: true",
        container.name
    );
    context.report("RH0606", subject.to_owned(), message, vec![found]);
}

fn check_start(context: &mut Context<'_>, subject: &str, configuration: &SetConfiguration) {
    if let Some(probe) = configuration.closed_is_ended_by {
        let message = format!("its {probe} probe passes only once clients are let in");
        context.report("RH0614", subject.to_owned(), message, Vec::new());
    }
    if configuration.is_its_own_seed {
        let message = "nothing says whom its members ask for their cluster".to_owned();
        context.report("RH0615", subject.to_owned(), message, Vec::new());
    }
    if let Some(fault) = &configuration.opening_fault {
        let message = "its version opens in part only".to_owned();
        context.report("RH0613", subject.to_owned(), message, vec![fault.clone()]);
    }
    if let Some(why) = &configuration.question_refused {
        let message = "its pods do not answer nodetool as they are asked".to_owned();
        context.report("RH0618", subject.to_owned(), message, vec![why.clone()]);
    }
    if configuration.readiness_needs_clients {
        let message = "its readiness probe passes only once clients are let in".to_owned();
        context.report("RH0607", subject.to_owned(), message, Vec::new());
    }
}

/// Who may come in, and what is encrypted: nothing of it is on the volumes.
fn check_settings(context: &mut Context<'_>, subject: &str, slots: &SetSlots, configuration: &SetConfiguration) {
    let (mut other, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for member in context.members_of(slots) {
        for (name, value) in member.host.iter().flat_map(|host| &host.settings) {
            if value == UNKNOWN {
                unknown.insert(format!("what {name} is on the members cannot be told"));
                continue;
            }
            match configuration.settings.get(name) {
                Some(pods) if pods == value => {}
                Some(pods) => {
                    other.insert(format!("{name} is {value} on the members, and {pods} in the pods"));
                }
                None if context.profile.usual_settings().contains(&(name.as_str(), value.as_str())) => {}
                None => {
                    unknown.insert(format!("{name} is {value} on the members"));
                }
            }
        }
    }
    if !other.is_empty() {
        let message = "its pods would have other settings than the members".to_owned();
        context.report("RH0616", subject.to_owned(), message, other.into_iter().collect());
    }
    if !unknown.is_empty() {
        let message = "it cannot be told that its pods have the members' settings".to_owned();
        context.report("RH0617", subject.to_owned(), message, unknown.into_iter().collect());
    }
}
