//! What tests do to calls: kill the driver at one of them, fail one, lose a reply.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::Notify;

use crate::gate::{Call, Gate, Mishap, Port, Ruling};

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// The driver dies before the call is sent.
    Before,
    /// The driver dies after the effect, before the reply.
    After,
    /// The call fails without effect; the driver lives.
    FailBefore,
    /// The effect happens, the reply is lost; the driver lives.
    LoseReply,
    /// The call is refused for good, by cloud or cluster; what hosts and pods are asked is not answered.
    Refuse,
}

#[derive(Debug, Default)]
struct State {
    /// Calls that change something, so far.
    mutations: u64,
    /// Names of those calls.
    names: Vec<&'static str>,
    /// At which of them what happens.
    at: Option<(u64, Kill)>,
}

/// Stands at every port of a world.
#[derive(Debug, Default)]
pub struct Control {
    state: Mutex<State>,
    killed: Notify,
}

impl Control {
    /// A control that only counts.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Does `kill` at the `n`-th call from now that changes something, counted from 1.
    pub fn arm(&self, n: u64, kill: Kill) {
        let mut state = self.lock();
        state.mutations = 0;
        state.names.clear();
        state.at = Some((n, kill));
    }

    /// Only counts again, from 0.
    pub fn disarm(&self) {
        *self.lock() = State::default();
    }

    /// Calls that changed something since the last `arm` or `disarm`.
    pub fn mutations(&self) -> u64 {
        self.lock().mutations
    }

    /// Their names.
    pub fn names(&self) -> Vec<&'static str> {
        self.lock().names.clone()
    }

    /// Waits until the driver is to die.
    pub async fn killed(&self) {
        self.killed.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call: its number.
    fn count(&self, call: &'static str) -> u64 {
        let mut state = self.lock();
        state.mutations += 1;
        state.names.push(call);
        state.mutations
    }

    /// What is to happen to the call of a number, if it is the chosen one.
    fn chosen(&self, number: u64) -> Option<Kill> {
        self.lock().at.filter(|(n, _)| *n == number).map(|(_, kill)| kill)
    }

    fn die(&self) -> Ruling {
        self.killed.notify_one();
        Ruling::Never
    }
}

impl Gate for Control {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if !call.mutates {
            return (0, Ruling::Go);
        }
        let number = self.count(call.name);
        let ruling = match self.chosen(number) {
            Some(Kill::Before) => self.die(),
            Some(Kill::FailBefore) => Ruling::Wrong(Mishap::NoReply),
            Some(Kill::Refuse) => Ruling::Wrong(match call.port {
                Port::Cloud => Mishap::Code("UnauthorizedOperation"),
                Port::Cluster => Mishap::Status(403, "Forbidden"),
                Port::Hosts | Port::Pods => Mishap::NoReply,
            }),
            _ => Ruling::Go,
        };
        (number, ruling)
    }

    fn after(&self, ticket: u64, call: &Call<'_>) -> Ruling {
        if !call.mutates {
            return Ruling::Go;
        }
        match self.chosen(ticket) {
            Some(Kill::After) => self.die(),
            Some(Kill::LoseReply) => Ruling::Wrong(Mishap::NoReply),
            _ => Ruling::Go,
        }
    }
}
