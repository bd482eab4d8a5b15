//! One call: what time has done meanwhile, permission, throttling, faults, the action.

use crate::api::{Action, ApiError, Caller, CallerIdentity, Reply, Service};
use crate::disks::Disks;

use super::faults::Effect;
use super::state::Core;
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
        self.advance(now, disks);
        let now = self.now;
        *self.calls.entry(action.name().to_owned()).or_default() += 1;
        let reply = self.admit(now, caller, action).and_then(|()| {
            let effect = self.faults.take(action.name());
            let mut call = Call { now, action: action.name(), dry_run, slow_ms: 0, fails_later: false };
            match effect {
                Some(Effect::Fail(error)) => return Err(error),
                Some(Effect::Slow(ms)) => call.slow_ms = ms,
                Some(Effect::FailLater) => call.fails_later = true,
                Some(Effect::LoseReply(error)) => {
                    self.perform(&call, caller, disks, action)?;
                    return Err(error);
                }
                None => {}
            }
            self.perform(&call, caller, disks, action)
        });
        if let Err(error) = &reply {
            self.counters.refused(&error.code);
        }
        // What takes no time at all is over before the next call, even if that comes at the same millisecond.
        self.advance(now, disks);
        reply
    }

    fn admit(&mut self, now: Millis, caller: &Caller, action: &Action) -> Result<(), ApiError> {
        if self.config.limits.throttling && !self.buckets.take(Family::of(action), now) {
            return Err(match action.service() {
                Service::Ec2 => ApiError::with_status(503, "RequestLimitExceeded", "Request limit exceeded."),
                Service::AutoScaling | Service::Sts => ApiError::new("Throttling", "Rate exceeded"),
            });
        }
        if self.config.denies(&caller.name, action.name()) {
            let arn = self.arn(caller);
            let service = action.service();
            let action = action.name();
            return Err(match service {
                Service::Ec2 => ApiError::with_status(
                    403,
                    "UnauthorizedOperation",
                    format!(
                        "You are not authorized to perform this operation. User: {arn} is not authorized to perform: \
                         ec2:{action} because no identity-based policy allows the ec2:{action} action"
                    ),
                ),
                Service::AutoScaling => denied(&arn, "autoscaling", action),
                Service::Sts => denied(&arn, "sts", action),
            });
        }
        Ok(())
    }

    fn arn(&self, caller: &Caller) -> String {
        format!("arn:aws:iam::{}:user/{}", self.config.account, caller.name)
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

fn denied(arn: &str, service: &str, action: &str) -> ApiError {
    ApiError::with_status(403, "AccessDenied", format!("User: {arn} is not authorized to perform: {service}:{action}"))
}
