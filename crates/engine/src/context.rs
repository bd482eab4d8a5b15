//! What a step sees of the world while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rehome_model::event::EventKind;
use rehome_model::ids::{InstanceId, RunId, StepId};
use rehome_model::plan::{Input, Plan, PodTarget, Purpose, Step};
use rehome_model::record::{StepRecord, StepState};
use rehome_model::task::{HostAnswer, HostTask, PodTask};
use rehome_planner::manifests::Maker;
use rehome_ports::{CALL_LIMIT, HostScript, PodScript, ScriptError, ScriptOutput};
use rehome_profiles::{Profile, ScriptContext};
use tokio::time::Instant;

use crate::cloud::{Calls, Pace};
use crate::error::{StepError, StepErrorKind};
use crate::kubernetes::Kube;
use crate::limits::{LET_IN, LET_IN_PAUSE, SCRIPT_S, SETTLE, UNDO, VIEW_SCRIPT_S};
use crate::shared::Shared;

/// Outputs of a step.
pub type Outputs = BTreeMap<String, String>;

/// One step (or the undo of one) being carried out.
pub struct StepContext {
    pub(crate) shared: Arc<Shared>,
    pub(crate) step: Step,
    /// What was done before it.
    pub(crate) after: Vec<StepId>,
    pub(crate) undo: bool,
    /// How long the way from here to the end is, by the plan: of two that wait for their turn, the longer goes first.
    pub(crate) rank: u64,
    /// Whether no driver has begun this step before, by the record: then nothing of it is to be looked for.
    pub(crate) fresh: AtomicBool,
    /// Whether the call of the attempt that the record tells of was this driver's, and is over.
    heard: AtomicBool,
    started: Instant,
    /// Time spent in line behind other steps, in ms. It is not the step's own.
    in_line_ms: AtomicU64,
}

impl StepContext {
    pub(crate) fn new(shared: Arc<Shared>, step: Step, after: Vec<StepId>, undo: bool, rank: u64) -> Self {
        let (started, in_line_ms) = (Instant::now(), AtomicU64::new(0));
        let (fresh, heard) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { shared, step, after, undo, rank, fresh, heard, started, in_line_ms }
    }

    pub(crate) fn cloud(&self) -> Calls<'_> {
        Calls(self)
    }

    /// Waits for its turn: the step's deadline moves away by as much.
    pub(crate) async fn off_the_clock<T>(&self, turn: impl Future<Output = T>) -> T {
        let from = Instant::now();
        let answer = turn.await;
        let waited = u64::try_from(from.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.in_line_ms.fetch_add(waited, Ordering::Relaxed);
        answer
    }

    /// How long the step may take, without the time spent in line.
    fn limit(&self) -> Duration {
        let own = Duration::from_secs(u64::from(self.step.deadline_s));
        if self.undo { own.max(UNDO) } else { own }
    }

    /// How long the step has been at it, time in line included.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn deadline(&self) -> Instant {
        self.started + self.limit() + Duration::from_millis(self.in_line_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn kube(&self) -> &Kube {
        &self.shared.kube
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    pub(crate) fn run(&self) -> &RunId {
        &self.shared.run
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    /// Whether an act may start now. Called right before every call that changes something.
    pub(crate) fn may_act(&self) -> Result<(), StepError> {
        self.shared.lease.check()
    }

    /// Whether the lease is still this driver's, by the apiserver's word.
    pub(crate) async fn confirm_lease(&self) -> Result<(), StepError> {
        self.shared.lease.confirm().await
    }

    /// The value of an input.
    pub(crate) fn input<T: From<String> + Clone>(&self, input: &Input<T>) -> Result<T, StepError> {
        match input {
            Input::Literal(value) => Ok(value.clone()),
            Input::Output { step, output } => self.shared.output(step, output).map(T::from).ok_or_else(|| {
                StepError::failed("MissingOutput", format!("step {step} has no output {output} in the run record"))
            }),
        }
    }

    /// The step's line in the record, if it was begun before.
    pub(crate) fn record(&self) -> Option<StepRecord> {
        self.shared.step_record(&self.step.id)
    }

    /// Sees the results written that this step is built on. Those in its own document are written with its own line.
    pub(crate) async fn see_before_written(&self) -> Result<(), StepError> {
        self.shared.see_others_written(&self.after, self.step.member.as_ref()).await
    }

    /// Before a step is taken back: waits until what it did last shows in describes. A look before that may show the
    /// world as it was: no snapshot, a volume that is not there, an instance that still runs.
    pub(crate) async fn settle(&self) -> Result<(), StepError> {
        let left = self.unsettled();
        if left.is_zero() { Ok(()) } else { self.pause(left, "what it did last may not be shown yet").await }
    }

    /// How long it is still until what this step did last, by its line in the record, is shown for certain.
    pub(crate) fn unsettled(&self) -> Duration {
        let record = self.record();
        let acted_ms = record.as_ref().map_or(0, |record| record.at_ms);
        // A call that another driver sent, or died of, may have had its effect as late as its own limit allows.
        let under_way = record.is_some_and(|record| record.state == StepState::Intended);
        let late = if under_way && !self.heard.load(Ordering::Relaxed) { CALL_LIMIT } else { Duration::ZERO };
        // Never longer than that: where the apiserver does not tell its time, another machine's clock has written it.
        (SETTLE + late).saturating_sub(Duration::from_millis(self.now_ms().saturating_sub(acted_ms)))
    }

    /// Writes down that an act of this attempt may be under way, before it is, and what must be known of it.
    pub(crate) async fn record_attempt(&self, attempt: u32, outputs: Outputs) -> Result<(), StepError> {
        let mut record = self.record().unwrap_or(StepRecord {
            state: StepState::Intended,
            attempt,
            outputs: Outputs::new(),
            error: None,
            at_ms: self.now_ms(),
        });
        record.attempt = attempt;
        record.outputs.extend(outputs);
        record.at_ms = self.now_ms();
        self.shared.save_step(&self.step, record).await
    }

    /// The call of the attempt that the record tells of is over.
    pub(crate) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Writes down an output before the act that would hide what it tells.
    pub(crate) async fn record_output(&self, name: &str, value: &str) -> Result<(), StepError> {
        let Some(mut record) = self.record() else {
            return Err(StepError::failed("Record", format!("step {} was not begun", self.step.id)));
        };
        if record.outputs.insert(name.to_owned(), value.to_owned()).as_deref() == Some(value) {
            return Ok(());
        }
        self.shared.save_step(&self.step, record).await
    }

    /// Looks again and again, with growing pauses, until `look` answers something or the step's deadline passes.
    /// `look` answers `Err` with the reason for waiting.
    pub(crate) async fn wait<T, F>(&self, look: F) -> Result<T, StepError>
    where
        F: AsyncFnMut() -> Result<Result<T, String>, StepError>,
    {
        self.wait_at(Pace::QUICK, look).await
    }

    /// The same, at another pace.
    pub(crate) async fn wait_at<T, F>(&self, pace: Pace, mut look: F) -> Result<T, StepError>
    where
        F: AsyncFnMut() -> Result<Result<T, String>, StepError>,
    {
        let began = Instant::now();
        let mut waited = false;
        loop {
            let reason = match look().await? {
                Ok(found) => {
                    // What was over at the first look says nothing of how long it takes.
                    if waited {
                        self.shared.desk.waits.ended(pace.kind, began.elapsed());
                    }
                    return Ok(found);
                }
                Err(reason) => reason,
            };
            waited = true;
            self.shared.event(EventKind::StepWaiting { step: self.step.id.clone(), reason: reason.clone() });
            self.pause(self.shared.desk.waits.pause(pace, began.elapsed()), &reason).await?;
        }
    }

    /// Sleeps, unless the driver is to stop or the deadline passes.
    pub(crate) async fn pause(&self, pause: Duration, reason: &str) -> Result<(), StepError> {
        let left = self.deadline().saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(StepError::failed(
                "DeadlineExceeded",
                format!("not done within {} s: {reason}", self.limit().as_secs()),
            ));
        }
        let (mut stop, mut given_up) = (self.shared.stop.clone(), self.shared.given_up.subscribe());
        let in_vain = self.step.action.is_gate();
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause.min(left)) => Ok(()),
            // An error means that nobody can ask for a stop any more.
            Ok(_) = stop.wait_for(|stop| *stop) => Err(StepError::interrupted("stopped on request")),
            // Production may be down meanwhile, and its way back begins when nothing is under way any more.
            Ok(_) = given_up.wait_for(|given_up| *given_up), if in_vain => {
                Err(StepError::interrupted("another step has failed"))
            }
        }
    }

    /// Runs a task on a host. A script that fails is tried again until the deadline: what it waits for may come.
    pub(crate) async fn host(&self, instance: &InstanceId, task: &HostTask) -> Result<HostAnswer, StepError> {
        let profile = self.profile();
        // Those that drain a member take long: they must not keep the quick scripts of members that are drained waiting.
        let slow = matches!(task, HostTask::Flush | HostTask::StopService | HostTask::StartService);
        let slots = if slow { &self.shared.slow_scripts } else { &self.shared.scripts };
        // The semaphores are never closed.
        let _slot = self.off_the_clock(slots.acquire()).await;
        if !task.only_looks() {
            self.shared.may_still_act()?;
        }
        let mount_paths: Vec<String> = self
            .plan()
            .members
            .iter()
            .filter(|member| member.instance == *instance)
            .flat_map(|member| member.volumes.iter().map(|volume| volume.mount_path.clone()))
            .collect();
        let context = ScriptContext {
            run: Some(self.run()),
            step: Some(&self.step.id),
            settings: &self.plan().settings,
            mount_paths: &mount_paths,
        };
        let limit_s = match task {
            HostTask::View { .. } | HostTask::Survey => VIEW_SCRIPT_S,
            _ => SCRIPT_S,
        };
        let script = HostScript { task: task.clone(), text: profile.host_script(task, &context), limit_s };
        let asked = Instant::now();
        let output = loop {
            match self.shared.ports.hosts.run(instance, &script).await {
                Err(error @ ScriptError::NotLetIn { .. })
                    if !self.is_on_the_way_back() && !self.shared.let_in_nowhere.load(Ordering::Relaxed) =>
                {
                    if asked.elapsed() >= LET_IN {
                        // Steps that come to it later need not find out each for itself.
                        self.shared.let_in_nowhere.store(true, Ordering::Relaxed);
                        return Err(self.of_host(error));
                    }
                    self.pause(LET_IN_PAUSE, &error.to_string()).await?;
                    if !task.only_looks() {
                        self.shared.may_still_act()?;
                    }
                }
                ran => break ran.map_err(|error| self.of_host(error))?,
            }
        };
        succeeded(&format!("{} on {instance}", task.name()), &output)?;
        profile.read_host_answer(task, &output.stdout).map_err(|error| StepError::again("Answer", error.to_string()))
    }

    fn is_on_the_way_back(&self) -> bool {
        self.undo || self.plan().purpose == Purpose::RollbackKeepWrites
    }

    /// On the way back a host that lets nobody in is asked until the deadline: it was just started, and sshd is up before what
    /// tells it of users; or a certificate has run out, and whoever renews it meanwhile need not begin again.
    fn of_host(&self, error: ScriptError) -> StepError {
        let again = self.is_on_the_way_back() && error.may_pass_after_boot();
        let error = StepError::from(error);
        if again { StepError { kind: StepErrorKind::Again, ..error } } else { error }
    }

    /// Runs a task in a pod.
    pub(crate) async fn pod(&self, target: &PodTarget, task: PodTask) -> Result<ScriptOutput, StepError> {
        let _slot = self.off_the_clock(self.shared.scripts.acquire()).await;
        if task != PodTask::View {
            self.shared.may_still_act()?;
        }
        let text = self.profile().pod_script(&task, &self.plan().settings);
        let limit_s = if task == PodTask::Drain { SCRIPT_S } else { VIEW_SCRIPT_S };
        let script = PodScript { text, task, limit_s };
        let namespace = &self.plan().namespace;
        let output = self.shared.ports.pods.run(namespace, &target.pod, &target.container, &script).await?;
        succeeded(&format!("{} in pod {}", script.task.name(), target.pod), &output)?;
        Ok(output)
    }

    pub(crate) fn profile(&self) -> &'static dyn Profile {
        self.shared.profile
    }

    /// Tells the world something that changes nothing.
    pub(crate) fn note(&self, text: String) {
        self.shared.event(EventKind::Note { text });
    }

    /// Whose name is on what the step creates.
    pub(crate) fn maker(&self) -> Maker<'_> {
        Maker { migration: &self.plan().migration, run: self.run(), step: &self.step.id }
    }
}

/// Code of a script that ran and ended badly; one of which that is not known is another matter.
pub(crate) const SCRIPT_FAILED: &str = "ScriptFailed";

fn succeeded(what: &str, output: &ScriptOutput) -> Result<(), StepError> {
    if output.exit_code == 0 {
        return Ok(());
    }
    let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let last: Vec<&str> = said.trim().lines().rev().take(3).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(StepError::again(
        SCRIPT_FAILED,
        format!("{what} ended with exit code {}: {}", output.exit_code, last.join(" | ")),
    ))
}
