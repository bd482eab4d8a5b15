//! Volumes and snapshots.

use rehome_model::cloud::{Attachment, AttachmentState};

use super::*;

#[test]
fn what_a_run_made_that_was_rolled_back_may_go() {
    for thing in [the_volume(), the_snapshot("snap-base"), the_snapshot("snap-final")] {
        after(|_| {}, &thing, Orphaned, "run-1 was rolled back");
    }
    expect(&in_phase(Phase::Returned), &the_volume(), Orphaned, "its volumes kept");
    after(|seen| seen.volumes.clear(), &the_volume(), Kept, "not seen any more");
    after(|seen| seen.snapshots.clear(), &the_snapshot("snap-base"), Kept, "not seen any more");
}

#[test]
fn nothing_of_a_run_goes_that_may_yet_go_on() {
    for phase in [Phase::Preparing, Phase::Cutover, Phase::Undoing, Phase::Stuck, Phase::Finalizing, Phase::Returning] {
        let mut seen = in_phase(phase);
        cluster(&mut seen).persistent_volumes.push(persistent("pv-1"));
        cluster(&mut seen).config_maps.push(object("rehome-gate-c"));
        let gate = Thing::ConfigMap(object("rehome-gate-c"));
        let disk = Thing::PersistentVolume(object("pv-1"));
        for thing in [the_volume(), the_snapshot("snap-base"), the_snapshot("snap-final"), gate, disk] {
            expect(&seen, &thing, InUse, &format!("run run-1 is {phase}"));
        }
        // What an older run has left is none of its business.
        another_run(&mut seen);
        expect(&seen, &the_volume(), Orphaned, "run run-1 is over: run-2 is the recorded one");
    }
    let unreadable = |seen: &mut Inventory| seen.record = RecordSeen::Unreadable("torn".to_owned());
    after(unreadable, &the_volume(), InUse, "the run record cannot be read: torn");
}

#[test]
fn tags_that_no_run_gives_prove_nothing() {
    let strange = [
        (labels::MIGRATION, Some("n")),
        (labels::MIGRATION, None),
        (labels::RUN, None),
        (labels::MEMBER, Some("c-1")),
        (labels::MEMBER, None),
        (labels::STEP, Some("await-final-snapshot:c-0")),
        (labels::STEP, None),
    ];
    for (key, value) in strange {
        let retag = |tags: &mut Tags| {
            tags.remove(key);
            tags.extend(value.map(|value| (key.to_owned(), value.to_owned())));
        };
        after(|seen| retag(&mut seen.volumes[0].tags), &the_volume(), Kept, "rehome did not make it");
        for (at, id) in ["snap-base", "snap-final"].into_iter().enumerate() {
            after(|seen| retag(&mut seen.snapshots[at].tags), &the_snapshot(id), Kept, "rehome did not make it");
        }
    }
    // A volume's step names its role, a snapshot's does not, and its role may be tagged later.
    let no_role = |tags: &mut Tags| drop(tags.remove(labels::ROLE));
    after(|seen| no_role(&mut seen.volumes[0].tags), &the_volume(), Kept, "rehome did not make it");
    after(|seen| no_role(&mut seen.snapshots[1].tags), &the_snapshot("snap-final"), Orphaned, "rolled back");
    // Tags travel from volumes to snapshots and back.
    after(|seen| seen.volumes[0].tags = tags(FINAL), &the_volume(), Kept, "rehome did not make it");
    let copied = |seen: &mut Inventory| seen.snapshots[1].tags = tags(CREATE);
    after(copied, &the_snapshot("snap-final"), Kept, "rehome did not make it");
}

#[test]
fn a_legacy_volume_is_in_use_whatever_its_tags_say() {
    let why = "a legacy volume: whatever its tags say, no run made it";
    let attached = |seen: &mut Inventory| seen.members_volumes = Some(BTreeSet::from(["vol-new".into()]));
    after(attached, &the_volume(), InUse, why);
    let captured = |seen: &mut Inventory| seen.snapshots.push(snapshot("snap-1", "vol-new", BASE));
    after(captured, &the_volume(), InUse, why);
    let by_the_record = |seen: &mut Inventory| {
        seen.volumes.push(volume("vol-legacy", "snap-final"));
    };
    after(by_the_record, &Thing::Volume { id: "vol-legacy".into() }, InUse, why);
    // A backup of what a run made does not make it a legacy volume.
    let backed_up = |seen: &mut Inventory| seen.snapshots.push(snapshot("snap-1", "vol-new", CREATE));
    after(backed_up, &the_volume(), Orphaned, "rolled back");
}

#[test]
fn a_volume_that_something_holds_is_in_use() {
    let handle = |seen: &mut Inventory| {
        let other = PersistentVolumeSeen { ours: false, handle: Some("vol-other".into()), ..persistent("pv-1") };
        let one = PersistentVolumeSeen { ours: false, handle: Some("vol-new".into()), ..persistent("pv-2") };
        cluster(seen).persistent_volumes.extend([other, one]);
    };
    after(handle, &the_volume(), InUse, "the volume of PersistentVolume pv-2 (claim ns/data-c-0)");
    let attached = |seen: &mut Inventory| {
        let device = "/dev/sdf".to_owned();
        let attachment = Attachment { instance: "i-9".into(), device, state: AttachmentState::Detaching };
        seen.volumes[0].attachments.push(attachment);
    };
    after(attached, &the_volume(), InUse, "attached to i-9");
    for state in [VolumeState::Creating, VolumeState::InUse, VolumeState::Deleting, VolumeState::Deleted] {
        after(|seen| seen.volumes[0].state = state, &the_volume(), InUse, &format!("it is {state}"));
    }
    after(|seen| seen.volumes[0].state = VolumeState::Error, &the_volume(), Orphaned, "rolled back");
}

#[test]
fn a_volume_that_was_made_from_another_snapshot_is_somebodys_restored_backup() {
    let why = "not by that run: a restored backup, perhaps";
    // From the run's base snapshot: no run makes a volume of one.
    after(|seen| seen.volumes[0].snapshot = Some("snap-base".into()), &the_volume(), Kept, why);
    let of_another_run = |seen: &mut Inventory| {
        seen.snapshots[1].tags.insert(labels::RUN.to_owned(), "run-0".to_owned());
    };
    after(of_another_run, &the_volume(), Kept, why);
    after(|seen| seen.snapshots[1].tags = tags(CREATE), &the_volume(), Kept, why);
    let foreign = |seen: &mut Inventory| {
        seen.volumes[0].snapshot = Some("snap-backup".into());
        seen.foreign_snapshots.insert("snap-backup".into());
    };
    after(foreign, &the_volume(), Kept, "it was made from snap-backup, not by that run");
}

#[test]
fn a_volume_without_its_snapshot_goes_only_if_the_record_names_it() {
    let gone = |seen: &mut Inventory| drop(seen.snapshots.pop());
    after(gone, &the_volume(), Kept, "the snapshot it was made from is gone");
    let blank = |seen: &mut Inventory| seen.volumes[0].snapshot = None;
    after(blank, &the_volume(), Kept, "the snapshot it was made from is gone");
    let named = |seen: &mut Inventory| {
        gone(seen);
        names(seen, CREATE, "volume", "vol-new");
    };
    after(named, &the_volume(), Orphaned, "rolled back");
}

#[test]
fn of_a_run_that_has_moved_only_what_it_made_twice_may_go() {
    for phase in [Phase::Completed, Phase::Finalized] {
        let mut seen = in_phase(phase);
        let lost = "names nothing that step create-volume:c-0:data made: a part of it may be lost";
        expect(&seen, &the_volume(), Kept, lost);
        expect(&seen, &the_snapshot("snap-final"), Kept, "a part of it may be lost, and this the only one");
        // An output that is no resource is no sign that the record is whole.
        names(&mut seen, CREATE, "left", "words");
        expect(&seen, &the_volume(), Kept, lost);
        names(&mut seen, CREATE, "volume", "vol-other");
        names(&mut seen, FINAL, "snapshot/data", "snap-other");
        names(&mut seen, BASE, "snapshot/data", "snap-base");
        expect(&seen, &the_volume(), Orphaned, "run run-1 made it twice: its record names another");
        expect(&seen, &the_snapshot("snap-final"), Orphaned, "run run-1 made it twice");
        names(&mut seen, CREATE, "volume", "vol-new");
        names(&mut seen, FINAL, "snapshot/data", "snap-final");
        expect(&seen, &the_volume(), InUse, &format!("the record of run run-1, which is {phase}, names it"));
        let (base, last) = (the_snapshot("snap-base"), the_snapshot("snap-final"));
        if phase == Phase::Completed {
            for thing in [base, last] {
                expect(&seen, &thing, InUse, "run run-1 is completed and can be rolled back");
            }
        } else {
            expect(&seen, &base, Orphaned, "run run-1 is finalized");
            expect(&seen, &last, Kept, "a final snapshot without a time until which it is kept");
        }
    }
}

#[test]
fn a_snapshot_is_kept_until_the_stated_time() {
    let stated = |seen: &mut Inventory, text: &str| {
        seen.snapshots[1].tags.insert(labels::KEEP_UNTIL.to_owned(), text.to_owned());
    };
    let last = the_snapshot("snap-final");
    for phase in [Phase::Finalized, Phase::RolledBack] {
        let mut seen = in_phase(phase);
        names(&mut seen, FINAL, "snapshot/data", "snap-final");
        stated(&mut seen, "2026-01-31T00:00:00Z");
        seen.at_ms = NOW_MS - 1;
        expect(&seen, &last, Kept, "kept until 2026-01-31T00:00:00Z, as finalize stated");
        seen.at_ms = NOW_MS;
        expect(&seen, &last, Orphaned, "it was kept until 2026-01-31T00:00:00Z");
        stated(&mut seen, "always");
        expect(&seen, &last, Kept, "says \"always\", which is no time");
    }
    // A rollback may need it.
    let mut seen = in_phase(Phase::Completed);
    names(&mut seen, FINAL, "snapshot/data", "snap-final");
    stated(&mut seen, "2020-01-01T00:00:00Z");
    expect(&seen, &last, InUse, "can be rolled back");
}

#[test]
fn a_snapshot_stays_while_a_volume_of_it_does() {
    let held = |seen: &mut Inventory| seen.volumes[0].state = VolumeState::InUse;
    after(held, &the_snapshot("snap-final"), InUse, "vol-new was made from it");
    after(held, &the_snapshot("snap-base"), Orphaned, "rolled back");
}

#[test]
fn a_snapshot_of_something_else_than_a_legacy_volume_is_kept() {
    let of_another = |seen: &mut Inventory| {
        seen.volumes.push(Volume { tags: Tags::new(), ..volume("vol-9", "snap-9") });
        seen.snapshots[1].volume = "vol-9".into();
        seen.captured.insert("vol-9".into());
    };
    after(of_another, &the_snapshot("snap-final"), Kept, "it captured vol-9, which is no legacy volume");
    let attached = |seen: &mut Inventory| {
        of_another(seen);
        seen.members_volumes = Some(BTreeSet::from(["vol-9".into()]));
    };
    after(attached, &the_snapshot("snap-final"), Orphaned, "rolled back");
    // Nor does the record of its run make it one, where the volume has no tags by which it would be seen.
    let unseen = |seen: &mut Inventory| {
        of_another(seen);
        seen.volumes.pop();
    };
    let why = "it comes from vol-9, which is no volume of this migration's members";
    after(unseen, &the_snapshot("snap-final"), InUse, "vol-new was made from it");
    after(unseen, &the_volume(), Kept, why);
    let alone = |seen: &mut Inventory| {
        unseen(seen);
        seen.volumes.clear();
    };
    after(alone, &the_snapshot("snap-final"), Kept, why);
}

#[test]
fn the_last_copy_is_kept() {
    let gone = |seen: &mut Inventory| seen.captured.clear();
    for thing in [the_volume(), the_snapshot("snap-base")] {
        after(gone, &thing, Kept, "vol-legacy, which it comes from, is gone: it may be the last copy");
    }
    after(gone, &the_snapshot("snap-final"), InUse, "vol-new was made from it: the way back to what it held then");
    let alone = |seen: &mut Inventory| {
        gone(seen);
        seen.volumes.clear();
    };
    after(alone, &the_snapshot("snap-final"), Kept, "is gone: it may be the last copy");
}

#[test]
fn without_a_record_only_the_legacy_volume_tells_whose_a_thing_is() {
    let mut seen = unrecorded();
    expect(&seen, &the_volume(), Orphaned, "no run is recorded, and claim data-c-0 was never bound to it");
    expect(&seen, &the_snapshot("snap-base"), Orphaned, "no run is recorded, and nothing in use was made from it");
    seen.members_volumes = Some(BTreeSet::from(["vol-9".into()]));
    let other = "it comes from vol-legacy, which is no volume of this migration's members";
    expect(&seen, &the_volume(), Kept, other);
    expect(&seen, &the_snapshot("snap-base"), Kept, other);
    seen.members_volumes = None;
    expect(&seen, &the_volume(), Kept, "only the migration file (-f) can tell it from one of the same name elsewhere");
    // Nor does another run's record, unless it is of the same legacy volume.
    seen.record = record(Phase::RolledBack);
    another_run(&mut seen);
    expect(&seen, &the_volume(), Orphaned, "run run-1 is over");
    let RecordSeen::Read(read) = &mut seen.record else { panic!("a record") };
    read.1.members.clear();
    expect(&seen, &the_volume(), Kept, other);
    // The user has said that the cluster is gone, and that no other has such a migration.
    let mut gone = Inventory { cluster: None, members_volumes: None, ..unrecorded() };
    expect(&gone, &the_volume(), Orphaned, "attached nowhere; it holds all that a pod ever wrote to it");
    gone.members_volumes = Some(BTreeSet::new());
    expect(&gone, &the_volume(), Kept, other);
}

#[test]
fn without_a_record_a_volume_goes_only_if_its_parked_claim_shows_that_no_pod_had_it() {
    let claims = |change: &dyn Fn(&mut ClusterInventory)| {
        let mut seen = unrecorded();
        change(cluster(&mut seen));
        seen
    };
    let kept = "this holds all that a pod ever wrote to it; --cluster-gone lets it go";
    expect(&claims(&|cluster| cluster.claims.clear()), &the_volume(), Kept, kept);
    expect(&claims(&|cluster| cluster.claims[0].id.name = "data-c-1".to_owned()), &the_volume(), Kept, kept);
    expect(&claims(&|cluster| cluster.claims[0].phase = "Bound".to_owned()), &the_volume(), Kept, kept);
    let bound_to = |name: &str| {
        claims(&|cluster| {
            cluster.claims[0].phase = "Bound".to_owned();
            cluster.persistent_volumes.push(persistent(name));
        })
    };
    expect(&bound_to("pv-0"), &the_volume(), Orphaned, "was never bound to it");
    expect(&bound_to("pv-1"), &the_volume(), Kept, kept);
}
