//! The reference database: every member holds every row; a write is acknowledged once a quorum of members has it.
//!
//! It has the two traits of Cassandra that matter for a move: rows are in memory until a flush, a drain or the periodic
//! sync; and a process that starts with a member's identity takes that member's place among all it can reach.

use std::collections::{BTreeMap, BTreeSet};

use rehome_ec2_emulator::disks::MemoryDisks;
use rehome_model::answer::{MemberIdentity, MemberView, PeerView};
use rehome_model::ids::VolumeId;
use serde::{Deserialize, Serialize};

/// Path of the identity on the data volume.
pub const IDENTITY: &str = "identity.json";
/// Path of the members it knows.
pub const PEERS: &str = "peers.json";
/// Path of the ids that own the files: `uid:gid`.
pub const OWNER: &str = ".owner";
/// From start to up.
const BOOT_MS: u64 = 20_000;
/// Between two periodic syncs of what is in memory (Cassandra: commitlog_sync_period 10 s).
const SYNC_MS: u64 = 10_000;

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
    /// Its address.
    pub address: String,
    /// When it started.
    pub started_ms: u64,
    /// Whether it lets clients in.
    pub open: bool,
    synced_ms: u64,
}

/// What a client was told is written, and where it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Rows acknowledged.
    pub acknowledged: BTreeSet<u64>,
    /// Those of them that members in pods took: what a rollback may discard by name.
    pub by_pods: BTreeSet<u64>,
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
        volume: &VolumeId,
        address: &str,
        open: bool,
    ) -> Result<(), String> {
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
        let process = Process {
            side,
            identity,
            volume: volume.clone(),
            address: address.to_owned(),
            started_ms: now,
            open,
            synced_ms: now,
        };
        self.processes.insert(place.to_owned(), process);
        self.meet_ms = self.meet_ms.min(now + BOOT_MS);
        Ok(())
    }

    /// A clean stop: drained, everything on disk.
    pub fn stop(&mut self, disks: &mut MemoryDisks, place: &str) {
        if let Some(process) = self.processes.remove(place) {
            disks.sync(&process.volume);
        }
    }

    /// Lets time pass: boots, periodic syncs, the client's writes.
    pub fn advance(&mut self, now: u64, disks: &mut MemoryDisks) {
        if self.written_ms == 0 {
            self.written_ms = now;
            self.ledger.last_ms = now;
        }
        while self.written_ms + self.write_every_ms <= now {
            self.written_ms += self.write_every_ms;
            let at = self.written_ms;
            self.sync(at, disks);
            self.write(at, disks);
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
        for process in self.processes.values_mut().filter(|process| process.synced_ms + SYNC_MS <= at) {
            process.synced_ms = at;
            disks.sync(&process.volume);
        }
    }

    fn is_up(process: &Process, now: u64) -> bool {
        process.started_ms + BOOT_MS <= now
    }

    /// One row to every member that is up and open; acknowledged by a quorum.
    fn write(&mut self, at: u64, disks: &mut MemoryDisks) {
        self.next_row += 1;
        let row = self.next_row;
        let serving = || self.processes.values().filter(|process| process.open && Self::is_up(process, at));
        let by_pods = serving().any(|process| process.side == Side::Pods);
        let takers: Vec<VolumeId> = serving().map(|process| process.volume.clone()).collect();
        if takers.len() * 2 <= self.members {
            self.ledger.failed += 1;
            return;
        }
        for volume in takers {
            disks.write(&volume, &format!("row/{row:08}"), row.to_le_bytes().to_vec());
        }
        self.ledger.acknowledged.insert(row);
        if by_pods {
            self.ledger.by_pods.insert(row);
        }
        self.ledger.longest_gap_ms = self.ledger.longest_gap_ms.max(at - self.ledger.last_ms);
        self.ledger.last_ms = at;
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
        let holds = |row: u64| {
            let path = format!("row/{row:08}");
            self.processes.values().filter(|process| disks.holds(&process.volume, &path)).count()
        };
        self.ledger.acknowledged.iter().copied().filter(|row| holds(*row) * 2 <= self.members).collect()
    }
}

fn peers(disks: &MemoryDisks, volume: &VolumeId) -> BTreeMap<String, String> {
    disks.read(volume, PEERS).map(|bytes| decode(&bytes)).unwrap_or_default()
}

fn decode(peers: &[u8]) -> BTreeMap<String, String> {
    serde_json::from_slice(peers).unwrap_or_default()
}
