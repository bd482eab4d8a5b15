//! The least that EC2 allows: how long a move takes at least, and how many calls.
//!
//! Written down once more from the documents, and from the plan's order of events; nothing of the engine, the planner or
//! the emulator is used here, so that an error of theirs cannot hide in it. `docs/performance.md` explains it.

use serde::Serialize;

/// A token bucket: how many calls at once, and how many a second after that.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// EC2 API developer guide, "Request throttling": actions that change something and have no bucket of their own.
const OTHER_CHANGES: Rate = Rate { burst: 50.0, per_second: 5.0 };
/// The same guide: CreateSnapshots.
const CREATE_SNAPSHOTS: Rate = Rate { burst: 100.0, per_second: 5.0 };
/// The same guide: CreateVolume.
const CREATE_VOLUME: Rate = Rate { burst: 100.0, per_second: 5.0 };
/// The same guide: describes with a filter or ids.
const DESCRIBE: Rate = Rate { burst: 100.0, per_second: 20.0 };
/// What one describe can answer, one CreateTags can tag, and one StopInstances can stop.
const PER_CALL: u64 = 1_000;

/// How long things take that no limit of rates changes, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Delays {
    /// A call to EC2 and back.
    pub call_ms: u64,
    /// A snapshot from its call to `completed`.
    pub snapshot_ms: u64,
    /// CreateVolume to `available`.
    pub create_volume_ms: u64,
    /// AttachVolume to `attached`.
    pub attach_ms: u64,
    /// StopInstances to `stopped`.
    pub stop_instance_ms: u64,
    /// A script on a host or in a pod and back.
    pub script_ms: u64,
    /// The application's own time to drain and stop.
    pub drain_ms: u64,
    /// A container's image.
    pub pull_ms: u64,
    /// The application from its start to up.
    pub boot_ms: u64,
}

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Members.
    pub members: u64,
    /// Volumes of each.
    pub volumes: u64,
}

/// The least time, by what it consists of, in ms from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// Every base snapshot is completed, and every instance protected.
    pub prepared_ms: u64,
    /// Every member is out of service and unmounted.
    pub stopped_ms: u64,
    /// Every final snapshot is begun.
    pub captured_ms: u64,
    /// Every new volume is available, and every instance stopped.
    pub made_ms: u64,
    /// Every new volume is attached.
    pub attached_ms: u64,
    /// The new side is verified and open.
    pub opened_ms: u64,
}

/// A bucket that has been used for a while.
struct Used {
    rate: Rate,
    level: f64,
    at_ms: f64,
}

impl Used {
    fn full(rate: Rate) -> Self {
        Self { rate, level: rate.burst, at_ms: 0.0 }
    }

    /// When a call that is wanted at a time can be sent at the earliest. Times must not go back.
    fn send(&mut self, wanted_ms: f64) -> f64 {
        let from = wanted_ms.max(self.at_ms);
        self.level = (self.level + (from - self.at_ms) * self.rate.per_second / 1000.0).min(self.rate.burst);
        let wait_ms = (1.0 - self.level).max(0.0) * 1000.0 / self.rate.per_second;
        self.level += wait_ms * self.rate.per_second / 1000.0 - 1.0;
        self.at_ms = from + wait_ms;
        self.at_ms
    }
}

/// The least time of a move in the order that every plan keeps: bases and protection while serving; then all stop, are
/// captured and made anew; only when all are, all pods start; the last of them is verified before all are opened.
pub fn least_time(what: Move, delays: Delays) -> Bound {
    let ms = |n: u64| n as f64;
    let (call, script) = (ms(delays.call_ms), ms(delays.script_ms));
    let mut describes = Used::full(DESCRIBE);
    let mut changes = Used::full(OTHER_CHANGES);
    let mut snapshots = Used::full(CREATE_SNAPSHOTS);
    let mut volumes = Used::full(CREATE_VOLUME);
    let mut prepared: f64 = 0.0;
    for _ in 0..what.members {
        // Whether it is protected, protect it, keep its volumes.
        let known = describes.send(0.0) + call;
        changes.send(known);
        prepared = prepared.max(changes.send(known) + call);
        prepared = prepared.max(snapshots.send(0.0) + call + ms(delays.snapshot_ms));
    }
    // Flush; all members whole; drain and stop; identity from the disk; unmount.
    let stopped = prepared + 5.0 * script + ms(delays.drain_ms);
    let captures: Vec<f64> = (0..what.members).map(|_| snapshots.send(stopped) + call).collect();
    let captured = captures.last().copied().unwrap_or(stopped);
    // One call stops many, but none before it is captured.
    changes.send(captured);
    let mut made = captured + call + ms(delays.stop_instance_ms);
    for capture in &captures {
        for _ in 0..what.volumes {
            let sent = volumes.send(capture + ms(delays.snapshot_ms));
            made = made.max(sent + call + ms(delays.create_volume_ms));
        }
    }
    // The cluster's driver attaches them: its calls are no less limited than ours.
    let mut attached = made;
    for _ in 0..what.members * what.volumes {
        attached = attached.max(changes.send(made) + ms(delays.attach_ms));
    }
    // Verified closed, opened, verified open.
    let opened = attached + ms(delays.pull_ms) + ms(delays.boot_ms) + 3.0 * script;
    let whole = |ms: f64| ms.floor() as u64;
    Bound {
        prepared_ms: whole(prepared),
        stopped_ms: whole(stopped),
        captured_ms: whole(captured),
        made_ms: whole(made),
        attached_ms: whole(attached),
        opened_ms: whole(opened),
    }
}

/// The fewest calls to EC2 with which the same can be done: one for each act that EC2 does for one thing only, one for
/// each thousand where it takes many, and one look for each thousand wherever the next act needs to know.
pub fn least_calls(what: Move) -> u64 {
    let Move { members, volumes } = what;
    let batches = |n: u64| n.div_ceil(PER_CALL);
    // Protected before? ModifyInstanceAttribute twice, CreateSnapshots twice, CreateVolume for each volume.
    let single = members * (1 + 2 + 2 + volumes);
    // The roles' tags on base and final snapshots; StopInstances.
    let together = 2 * volumes * batches(members) + batches(members);
    // Instances: DeleteOnTermination before and after, stopped, all fenced. Volumes: available, right before they are
    // released, the legacy ones at the fence, swept. Snapshots: base, final, right before the release, swept.
    let all = members * volumes;
    let looks = 4 * batches(members) + 4 * batches(all) + 3 * batches(all) + batches(2 * all);
    single + together + looks
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Delays = Delays {
        call_ms: 0,
        snapshot_ms: 0,
        create_volume_ms: 0,
        attach_ms: 0,
        stop_instance_ms: 0,
        script_ms: 0,
        drain_ms: 0,
        pull_ms: 0,
        boot_ms: 0,
    };

    #[test]
    fn few_members_meet_no_limit_only_the_delays() {
        let delays = Delays { snapshot_ms: 20_000, drain_ms: 12_000, create_volume_ms: 1_500, ..NOTHING };
        let bound = least_time(Move { members: 3, volumes: 2 }, delays);
        assert_eq!((bound.prepared_ms, bound.stopped_ms, bound.captured_ms), (20_000, 32_000, 32_000));
        assert_eq!((bound.made_ms, bound.opened_ms), (53_500, 53_500));
    }

    #[test]
    fn of_a_thousand_each_phase_is_what_its_bucket_lets_through() {
        let bound = least_time(Move { members: 1000, volumes: 2 }, NOTHING);
        assert_eq!(bound.prepared_ms, 390_000, "2,000 changes: 50 at once, 1,950 at 5 a second");
        assert_eq!(bound.captured_ms - bound.stopped_ms, 180_000, "1,000 captures: 100 at once, 900 at 5 a second");
        assert_eq!(bound.made_ms - bound.stopped_ms, 380_000, "2,000 volumes: 100 at once, 1,900 at 5 a second");
        let attaching = bound.attached_ms - bound.made_ms;
        assert_eq!(attaching, 390_000, "2,000 attachments: 50 at once, 1,950 at 5 a second");
    }

    #[test]
    fn seven_calls_a_member_and_a_few_for_all() {
        assert_eq!(least_calls(Move { members: 100, volumes: 2 }), 700 + 5 + 12);
    }
}
