//! Objects of the cluster, the record, and the order in which all goes.

use super::*;

#[test]
fn a_claim_that_anything_may_need_stays() {
    let one = Thing::Claim(object(CLAIM));
    let with = |seen: &Inventory, change: &dyn Fn(&mut ClusterInventory)| {
        let mut seen = seen.clone();
        cluster(&mut seen).claims.push(claim("Pending"));
        change(cluster(&mut seen));
        seen
    };
    let parked = with(&rolled_back(), &|_| {});
    expect(&parked, &one, Kept, "parked: it keeps a scaled-up set from starting blank");
    assert_eq!(judge(&parked, true, &one).0, Orphaned);
    type Change = fn(&mut ClusterInventory);
    let reasons: [(Change, &str); 5] = [
        (|cluster| cluster.claims[0].going = true, "it is being deleted already"),
        (|cluster| cluster.claims[0].phase = "Bound".to_owned(), "an adopted slot: it is bound to pv-0"),
        (|cluster| cluster.claims[0].phase = "Lost".to_owned(), "an adopted slot: it is lost to pv-0"),
        (|cluster| cluster.persistent_volumes.push(persistent("pv-0")), "PersistentVolume pv-0 is there for it"),
        (|cluster| cluster.wanted_claims.extend([CLAIM.to_owned()]), "that pod would start on an empty volume"),
    ];
    for (change, why) in reasons {
        let seen = with(&rolled_back(), &change);
        for parked_claims in [false, true] {
            let (verdict, said) = judge(&seen, parked_claims, &one);
            assert!(verdict == InUse && said.contains(why), "{verdict:?}, {said}; expected {why}");
        }
    }
    let away: Change = |cluster| cluster.persistent_volumes.push(persistent("pv-1"));
    expect(&with(&rolled_back(), &away), &one, Kept, "parked");
    expect(&with(&in_phase(Phase::Completed), &|_| {}), &one, InUse, "its volume is missing: see `rehome verify`");
    expect(&with(&in_phase(Phase::Cutover), &|_| {}), &one, InUse, "run run-1 is in its cutover");
    assert_eq!(judge(&with(&unrecorded(), &|cluster| drop(cluster.claims.pop())), true, &one).0, Orphaned);
    after(|_| {}, &one, Kept, "not seen any more");
}

#[test]
fn a_persistent_volume_goes_if_it_never_was_bound_or_its_run_was_rolled_back() {
    let one = Thing::PersistentVolume(object("pv-1"));
    let with = |change: &dyn Fn(&mut PersistentVolumeSeen)| {
        let mut seen = unrecorded();
        let mut disk = persistent("pv-1");
        change(&mut disk);
        cluster(&mut seen).persistent_volumes.push(disk);
        seen
    };
    expect(&with(&|_| {}), &one, Orphaned, "never bound, and claim ns/data-c-0 does not name it");
    expect(&with(&|disk| disk.claimed = true), &one, InUse, "an adopted slot: claim ns/data-c-0 has it");
    expect(&with(&|disk| disk.going = true), &one, Kept, "it is being deleted already");
    let bound = with(&|disk| disk.may_have_been_bound = true);
    expect(&bound, &one, InUse, "its volume may hold what a pod wrote");
    for (phase, verdict) in [(Phase::RolledBack, Orphaned), (Phase::Returned, InUse), (Phase::Completed, InUse)] {
        let mut seen = Inventory { record: record(phase), ..bound.clone() };
        expect(
            &seen,
            &one,
            verdict,
            if verdict == Orphaned { "when run run-1 was rolled back already" } else { "bound" },
        );
        another_run(&mut seen);
        expect(&seen, &one, InUse, "it was bound");
    }
    after(|_| {}, &one, Kept, "not seen any more");
}

#[test]
fn a_gate_stays_while_a_slot_is_adopted() {
    let gate = Thing::ConfigMap(object("rehome-gate-c"));
    after(|_| {}, &gate, Orphaned, "a gate without adopted slots");
    after(|seen| cluster(seen).claims.push(claim("Pending")), &gate, Orphaned, "a gate without");
    after(|seen| cluster(seen).claims.push(claim("Bound")), &gate, InUse, "the gate of a set with adopted slots");
    let disk = |seen: &mut Inventory| cluster(seen).persistent_volumes.push(persistent("pv-1"));
    after(disk, &gate, InUse, "the gate of a set with adopted slots");
    let foreign = |seen: &mut Inventory| {
        disk(seen);
        cluster(seen).persistent_volumes[0].ours = false;
    };
    after(foreign, &gate, Orphaned, "a gate without");
    after(|_| {}, &Thing::ConfigMap(object("c-settings")), Kept, "not a ConfigMap that a run makes");
}

#[test]
fn the_record_goes_when_nothing_else_is_left() {
    let parts = ["rehome-run-m", "rehome-run-m-c-0", "rehome-plan-m", "rehome-plan-m.1"];
    let history =
        parts.map(|name| Thing::ConfigMap(object(name))).into_iter().chain([Thing::Lease(object("rehome-run-m"))]);
    type Change = fn(&mut Inventory);
    let left: [Change; 5] = [
        |seen| cluster(seen).claims.push(claim("Pending")),
        |seen| cluster(seen).persistent_volumes.push(PersistentVolumeSeen { going: true, ..persistent("pv-1") }),
        |seen| cluster(seen).config_maps.extend([object("rehome-run-m"), object("c-settings")]),
        |seen| seen.volumes[0].tags.clear(),
        |seen| seen.snapshots[1].tags.clear(),
    ];
    for thing in history {
        after(|_| {}, &thing, Orphaned, "nothing else of the migration is left");
        for change in left {
            let why = "it tells how the last run ended; it goes when nothing else is left (now: ";
            after(change, &thing, Kept, why);
        }
        // What is not the migration's does not hold it.
        let foreign = |seen: &mut Inventory| {
            let others = PersistentVolumeSeen { ours: false, going: true, ..persistent("pv-1") };
            cluster(seen).persistent_volumes.push(others);
        };
        after(foreign, &thing, Orphaned, "nothing else of the migration is left");
        expect(&in_phase(Phase::Finalized), &thing, InUse, "it says that run run-1 is finalized");
        expect(&in_phase(Phase::Undoing), &thing, InUse, "run run-1 is being undone");
    }
    let mut all = rolled_back();
    for change in left {
        change(&mut all);
    }
    // A claim, a PersistentVolume, a ConfigMap, the volume, and the snapshot without its tags; the base snapshot may go.
    expect(&all, &Thing::Lease(object("rehome-run-m")), Kept, "(now: 5)");
    for other in ["rehome-run-m2", "rehome-plan-m2", "rehome-plan-m-1", "rehome-run"] {
        after(|_| {}, &Thing::ConfigMap(object(other)), Kept, "not a ConfigMap that a run makes");
    }
}

#[test]
fn what_tells_whose_a_thing_is_goes_after_it() {
    let mut seen = rolled_back();
    cluster(&mut seen).claims.push(claim("Pending"));
    let foreign = PersistentVolumeSeen { ours: false, ..persistent("pv-2") };
    cluster(&mut seen).persistent_volumes.extend([persistent("pv-1"), foreign]);
    cluster(&mut seen).leases.push(object("rehome-run-m"));
    let parts = ["rehome-plan-m", "rehome-run-m-c-0", "rehome-gate-c", "rehome-run-m"];
    cluster(&mut seen).config_maps.extend(parts.map(object));
    let all = collect(&seen, true);
    let order: Vec<String> = all.found.iter().map(|found| found.thing.to_string()).collect();
    let expected = [
        "volume vol-new",
        "claim data-c-0",
        "PersistentVolume pv-1",
        "ConfigMap rehome-gate-c",
        "snapshot snap-base",
        "snapshot snap-final",
        "ConfigMap rehome-run-m",
        "ConfigMap rehome-plan-m",
        "ConfigMap rehome-run-m-c-0",
        "Lease rehome-run-m",
    ];
    assert_eq!(order, expected);
    assert!(all.recorded && all.parked_claims && all.at_ms == NOW_MS && all.migration == "m");
    assert!(!collect(&unrecorded(), false).recorded);
}
