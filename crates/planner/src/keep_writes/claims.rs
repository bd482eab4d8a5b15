//! What the pods wrote to, by the claims as they are now: the record knows only what they were given.

use std::collections::BTreeSet;

use rehome_model::ids::VolumeId;
use rehome_model::plan::{Plan, VolumePlan};

use super::obstacles::Judge;

/// A claim of the target namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskClaim {
    /// Whether it is bound, or was and its PersistentVolume is gone. Before that no pod starts on it.
    pub bound: bool,
    /// The PersistentVolume it names; empty if none.
    pub names: String,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskSeen {
    /// The EBS volume behind it, if one is.
    pub volume: Option<VolumeId>,
    /// The claim it is reserved for, as `namespace/name`.
    pub claim: String,
}

impl Judge<'_> {
    /// What a claim is bound to holds what its pod wrote. A claim that somebody deleted and made anew is bound to another
    /// volume than the run's, which then lacks what was written since.
    pub(super) fn behind(&mut self, subject: &str, volume: &VolumePlan, id: &VolumeId) {
        let (claim, seen) = (&volume.claim, self.seen);
        let bound = seen.claims.get(&claim.name).filter(|found| found.bound);
        let Some(bound) = bound else { return self.released_by(subject, volume, id) };
        let there = match seen.disks.get(&bound.names) {
            Some(disk) if disk.volume.as_ref() == Some(id) => return,
            Some(DiskSeen { volume: Some(other), .. }) => format!("{other} (PersistentVolume {})", bound.names),
            Some(_) => format!("PersistentVolume {}, behind which is no EBS volume", bound.names),
            None if bound.names == claim.volume_name => {
                let why = format!(
                    "PersistentVolume {}, which claim {} is bound to, does not exist any more: that its pod wrote to \
                     {id} is not seen. If it did, make the PersistentVolume anew on {id}",
                    bound.names, claim.name
                );
                return self.report(subject, why);
            }
            None => format!("PersistentVolume {}, which does not exist any more", bound.names),
        };
        self.report(subject, elsewhere(&format!("claim {} is bound to {there}", claim.name), id));
    }

    /// Without a claim that is bound no pod writes; what one wrote before is on what was released by it. A claim that was
    /// never made anew has left nothing but the run's own volume.
    fn released_by(&mut self, subject: &str, volume: &VolumePlan, id: &VolumeId) {
        let of = format!("{}/{}", volume.claim.namespace, volume.claim.name);
        let (claim, seen) = (&volume.claim.name, self.seen);
        for (name, disk) in seen.disks.iter().filter(|(_, disk)| disk.claim == of) {
            match &disk.volume {
                Some(found) if found == id => {}
                Some(other) => {
                    let there =
                        format!("claim {claim} is bound to nothing now, and was to {other} (PersistentVolume {name})");
                    self.report(subject, elsewhere(&there, id));
                }
                None => {
                    let there = format!("claim {claim} is bound to nothing now, and was to PersistentVolume {name}");
                    self.report(subject, elsewhere(&there, id));
                }
            }
        }
    }

    /// A member that was added since and is down, scaled away, or never asked: its claim is what is left of it.
    pub(super) fn claims_of_others(&mut self, plan: &Plan) {
        let with_set = plan.members.iter().filter(|member| member.slot.set.is_some());
        let volumes = with_set.flat_map(|member| member.volumes.iter().map(|volume| (member.slot.ordinal, volume)));
        let bases: BTreeSet<String> = volumes
            .filter_map(|(ordinal, volume)| volume.claim.name.strip_suffix(&format!("-{ordinal}")).map(str::to_owned))
            .collect();
        let planned: BTreeSet<&str> = plan
            .members
            .iter()
            .flat_map(|member| member.volumes.iter().map(|volume| volume.claim.name.as_str()))
            .collect();
        let seen = self.seen;
        for (name, claim) in &seen.claims {
            let Some((base, ordinal)) = name.rsplit_once('-') else { continue };
            let of_set =
                bases.contains(base) && ordinal.bytes().all(|byte| byte.is_ascii_digit()) && !ordinal.is_empty();
            if of_set && claim.bound && !planned.contains(name.as_str()) {
                let why = "it belongs to a member that was not moved: this member's writes have no volume to go to; \
                           decommission it, then delete the claim";
                self.report(format!("claim {name}"), why);
            }
        }
    }
}

fn elsewhere(there: &str, id: &VolumeId) -> String {
    format!(
        "{there}, not to {id}, which the run gave it: somebody made it anew since, and what was written from then on is not \
         on {id}. No legacy instance would get it, so the writes cannot be kept this way: stay on the new side"
    )
}
