//! Everything that was found, judged, in the order of deletion.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use rehome_model::collection::{Collection, Found, Inventory, RecordSeen, Thing, Verdict};
use rehome_model::format::{self, Format};
use rehome_model::ids::{StepId, VolumeId};
use rehome_model::names;
use rehome_model::plan::{Plan, outputs};
use rehome_model::record::{Phase, RunRecord};

/// What is concluded of one thing.
pub(super) type Judged = (Verdict, String);

pub(super) fn in_use(why: impl Into<String>) -> Judged {
    (Verdict::InUse, why.into())
}

pub(super) fn kept(why: impl Into<String>) -> Judged {
    (Verdict::Kept, why.into())
}

pub(super) fn orphaned(why: impl Into<String>) -> Judged {
    (Verdict::Orphaned, why.into())
}

/// What is seen, and what the user allows.
pub(super) struct Judge<'a> {
    pub seen: &'a Inventory,
    pub parked_claims: bool,
    /// Volumes that are known to be the original members'.
    pub legacy: BTreeSet<VolumeId>,
    /// Everything that the record names as made by a step.
    outputs: BTreeSet<&'a str>,
    /// How many things stay besides the record; counted once.
    left: OnceCell<usize>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(seen: &'a Inventory, parked_claims: bool) -> Self {
        let mut legacy = seen.members_volumes.clone().unwrap_or_default();
        let mut outputs = BTreeSet::new();
        if let RecordSeen::Read(read) = &seen.record {
            legacy.extend(read.1.members.iter().flat_map(|m| m.volumes.iter().map(|v| v.legacy_volume.clone())));
            outputs.extend(read.0.steps.values().flat_map(|step| step.outputs.values().map(String::as_str)));
        }
        Self { seen, parked_claims, legacy, outputs, left: OnceCell::new() }
    }

    /// How many things stay, besides the record itself.
    pub(super) fn left(&self) -> usize {
        *self.left.get_or_init(|| self.count_left())
    }

    pub(super) fn record(&self) -> Option<(&RunRecord, &Plan)> {
        match &self.seen.record {
            RecordSeen::Read(read) => Some((&read.0, &read.1)),
            RecordSeen::None | RecordSeen::Unreadable(_) => None,
        }
    }

    /// Why nothing of a run may be touched at all: its record cannot be read, or a driver may yet go on with it.
    pub(super) fn run_needs_all(&self) -> Option<Judged> {
        match &self.seen.record {
            RecordSeen::None => None,
            RecordSeen::Unreadable(why) => Some(in_use(format!("the run record cannot be read: {why}"))),
            RecordSeen::Read(read) => {
                let header = &read.0.header;
                match header.phase {
                    Phase::RolledBack | Phase::Returned | Phase::Completed | Phase::Finalized => None,
                    phase => Some(in_use(format!("run {} is {}", header.run, phase))),
                }
            }
        }
    }

    /// Whether the run record names this id as something a step made.
    pub(super) fn recorded(&self, id: &str) -> bool {
        self.outputs.contains(id)
    }

    /// Of what the record does not name: whether it names something else that this step made. A record of which a part was lost
    /// names nothing, and then this may be all that there is.
    pub(super) fn names_another(&self, step: &StepId) -> bool {
        self.record()
            .and_then(|(record, _)| record.steps.get(step))
            .is_some_and(|line| line.outputs.keys().any(|name| outputs::is_resource(name)))
    }

    fn thing(&self, thing: &Thing) -> Judged {
        let cluster = self.seen.cluster.as_ref();
        let gone = || kept("it is not seen any more");
        match thing {
            Thing::Volume { id } => {
                self.seen.volumes.iter().find(|found| found.id == *id).map_or_else(gone, |found| self.volume(found))
            }
            Thing::Snapshot { id } => {
                self.seen.snapshots.iter().find(|found| found.id == *id).map_or_else(gone, |found| self.snapshot(found))
            }
            Thing::Claim(object) => cluster
                .and_then(|cluster| cluster.claims.iter().find(|found| found.id == *object))
                .map_or_else(gone, |found| self.claim(found)),
            Thing::PersistentVolume(object) => cluster
                .and_then(|cluster| cluster.persistent_volumes.iter().find(|found| found.id == *object))
                .map_or_else(gone, |found| self.persistent_volume(found)),
            Thing::ConfigMap(object) => self.config_map(object),
            Thing::Lease(_) => self.history(),
        }
    }
}

/// One thing, judged by a fresh look: what stands before every deletion.
pub fn judge(seen: &Inventory, parked_claims: bool, thing: &Thing) -> (Verdict, String) {
    Judge::new(seen, parked_claims).thing(thing)
}

/// Everything that was found. Volumes go before the claims that tell whose they are and the snapshots they were made from,
/// claims before PersistentVolumes, and the record last, so that a `gc` that is interrupted leaves nothing that the next one
/// judges otherwise.
pub fn collect(seen: &Inventory, parked_claims: bool) -> Collection {
    let judge = Judge::new(seen, parked_claims);
    let mut things: Vec<Thing> = seen.volumes.iter().map(|volume| Thing::Volume { id: volume.id.clone() }).collect();
    let mut history: Vec<Thing> = Vec::new();
    if let Some(cluster) = &seen.cluster {
        things.extend(cluster.claims.iter().map(|claim| Thing::Claim(claim.id.clone())));
        let ours = cluster.persistent_volumes.iter().filter(|volume| volume.ours);
        things.extend(ours.map(|volume| Thing::PersistentVolume(volume.id.clone())));
        for object in &cluster.config_maps {
            let list = if judge.is_record(object) { &mut history } else { &mut things };
            list.push(Thing::ConfigMap(object.clone()));
        }
        history.extend(cluster.leases.iter().cloned().map(Thing::Lease));
    }
    things.extend(seen.snapshots.iter().map(|snapshot| Thing::Snapshot { id: snapshot.id.clone() }));
    // The header first: without its plan it would be a damaged record, which nobody may touch.
    let header = names::record(&seen.migration);
    history.sort_by_key(|thing| {
        (matches!(thing, Thing::Lease(_)), !matches!(thing, Thing::ConfigMap(id) if id.name == header))
    });
    things.extend(history);
    let found = |thing: Thing| {
        let (verdict, why) = judge.thing(&thing);
        Found { thing, verdict, why }
    };
    Collection {
        format: Format::current(format::GC),
        migration: seen.migration.clone(),
        namespace: None,
        recorded: !matches!(seen.record, RecordSeen::None),
        parked_claims,
        at_ms: seen.at_ms,
        found: things.into_iter().map(found).collect(),
    }
}
