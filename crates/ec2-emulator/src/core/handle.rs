//! One call: what time has done meanwhile, permission, throttling, faults, the action.

use crate::api::{Action, ApiError, Caller, CallerIdentity, Reply, Service};
use crate::disks::Disks;

use super::faults::{Effect, Subject};
use super::filter::matches;
use super::refusals::{no_capacity, throttled};
use super::state::{Core, InstanceRecord};
use super::throttle::Family;
use super::timing::Millis;

/// A call, as the actions see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub now: Millis,
    pub action: &'static str,
    dry_run: bool,
    /// What the call began takes so much longer.
    pub slow_ms: u64,
    /// What the call made fails later.
    pub fails_later: bool,
}

impl Call {
    /// What EC2 does by itself, as if it were called.
    pub fn by_itself(now: Millis, action: &'static str) -> Self {
        Self { now, action, dry_run: false, slow_ms: 0, fails_later: false }
    }

    /// Ends a dry run. To be called once the parameters are known to be good, before anything changes.
    pub fn permit(&self) -> Result<(), ApiError> {
        if self.dry_run { Err(ApiError::dry_run()) } else { Ok(()) }
    }
}

/// What comes of a call, and what becomes of the reply on its way: the faces do that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<R> {
    /// The reply.
    pub reply: Result<R, ApiError>,
    /// It never arrives.
    pub lost: bool,
    /// It arrives so much later.
    pub late_ms: u64,
}

/// Longer than anybody waits: ten years.
const FOREVER_MS: u64 = 10 * 365 * 24 * 3_600_000;
/// The code of a call whose reply did not arrive, as the AWS adapter has it.
const NO_REPLY: &str = "Transport";

impl<R> Answer<R> {
    fn of(reply: Result<R, ApiError>) -> Self {
        Self { reply, lost: false, late_ms: 0 }
    }

    /// The reply, or what a caller makes of none.
    pub fn arrived(self) -> Result<R, ApiError> {
        if self.lost {
            return Err(ApiError::with_status(503, NO_REPLY, "the connection was closed before a reply came"));
        }
        self.reply
    }
}

impl Core {
    /// Carries out an action at a time, in ms since 1970. Times never go back: an earlier one counts as the latest.
    ///
    /// A dry run is checked as EC2 checks it: permission, parameters, and that the named things exist; not whether their
    /// states and the account's limits allow it.
    pub fn handle(
        &mut self,
        now: Millis,
        caller: &Caller,
        disks: &mut dyn Disks,
        action: &Action,
        dry_run: bool,
    ) -> Result<Reply, ApiError> {
        self.answer(now, caller, disks, action, dry_run).arrived()
    }

    /// The same, with what becomes of the reply on its way.
    pub fn answer(
        &mut self,
        now: Millis,
        caller: &Caller,
        disks: &mut dyn Disks,
        action: &Action,
        dry_run: bool,
    ) -> Answer<Reply> {
        self.advance(now, disks);
        let now = self.now;
        let call = Call { dry_run, ..Call::by_itself(now, action.name()) };
        if dry_run {
            *self.dry_runs.entry(action.name().to_owned()).or_default() += 1;
        }
        let throttling = self.config.limits.throttling;
        let answer = if throttling && !self.buckets.take(Family::of(action), now) {
            self.count(action.name());
            self.refuse(throttled(action.service()))
        } else {
            let resources = if self.faults.all().is_empty() { Vec::new() } else { action.resources() };
            self.answered(call, caller, disks, action.service(), &resources, |core, call, disks, _| {
                core.perform(call, caller, disks, action)
            })
        };
        // What takes no time at all is over before the next call, even if that comes at the same millisecond.
        self.advance(now, disks);
        answer
    }

    fn count(&mut self, action: &str) {
        *self.calls.entry(action.to_owned()).or_default() += 1;
    }

    fn refuse<R>(&mut self, error: ApiError) -> Answer<R> {
        self.counters.refused(&error.code);
        Answer::of(Err(error))
    }

    /// What all services have in common: calls are counted, permission, and then faults. `perform` is given the fault that
    /// is its own business.
    pub(super) fn answered<R>(
        &mut self,
        mut call: Call,
        caller: &Caller,
        disks: &mut dyn Disks,
        service: Service,
        resources: &[&str],
        perform: impl FnOnce(&mut Self, &Call, &mut dyn Disks, Option<Effect>) -> Result<R, ApiError>,
    ) -> Answer<R> {
        let (now, action) = (call.now, call.action);
        self.count(action);
        if self.config.denies(&caller.name, action) {
            let error = self.denied(caller, service, action);
            return self.refuse(error);
        }
        let effect = self.faults.take(&Subject { now, action, caller, resources });
        let (mut lost, mut late_ms, mut instead) = (false, 0, None);
        match &effect {
            None | Some(Effect::AgentGone | Effect::CommandTimesOutMs(_) | Effect::CutOutput(_)) => {}
            Some(Effect::Fail(error)) => return self.refuse(error.clone()),
            Some(Effect::Throttle) => return self.refuse(throttled(service)),
            Some(Effect::Deny) => {
                let error = self.denied(caller, service, action);
                return self.refuse(error);
            }
            Some(Effect::InsufficientCapacity) => return self.refuse(no_capacity(action)),
            Some(Effect::LoseReply(error)) => instead = Some(error.clone()),
            Some(Effect::NoReply) => lost = true,
            Some(Effect::DelayMs(ms)) => late_ms = *ms,
            Some(Effect::Slow(ms)) => call.slow_ms = *ms,
            Some(Effect::Stuck) => call.slow_ms = FOREVER_MS,
            Some(Effect::FailLater) => call.fails_later = true,
            Some(Effect::StaleMs(ms)) if action.starts_with("Describe") => self.look_back(*ms),
            Some(Effect::StaleMs(ms)) => self.late_ms = *ms,
            Some(Effect::InstanceGone(pattern)) => self.terminate_matching(now, disks, pattern),
        }
        let reply = perform(self, &call, disks, effect);
        self.look_back(0);
        self.late_ms = 0;
        let reply = match (reply, instead) {
            (Ok(_), Some(error)) => Err(error),
            (reply, _) => reply,
        };
        if let Err(error) = &reply {
            self.counters.refused(&error.code);
        }
        Answer { reply, lost, late_ms }
    }

    fn look_back(&mut self, ms: u64) {
        self.instance_views.look_back(ms);
        self.volume_views.look_back(ms);
        self.snapshot_views.look_back(ms);
    }

    /// Somebody else's TerminateInstances.
    fn terminate_matching(&mut self, now: Millis, disks: &mut dyn Disks, pattern: &str) {
        let call = Call::by_itself(now, "TerminateInstances");
        let named = |record: &InstanceRecord| record.tags.get("Name").is_some_and(|name| matches(pattern, name));
        let all = self.instances.iter().filter(|(id, record)| matches(pattern, id.as_str()) || named(record));
        for id in all.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.terminate(&call, disks, &id);
        }
        self.advance(now, disks);
    }

    fn perform(
        &mut self,
        call: &Call,
        caller: &Caller,
        disks: &mut dyn Disks,
        action: &Action,
    ) -> Result<Reply, ApiError> {
        match action {
            Action::GetCallerIdentity => Ok(Reply::CallerIdentity(CallerIdentity {
                account: self.config.account.clone(),
                arn: self.arn(caller),
                user_id: format!("AIDA{}", blake3::hash(caller.name.as_bytes()).to_hex()[..17].to_uppercase()),
            })),
            Action::DescribeInstances(by) => self.describe_instances(call, by),
            Action::DescribeInstanceStatus(by) => self.describe_instance_status(call, by),
            Action::DescribeInstanceTypes(by) => Self::describe_instance_types(call, by),
            Action::DescribeInstanceAttribute { instance_id, attribute } => {
                self.describe_instance_attribute(call, instance_id, *attribute)
            }
            Action::DescribeVolumes(by) => self.describe_volumes(call, by),
            Action::DescribeVolumeStatus(by) => self.describe_volume_status(call, by),
            Action::DescribeVolumesModifications(by) => self.describe_volumes_modifications(call, by),
            Action::DescribeSnapshots(by) => self.describe_snapshots(call, by),
            Action::DescribeAvailabilityZones(by) => self.describe_availability_zones(call, by),
            Action::DescribeRegions(by) => self.describe_regions(call, by),
            Action::DescribeTags(by) => self.describe_tags(call, by),
            Action::GetEbsEncryptionByDefault => self.show_encryption_by_default(call),
            Action::GetEbsDefaultKmsKeyId => self.show_default_key(call),
            Action::RunInstances(request) => self.run_instances(call, disks, request),
            Action::StartInstances(ids) => self.start_instances(call, disks, ids),
            Action::StopInstances(request) => self.stop_instances(call, disks, request),
            Action::TerminateInstances(ids) => self.terminate_instances(call, disks, ids),
            Action::ModifyInstanceAttribute(request) => self.modify_instance_attribute(call, request),
            Action::CreateVolume(request) => self.create_volume(call, disks, request),
            Action::CopyVolumes(request) => self.copy_volumes(call, disks, request),
            Action::DeleteVolume(id) => self.delete_volume(call, disks, id),
            Action::AttachVolume(request) => self.attach_volume(call, request),
            Action::DetachVolume(request) => self.detach_volume(call, request),
            Action::ModifyVolume(request) => self.modify_volume(call, disks, request),
            Action::CreateSnapshot(request) => self.create_snapshot(call, disks, request),
            Action::CreateSnapshots(request) => self.create_snapshots(call, disks, request),
            Action::DeleteSnapshot(id) => self.delete_snapshot(call, disks, id),
            Action::CopySnapshot(request) => self.copy_snapshot(call, disks, request),
            Action::CreateTags(request) => self.create_tags(call, request),
            Action::DeleteTags(request) => self.delete_tags(call, request),
            Action::DescribeAutoScalingInstances(by) => self.describe_auto_scaling_instances(by),
            Action::DescribeAutoScalingGroups(by) => self.describe_auto_scaling_groups(by),
            Action::EnterStandby(request) => self.standby(call, request, true),
            Action::ExitStandby(request) => self.standby(call, request, false),
            Action::SuspendProcesses(request) => self.suspend(request, true),
            Action::ResumeProcesses(request) => self.suspend(request, false),
        }
    }
}
