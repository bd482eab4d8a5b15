//! What tests do to calls: kill the driver at one of them, fail one, lose a reply.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;
use rehome_ports::Tap;
use tokio::sync::Notify;

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

    /// Whether this call is the chosen one; counts it if `begins`.
    fn chosen(&self, call: &'static str, begins: bool) -> Option<Kill> {
        let mut state = self.lock();
        if begins {
            state.mutations += 1;
            state.names.push(call);
        }
        state.at.filter(|(n, _)| *n == state.mutations).map(|(_, kill)| kill)
    }

    async fn die(&self) -> ! {
        self.killed.notify_one();
        std::future::pending().await
    }
}

/// EC2's code for a passing failure; also what a lost reply looks like to the caller.
const FAILED: &str = "Unavailable";

#[async_trait]
impl Tap for Control {
    async fn before(&self, call: &'static str, mutates: bool) -> Result<(), String> {
        if !mutates {
            return Ok(());
        }
        match self.chosen(call, true) {
            Some(Kill::Before) => self.die().await,
            Some(Kill::FailBefore) => Err(FAILED.to_owned()),
            _ => Ok(()),
        }
    }

    async fn after(&self, call: &'static str, mutates: bool) -> Result<(), String> {
        if !mutates {
            return Ok(());
        }
        match self.chosen(call, false) {
            Some(Kill::After) => self.die().await,
            Some(Kill::LoseReply) => Err(FAILED.to_owned()),
            _ => Ok(()),
        }
    }
}
