//! Putting the plan together.

use std::collections::BTreeMap;

use rehome_model::cluster::{ClaimTemplateReport, StatefulSetReport, StorageClassReport};
use rehome_model::finding::{Finding, Severity};
use rehome_model::format::{self, Format};
use rehome_model::ids::{RoleName, VolumeId};
use rehome_model::migration::{Migration, SetSlots, Slots, SourceVolume};
use rehome_model::names;
use rehome_model::on_host::OnHost;
use rehome_model::plan::{ClaimSpec, MemberPlan, Plan, Purpose, Slot, VolumePlan};
use rehome_model::survey::{MemberSurvey, Survey};
use rehome_profiles::Profile;

use crate::error::PlanError;
use crate::mapping::{Placement, place};
use crate::{estimate, facts, steps};

/// Makes the plan of a migration, or says why there is none. `findings` are those of the checks of the same survey; an
/// error among them is an answer of its own.
pub fn plan(
    migration: &Migration,
    survey: &Survey,
    profile: &dyn Profile,
    findings: Vec<Finding>,
) -> Result<Plan, PlanError> {
    let (errors, findings): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(PlanError::Findings(errors));
    }
    let target = &migration.spec.target;
    let Slots::StatefulSets(sets) = &target.slots else { return Err(PlanError::ClaimPattern) };
    let mut members = Vec::new();
    for placement in place(&target.slots, survey)? {
        members.push(member(migration, survey, sets, &placement)?);
    }
    let (steps, groups) = steps::steps(migration, survey, profile, &members);
    Ok(Plan {
        format: Format::current(format::PLAN),
        migration: migration.metadata.name.clone(),
        profile: migration.spec.application.profile.clone(),
        settings: migration.spec.application.settings.clone(),
        purpose: Purpose::Apply,
        strategy: migration.spec.strategy,
        cutover: migration.spec.cutover,
        account: survey.caller.account.clone(),
        region: survey.caller.region.clone(),
        namespace: target.namespace.clone(),
        api_share_percent: migration.spec.limits.api_share_percent.map(u8::from),
        facts: facts::facts(&members, &target.namespace, survey),
        estimate: estimate::estimate(&members, profile.limits(), migration.spec.limits.api_share_percent.map(u8::from)),
        members,
        steps,
        groups,
        findings,
    })
}

fn member(
    migration: &Migration,
    survey: &Survey,
    sets: &[SetSlots],
    placement: &Placement,
) -> Result<MemberPlan, PlanError> {
    let not_seen = |subject: String, missing: &str| PlanError::NotSeen { subject, missing: missing.to_owned() };
    let subject = format!("member {}", placement.member);
    let found = survey
        .members
        .iter()
        .find(|member| member.name == placement.member)
        .ok_or_else(|| not_seen(subject.clone(), "the instance"))?;
    let set = survey
        .cluster
        .sets
        .iter()
        .find(|set| set.name == placement.set)
        .ok_or_else(|| not_seen(format!("StatefulSet {}", placement.set), "the set"))?;
    let slots = sets
        .iter()
        .find(|slots| slots.name == placement.set)
        .ok_or_else(|| not_seen(format!("StatefulSet {}", placement.set), "its slots"))?;
    let view = found
        .host
        .as_ref()
        .and_then(|host| host.view.as_ref())
        .ok_or_else(|| not_seen(subject.clone(), "the application's view of its cluster"))?;
    let volumes = migration
        .spec
        .source
        .volumes
        .iter()
        .map(|source| volume(migration, survey, found, set, slots, source, placement.ordinal))
        .collect::<Result<Vec<_>, _>>()?;
    let container = slots.container.clone().or_else(|| set.containers.first().map(|c| c.name.clone()));
    Ok(MemberPlan {
        name: found.name.clone(),
        instance: found.instance.id.clone(),
        // As the others know it: that may be another than the instance's first.
        legacy_address: Some(view.address.clone()),
        identity: view.identity.clone(),
        zone: found.instance.zone.clone(),
        slot: Slot {
            set: Some(set.name.clone()),
            ordinal: placement.ordinal,
            pod: Some(names::pod(&set.name, placement.ordinal)),
            container,
        },
        volumes,
        reason: placement.reason.clone(),
    })
}

fn volume(
    migration: &Migration,
    survey: &Survey,
    member: &MemberSurvey,
    set: &StatefulSetReport,
    slots: &SetSlots,
    source: &SourceVolume,
    ordinal: u32,
) -> Result<VolumePlan, PlanError> {
    let missing = || PlanError::NoVolume {
        member: member.name.clone(),
        role: source.role.clone(),
        mount_path: source.mount_path.clone(),
    };
    let (legacy_volume, fs_type) = mounted_volume(member, &source.mount_path).ok_or_else(missing)?;
    let spec = survey.volumes.get(&legacy_volume).ok_or_else(missing)?.spec.clone();
    let template_name = slots.claims.get(&source.role).map_or(source.role.as_str(), String::as_str);
    let template =
        set.templates.iter().find(|template| template.name == template_name).ok_or_else(|| PlanError::NotSeen {
            subject: format!("StatefulSet {}", set.name),
            missing: format!("the claim template {template_name}"),
        })?;
    let namespace = &migration.spec.target.namespace;
    let name = names::claim(template_name, &set.name, ordinal);
    let claim = ClaimSpec {
        namespace: namespace.clone(),
        volume_name: names::persistent_volume(namespace, &name),
        name,
        storage_class: storage_class(template, &survey.cluster.storage_classes),
        size_gib: spec.size_gib,
        access_modes: template.access_modes.clone(),
        labels: claim_labels(template, set).into(),
    };
    Ok(VolumePlan {
        role: source.role.clone(),
        legacy_volume,
        mount_path: source.mount_path.clone(),
        fs_type,
        spec,
        claim,
        on_host: member.host.as_ref().and_then(|host| OnHost::of(host, &source.mount_path)),
    })
}

/// The EBS volume that is mounted, whole, at a path of a host, and its file system.
fn mounted_volume(member: &MemberSurvey, mount_path: &str) -> Option<(VolumeId, String)> {
    let host = member.host.as_ref()?;
    let mount = host.mounts.iter().find(|mount| mount.target == mount_path)?;
    let device = host.block_devices.iter().find(|device| device.path == mount.source)?;
    Some((device.volume.clone()?, mount.fs_type.clone()))
}

/// The template's class; if it names none, the default class is what admission will put in.
fn storage_class(template: &ClaimTemplateReport, classes: &[StorageClassReport]) -> String {
    template.storage_class.clone().unwrap_or_else(|| {
        classes.iter().find(|class| class.is_default).map(|class| class.name.clone()).unwrap_or_default()
    })
}

/// The labels the set's controller would give the claim: it never adds them to one that exists already (kubernetes
/// `pkg/controller/statefulset/stateful_set_utils.go`, `getPersistentVolumeClaims`).
fn claim_labels(template: &ClaimTemplateReport, set: &StatefulSetReport) -> BTreeMap<String, String> {
    let mut labels = template.labels.clone();
    labels.extend(set.selector.clone());
    labels
}

/// Roles of a migration, in its order.
pub(crate) fn roles(member: &MemberPlan) -> BTreeMap<RoleName, VolumeId> {
    member.volumes.iter().map(|volume| (volume.role.clone(), volume.legacy_volume.clone())).collect()
}
