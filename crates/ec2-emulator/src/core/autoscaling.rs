//! Auto Scaling groups: they terminate what they find stopped.

use rehome_model::cloud::InstanceState;
use rehome_model::ids::InstanceId;

use super::action::Reply;
use super::error::ApiError;
use super::state::Core;
use super::timing::Millis;
use crate::disks::MemoryDisks;

const IN_SERVICE: &str = "InService";
const STANDBY: &str = "Standby";

impl Core {
    fn no_such_member(instance: &InstanceId) -> ApiError {
        ApiError::new("ValidationError", format!("The instance {instance} is not part of Auto Scaling group"))
    }

    pub(crate) fn describe_group(&self, group: &str) -> Result<Reply, ApiError> {
        let found = self
            .groups
            .get(group)
            .ok_or_else(|| ApiError::new("ValidationError", format!("AutoScalingGroup name not found - {group}")))?;
        Ok(Reply::Names(found.members.keys().map(ToString::to_string).collect()))
    }

    pub(crate) fn standby(
        &mut self,
        now: Millis,
        group: &str,
        instance: &InstanceId,
        enter: bool,
    ) -> Result<Reply, ApiError> {
        let due = now + self.config.timing.auto_scaling_ms / 3;
        let found = self
            .groups
            .get_mut(group)
            .ok_or_else(|| ApiError::new("ValidationError", format!("AutoScalingGroup name not found - {group}")))?;
        let state = found.members.get(instance).ok_or_else(|| Self::no_such_member(instance))?;
        let (from, to) = if enter { (IN_SERVICE, STANDBY) } else { (STANDBY, IN_SERVICE) };
        if state != from {
            return Err(ApiError::new(
                "ValidationError",
                format!("The instance {instance} is not in {from}: it is in {state}."),
            ));
        }
        found.changing.insert(instance.clone(), (to.to_owned(), due));
        Ok(Reply::Done)
    }

    pub(crate) fn advance_groups(&mut self, now: Millis, _disks: &mut MemoryDisks) {
        let patience = self.config.timing.auto_scaling_ms;
        let mut doomed = Vec::new();
        for group in self.groups.values_mut() {
            let due: Vec<InstanceId> =
                group.changing.iter().filter(|(_, (_, at))| *at <= now).map(|(id, _)| id.clone()).collect();
            for id in due {
                if let Some((state, _)) = group.changing.remove(&id) {
                    group.members.insert(id, state);
                }
            }
            for (id, state) in &group.members {
                let down = self.instances.get(id).is_none_or(|record| record.state != InstanceState::Running);
                if state == IN_SERVICE && down {
                    let since = *group.unhealthy_since.entry(id.clone()).or_insert(now);
                    if now >= since + patience {
                        doomed.push(id.clone());
                    }
                } else {
                    group.unhealthy_since.remove(id);
                }
            }
        }
        for id in doomed {
            // Auto Scaling honours no termination protection of the instance (only its own scale-in protection).
            if let Some(record) = self.instances.get_mut(&id)
                && !matches!(record.state, InstanceState::Terminated | InstanceState::ShuttingDown)
            {
                record.state = InstanceState::ShuttingDown;
                record.due = Some(now + self.config.timing.terminate_ms);
            }
        }
    }
}
