//! The reference database: every member holds every row; a write is acknowledged once a quorum of members has it.
//!
//! It has the two traits of Cassandra that matter for a move: rows are in memory until a flush, a drain or the periodic
//! sync; and a process that starts with a member's identity takes that member's place among all it can reach.

use std::collections::{BTreeMap, BTreeSet};

use rehome_ec2_emulator::disks::MemoryDisks;
use rehome_model::answer::{MemberIdentity, MemberView, PeerView};
use rehome_model::ids::VolumeId;
use serde::{Deserialize, Serialize};

use crate::rows::Rows;

/// Path of the identity on the data volume.
pub const IDENTITY: &str = "identity.json";
/// Path of the members it knows.
pub const PEERS: &str = "peers.json";
/// Path of the ids that own the files: `uid:gid`.
pub const OWNER: &str = ".owner";
/// Path of the rows.
const ROWS: &str = "rows";
/// From start to up.
pub(crate) const BOOT_MS: u64 = 20_000;
/// Between two periodic syncs of what is in memory (Cassandra: commitlog_sync_period 10 s).
const SYNC_MS: u64 = 10_000;
/// Between two flushes of a member that has a commit log: what is on the data volume no longer needs to be in the log.
const FLUSH_MS: u64 = 30_000;

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// On a legacy host.
    Legacy,
    /// In a pod.
    Pods,
}

/// A running process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Side.
    pub side: Side,
    /// Identity, from its disk.
    pub identity: MemberIdentity,
    /// Its volume.
    pub volume: VolumeId,
    /// The volume of its commit log, if that has one of its own: rows are there first, and here after a flush.
    pub log: Option<VolumeId>,
    /// Its address.
    pub address: String,
    /// When it started.
    pub started_ms: u64,
    /// Whether it lets clients in.
    pub open: bool,
    synced_ms: u64,
    flushed_ms: u64,
    /// What it has taken.
    rows: Rows,
    /// What of it is not flushed yet: its commit log.
    logged: Rows,
}

/// What a client was told is written, and where it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Rows acknowledged.
    pub acknowledged: Rows,
    /// Those of them that members in pods took: what a rollback may discard by name.
    pub by_pods: Rows,
    /// Writes that no quorum took.
    pub failed: u64,
    /// When a write was last acknowledged.
    pub last_ms: u64,
    /// The longest time without an acknowledged write.
    pub longest_gap_ms: u64,
}

/// All processes, and the client.
#[derive(Clone, Debug, Default)]
pub struct ReferenceDatabase {
    /// Host instance id or pod name -> process.
    pub processes: BTreeMap<String, Process>,
    /// The client's ledger.
    pub ledger: Ledger,
    /// What must never happen and did.
    pub violations: Vec<String>,
    /// Members of the cluster: a quorum is more than half.
    pub members: usize,
    /// Whether members in pods keep what they take to themselves until they sync (a compressed commit log), and are killed at
    /// their end (by a kubelet, when the grace period is over).
    pub(crate) pods_are_killed: bool,
    next_row: u64,
    written_ms: u64,
    write_every_ms: u64,
    /// When members that are up next have something new to tell each other.
    meet_ms: u64,
}

impl ReferenceDatabase {
    /// A cluster of so many members, none of them running, whose client writes so often.
    pub fn new(members: usize, write_every_ms: u64) -> Self {
        Self { members, write_every_ms: write_every_ms.max(1), ..Self::default() }
    }

    /// Starts a process on a volume, if the volume holds a member. Answers why not otherwise.
    #[expect(clippy::too_many_arguments, reason = "where, on what, and how a process starts")]
    pub fn start(
        &mut self,
        now: u64,
        disks: &mut MemoryDisks,
        place: &str,
        side: Side,
        volumes: &[VolumeId],
        address: &str,
        open: bool,
    ) -> Result<(), String> {
        let [volume, rest @ ..] = volumes else { return Err(format!("{place} has no volume")) };
        let bytes = disks.read(volume, IDENTITY).ok_or_else(|| {
            self.violations.push(format!("I5: {place} started on {volume}, which holds no member"));
            format!("{volume} holds no {IDENTITY}")
        })?;
        let identity: MemberIdentity = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        for (other, process) in &self.processes {
            if process.identity.id == identity.id && other != place {
                self.violations.push(format!(
                    "I1: {place} holds member {} while {other} holds it and both can reach each other",
                    identity.id
                ));
            }
        }
        let log = rest.first().cloned();
        let mut rows = rows(disks, volume);
        if let Some(log) = &log {
            self.replay(disks, place, &identity, log, &mut rows);
            disks.write(volume, ROWS, rows.encode());
            disks.sync(volume);
        }
        let process = Process {
            side,
            identity,
            volume: volume.clone(),
            log,
            address: address.to_owned(),
            started_ms: now,
            open,
            synced_ms: now,
            flushed_ms: now,
            rows,
            logged: Rows::default(),
        };
        self.processes.insert(place.to_owned(), process);
        self.meet_ms = self.meet_ms.min(now + BOOT_MS);
        Ok(())
    }

    /// Takes in what a commit log holds that was not flushed. It must be the member's own.
    fn replay(
        &mut self,
        disks: &mut MemoryDisks,
        place: &str,
        identity: &MemberIdentity,
        log: &VolumeId,
        into: &mut Rows,
    ) {
        let bytes = disks.read(log, IDENTITY);
        match bytes.map(|bytes| serde_json::from_slice::<MemberIdentity>(&bytes)) {
            Some(Ok(of)) if of.id == identity.id => into.extend(&rows(disks, log)),
            Some(Ok(of)) => {
                let (own, other) = (&identity.id, of.id);
                self.violations.push(format!("I4: {place} holds member {own} and the commit log {log} of {other}"));
            }
            _ => self.violations.push(format!("I5: {place} started on {log}, which holds no commit log")),
        }
    }

    /// A clean stop: drained, everything on disk.
    pub fn stop(&mut self, disks: &mut MemoryDisks, place: &str) {
        if let Some(mut process) = self.processes.remove(place) {
            process.flush(disks);
        }
    }

    /// The end of a process in a pod.
    pub(crate) fn end_in_pod(&mut self, disks: &mut MemoryDisks, place: &str) {
        if self.pods_are_killed {
            self.processes.remove(place);
        } else {
            self.stop(disks, place);
        }
    }

    /// Leaves service, everything on disk, as `nodetool drain` does. The process goes on.
    pub(crate) fn drain(&mut self, disks: &mut MemoryDisks, place: &str) -> Option<()> {
        let process = self.processes.get_mut(place)?;
        process.open = false;
        process.flush(disks);
        Some(())
    }

    /// Writes out what members have taken, as `nodetool flush` does.
    pub fn flush(&mut self, disks: &mut MemoryDisks, place: &str) {
        if let Some(process) = self.processes.get_mut(place) {
            process.flush(disks);
        }
    }

    /// Lets time pass: boots, periodic syncs, the client's writes.
    pub fn advance(&mut self, now: u64, disks: &mut MemoryDisks) {
        if self.written_ms == 0 {
            self.written_ms = now;
            self.ledger.last_ms = now;
        }
        while self.written_ms + self.write_every_ms <= now {
            let first = self.written_ms + self.write_every_ms;
            self.sync(first, disks);
            // Until somebody syncs, or is up, every write is like this one.
            let changes = self.processes.values().flat_map(|process| {
                let up_ms = Some(process.started_ms + BOOT_MS).filter(|up_ms| *up_ms > first);
                [Some(process.due_ms()), up_ms].into_iter().flatten()
            });
            let last = changes.min().map_or(now, |change| now.min(change - 1)).max(first);
            let more = (last - first) / self.write_every_ms;
            self.write(first, more + 1, disks);
            self.written_ms = first + more * self.write_every_ms;
        }
        if self.meet_ms <= now {
            self.meet(now, disks);
            let booting = self.processes.values().map(|process| process.started_ms + BOOT_MS);
            self.meet_ms = booting.filter(|up_ms| *up_ms > now).min().unwrap_or(u64::MAX);
        }
    }

    /// When something happens next beyond the client's writes and the members' syncs.
    pub fn next_due(&self) -> u64 {
        self.meet_ms
    }

    fn sync(&mut self, at: u64, disks: &mut MemoryDisks) {
        for process in self.processes.values_mut().filter(|process| process.due_ms() <= at) {
            if process.synced_ms + SYNC_MS <= at {
                process.synced_ms = at;
                if self.pods_are_killed {
                    process.write_out(disks);
                }
                disks.sync(process.log.as_ref().unwrap_or(&process.volume));
            }
            if process.log.is_some() && process.flushed_ms + FLUSH_MS <= at {
                process.flushed_ms = at;
                process.flush(disks);
            }
        }
    }

    fn is_up(process: &Process, now: u64) -> bool {
        process.started_ms + BOOT_MS <= now
    }

    /// So many rows, one after the other, to every member that is up and open; acknowledged by a quorum.
    fn write(&mut self, at: u64, count: u64, disks: &mut MemoryDisks) {
        let first = self.next_row + 1;
        self.next_row += count;
        let members = self.members;
        let serving = |process: &&mut Process| process.open && Self::is_up(process, at);
        let takers: Vec<&mut Process> = self.processes.values_mut().filter(serving).collect();
        if takers.len() * 2 <= members {
            self.ledger.failed += count;
            return;
        }
        let by_pods = takers.iter().any(|process| process.side == Side::Pods);
        for process in takers {
            process.take(first, self.next_row);
            if process.side == Side::Legacy || !self.pods_are_killed {
                process.write_out(disks);
            }
        }
        self.ledger.acknowledged.insert(first, self.next_row);
        if by_pods {
            self.ledger.by_pods.insert(first, self.next_row);
        }
        let gap = (at - self.ledger.last_ms).max(if count > 1 { self.write_every_ms } else { 0 });
        self.ledger.longest_gap_ms = self.ledger.longest_gap_ms.max(gap);
        self.ledger.last_ms = at + (count - 1) * self.write_every_ms;
    }

    /// Members that are up tell each other where they are.
    fn meet(&mut self, now: u64, disks: &mut MemoryDisks) {
        let up: BTreeMap<String, String> = self
            .processes
            .values()
            .filter(|process| Self::is_up(process, now))
            .map(|process| (process.identity.id.clone(), process.address.clone()))
            .collect();
        // Most know the same before and after: a thousand members' lists are worked out once.
        let mut last: Option<(Vec<u8>, Option<Vec<u8>>)> = None;
        for process in self.processes.values().filter(|process| Self::is_up(process, now)) {
            let before = disks.read(&process.volume, PEERS).unwrap_or_default();
            if last.as_ref().is_none_or(|(of, _)| *of != before) {
                let known = decode(&before);
                let mut after = known.clone();
                after.extend(up.clone());
                let changed = (after != known).then(|| serde_json::to_vec(&after).unwrap_or_default());
                last = Some((before, changed));
            }
            if let Some((_, Some(after))) = &last {
                disks.write(&process.volume, PEERS, after.clone());
            }
        }
    }

    /// How the member at a place sees its cluster; none while it is not up.
    pub fn view(&self, now: u64, disks: &MemoryDisks, place: &str) -> Option<MemberView> {
        let process = self.processes.get(place).filter(|process| Self::is_up(process, now))?;
        let live: BTreeSet<(&str, &str)> = self
            .processes
            .values()
            .filter(|other| Self::is_up(other, now))
            .map(|other| (other.identity.id.as_str(), other.address.as_str()))
            .collect();
        let members = peers(disks, &process.volume)
            .into_iter()
            .map(|(id, address)| {
                let up = live.contains(&(id.as_str(), address.as_str()));
                PeerView { up, state: if up { "UN" } else { "DN" }.to_owned(), id, address }
            })
            .collect();
        Some(MemberView {
            identity: process.identity.clone(),
            address: process.address.clone(),
            clients_open: process.open,
            members,
            schema_versions: vec!["1".to_owned()],
            settings: BTreeMap::new(),
        })
    }

    /// Acknowledged rows that fewer than a quorum of the running members hold: lost writes.
    pub fn lost(&self, disks: &MemoryDisks) -> Vec<u64> {
        // What is on their disks, not what they think: as a member that starts again would find it.
        let held = self.processes.values().map(|process| {
            let mut held = rows(disks, &process.volume);
            held.extend(&process.log.as_ref().map(|log| rows(disks, log)).unwrap_or_default());
            held
        });
        self.ledger.acknowledged.held_by_fewer_than(self.members / 2 + 1, &held.collect::<Vec<_>>())
    }
}

impl Process {
    /// When it syncs or flushes next.
    fn due_ms(&self) -> u64 {
        let synced = self.synced_ms + SYNC_MS;
        if self.log.is_some() { synced.min(self.flushed_ms + FLUSH_MS) } else { synced }
    }

    /// Takes rows, into its own memory.
    fn take(&mut self, first: u64, last: u64) {
        self.rows.insert(first, last);
        if self.log.is_some() {
            self.logged.insert(first, last);
        }
    }

    /// What it has taken goes into the memory of its machine.
    fn write_out(&self, disks: &mut MemoryDisks) {
        if let Some(log) = &self.log {
            disks.write(log, ROWS, self.logged.encode());
        } else {
            disks.write(&self.volume, ROWS, self.rows.encode());
        }
    }

    /// Everything to the data volume, and the log begins anew.
    fn flush(&mut self, disks: &mut MemoryDisks) {
        self.write_out(disks);
        if let Some(log) = &self.log {
            disks.write(&self.volume, ROWS, self.rows.encode());
            disks.sync(&self.volume);
            self.logged = Rows::default();
            disks.write(log, ROWS, Vec::new());
            disks.sync(log);
        }
        disks.sync(&self.volume);
    }
}

fn rows(disks: &MemoryDisks, volume: &VolumeId) -> Rows {
    disks.read(volume, ROWS).map(|bytes| Rows::decode(&bytes)).unwrap_or_default()
}

fn peers(disks: &MemoryDisks, volume: &VolumeId) -> BTreeMap<String, String> {
    disks.read(volume, PEERS).map(|bytes| decode(&bytes)).unwrap_or_default()
}

fn decode(peers: &[u8]) -> BTreeMap<String, String> {
    serde_json::from_slice(peers).unwrap_or_default()
}
