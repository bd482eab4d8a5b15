//! What a check sees, and how it says what it found.

use std::collections::BTreeSet;

use rehome_model::cluster::StatefulSetReport;
use rehome_model::finding::Finding;
use rehome_model::host::{HostBlockDevice, Mount};
use rehome_model::ids::{FindingCode, RoleName};
use rehome_model::migration::{Migration, SetSlots, Slots};
use rehome_model::survey::{MemberSurvey, Survey};
use rehome_profiles::Profile;

use crate::registry;

pub(crate) struct Context<'a> {
    pub migration: &'a Migration,
    pub survey: &'a Survey,
    pub profile: &'a dyn Profile,
    findings: Vec<Finding>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(migration: &'a Migration, survey: &'a Survey, profile: &'a dyn Profile) -> Self {
        Self { migration, survey, profile, findings: Vec::new() }
    }

    /// Reports a finding. Severity and fix come from the registry.
    pub(crate) fn report(&mut self, code: &'static str, subject: String, message: String, evidence: Vec<String>) {
        // A code that is not in the registry is a programmer's error, and a test looks for it.
        let Some(check) = registry::explain(code) else { unreachable!("check {code} is not registered") };
        self.findings.push(Finding {
            code: FindingCode::from(code),
            severity: check.severity,
            subject,
            message,
            evidence,
            fix: check.fix.to_owned(),
        });
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings;
        findings.sort_by(|left, right| {
            (left.severity, &left.code, &left.subject).cmp(&(right.severity, &right.code, &right.subject))
        });
        findings
    }

    pub(crate) fn set_slots(&self) -> &'a [SetSlots] {
        match &self.migration.spec.target.slots {
            Slots::StatefulSets(sets) => sets,
            Slots::Claims(_) => &[],
        }
    }

    /// The sets of the migration that exist, with their slots.
    pub(crate) fn sets(&self) -> Vec<(&'a SetSlots, &'a StatefulSetReport)> {
        let found = |slots: &'a SetSlots| {
            let report = self.survey.cluster.sets.iter().find(|set| set.name == slots.name)?;
            Some((slots, report))
        };
        self.set_slots().iter().filter_map(found).collect()
    }

    /// The members that land in a set. Where there are several sets, each names its own.
    pub(crate) fn members_of(&self, slots: &SetSlots) -> Vec<&'a MemberSurvey> {
        let named = |member: &&MemberSurvey| {
            let ordinals = &slots.ordinals;
            ordinals.contains_key(member.name.as_str()) || ordinals.contains_key(member.instance.id.as_str())
        };
        let all = self.survey.members.iter();
        if self.set_slots().len() > 1 { all.filter(named).collect() } else { all.collect() }
    }

    /// Where each member lands in a set: on the ordinal that the migration gives it, the others on those that are left, by name.
    pub(crate) fn landing(&self, slots: &SetSlots, set: &StatefulSetReport) -> Vec<(u32, &'a MemberSurvey)> {
        let taken: BTreeSet<u32> = slots.ordinals.values().copied().collect();
        let mut free = (set.first_ordinal..).filter(|ordinal| !taken.contains(ordinal));
        let given = |member: &MemberSurvey| {
            let ordinals = &slots.ordinals;
            ordinals.get(member.name.as_str()).or_else(|| ordinals.get(member.instance.id.as_str())).copied()
        };
        let members = self.members_of(slots).into_iter();
        members.filter_map(|member| Some((given(member).or_else(|| free.next())?, member))).collect()
    }

    pub(crate) fn namespace(&self) -> &'a str {
        &self.migration.spec.target.namespace
    }
}

/// The claim template that a role lands in: of its own name, unless the migration says otherwise.
pub(crate) fn template_of<'a>(slots: &'a SetSlots, role: &'a RoleName) -> &'a str {
    slots.claims.get(role).map_or(role.as_str(), String::as_str)
}

/// Lines of evidence that a person reads through; of more it is said how many there are.
const EVIDENCE_LINES: usize = 20;

/// The first lines of evidence that may have one for each of a thousand members.
pub(crate) fn at_most(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(EVIDENCE_LINES);
    if more > 0 {
        lines.truncate(EVIDENCE_LINES);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// The mount at a path, and the device under it.
pub(crate) fn mounted<'a>(member: &'a MemberSurvey, path: &str) -> Option<(&'a Mount, Option<&'a HostBlockDevice>)> {
    let host = member.host.as_ref()?;
    let mount = host.mounts.iter().find(|mount| mount.target == path)?;
    Some((mount, host.block_devices.iter().find(|device| device.path == mount.source)))
}
