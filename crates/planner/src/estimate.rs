//! What a plan will take, with its assumptions said.

use std::collections::BTreeMap;

use rehome_model::cloud::VolumeSpec;
use rehome_model::plan::{Estimate, MemberPlan};
use rehome_profiles::ProfileLimits;

/// EBS snapshots of a volume for the first time, MiB/s: slow and fast. EBS promises nothing; these bound what users report.
const SNAPSHOT_MIB_S: (u64, u64) = (50, 250);
/// Share of a volume that changes between base and final snapshot, percent: few and many.
const CHANGED_PERCENT: (u64, u64) = (1, 10);
/// Seconds to make and attach a volume, fast and slow (users report 1.5 s to create, 4 s at
/// the 99th percentile, and 1 to 4 s to attach).
const VOLUME_S: (u64, u64) = (5, 30);
/// Seconds for an application to drain, stop, and come up again: fast and slow (Cassandra 5.0 with 100 MB a
/// node, measured: drain 14 s, boot 33 s).
const APPLICATION_S: (u64, u64) = (30, 180);
/// US cents a GiB and month, us-east-1: snapshot standard tier, gp3 storage.
const SNAPSHOT_CENTS_GIB: u64 = 5;
const VOLUME_CENTS_GIB: u64 = 8;

/// Calls of EC2 that a second brings, and those that may come at once (EC2 API developer guide, "Request throttling"):
/// CreateSnapshots and CreateVolume each have a bucket of their own, AttachVolume shares one.
const CREATES: (u64, u64) = (5, 100);
const ATTACHES: (u64, u64) = (5, 50);
/// As the engine takes it where the migration does not say.
const SHARE_PERCENT: u64 = 80;

pub(crate) fn estimate(members: &[MemberPlan], limits: ProfileLimits, share_percent: Option<u8>) -> Estimate {
    let specs = || members.iter().flat_map(|member| member.volumes.iter().map(|volume| &volume.spec));
    let sizes: Vec<u64> = specs().map(|spec| u64::from(spec.size_gib)).collect();
    let mut estimate = of_volumes(&sizes, u64::from(limits.flush_s));
    let share = share_percent.map_or(SHARE_PERCENT, u64::from);
    let (volumes, members) = (sizes.len() as u64, members.len() as u64);
    let lines = [line(members, CREATES, share), line(volumes, CREATES, share), line(volumes, ATTACHES, share)];
    // Beside each other at best, one after the other at worst.
    let (fast, slow) = (lines.into_iter().max().unwrap_or(0), lines.into_iter().sum::<u64>());
    for range in [&mut estimate.downtime_s, &mut estimate.total_s] {
        *range = (range.0 + fast, range.1 + slow);
    }
    if slow > 0 {
        estimate.assumptions.push(format!(
            "{members} CreateSnapshots, {volumes} CreateVolume and {volumes} AttachVolume calls, at {share} % of the rates that EC2 \
             documents"
        ));
    }
    estimate.assumptions.push(room(specs()));
    estimate
}

/// How long calls of one kind stand in line, in seconds.
fn line(calls: u64, (rate, burst): (u64, u64), share_percent: u64) -> u64 {
    calls.saturating_sub(burst * share_percent / 100) * 100 / (rate * share_percent).max(1)
}

/// What the account must have room for: EC2 checks its quotas of storage and IOPS when a volume is made, in the downtime, and
/// in no dry run.
fn room<'a>(specs: impl Iterator<Item = &'a VolumeSpec>) -> String {
    let mut types: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for spec in specs {
        let (gib, iops) = types.entry(&spec.volume_type).or_default();
        *gib += u64::from(spec.size_gib);
        *iops += u64::from(spec.iops.unwrap_or(0));
    }
    let each = types.iter().map(|(volume_type, (gib, iops))| match iops {
        0 => format!("{gib} GiB more of {volume_type}"),
        iops => format!("{gib} GiB and {iops} IOPS more of {volume_type}"),
    });
    format!("the account's EBS quotas have room for {}", each.collect::<Vec<_>>().join(", "))
}

fn of_volumes(sizes_gib: &[u64], flush_s: u64) -> Estimate {
    let largest_mib = sizes_gib.iter().max().copied().unwrap_or(0) * 1024;
    let total_gib: u64 = sizes_gib.iter().sum();
    let base = (largest_mib / SNAPSHOT_MIB_S.1, largest_mib / SNAPSHOT_MIB_S.0);
    let last = (base.0 * CHANGED_PERCENT.0 / 100, base.1 * CHANGED_PERCENT.1 / 100);
    let downtime = (APPLICATION_S.0 + last.0 + VOLUME_S.0, APPLICATION_S.1 + last.1 + VOLUME_S.1);
    Estimate {
        total_s: (base.0 + downtime.0, base.1 + downtime.1 + flush_s),
        downtime_s: downtime,
        monthly_cost_cents: total_gib * (SNAPSHOT_CENTS_GIB + VOLUME_CENTS_GIB),
        assumptions: vec![
            format!("volumes are full; a first snapshot moves {} to {} MiB/s", SNAPSHOT_MIB_S.0, SNAPSHOT_MIB_S.1),
            format!(
                "{} to {} % of a volume changes between base and final snapshot",
                CHANGED_PERCENT.0, CHANGED_PERCENT.1
            ),
            format!("the application stops and starts in {} to {} s", APPLICATION_S.0, APPLICATION_S.1),
            "new volumes load their blocks from the snapshot on first use: reads are slower for a while".to_owned(),
            "us-east-1 list prices: gp3 storage and standard snapshots, both sides kept".to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_is_needed_is_told_by_type() {
        let spec = |volume_type: &str, size_gib, iops| VolumeSpec {
            volume_type: volume_type.to_owned(),
            size_gib,
            iops,
            throughput_mib_s: None,
            encrypted: false,
            kms_key_id: None,
        };
        let specs = [spec("gp3", 500, Some(3_000)), spec("gp3", 1_000, Some(6_000)), spec("st1", 125, None)];
        let wanted = "the account's EBS quotas have room for 1500 GiB and 9000 IOPS more of gp3, 125 GiB more of st1";
        assert_eq!(room(specs.iter()), wanted);
    }

    #[test]
    fn many_calls_stand_in_line() {
        assert_eq!(line(80, CREATES, 80), 0);
        // 4 a second, after 80 at once.
        assert_eq!(line(2_000, CREATES, 80), 480);
        assert_eq!(line(2_000, ATTACHES, 100), 390);
        assert_eq!(line(10, CREATES, 1), 180);
    }

    #[test]
    fn calls_that_do_not_stand_in_line_are_no_assumption() {
        let limits = ProfileLimits { flush_s: 300, stop_s: 600, member_up_s: 900 };
        let few = estimate(&[], limits, None);
        assert!(!few.assumptions.iter().any(|said| said.contains("calls")), "{:?}", few.assumptions);
    }

    #[test]
    fn the_largest_volume_sets_the_time_and_all_together_the_cost() {
        // 1,000 GiB: 4,096 to 20,480 s for the base snapshot, 40 to 2,048 s for the final one.
        let found = of_volumes(&[500, 1_000, 500], 60);
        assert_eq!(found.downtime_s, (30 + 40 + 5, 180 + 2_048 + 30));
        assert_eq!(found.total_s, (4_096 + 75, 20_480 + 2_258 + 60));
        // 13 cents a GiB and month.
        assert_eq!(found.monthly_cost_cents, 26_000);
        assert!(found.assumptions[0].contains("50 to 250 MiB/s"), "{:?}", found.assumptions);
        assert!(found.assumptions[1].contains("1 to 10 %"), "{:?}", found.assumptions);
    }
}
