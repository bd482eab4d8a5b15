//! Volumes and snapshots.

use rehome_model::cloud::{Snapshot, Volume, VolumeState};
use rehome_model::collection::{RecordSeen, Verdict};
use rehome_model::ids::{RunId, VolumeId};
use rehome_model::labels;
use rehome_model::record::Phase;

use super::judge::{Judge, Judged, in_use, kept, orphaned};
use super::origin::{self, Origin};
use crate::keep::kept_until_ms;

/// How a thing's run stands, as far as the record tells.
enum Run {
    /// It has ended with the legacy side serving, or another one is recorded, for this reason.
    Ended {
        why: String,
        /// Whether it is the recorded one.
        recorded: bool,
    },
    /// It has ended with the new side serving.
    Moved(Phase),
    /// Nothing is recorded.
    Unknown,
}

impl Judge<'_> {
    pub(super) fn volume(&self, volume: &Volume) -> Judged {
        let migration = &self.seen.migration;
        let captures = |s: &Snapshot| s.volume == volume.id && origin::of_snapshot(migration, &s.tags).is_some();
        if self.legacy.contains(&volume.id) || self.seen.snapshots.iter().any(captures) {
            return in_use("a legacy volume: whatever its tags say, no run made it");
        }
        let Some(origin) = origin::of_volume(migration, &volume.tags) else {
            return kept("its tags are not those that a run gives: rehome did not make it");
        };
        if let Some(used) = self.held(volume) {
            return used;
        }
        let made_from = volume.snapshot.as_ref();
        let snapshot = made_from.and_then(|id| self.seen.snapshots.iter().find(|found| found.id == *id));
        let of_another = snapshot.is_some_and(|found| {
            let made_by = origin::of_snapshot(migration, &found.tags);
            made_by.is_none_or(|snapshot| snapshot.base || snapshot.run != origin.run)
        });
        if let Some(foreign) = made_from.filter(|id| of_another || self.seen.foreign_snapshots.contains(*id)) {
            return kept(format!("it was made from {foreign}, not by that run: a restored backup, perhaps"));
        }
        let run = match self.run(&origin.run) {
            Ok(run) => run,
            Err(judged) => return judged,
        };
        let recorded = self.recorded(volume.id.as_str());
        match run {
            Run::Moved(phase) if recorded => {
                return in_use(format!("the record of run {}, which is {}, names it", origin.run, phase));
            }
            // Tags are copied to what is restored: without its snapshot only the record tells whose it is.
            _ if snapshot.is_none() && !recorded => {
                return kept("the snapshot it was made from is gone: that the run made it cannot be told any more");
            }
            Run::Moved(_) => return self.made_twice(&origin),
            Run::Ended { .. } | Run::Unknown => {}
        }
        if let Some(unclear) = self.unclear(snapshot.map(|found| &found.volume), &run) {
            return unclear;
        }
        match run {
            Run::Ended { why, .. } => orphaned(format!("{why}; no PersistentVolume has it")),
            _ => self.unrecorded(volume),
        }
    }

    /// What a run that has moved made, and its record does not name.
    fn made_twice(&self, origin: &Origin) -> Judged {
        if self.names_another(&origin.step) {
            return orphaned(format!("run {} made it twice: its record names another", origin.run));
        }
        kept(format!(
            "the record of run {} names nothing that step {} made: a part of it may be lost, and this the only one",
            origin.run, origin.step
        ))
    }

    /// No run is recorded, and no PersistentVolume has the volume: either no pod ever had it, or the run was another cluster's,
    /// or one's that was built anew, and it holds all that was written since the opening. What tells is the claim that the run
    /// parked for it: it is there from before the volume was made until `gc` takes it, which takes volumes first.
    fn unrecorded(&self, volume: &Volume) -> Judged {
        let Some(cluster) = &self.seen.cluster else {
            return orphaned("attached nowhere; it holds all that a pod ever wrote to it, if one did");
        };
        let claim = volume.tags.get(labels::CSI_CLAIM_NAME).map(String::as_str).unwrap_or_default();
        let never_released = cluster.claims.iter().find(|found| found.id.name == claim).is_some_and(|found| {
            let has_another = cluster.persistent_volumes.iter().any(|disk| disk.id.name == found.volume_name);
            found.phase == "Pending" || has_another
        });
        if never_released {
            return orphaned(format!("no run is recorded, and claim {claim} was never bound to it"));
        }
        kept(format!(
            "no run is recorded here, and claim {claim} of this migration is not there: if it ran in another cluster, or in one \
             that is gone, this holds all that a pod ever wrote to it; --cluster-gone lets it go"
        ))
    }

    /// Who holds a volume, whatever any record says.
    fn held(&self, volume: &Volume) -> Option<Judged> {
        let volumes = self.seen.cluster.iter().flat_map(|cluster| &cluster.persistent_volumes);
        if let Some(found) = volumes.into_iter().find(|found| found.handle.as_ref() == Some(&volume.id)) {
            return Some(in_use(format!("the volume of PersistentVolume {} (claim {})", found.id.name, found.claim)));
        }
        if let Some(attachment) = volume.attachments.first() {
            return Some(in_use(format!("attached to {}", attachment.instance)));
        }
        match volume.state {
            VolumeState::Available | VolumeState::Error => None,
            state => Some(in_use(format!("it is {state}"))),
        }
    }

    pub(super) fn snapshot(&self, snapshot: &Snapshot) -> Judged {
        let Some(origin) = origin::of_snapshot(&self.seen.migration, &snapshot.tags) else {
            return kept("its tags are not those that a run gives: rehome did not make it");
        };
        if self.seen.volumes.iter().any(|volume| volume.id == snapshot.volume)
            && !self.legacy.contains(&snapshot.volume)
        {
            return kept(format!("it captured {}, which is no legacy volume", snapshot.volume));
        }
        let run = match self.run(&origin.run) {
            Ok(run) => run,
            Err(judged) => return judged,
        };
        if let Some(judged) = self.stated_time(snapshot, &run) {
            return judged;
        }
        if let Run::Moved(phase) = run {
            return match phase {
                _ if !self.recorded(snapshot.id.as_str()) => self.made_twice(&origin),
                Phase::Finalized if origin.base => orphaned(format!("run {} is finalized", origin.run)),
                Phase::Finalized => kept("a final snapshot without a time until which it is kept"),
                _ => in_use(format!(
                    "run {} is completed and can be rolled back; `rehome finalize` ends that",
                    origin.run
                )),
            };
        }
        let made = self.seen.volumes.iter().filter(|volume| volume.snapshot.as_ref() == Some(&snapshot.id));
        for volume in made {
            let (verdict, _) = self.volume(volume);
            if verdict != Verdict::Orphaned {
                return in_use(format!("{} was made from it: the way back to what it held then", volume.id));
            }
        }
        if let Some(unclear) = self.unclear(Some(&snapshot.volume), &run) {
            return unclear;
        }
        match run {
            Run::Ended { why, .. } => orphaned(why),
            _ => orphaned("no run is recorded, and nothing in use was made from it"),
        }
    }

    /// The time that `finalize` stated; it ends by itself, whatever was made from the snapshot. While a rollback is
    /// possible the tag counts for nothing.
    fn stated_time(&self, snapshot: &Snapshot, run: &Run) -> Option<Judged> {
        let text = snapshot.tags.get(labels::KEEP_UNTIL)?;
        if matches!(run, Run::Moved(Phase::Completed)) {
            return None;
        }
        Some(match kept_until_ms(text) {
            None => kept(format!("its tag {} says {text:?}, which is no time", labels::KEEP_UNTIL)),
            Some(until) if self.seen.at_ms < until => kept(format!("kept until {text}, as finalize stated")),
            Some(_) => orphaned(format!("it was kept until {text}")),
        })
    }

    fn run(&self, run: &RunId) -> Result<Run, Judged> {
        if let Some(judged) = self.run_needs_all()
            && self.record().is_none_or(|(record, _)| record.header.run == *run)
        {
            return Err(judged);
        }
        let Some((record, _)) = self.record() else { return Ok(Run::Unknown) };
        let header = &record.header;
        Ok(match header.phase {
            _ if header.run != *run => {
                let why = format!("run {run} is over: {} is the recorded one", header.run);
                Run::Ended { why, recorded: false }
            }
            Phase::RolledBack => Run::Ended { why: format!("run {run} was rolled back"), recorded: true },
            Phase::Returned => {
                Run::Ended { why: format!("run {run} was rolled back, its volumes kept"), recorded: true }
            }
            phase => Run::Moved(phase),
        })
    }

    /// Why it cannot be told that a thing is this migration's, or that nothing is lost with it. The tags name the
    /// migration, but another cluster of the account may have one of the same name: what ties a thing to this one is
    /// the legacy volume that it was captured from.
    fn unclear(&self, captured: Option<&VolumeId>, run: &Run) -> Option<Judged> {
        if let Some(captured) = captured
            && !self.seen.captured.contains(captured)
        {
            return Some(kept(format!("{captured}, which it comes from, is gone: it may be the last copy")));
        }
        let known = captured.is_some_and(|captured| self.legacy.contains(captured));
        let by_name_only = self.seen.members_volumes.is_none() && matches!(self.seen.record, RecordSeen::None);
        // Without its snapshot a volume comes this far only if the record names it.
        if known || (captured.is_none() && matches!(run, Run::Ended { recorded: true, .. })) {
            return None;
        }
        if by_name_only && self.seen.cluster.is_none() {
            // The user confirms by name that no other cluster has such a migration.
            return None;
        }
        Some(kept(if by_name_only {
            "no run is recorded: only the migration file (-f) can tell it from one of the same name elsewhere"
                .to_owned()
        } else {
            let from = captured.map_or_else(
                || "it comes from a snapshot that is gone".to_owned(),
                |captured| format!("it comes from {captured}, which is no volume of this migration's members"),
            );
            format!("{from}: another cluster's migration of the same name, perhaps")
        }))
    }
}
