//! What a plan relies on, and whether it still holds (invariant I9).

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::cloud::{AutoScalingGroup, InstanceState};
use rehome_model::cluster::StatefulSetReport;
use rehome_model::host::Holds;
use rehome_model::ids::{InstanceId, StepId};
use rehome_model::plan::{Fact, MemberPlan, Plan};
use rehome_model::survey::Survey;

use crate::steps::ids;

/// A fact that is not as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The fact as planned.
    pub fact: Fact,
    /// What is seen now; none if it cannot be seen.
    pub now: Option<String>,
    /// Why it cannot be seen, if its host could not be asked: then nothing is known to have changed.
    pub unasked: Option<String>,
}

/// A fact in the making: why it is needed, and which steps change it.
struct Observed {
    path: String,
    value: String,
    why: &'static str,
    changed_by: Vec<StepId>,
}

/// The path of the fact that names account and region.
const ACCOUNT: &str = "cloud/account";

/// The account and the region that a plan's ids are looked up in, if it names them.
pub fn account(plan: &Plan) -> Option<(&str, &str)> {
    plan.facts.iter().find(|fact| fact.path == ACCOUNT)?.value.split_once(' ')
}

/// The facts of a plan for these members.
pub(crate) fn facts(members: &[MemberPlan], namespace: &str, survey: &Survey) -> Vec<Fact> {
    observe(members, namespace, survey)
        .into_iter()
        .map(|seen| Fact { path: seen.path, value: seen.value, why: seen.why.to_owned(), changed_by: seen.changed_by })
        .collect()
}

/// The facts of `plan` that a new survey shows otherwise. Facts that a step of the run has changed, because it was
/// begun, are not compared.
pub fn differences(plan: &Plan, survey: &Survey, begun: &BTreeSet<StepId>) -> Vec<Difference> {
    let now: BTreeMap<String, String> =
        observe(&plan.members, &plan.namespace, survey).into_iter().map(|seen| (seen.path, seen.value)).collect();
    plan.facts
        .iter()
        .filter(|fact| !fact.changed_by.iter().any(|step| begun.contains(step)))
        .filter(|fact| now.get(&fact.path) != Some(&fact.value))
        .filter(|fact| !went_with_its_instance(fact, plan, survey, begun))
        .map(|fact| {
            let now = now.get(&fact.path).cloned();
            let unasked = if now.is_none() { unasked(fact, plan, survey) } else { None };
            Difference { fact: fact.clone(), now, unasked }
        })
        .collect()
}

/// The instances that a survey has and `plan` does not: of one that is not carried out yet, members that came since it was made.
pub fn unplanned<'a>(plan: &Plan, survey: &'a Survey) -> Vec<&'a InstanceId> {
    let planned: BTreeSet<&InstanceId> = plan.members.iter().map(|member| &member.instance).collect();
    survey.members.iter().map(|member| &member.instance.id).filter(|id| !planned.contains(id)).collect()
}

/// Whether a fact is of something that went with an instance which somebody terminated once it was to be stopped: its volumes
/// are described no more, nor is a group that has lost its last member. Nobody can put that back, and going forward is the only
/// way on which the member serves again. Its volumes were captured before; the fence looks at where they are attached, and
/// what a new volume was made from is looked at before it is released.
///
/// Told here and not by the fact's steps, so that it holds for plans that are stored.
fn went_with_its_instance(fact: &Fact, plan: &Plan, survey: &Survey, begun: &BTreeSet<StepId>) -> bool {
    let is_gone = |member: &MemberPlan| {
        let state = survey.members.iter().find(|found| found.instance.id == member.instance).map(|m| m.instance.state);
        let gone = matches!(state, None | Some(InstanceState::Terminated | InstanceState::ShuttingDown));
        gone && begun.contains(&ids::stop_instance(&member.name))
    };
    if let Some(of_group) = fact.path.strip_prefix(GROUP) {
        let is_of = |name: &str| of_group == name || of_group.strip_prefix(name) == Some(REBALANCING);
        let seen = survey.auto_scaling_groups.iter().any(|group| is_of(&group.name));
        return !seen && plan.members.iter().any(is_gone);
    }
    let holds = |member: &&MemberPlan| fact.path.starts_with(&format!("member/{}/volume/", member.name));
    plan.members.iter().find(holds).is_some_and(is_gone)
}

/// Ends the path of the fact that a group's zones are left alone.
const REBALANCING: &str = "/rebalancing";

/// Why the host that shows a fact could not be asked, if it is a host's and was not.
fn unasked(fact: &Fact, plan: &Plan, survey: &Survey) -> Option<String> {
    let shown_by = |member: &&MemberPlan| fact.path == identity(member) || fact.path == directories(member);
    let member = plan.members.iter().find(shown_by)?;
    let found = survey.members.iter().find(|found| found.instance.id == member.instance)?;
    found.host_error.clone()
}

/// Of a member's facts the first that its host shows.
fn identity(member: &MemberPlan) -> String {
    format!("member/{}/identity", member.name)
}

/// The other one.
fn directories(member: &MemberPlan) -> String {
    format!("member/{}/directories", member.name)
}

fn observe(members: &[MemberPlan], namespace: &str, survey: &Survey) -> Vec<Observed> {
    let mut seen = vec![Observed {
        path: ACCOUNT.to_owned(),
        value: format!("{} {}", survey.caller.account, survey.caller.region),
        why: "ids are looked up in this account and region",
        changed_by: Vec::new(),
    }];
    // Only where the plan relies on it: a group that is suspended gets its members back when somebody resumes it.
    for group in survey.auto_scaling_groups.iter().filter(|group| group.is_suspended()) {
        seen.push(Observed {
            path: format!("{GROUP}{}", group.name),
            value: format!("{} are suspended", AutoScalingGroup::LEFT_ALONE.join(", ")),
            why: "it terminates members that it finds stopped",
            changed_by: Vec::new(),
        });
    }
    for group in survey.auto_scaling_groups.iter().filter(|group| group.is_in_several_zones() && !group.may_rebalance())
    {
        seen.push(Observed {
            path: format!("{GROUP}{}{REBALANCING}", group.name),
            value: "AZRebalance or Launch is suspended".to_owned(),
            why: "members in Standby unbalance it, and rebalancing it terminates others",
            changed_by: Vec::new(),
        });
    }
    for member in members {
        seen.extend(of_member(member, survey));
        seen.extend(of_slot(member, namespace, survey));
    }
    for set in survey.cluster.sets.iter().filter(|s| members.iter().any(|m| m.slot.set.as_ref() == Some(&s.name))) {
        seen.extend(of_set(set, namespace));
    }
    seen
}

/// Ends the path of the fact that a set's pod template is the one that was checked.
const TEMPLATE: &str = "template";

fn of_a_set(namespace: &str, set: &str, what: &str) -> String {
    format!("set/{namespace}/{set}/{what}")
}

/// The fingerprint of the pod template that a plan relies on; none in plans of an older rehome.
pub fn template<'a>(plan: &'a Plan, set: &str) -> Option<&'a str> {
    let path = of_a_set(&plan.namespace, set, TEMPLATE);
    plan.facts.iter().find(|fact| fact.path == path).map(|fact| fact.value.as_str())
}

/// Begins the path of a fact of an Auto Scaling group.
const GROUP: &str = "auto-scaling-group/";

fn of_set(set: &StatefulSetReport, namespace: &str) -> Vec<Observed> {
    let path = |what: &str| of_a_set(namespace, &set.name, what);
    let templates: Vec<String> = set
        .templates
        .iter()
        .map(|t| format!("{}:{}", t.name, t.storage_class.as_deref().unwrap_or("(default)")))
        .collect();
    let always = |what: &str, value: String, why: &'static str| Observed {
        path: path(what),
        value,
        why,
        changed_by: Vec::new(),
    };
    // No step changes these two. Once its pods are started they are what they are, and the set is its owner's to change: a run
    // that goes on is not refused for it.
    let until_started = |what: &str, value: String, why: &'static str| Observed {
        path: path(what),
        value,
        why,
        changed_by: vec![ids::scale(&set.name)],
    };
    let mut seen = vec![
        always("uid", set.uid.clone(), "the slots are this very set's"),
        always("templates", templates.join(" "), "claims are named and classed after its templates"),
        always("first-ordinal", set.first_ordinal.to_string(), "ordinals name the claims"),
        until_started(
            "retention",
            format!("whenDeleted {}, whenScaled {}", set.when_deleted, set.when_scaled),
            "the claims of adopted data must outlive the set and its replicas",
        ),
    ];
    if let Some(hash) = &set.template_hash {
        let why = "image, mounts, users and settings of the pods were checked when the plan was made";
        seen.push(until_started(TEMPLATE, hash.clone(), why));
    }
    seen
}

fn of_member(member: &MemberPlan, survey: &Survey) -> Vec<Observed> {
    let Some(found) = survey.members.iter().find(|found| found.instance.id == member.instance) else {
        return Vec::new();
    };
    let path = |what: &str| format!("member/{}/{what}", member.name);
    let stopped_by =
        vec![ids::stop_service(&member.name), ids::unmount(&member.name), ids::stop_instance(&member.name)];
    let mut seen = vec![Observed {
        path: path("instance-state"),
        value: found.instance.state.to_string(),
        why: "it serves until the cutover",
        changed_by: vec![ids::stop_instance(&member.name)],
    }];
    if let Some(view) = found.host.as_ref().and_then(|host| host.view.as_ref()) {
        seen.push(Observed {
            path: identity(member),
            value: view.identity.id.clone(),
            why: "the pod must come up as this member",
            changed_by: stopped_by.clone(),
        });
    }
    let places = found.host.iter().flat_map(|host| &host.directories).filter(|place| place.holds == Holds::Writes);
    let places: Vec<String> = places
        .map(|place| {
            let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "(unknown)".to_owned());
            format!("{} {} on {}", place.purpose, known(&place.path), known(&place.mount_point))
        })
        .collect();
    if !places.is_empty() {
        seen.push(Observed {
            path: directories(member),
            value: places.join(", "),
            why: "what is kept elsewhere would not move",
            changed_by: stopped_by,
        });
    }
    for volume in &member.volumes {
        let attached = survey.volumes.get(&volume.legacy_volume).map(|seen| {
            let at: Vec<String> = seen.attachments.iter().map(|a| format!("{} {}", a.instance, a.device)).collect();
            format!("{} {} {} GiB at {}", seen.zone, seen.spec.volume_type, seen.spec.size_gib, at.join(", "))
        });
        if let Some(value) = attached {
            seen.push(Observed {
                path: path(&format!("volume/{}", volume.role)),
                value,
                why: "the new volume has its size, type and zone",
                changed_by: Vec::new(),
            });
        }
    }
    seen
}

fn of_slot(member: &MemberPlan, namespace: &str, survey: &Survey) -> Vec<Observed> {
    let mut seen = Vec::new();
    for volume in &member.volumes {
        let claim = survey.cluster.claims.iter().find(|claim| claim.name == volume.claim.name);
        let state = match claim {
            None => "absent".to_owned(),
            Some(claim)
                if claim.volume_name.as_ref() == Some(&volume.claim.volume_name) && claim.phase == "Pending" =>
            {
                // Parked by an earlier run: as good as absent, since the step finds its work done.
                "absent".to_owned()
            }
            Some(claim) => format!("{} on {}", claim.phase, claim.volume_name.as_deref().unwrap_or("(nothing)")),
        };
        seen.push(Observed {
            path: format!("claim/{namespace}/{}", volume.claim.name),
            value: state,
            why: "it is created parked, and nothing else may hold the name",
            changed_by: vec![ids::park(&member.name, &volume.role)],
        });
        let taken = survey.cluster.volumes.iter().any(|seen| seen.name == volume.claim.volume_name);
        seen.push(Observed {
            path: format!("persistentvolume/{}", volume.claim.volume_name),
            value: if taken { "present" } else { "absent" }.to_owned(),
            why: "while it does not exist no pod can start",
            changed_by: vec![ids::release(&member.name, &volume.role)],
        });
    }
    seen
}
