//! Whether the volumes can go back, before anything is changed: afterwards neither side may be able to serve.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rehome_model::answer::MemberView;
use rehome_model::cloud::{Instance, InstanceState, Volume, VolumeState};
use rehome_model::cluster::{ContainerReport, StatefulSetReport};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::plan::{MemberPlan, Plan, VolumePlan, outputs};
use rehome_model::record::{KeepWrites, RunRecord};
use rehome_profiles::Profile;

use super::claims::{DiskClaim, DiskSeen};
use crate::steps::ids;

/// What is seen of both sides before a return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReturnSeen {
    /// The members' legacy instances, as far as EC2 has them.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// The legacy volumes and the adopted ones, as far as EC2 has them.
    pub volumes: BTreeMap<VolumeId, Volume>,
    /// The sets, as far as they exist.
    pub sets: BTreeMap<String, SetSeen>,
    /// What pods that answer say, by pod.
    pub views: BTreeMap<String, MemberView>,
    /// All claims of the target namespace, by name.
    pub claims: BTreeMap<String, DiskClaim>,
    /// All PersistentVolumes, by name.
    pub disks: BTreeMap<String, DiskSeen>,
    /// Of what a return does in the cloud, what the caller is denied (`ec2:AttachVolume`).
    pub denied: BTreeSet<String>,
}

/// A set as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetSeen {
    /// Pods that it wants, or has, whichever is more.
    pub replicas: u32,
    /// First ordinal.
    pub first_ordinal: u32,
    /// Container -> image.
    pub images: BTreeMap<String, String>,
}

/// Why writes cannot be taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    /// Member, volume or set.
    pub subject: String,
    /// What is in the way.
    pub why: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.why)
    }
}

/// Whether clients may have written to the new side: the step that commits was begun.
pub fn opened(plan: &Plan, record: &RunRecord) -> bool {
    plan.groups.iter().any(|group| record.steps.contains_key(&group.commit))
}

/// The volume that a run made for a member's role.
pub fn adopted(record: &RunRecord, member: &MemberPlan, volume: &VolumePlan) -> Option<VolumeId> {
    let step = record.steps.get(&ids::create(&member.name, &volume.role))?;
    step.outputs.get(outputs::VOLUME).map(|id| VolumeId::from(id.as_str()))
}

/// What a return must remember, or everything that is in its way.
pub fn prepare(
    plan: &Plan,
    record: &RunRecord,
    seen: &ReturnSeen,
    profile: &dyn Profile,
    at_ms: u64,
) -> Result<KeepWrites, Vec<Obstacle>> {
    let mut judge = Judge { record, seen, devices: BTreeMap::new(), obstacles: BTreeSet::new() };
    for member in &plan.members {
        judge.member(member);
        judge.version(member, profile);
    }
    judge.strangers(plan);
    judge.left(plan);
    judge.claims_of_others(plan);
    judge.denied();
    if judge.obstacles.is_empty() {
        Ok(KeepWrites { at_ms, devices: judge.devices })
    } else {
        Err(judge.obstacles.into_iter().collect())
    }
}

pub(super) struct Judge<'a> {
    record: &'a RunRecord,
    pub(super) seen: &'a ReturnSeen,
    devices: BTreeMap<VolumeId, String>,
    obstacles: BTreeSet<Obstacle>,
}

impl Judge<'_> {
    pub(super) fn report(&mut self, subject: impl Into<String>, why: impl Into<String>) {
        self.obstacles.insert(Obstacle { subject: subject.into(), why: why.into() });
    }

    /// By then the new side is down.
    fn denied(&mut self) {
        for action in &self.seen.denied {
            let why =
                "the caller may not do it, and the return would stop half-way, with neither side serving; allow it";
            self.report(format!("permission {action}"), why);
        }
    }

    fn member(&mut self, member: &MemberPlan) {
        let subject = format!("member {}", member.name);
        let id = &member.instance;
        let Some(instance) = self.seen.instances.get(id) else {
            return self.report(subject, format!("its instance {id} does not exist any more"));
        };
        match instance.state {
            InstanceState::Stopped => {}
            InstanceState::Terminated | InstanceState::ShuttingDown => {
                return self.report(subject, format!("its instance {id} is terminated"));
            }
            state => {
                let why =
                    format!("its instance {id} is {state}, not stopped: it may have the old volume mounted; stop it");
                self.report(subject.clone(), why);
            }
        }
        for volume in &member.volumes {
            let subject = format!("member {}, role {}", member.name, volume.role);
            self.original(&subject, volume, instance);
            self.adopted(&subject, member, volume, instance);
            self.on_host(&subject, volume);
        }
    }

    /// The volume that gives way: its device is where the other one goes.
    fn original(&mut self, subject: &str, volume: &VolumePlan, instance: &Instance) {
        let id = &volume.legacy_volume;
        let device = instance.block_devices.iter().find(|device| device.volume == *id);
        if let Some(device) = device {
            self.devices.insert(id.clone(), device.device.clone());
        } else {
            let why = format!("{id} is not attached to {} any more: no device is known for its successor", instance.id);
            self.report(subject, why);
        }
    }

    fn adopted(&mut self, subject: &str, member: &MemberPlan, volume: &VolumePlan, instance: &Instance) {
        let Some(id) = adopted(self.record, member, volume) else {
            return self.report(subject, "the run record names no volume that was made for it");
        };
        self.behind(subject, volume, &id);
        let Some(found) = self.seen.volumes.get(&id) else {
            return self.report(subject, format!("{id}, which its pod writes to, does not exist any more"));
        };
        if !matches!(found.state, VolumeState::Available | VolumeState::InUse) {
            self.report(subject, format!("{id} is {}", found.state));
        }
        if found.multi_attach {
            self.report(
                subject,
                format!("{id} can be attached to several instances: nothing proves that none writes to it"),
            );
        }
        if found.zone != instance.zone {
            let why = format!(
                "{id} is in {}, instance {} is in {}: EBS attaches within a zone only",
                found.zone, instance.id, instance.zone
            );
            self.report(subject, why);
        }
    }

    fn on_host(&mut self, subject: &str, volume: &VolumePlan) {
        let Some(on_host) = &volume.on_host else {
            return self
                .report(subject, "the plan of this run does not say how its host mounts it and whose its files are");
        };
        let device = self.devices.get(&volume.legacy_volume).map(String::as_str);
        for why in on_host.keeps_out(&volume.mount_path, device) {
            self.report(subject, why);
        }
    }

    /// An older version cannot read what a newer one has written. Whatever differs is refused: even a newer legacy side
    /// would come back as another version than it was surveyed as.
    fn version(&mut self, member: &MemberPlan, profile: &dyn Profile) {
        let subject = format!("member {}", member.name);
        let Some(legacy) = member.identity.version.clone() else {
            return self.report(subject, "the version of the legacy application is not known");
        };
        let pod = member.slot.pod.as_deref().unwrap_or_default();
        if let Some(running) = self.seen.views.get(pod).and_then(|view| view.identity.version.clone())
            && running != legacy
        {
            let why = format!("pod {pod} runs {running}, the legacy side {legacy}, which may not read what it wrote");
            self.report(subject.clone(), why);
        }
        let (set, container) = (member.slot.set.clone().unwrap_or_default(), member.slot.container.clone());
        let Some(found) = self.seen.sets.get(&set) else {
            return self
                .report(format!("set {set}"), "it does not exist any more: what ran on the volumes is not known");
        };
        let container = container.unwrap_or_default();
        let image = found.images.get(&container).cloned().unwrap_or_default();
        let report = ContainerReport { name: container, image: image.clone(), ..ContainerReport::default() };
        let configuration = profile.set_configuration(&StatefulSetReport::default(), &report, &BTreeMap::new());
        if !configuration.is_of_version(&legacy) {
            let why = format!(
                "its image is {image:?}, the legacy side runs {legacy}, which may not read what another version wrote"
            );
            self.report(format!("set {set}"), why);
        }
    }

    /// A member that left the cluster, or became another one. Its volume is as it was then: what was written since is with
    /// others, and it would come back as if it had never left, with data that was deleted meanwhile. Whoever is not known to
    /// one of the others any more was removed or decommissioned: one that is only down stays known.
    fn left(&mut self, plan: &Plan) {
        for member in &plan.members {
            let id = &member.identity.id;
            let subject = || format!("member {}", member.name);
            let forgot = self.seen.views.iter().find(|(_, view)| view.members.iter().all(|peer| peer.id != *id));
            if let Some((pod, _)) = forgot {
                let why = format!(
                    "pod {pod} does not know it any more ({id}): it was removed or decommissioned since, and its volume lacks \
                     what the others took over; stay on the new side"
                );
                self.report(subject(), why);
            }
            let Some(view) = member.slot.pod.as_ref().and_then(|pod| self.seen.views.get(pod)) else { continue };
            let differences = member.identity.differences(&view.identity);
            if !differences.is_empty() {
                self.report(subject(), format!("its pod is not the member that was moved: {}", differences.join("; ")));
            }
        }
    }

    /// A pod beyond the plan's holds writes on a volume that has no legacy instance to go to.
    fn strangers(&mut self, plan: &Plan) {
        for (name, set) in &self.seen.sets {
            let of_set = plan.members.iter().filter(|member| member.slot.set.as_ref() == Some(name));
            let planned = of_set.map(|member| member.slot.ordinal + 1).max().unwrap_or(0);
            let planned = planned.saturating_sub(set.first_ordinal);
            if set.replicas > planned {
                let why = format!(
                    "it has {} pods, {planned} were moved: the others' writes would be lost; decommission them first",
                    set.replicas
                );
                self.obstacles.insert(Obstacle { subject: format!("set {name}"), why });
            }
        }
        let known: BTreeSet<&str> = plan.members.iter().map(|member| member.identity.id.as_str()).collect();
        for (pod, view) in &self.seen.views {
            for member in view.members.iter().filter(|member| !known.contains(member.id.as_str())) {
                let why = format!(
                    "it sees member {} at {}, which was not moved: its writes would be lost",
                    member.id, member.address
                );
                self.obstacles.insert(Obstacle { subject: format!("pod {pod}"), why });
            }
        }
    }
}
