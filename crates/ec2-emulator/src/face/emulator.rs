//! An EC2 in this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rehome_model::ids::InstanceId;
use rehome_ports::{CloudError, Tap};
use tokio::time::Instant;

use crate::api::{Action, ApiError, Caller, Reply};
use crate::core::{Answer, Config, Core, Invocation, Millis, SsmAction, SsmReply};
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
        self.change(|_, _| ())
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
        self.ask(action, dry_run).await.arrived()
    }

    /// The same; a reply that is lost is the caller's to lose.
    pub async fn ask(&self, action: &Action, dry_run: bool) -> Answer<Reply> {
        let name = action.name();
        let mutates = !action.is_read() && !dry_run;
        let ticket = match &self.tap {
            Some(tap) => match tap.before(name, mutates).await {
                Ok(ticket) => ticket,
                Err(code) => return no_reply(&code),
            },
            None => 0,
        };
        tokio::time::sleep(self.latency).await;
        let answer = self.saving(|core, disks, now, caller| core.answer(now, caller, disks, action, dry_run));
        late(answer.late_ms).await;
        if let Some(tap) = &self.tap
            && let Err(code) = tap.after(ticket, name, mutates).await
        {
            return no_reply(&code);
        }
        answer
    }

    /// A request to SSM. What it answers of scripts is what was told it of them: see [`Emulator::script_ended`].
    pub async fn ask_ssm(&self, action: &SsmAction) -> Answer<SsmReply> {
        tokio::time::sleep(self.latency).await;
        let answer = self.saving(|core, disks, now, caller| core.handle_ssm(now, caller, disks, action));
        late(answer.late_ms).await;
        answer
    }

    /// Tells SSM how a script ended.
    pub fn script_ended(&self, command: &str, instance: &InstanceId, ended: Invocation) -> std::io::Result<()> {
        self.change(|core, _| core.commands.end(command, instance, ended))
    }

    /// Changes EC2 otherwise than by a call, and saves it.
    pub fn change<T>(&self, change: impl FnOnce(&mut Core, Millis) -> T) -> std::io::Result<T> {
        let now = self.now();
        let mut inner = self.lock();
        let Inner { core, disks, saved } = &mut *inner;
        core.advance(now, disks);
        let changed = change(core, now);
        saved.as_mut().map_or(Ok(()), |file| file.save(core))?;
        Ok(changed)
    }

    /// A call, whose answer is on disk before it is sent.
    fn saving<R>(&self, call: impl FnOnce(&mut Core, &mut D, Millis, &Caller) -> Answer<R>) -> Answer<R> {
        let now = self.now();
        let mut inner = self.lock();
        let Inner { core, disks, saved } = &mut *inner;
        let answer = call(core, disks, now, &self.caller);
        match saved.as_mut().map_or(Ok(()), |file| file.save(core)) {
            Ok(()) => answer,
            Err(error) => {
                let error = ApiError::with_status(500, "InternalError", format!("the state: {error}"));
                Answer { reply: Err(error), ..answer }
            }
        }
    }

    pub(super) async fn call(&self, action: &Action, dry_run: bool) -> Result<Reply, CloudError> {
        let reply = self.request(action, dry_run).await;
        reply.map_err(|error| CloudError::new(action.name(), error.code, error.message))
    }

    pub(super) fn region(&self) -> String {
        self.lock().core.config.region.clone()
    }
}

/// What a tap that lets no reply through stands for.
fn no_reply<R>(code: &str) -> Answer<R> {
    Answer { reply: Err(ApiError::with_status(503, code, "no reply")), lost: false, late_ms: 0 }
}

/// No timer where there is nothing to wait for: simulations count them.
async fn late(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
