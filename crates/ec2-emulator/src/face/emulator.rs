//! An EC2 in this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rehome_ports::{CloudError, Tap};
use tokio::time::Instant;

use crate::api::{Action, ApiError, Caller, Reply};
use crate::core::{Config, Core, Millis};
use crate::disks::{Disks, MemoryDisks};

use super::saved::StateFile;

/// The account and its disks.
#[derive(Debug)]
pub struct Inner<D = MemoryDisks> {
    /// EC2.
    pub core: Core,
    /// The disks.
    pub disks: D,
    saved: Option<StateFile>,
}

impl<D: Disks> Inner<D> {
    /// A call at a time, without latency, tap and clock: for the machines that live in this EC2.
    pub fn call(&mut self, now: Millis, action: &Action) -> Result<Reply, ApiError> {
        self.core.handle(now, &Caller::new("machine"), &mut self.disks, action, false)
    }
}

/// An EC2 in this process. Clones are the same EC2.
pub struct Emulator<D = MemoryDisks> {
    inner: Arc<Mutex<Inner<D>>>,
    epoch_ms: Millis,
    started: Instant,
    latency: Duration,
    caller: Caller,
    tap: Option<Arc<dyn Tap>>,
}

impl<D> Clone for Emulator<D> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), caller: self.caller.clone(), tap: self.tap.clone(), ..*self }
    }
}

impl Emulator {
    /// An empty EC2 whose clock shows `epoch_ms` now, and which answers after `latency`.
    pub fn new(config: Config, epoch_ms: Millis, latency: Duration) -> Self {
        Self::on(Core::new(config), MemoryDisks::default(), epoch_ms, latency)
    }
}

impl<D: Disks> Emulator<D> {
    /// An EC2 on these disks, in the state of `core`.
    pub fn on(core: Core, disks: D, epoch_ms: Millis, latency: Duration) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner { core, disks, saved: None })),
            epoch_ms,
            started: Instant::now(),
            latency,
            caller: Caller::default(),
            tap: None,
        }
    }

    /// The same EC2, which from now on keeps its state in a file: what it answered is there before the answer is sent.
    pub fn saved_in(self, file: StateFile) -> std::io::Result<Self> {
        {
            let mut inner = self.lock();
            let Inner { core, saved, .. } = &mut *inner;
            saved.insert(file).save(core)?;
        }
        Ok(self)
    }

    /// Lets what is due happen, and saves it: for an EC2 that nobody calls for a while.
    pub fn tick(&self) -> std::io::Result<()> {
        let now = self.now();
        let mut inner = self.lock();
        let Inner { core, disks, saved } = &mut *inner;
        core.advance(now, disks);
        saved.as_mut().map_or(Ok(()), |file| file.save(core))
    }

    /// The same EC2, with every call going past `tap`.
    #[must_use]
    pub fn tapped(&self, tap: Arc<dyn Tap>) -> Self {
        Self { tap: Some(tap), ..self.clone() }
    }

    /// The same EC2, called by somebody else.
    #[must_use]
    pub fn called_by(&self, caller: Caller) -> Self {
        Self { caller, ..self.clone() }
    }

    /// Now, in ms since 1970.
    pub fn now(&self) -> Millis {
        self.epoch_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks into EC2 or its disks directly, at the present time: for the machines that live in it, and for tests.
    pub fn with<T>(&self, look: impl FnOnce(&mut Inner<D>, Millis) -> T) -> T {
        self.with_at(self.now(), look)
    }

    /// The same at an earlier moment, for a world that catches up in steps. EC2 never goes back before what it was
    /// already asked at.
    pub fn with_at<T>(&self, at: Millis, look: impl FnOnce(&mut Inner<D>, Millis) -> T) -> T {
        let mut inner = self.lock();
        let Inner { core, disks, .. } = &mut *inner;
        core.advance(at, disks);
        look(&mut inner, at)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<D>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request, past the tap, with its latency, answered as EC2 answers it.
    pub async fn request(&self, action: &Action, dry_run: bool) -> Result<Reply, ApiError> {
        let name = action.name();
        let mutates = !action.is_read() && !dry_run;
        let lost = |code: String| ApiError::with_status(503, &code, "no reply");
        let ticket = match &self.tap {
            Some(tap) => tap.before(name, mutates).await.map_err(lost)?,
            None => 0,
        };
        tokio::time::sleep(self.latency).await;
        let now = self.now();
        let reply = {
            let mut inner = self.lock();
            let Inner { core, disks, saved } = &mut *inner;
            let reply = core.handle(now, &self.caller, disks, action, dry_run);
            match saved.as_mut().map_or(Ok(()), |file| file.save(core)) {
                Ok(()) => reply,
                Err(error) => Err(ApiError::with_status(500, "InternalError", format!("the state: {error}"))),
            }
        };
        if let Some(tap) = &self.tap {
            tap.after(ticket, name, mutates).await.map_err(lost)?;
        }
        reply
    }

    pub(super) async fn call(&self, action: &Action, dry_run: bool) -> Result<Reply, CloudError> {
        let reply = self.request(action, dry_run).await;
        reply.map_err(|error| CloudError::new(action.name(), error.code, error.message))
    }

    pub(super) fn region(&self) -> String {
        self.lock().core.config.region.clone()
    }
}
