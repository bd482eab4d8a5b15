//! The StatefulSet and its templates.

use rehome_model::cluster::{ClaimTemplateReport, StatefulSetReport};
use rehome_model::migration::SetSlots;
use rehome_model::quantity;

use crate::claims;
use crate::context::{Context, mounted, template_of};

pub(crate) fn check(context: &mut Context<'_>) {
    for slots in context.set_slots() {
        if !context.survey.cluster.sets.iter().any(|set| set.name == slots.name) {
            let subject = format!("statefulset {}/{}", context.namespace(), slots.name);
            context.report("RH0501", subject, "it does not exist".to_owned(), Vec::new());
        }
    }
    for (slots, set) in context.sets() {
        let subject = format!("statefulset {}/{}", set.namespace, set.name);
        check_templates(context, &subject, slots, set);
        claims::check(context, &subject, slots, set);
        check_service(context, &subject, set);
        check_owners(context, &subject, set);
        check_pods(context, &subject, slots, set);
    }
}

fn check_templates(context: &mut Context<'_>, subject: &str, slots: &SetSlots, set: &StatefulSetReport) {
    for source in &context.migration.spec.source.volumes {
        let name = template_of(slots, &source.role);
        let Some(template) = set.templates.iter().find(|template| template.name == name) else {
            let known: Vec<&str> = set.templates.iter().map(|template| template.name.as_str()).collect();
            let message = format!("it has no claim template {name} for role {}", source.role);
            context.report("RH0502", subject.to_owned(), message, vec![format!("templates: {}", known.join(", "))]);
            continue;
        };
        check_template(context, &format!("{subject} template {name}"), template);
        check_size(context, &format!("{subject} template {name}"), template, &source.mount_path);
    }
}

fn check_template(context: &mut Context<'_>, subject: &str, template: &ClaimTemplateReport) {
    if !template.access_modes.iter().any(|mode| mode.starts_with("ReadWriteOnce")) {
        let seen = vec![format!("accessModes: {}", template.access_modes.join(", "))];
        context.report("RH0504", subject.to_owned(), "an EBS volume is ReadWriteOnce".to_owned(), seen);
    }
    if template.volume_mode != "Filesystem" {
        let seen = vec![format!("volumeMode: {}", template.volume_mode)];
        context.report("RH0505", subject.to_owned(), "the adopted volume holds a file system".to_owned(), seen);
    }
    if template.has_selector || template.attributes_class.is_some() {
        let message = "a selector or VolumeAttributesClass does not go with adopted volumes".to_owned();
        context.report("RH0517", subject.to_owned(), message, Vec::new());
    }
    let classes = &context.survey.cluster.storage_classes;
    let class = match &template.storage_class {
        Some(name) => classes.iter().find(|class| class.name == *name),
        None => classes.iter().find(|class| class.is_default),
    };
    let driver = &context.migration.spec.target.csi_driver;
    let asked = template.storage_class.as_deref().unwrap_or("(the default class)");
    match class {
        Some(class) if class.provisioner == *driver => {}
        Some(class) => {
            let seen = vec![format!("its provisioner is {}", class.provisioner)];
            let message = format!("class {asked} is not of driver {driver}");
            context.report("RH0506", subject.to_owned(), message, seen);
        }
        None => {
            let message = format!("there is no storage class {asked}");
            context.report("RH0506", subject.to_owned(), message, Vec::new());
        }
    }
}

fn check_size(context: &mut Context<'_>, subject: &str, template: &ClaimTemplateReport, mount_path: &str) {
    let request = quantity::bytes(&template.request).unwrap_or(0);
    let survey = context.survey;
    for member in &survey.members {
        let volume = mounted(member, mount_path).and_then(|(_, device)| survey.volumes.get(device?.volume.as_ref()?));
        if let Some(volume) = volume
            && u128::from(volume.spec.size_gib) * quantity::GIB < request
        {
            let seen = vec![format!(
                "{} has {} GiB, the template asks for {}",
                volume.id, volume.spec.size_gib, template.request
            )];
            let message = format!("the volume of {} is smaller than the template asks for", member.name);
            context.report("RH0503", subject.to_owned(), message, seen);
        }
    }
}

fn check_service(context: &mut Context<'_>, subject: &str, set: &StatefulSetReport) {
    match context.survey.cluster.services.iter().find(|service| service.name == set.service_name) {
        Some(service) if service.headless => {
            if !service.publishes_not_ready {
                let seen = vec![format!("service {} has publishNotReadyAddresses false", service.name)];
                let message = "members cannot find each other before they are ready".to_owned();
                context.report("RH0509", subject.to_owned(), message, seen);
            }
        }
        found => {
            let seen = if found.is_some() { "it is not headless" } else { "it does not exist" };
            let message = format!("its service {:?} is not a headless one", set.service_name);
            context.report("RH0508", subject.to_owned(), message, vec![seen.to_owned()]);
        }
    }
}

fn check_owners(context: &mut Context<'_>, subject: &str, set: &StatefulSetReport) {
    if set.when_deleted != "Retain" || set.when_scaled != "Retain" {
        let seen = vec![format!("whenDeleted {}, whenScaled {}", set.when_deleted, set.when_scaled)];
        let message = "its claims go when it is deleted or scaled down".to_owned();
        context.report("RH0507", subject.to_owned(), message, seen);
    }
    let mut owners: Vec<String> = set.owner.iter().map(|owner| format!("owned by {owner}")).collect();
    let tools = ["argocd", "flux", "helm", "kustomize-controller"];
    owners.extend(
        set.managers.iter().filter(|m| tools.iter().any(|tool| m.contains(tool))).map(|m| format!("managed by {m}")),
    );
    for annotation in ["meta.helm.sh/release-name", "argocd.argoproj.io/tracking-id"] {
        if let Some(value) = set.annotations.get(annotation) {
            owners.push(format!("{annotation}: {value}"));
        }
    }
    if !owners.is_empty() {
        let message = "something else also writes to it".to_owned();
        context.report("RH0514", subject.to_owned(), message, owners);
    }
    if context.survey.cluster.autoscaled.contains(&format!("StatefulSet/{}", set.name)) {
        let message = "an autoscaler sets its replicas".to_owned();
        context.report("RH0515", subject.to_owned(), message, Vec::new());
    }
}

fn check_pods(context: &mut Context<'_>, subject: &str, slots: &SetSlots, set: &StatefulSetReport) {
    // Whoever scales the set up while its claims are parked has pods that wait.
    let pods = (set.first_ordinal..set.first_ordinal.saturating_add(set.current_replicas)).collect();
    if set.current_replicas > 0 && !claims::are_parked(context, slots, set, &pods) {
        let seen = vec![format!("{} replicas wanted, {} pods there", set.replicas, set.current_replicas)];
        context.report("RH0516", subject.to_owned(), "it has pods already".to_owned(), seen);
    }
    let members = context.members_of(slots).len();
    if usize::try_from(set.replicas).unwrap_or(usize::MAX) > members {
        let seen = vec![format!("replicas: {}", set.replicas)];
        let message = format!("{members} members land on it, and it wants more pods");
        context.report("RH0519", subject.to_owned(), message, seen);
    }
    if set.pod_management_policy != "Parallel" && context.profile.needs_parallel_start() {
        let seen = vec![format!("podManagementPolicy: {}", set.pod_management_policy)];
        let message = format!("{} starts as a whole, the set starts one after the other", context.profile.name());
        context.report("RH0510", subject.to_owned(), message, seen);
    }
    if set.host_network {
        context.report("RH0513", subject.to_owned(), "its pods use the node's network".to_owned(), Vec::new());
    }
}
