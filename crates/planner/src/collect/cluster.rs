//! Objects of the cluster.

use rehome_model::collection::{ClaimSeen, ObjectId, PersistentVolumeSeen, Verdict};
use rehome_model::names;
use rehome_model::record::Phase;

use super::judge::{Judge, Judged, in_use, kept, orphaned};

impl Judge<'_> {
    pub(super) fn claim(&self, claim: &ClaimSeen) -> Judged {
        let Some(cluster) = &self.seen.cluster else { return kept("there is no cluster") };
        if claim.going {
            return in_use("it is being deleted already");
        }
        if claim.phase != "Pending" {
            return in_use(format!("an adopted slot: it is {} to {}", claim.phase.to_lowercase(), claim.volume_name));
        }
        if cluster.persistent_volumes.iter().any(|volume| volume.id.name == claim.volume_name) {
            return in_use(format!("PersistentVolume {} is there for it", claim.volume_name));
        }
        if let Some(judged) = self.run_needs_all() {
            return judged;
        }
        if let Some((record, _)) = self.record().filter(|(record, _)| !record.header.phase.is_back()) {
            let phase = record.header.phase;
            return in_use(format!(
                "run {} is {phase}, and its volume is missing: see `rehome verify`",
                record.header.run
            ));
        }
        if cluster.wanted_claims.contains(&claim.id.name) {
            return in_use("a pod asks for it: without it that pod would start on an empty volume");
        }
        if !self.parked_claims {
            return kept("parked: it keeps a scaled-up set from starting blank; --parked-claims lets it go");
        }
        orphaned("parked, and you said that parked claims may go")
    }

    pub(super) fn persistent_volume(&self, volume: &PersistentVolumeSeen) -> Judged {
        if let Some(judged) = self.run_needs_all() {
            return judged;
        }
        if volume.claimed {
            return in_use(format!("an adopted slot: claim {} has it", volume.claim));
        }
        if volume.going {
            return kept("it is being deleted already; `kubectl get volumeattachments` shows what may hold it");
        }
        // A rollback takes all of its run's away; what a driver creates that stood still meanwhile binds to nothing.
        if let Some((record, _)) = self.record()
            && record.header.phase == Phase::RolledBack
            && volume.run.as_ref() == Some(&record.header.run)
        {
            return orphaned(format!("it came when run {} was rolled back already: nothing has it", record.header.run));
        }
        if volume.may_have_been_bound {
            return in_use("it was bound, or is for a claim that is gone: its volume may hold what a pod wrote");
        }
        orphaned(format!("never bound, and claim {} does not name it", volume.claim))
    }

    pub(super) fn config_map(&self, object: &ObjectId) -> Judged {
        if self.is_record(object) {
            return self.history();
        }
        if !object.name.starts_with(names::GATE_PREFIX) {
            return kept("not a ConfigMap that a run makes");
        }
        if let Some(judged) = self.run_needs_all() {
            return judged;
        }
        if self.has_slots() {
            return in_use("the gate of a set with adopted slots");
        }
        orphaned("a gate without adopted slots")
    }

    /// Whether any slot is adopted: from then on a pod may run on it, and no gate may change under it.
    fn has_slots(&self) -> bool {
        self.seen.cluster.as_ref().is_some_and(|cluster| {
            cluster.persistent_volumes.iter().any(|volume| volume.ours)
                || cluster.claims.iter().any(|claim| claim.phase != "Pending")
        })
    }

    /// Whether a ConfigMap is part of the run record.
    pub(super) fn is_record(&self, object: &ObjectId) -> bool {
        let header = names::record(&self.seen.migration);
        let plan = names::plan_record(&self.seen.migration);
        object.name.strip_prefix(&plan).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            || object.name.strip_prefix(&header).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// The run record and its lease: they go last, when nothing else is left for them to tell of.
    pub(super) fn history(&self) -> Judged {
        if let Some(judged) = self.run_needs_all() {
            return judged;
        }
        if let Some((record, _)) = self.record().filter(|(record, _)| !record.header.phase.is_back()) {
            let header = &record.header;
            return in_use(format!("it says that run {} is {}", header.run, header.phase));
        }
        let left = self.left();
        if left > 0 {
            return kept(format!("it tells how the last run ended; it goes when nothing else is left (now: {left})"));
        }
        orphaned("nothing else of the migration is left")
    }

    pub(super) fn count_left(&self) -> usize {
        let Some(cluster) = &self.seen.cluster else { return 0 };
        let stays = |(verdict, _): Judged| verdict != Verdict::Orphaned;
        let gates = cluster.config_maps.iter().filter(|object| !self.is_record(object));
        cluster.claims.iter().filter(|claim| stays(self.claim(claim))).count()
            + cluster.persistent_volumes.iter().filter(|v| v.ours && stays(self.persistent_volume(v))).count()
            + gates.filter(|object| stays(self.config_map(object))).count()
            + self.seen.volumes.iter().filter(|volume| stays(self.volume(volume))).count()
            + self.seen.snapshots.iter().filter(|snapshot| stays(self.snapshot(snapshot))).count()
    }
}
