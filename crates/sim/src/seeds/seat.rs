//! A driver's seat: what stands between one driver and the world, and lets its calls go wrong as the story says.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rehome_engine::LEASE;
use rehome_model::event::Event;
use rehome_model::ids::{RunId, SnapshotId};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Sleep};

use super::trouble::{How, Trouble};
use crate::gate::{Call, Gate, Mishap, Port, Ruling};
use crate::rows::Rows;
use crate::world::World;

/// How long a driver's lease lasts without renewal.
pub(super) const LEASE_MS: u64 = LEASE.as_millis() as u64;

/// What all drivers of a run share: the count of their calls, and what has come of it.
pub struct Tally {
    inner: Mutex<Counts>,
    world: World,
}

#[derive(Default)]
struct Counts {
    began_ms: u64,
    calls: u64,
    mutations: u64,
    mutations_at: BTreeMap<Port, u64>,
    reads_at: BTreeMap<Port, u64>,
    pending: Vec<Trouble>,
    /// What happens to calls after their effect, by ticket.
    after: BTreeMap<u64, How>,
    /// Calls that were sent long after their driver had checked that it may act.
    late: Vec<&'static str>,
    violations: Vec<String>,
    strangers_snapshots: Vec<SnapshotId>,
    given_up: Rows,
    returned: BTreeSet<RunId>,
    log: Option<Vec<(u64, String)>>,
}

impl Tally {
    /// A tally in which nothing goes wrong yet; `log` says whether what happens is written down.
    pub fn new(world: &World, log: bool) -> Arc<Self> {
        let counts = Counts { began_ms: world.ec2().now(), log: log.then(Vec::new), ..Counts::default() };
        Arc::new(Self { inner: Mutex::new(counts), world: world.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what happened, if somebody will read it.
    pub fn note(&self, what: impl FnOnce() -> String) {
        self.note_at(self.world.ec2().now(), what);
    }

    /// The same of an earlier moment.
    pub fn note_at(&self, now: u64, what: impl FnOnce() -> String) {
        let mut counts = self.lock();
        let at = now.saturating_sub(counts.began_ms);
        if let Some(log) = &mut counts.log {
            log.push((at, what()));
        }
    }

    /// Whether somebody will read what happened.
    pub fn is_told(&self) -> bool {
        self.lock().log.is_some()
    }

    /// What is broken.
    pub fn violate(&self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.lock().violations.push(what);
    }

    /// What was found broken while drivers acted.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Calls that were sent late.
    pub fn late(&self) -> Vec<&'static str> {
        self.lock().late.clone()
    }

    /// Calls that changed something.
    pub fn mutations(&self) -> u64 {
        self.lock().mutations
    }

    /// What happened, in order: ms since the beginning, and words.
    pub fn log(&self) -> Vec<(u64, String)> {
        let mut log = self.lock().log.clone().unwrap_or_default();
        log.sort_by_key(|(at, _)| *at);
        log
    }

    /// A snapshot that is not rehome's to delete.
    pub fn strangers_snapshot(&self, id: SnapshotId) {
        self.lock().strangers_snapshots.push(id);
    }

    /// The snapshots that are not rehome's.
    pub fn strangers_snapshots(&self) -> Vec<SnapshotId> {
        self.lock().strangers_snapshots.clone()
    }

    /// The run begins now.
    pub fn begin(&self, troubles: &[Trouble]) {
        let mut counts = self.lock();
        counts.began_ms = self.world.ec2().now();
        counts.pending =
            troubles.iter().filter(|t| matches!(t, Trouble::Call { .. } | Trouble::Read { .. })).copied().collect();
    }

    /// The user has rolled back: what pods acknowledged until now is given up.
    pub fn give_up_new_writes(&self) {
        let rows = self.world.ledger().by_pods;
        self.lock().given_up.extend(&rows);
    }

    /// Rows that the user gave up by rolling back.
    pub fn given_up(&self) -> Rows {
        self.lock().given_up.clone()
    }

    /// A run was rolled back and its volumes kept: what it made stays.
    pub fn returned(&self, run: RunId) {
        self.lock().returned.insert(run);
    }

    /// The runs that were rolled back and their volumes kept.
    pub fn all_returned(&self) -> BTreeSet<RunId> {
        self.lock().returned.clone()
    }

    /// Nothing more goes wrong with calls.
    pub fn calm(&self) {
        self.lock().pending.clear();
    }
}

/// One driver's life.
pub struct Seat {
    tally: Arc<Tally>,
    /// The driver's name: the holder of its Lease.
    pub name: String,
    life: Mutex<Life>,
    killed: Notify,
    events: Mutex<Option<UnboundedReceiver<Event>>>,
}

#[derive(Default)]
struct Life {
    dead: bool,
    frozen_until: Option<Instant>,
}

impl Seat {
    /// A seat for a driver.
    pub fn new(tally: &Arc<Tally>, name: String) -> Arc<Self> {
        Arc::new(Self {
            tally: Arc::clone(tally),
            name,
            life: Mutex::default(),
            killed: Notify::new(),
            events: Mutex::default(),
        })
    }

    /// Waits until the driver is killed.
    pub async fn killed(&self) {
        self.killed.notified().await;
    }

    /// Listens to the driver's events.
    pub fn listen(&self, events: UnboundedReceiver<Event>) {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = Some(events);
    }

    /// What was heard of it.
    pub fn heard(&self) -> Vec<Event> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| events.as_mut()?.try_recv().ok()).collect()
    }

    /// Kills the driver.
    pub fn kill(&self) {
        self.life().dead = true;
        self.killed.notify_one();
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a driver, which stands still whenever the seat is frozen: nothing in it moves, as in a paused machine.
    pub fn seated<F: Future>(self: &Arc<Self>, driver: F) -> Seated<F> {
        Seated { seat: Arc::clone(self), driver: Box::pin(driver), thaw: None }
    }

    /// Whether the driver thaws at this very moment: what it sends now it had checked before it stood still.
    fn was_past_its_check(&self) -> bool {
        const MOMENT: Duration = Duration::from_millis(1);
        self.life().frozen_until.is_some_and(|until| Instant::now() <= until + MOMENT)
    }

    /// Invariant I10: an act starts only while the driver's lease cannot have run out, and nobody else has taken it.
    fn check_lease(&self, call: &Call<'_>) {
        let (renewed, taken) = self.tally.world.with(|state, now| {
            let writes = &state.cluster.lease_writes;
            let own = writes.get(&self.name).copied();
            let later = writes.iter().find(|(_, at)| own.is_some_and(|own| **at > own));
            (own.map(|at| now.saturating_sub(at)), later.map(|(holder, _)| holder.clone()))
        });
        let limit = LEASE_MS;
        let (who, what) = (&self.name, call.name);
        match (renewed, taken) {
            (Some(age), _) if age > limit => {
                self.tally.violate(format!("I10: {who} began {what} {} s after its lease was renewed", age / 1000));
            }
            (Some(_), Some(other)) => {
                self.tally.violate(format!("I10: {who} began {what} after {other} had taken the lease"));
            }
            (Some(_), None) => {}
            (None, _) => self.tally.violate(format!("I10: {who} began {what} without a lease")),
        }
    }

    /// The trouble that is due at this call, which is counted.
    fn due(&self, call: &Call<'_>) -> (u64, Option<How>) {
        let mut counts = self.tally.lock();
        let counts = &mut *counts;
        counts.calls += 1;
        let (all, here) = if call.mutates {
            counts.mutations += 1;
            (counts.mutations, counts.mutations_at.entry(call.port).or_default())
        } else {
            (0, counts.reads_at.entry(call.port).or_default())
        };
        *here += 1;
        let here = *here;
        let hits = |trouble: &Trouble| match trouble {
            Trouble::Call { port: None, nth, .. } => call.mutates && *nth == all,
            Trouble::Call { port: Some(port), nth, .. } => call.mutates && *port == call.port && *nth == here,
            Trouble::Read { port, nth, times, .. } => {
                !call.mutates && *port == call.port && (*nth..nth + times).contains(&here)
            }
            _ => false,
        };
        let how = counts.pending.iter().find(|trouble| hits(trouble)).and_then(|trouble| match trouble {
            Trouble::Call { how, .. } | Trouble::Read { how, .. } => Some(*how),
            _ => None,
        });
        (counts.calls, how)
    }

    fn note(&self, call: &Call<'_>, how: How) {
        self.tally.note(|| format!("{}: {} {} {how}", self.name, call.name, call.subject));
    }
}

impl Gate for Seat {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if self.life().dead {
            return (0, Ruling::Never);
        }
        if call.mutates && self.was_past_its_check() {
            self.tally.lock().late.push(call.name);
        } else if call.mutates {
            self.check_lease(call);
            for broken in super::check::meanwhile(&self.tally.world, call.name) {
                self.tally.violate(broken);
            }
        }
        let (ticket, how) = self.due(call);
        let Some(how) = how else { return (ticket, Ruling::Go) };
        self.note(call, how);
        let ruling = match how {
            How::Fails => Ruling::Wrong(Mishap::NoReply),
            How::Code(code) => Ruling::Wrong(Mishap::Code(code)),
            How::Status(status, reason) => Ruling::Wrong(Mishap::Status(status, reason)),
            How::GoesOn(after_s) => Ruling::Wrong(Mishap::GoesOn(after_s * 1_000)),
            How::KillsBefore => {
                self.kill();
                Ruling::Never
            }
            How::Pauses(for_s) => {
                let pause = Duration::from_secs(for_s);
                self.life().frozen_until = Some(Instant::now() + pause);
                self.tally.lock().late.push(call.name);
                Ruling::Late(pause)
            }
            How::LosesReply | How::CutOutput | How::KillsAfter => {
                self.tally.lock().after.insert(ticket, how);
                Ruling::Go
            }
        };
        (ticket, ruling)
    }

    fn after(&self, ticket: u64, _: &Call<'_>) -> Ruling {
        if self.life().dead {
            return Ruling::Never;
        }
        match self.tally.lock().after.remove(&ticket) {
            None => Ruling::Go,
            Some(How::LosesReply) => Ruling::Wrong(Mishap::NoReply),
            Some(How::CutOutput) => Ruling::Wrong(Mishap::Cut),
            Some(_) => {
                self.kill();
                Ruling::Never
            }
        }
    }
}

/// A driver in its seat.
pub struct Seated<F> {
    seat: Arc<Seat>,
    driver: Pin<Box<F>>,
    thaw: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Future for Seated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let until = self.seat.life().frozen_until.filter(|until| Instant::now() < *until);
        if let Some(until) = until {
            // A wake of its own: those of the driver's timers are lost on a driver that is not polled.
            let mut thaw = Box::pin(tokio::time::sleep_until(until));
            if thaw.as_mut().poll(context).is_pending() {
                self.thaw = Some(thaw);
                return Poll::Pending;
            }
        }
        self.thaw = None;
        self.driver.as_mut().poll(context)
    }
}
