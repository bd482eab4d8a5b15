//! Every ground on which `gc` lets a thing go or keeps it, one by one: what it says is orphaned is deleted.
//!
//! Each case is a small change to one world: run `run-1` of migration `m` was rolled back, and what it made of `vol-legacy`, the
//! volume of member `c-0`, is still there, and may go.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::cloud::{Snapshot, SnapshotState, Tags, Volume, VolumeSpec, VolumeState};
use rehome_model::collection::{
    ClaimSeen, ClusterInventory, Inventory, ObjectId, PersistentVolumeSeen, RecordSeen, Thing, Verdict,
};
use rehome_model::labels;
use rehome_model::record::{Phase, StepRecord, StepState};
use serde_json::json;

use Verdict::{InUse, Kept, Orphaned};

use super::{collect, judge};

mod cloud;
mod cluster;

const NOW_MS: u64 = 1_769_817_600_000;
const CREATE: &str = "create-volume:c-0:data";
const BASE: &str = "base-snapshot:c-0";
const FINAL: &str = "final-snapshot:c-0";
const CLAIM: &str = "data-c-0";

fn tags(step: &str) -> Tags {
    let all = [
        (labels::MIGRATION, "m"),
        (labels::RUN, "run-1"),
        (labels::MEMBER, "c-0"),
        (labels::ROLE, "data"),
        (labels::STEP, step),
        (labels::CSI_CLAIM_NAME, CLAIM),
    ];
    all.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn snapshot(id: &str, volume: &str, step: &str) -> Snapshot {
    Snapshot {
        id: id.into(),
        volume: volume.into(),
        state: SnapshotState::Completed,
        progress_percent: 100,
        volume_size_gib: 1,
        started_at_ms: 1,
        tags: tags(step),
    }
}

fn volume(id: &str, of: &str) -> Volume {
    Volume {
        id: id.into(),
        state: VolumeState::Available,
        zone: "eu-central-1a".into(),
        spec: VolumeSpec {
            volume_type: "gp3".to_owned(),
            size_gib: 1,
            iops: None,
            throughput_mib_s: None,
            encrypted: false,
            kms_key_id: None,
        },
        multi_attach: false,
        snapshot: Some(of.into()),
        attachments: Vec::new(),
        created_at_ms: 1,
        tags: tags(CREATE),
    }
}

fn object(name: &str) -> ObjectId {
    ObjectId { name: name.to_owned(), uid: format!("uid of {name}") }
}

fn claim(phase: &str) -> ClaimSeen {
    ClaimSeen { id: object(CLAIM), phase: phase.to_owned(), volume_name: "pv-0".to_owned(), going: false }
}

/// A PersistentVolume that the run made, bound to nothing.
fn persistent(name: &str) -> PersistentVolumeSeen {
    PersistentVolumeSeen {
        id: object(name),
        ours: true,
        run: Some("run-1".into()),
        claim: format!("ns/{CLAIM}"),
        ..PersistentVolumeSeen::default()
    }
}

/// A record of `run-1`, and the plan's one member.
fn record(phase: Phase) -> RecordSeen {
    let header = json!({
        "format": {"name": "rehome.run", "version": 3}, "run": "run-1", "migration": "m", "plan_hash": "",
        "generation": 1, "phase": phase, "started_at_ms": 1,
    });
    let member = json!({
        "name": "c-0", "instance": "i-0", "legacy_address": null, "zone": "eu-central-1a", "reason": "",
        "identity": {"id": "0", "cluster": "c", "version": null, "attributes": {}},
        "slot": {"set": "c", "ordinal": 0, "pod": "c-0", "container": "c"},
        "volumes": [{
            "role": "data", "legacy_volume": "vol-legacy", "mount_path": "/data", "fs_type": "xfs",
            "spec": volume("", "").spec,
            "claim": {
                "namespace": "ns", "name": CLAIM, "volume_name": "pv-0", "storage_class": "", "size_gib": 1,
                "access_modes": [], "labels": {},
            },
        }],
    });
    let plan = json!({
        "format": {"name": "rehome.plan", "version": 3}, "migration": "m", "profile": "cassandra", "settings": {},
        "purpose": "apply", "strategy": "snapshot", "cutover": "stop", "account": "1", "region": "eu-central-1",
        "namespace": "ns", "members": [member], "steps": [], "groups": [], "facts": [], "findings": [],
        "estimate": {"total_s": [0, 0], "downtime_s": [0, 0], "monthly_cost_cents": 0, "assumptions": []},
    });
    let run = json!({"header": header, "steps": {}});
    let read = (serde_json::from_value(run).expect("a record"), serde_json::from_value(plan).expect("a plan"));
    RecordSeen::Read(Box::new(read))
}

fn in_phase(phase: Phase) -> Inventory {
    Inventory {
        migration: "m".to_owned(),
        at_ms: NOW_MS,
        record: record(phase),
        volumes: vec![volume("vol-new", "snap-final")],
        snapshots: vec![snapshot("snap-base", "vol-legacy", BASE), snapshot("snap-final", "vol-legacy", FINAL)],
        captured: BTreeSet::from(["vol-legacy".into()]),
        foreign_snapshots: BTreeSet::new(),
        members_volumes: None,
        cluster: Some(ClusterInventory::default()),
    }
}

fn rolled_back() -> Inventory {
    in_phase(Phase::RolledBack)
}

/// Nothing is recorded, and the migration file tells whose the legacy volume is. A claim is parked.
fn unrecorded() -> Inventory {
    let mut seen = Inventory {
        record: RecordSeen::None,
        members_volumes: Some(BTreeSet::from(["vol-legacy".into()])),
        ..rolled_back()
    };
    cluster(&mut seen).claims.push(claim("Pending"));
    seen
}

fn cluster(seen: &mut Inventory) -> &mut ClusterInventory {
    seen.cluster.as_mut().expect("there is one")
}

/// The record names this as the volume of a step, or as the snapshot of another.
fn names(seen: &mut Inventory, step: &str, output: &str, id: &str) {
    let RecordSeen::Read(read) = &mut seen.record else { panic!("a record") };
    let line = read.0.steps.entry(step.into()).or_insert_with(|| StepRecord {
        state: StepState::Done,
        attempt: 1,
        outputs: BTreeMap::new(),
        error: None,
        at_ms: 1,
    });
    line.outputs.insert(output.to_owned(), id.to_owned());
}

fn another_run(seen: &mut Inventory) {
    let RecordSeen::Read(read) = &mut seen.record else { panic!("a record") };
    read.0.header.run = "run-2".into();
}

fn the_volume() -> Thing {
    Thing::Volume { id: "vol-new".into() }
}

fn the_snapshot(id: &str) -> Thing {
    Thing::Snapshot { id: id.into() }
}

#[track_caller]
fn expect(seen: &Inventory, thing: &Thing, verdict: Verdict, why: &str) {
    let (found, said) = judge(seen, false, thing);
    assert!(found == verdict && said.contains(why), "{thing}: {found:?}, {said}; expected {verdict:?}, {why}");
}

/// One thing in a world that differs by this.
#[track_caller]
fn after(change: impl FnOnce(&mut Inventory), thing: &Thing, verdict: Verdict, why: &str) {
    let mut seen = rolled_back();
    change(&mut seen);
    expect(&seen, thing, verdict, why);
}
