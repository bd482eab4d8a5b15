//! One call: permission, throttling, what time has done meanwhile, the action.

use super::action::{Action, Reply};
use super::error::ApiError;
use super::state::Core;
use super::timing::Millis;
use crate::disks::MemoryDisks;

impl Core {
    /// Carries out an action at a time. Times never go back.
    pub fn handle(
        &mut self,
        now: Millis,
        disks: &mut MemoryDisks,
        action: &Action,
        dry_run: bool,
    ) -> Result<Reply, ApiError> {
        self.advance(now, disks);
        *self.calls.entry(action.name().to_owned()).or_default() += 1;
        if self.config.limits.throttling && !self.buckets.take(action.family(), now) {
            return Err(ApiError::throttled());
        }
        if self.config.denied.contains(action.name()) {
            return Err(ApiError::unauthorized());
        }
        if dry_run {
            return Err(ApiError::dry_run());
        }
        self.perform(now, disks, action)
    }

    /// Lets everything happen that was due by `now`.
    pub fn advance(&mut self, now: Millis, disks: &mut MemoryDisks) {
        self.advance_instances(now);
        self.advance_volumes(now, disks);
        self.advance_snapshots(now);
        self.advance_groups(now, disks);
    }

    fn perform(&mut self, now: Millis, disks: &mut MemoryDisks, action: &Action) -> Result<Reply, ApiError> {
        match action {
            Action::GetCallerIdentity => Ok(Reply::Caller(rehome_model::cloud::CallerIdentity {
                account: self.config.account.clone(),
                arn: format!("arn:aws:iam::{}:user/rehome", self.config.account),
                region: self.config.region.clone(),
            })),
            Action::DescribeInstances { ids, filters } => self.describe_instances(ids, filters),
            Action::DescribeInstanceTypes { names } => Ok(Self::describe_instance_types(names)),
            Action::DescribeVolumes { ids, filters } => self.describe_volumes(now, ids, filters),
            Action::DescribeSnapshots { ids, filters } => self.describe_snapshots(now, ids, filters),
            Action::DescribeTerminationProtection { instance } => {
                Ok(Reply::Flag(self.instance(instance)?.termination_protection))
            }
            Action::DescribeStopProtection { instance } => Ok(Reply::Flag(self.instance(instance)?.stop_protection)),
            Action::DescribeAutoScalingGroup { group } => self.describe_group(group),
            Action::CreateVolume(request) => self.create_volume(now, disks, request),
            Action::DeleteVolume { volume } => self.delete_volume(disks, volume),
            Action::AttachVolume { volume, instance, device } => self.attach_volume(now, volume, instance, device),
            Action::DetachVolume { volume, instance } => self.detach_volume(now, disks, volume, instance.as_ref()),
            Action::CreateSnapshots(request) => self.create_snapshots(now, disks, request),
            Action::DeleteSnapshot { snapshot } => self.delete_snapshot(disks, snapshot),
            Action::StartInstances { instance } => self.start_instance(now, instance),
            Action::StopInstances { instance } => self.stop_instance(now, instance),
            Action::TerminateInstances { instance } => self.terminate_instance(now, instance),
            Action::SetTerminationProtection { instance, on } => {
                self.instance_mut(instance)?.termination_protection = *on;
                Ok(Reply::Done)
            }
            Action::SetStopProtection { instance, on } => {
                self.instance_mut(instance)?.stop_protection = *on;
                Ok(Reply::Done)
            }
            Action::SetDeleteOnTermination { instance, devices } => self.set_delete_on_termination(instance, devices),
            Action::CreateTags { resource, tags } => self.create_tags(resource, tags),
            Action::EnterStandby { group, instance } => self.standby(now, group, instance, true),
            Action::ExitStandby { group, instance } => self.standby(now, group, instance, false),
        }
    }
}

/// EC2's filter patterns: `*` any text, `?` any one character.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.chars();
    let Some(first) = parts.next() else { return text.is_empty() };
    let rest = parts.as_str();
    match first {
        '*' => {
            let mut tail = text;
            loop {
                if matches(rest, tail) {
                    return true;
                }
                let mut characters = tail.chars();
                if characters.next().is_none() {
                    return false;
                }
                tail = characters.as_str();
            }
        }
        '?' => {
            let mut characters = text.chars();
            characters.next().is_some() && matches(rest, characters.as_str())
        }
        character => text.strip_prefix(character).is_some_and(|tail| matches(rest, tail)),
    }
}

/// Whether any of the filter's values matches any of the object's.
pub(crate) fn any_matches(values: &[String], found: &[String]) -> bool {
    values.iter().any(|pattern| found.iter().any(|text| matches(pattern, text)))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filter_patterns_match_as_ec2s_do() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "abcd", true),
            ("*d", "abcd", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
