//! Auto Scaling groups: they terminate what they find stopped, and put something new in its place.

use std::collections::BTreeSet;

use rehome_model::cloud::InstanceState;
use rehome_model::ids::InstanceId;

use crate::api::{
    ApiError, AutoScalingActivity, AutoScalingGroupDescription, AutoScalingInstance, DescribeAutoScaling,
    NewBlockDevice, ProcessesRequest, Reply, StandbyRequest,
};
use crate::disks::Disks;

use super::handle::Call;
use super::ids::Kind;
use super::launch::ROOT_DEVICE;
use super::page;
use super::schedule::Event;
use super::state::{AutoScalingGroup, Core, InstanceRecord};
use super::timing::Millis;

const IN_SERVICE: &str = "InService";
const STANDBY: &str = "Standby";
/// Processes a group has, by Auto Scaling's names.
const PROCESSES: [&str; 9] = [
    "AZRebalance",
    "AddToLoadBalancer",
    "AlarmNotification",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

/// Whether a group with these processes suspended replaces what is unhealthy.
fn replaces(suspended: &BTreeSet<String>) -> bool {
    !suspended.contains("ReplaceUnhealthy") && !suspended.contains("Terminate")
}

impl Core {
    fn group(&self, name: &str) -> Result<&AutoScalingGroup, ApiError> {
        self.groups.get(name).ok_or_else(|| ApiError::validation(format!("AutoScalingGroup name not found - {name}")))
    }

    fn show_member(&self, group: &str, id: &InstanceId, state: &str) -> Option<AutoScalingInstance> {
        let record = self.instances.get(id)?;
        let marked = self.groups.get(group).is_some_and(|group| group.unhealthy.contains(id));
        let healthy = !marked && matches!(record.state, InstanceState::Running | InstanceState::Pending);
        Some(AutoScalingInstance {
            instance: id.clone(),
            group: group.to_owned(),
            zone: record.zone.clone(),
            instance_type: record.instance_type.clone(),
            lifecycle_state: state.to_owned(),
            health_status: if healthy || state == STANDBY { "Healthy" } else { "Unhealthy" }.to_owned(),
            protected_from_scale_in: false,
        })
    }

    pub(crate) fn describe_auto_scaling_instances(&self, by: &DescribeAutoScaling) -> Result<Reply, ApiError> {
        let mut items = Vec::new();
        for (name, group) in &self.groups {
            for (id, state) in &group.members {
                if (by.names.is_empty() || by.names.iter().any(|named| named == id.as_str()))
                    && let Some(shown) = self.show_member(name, id, state)
                {
                    items.push((id.to_string(), shown));
                }
            }
        }
        items.sort_by(|(left, _), (right, _)| left.cmp(right));
        page::cut(items, &by.page, false, page::AUTO_SCALING).map(Reply::AutoScalingInstances)
    }

    pub(crate) fn describe_auto_scaling_groups(&self, by: &DescribeAutoScaling) -> Result<Reply, ApiError> {
        let wanted = |name: &String| by.names.is_empty() || by.names.contains(name);
        let show = |(name, group): (&String, &AutoScalingGroup)| {
            let members = || group.members.iter().filter_map(|(id, state)| self.show_member(name, id, state));
            let in_service = group.members.values().filter(|state| *state != STANDBY).count() as u32;
            let shown = AutoScalingGroupDescription {
                name: name.clone(),
                arn: format!(
                    "arn:aws:autoscaling:{}:{}:autoScalingGroup:{}:autoScalingGroupName/{name}",
                    self.config.region, self.config.account, name
                ),
                min_size: group.min_size,
                max_size: (group.members.len() as u32).max(group.min_size),
                desired_capacity: in_service,
                zones: self.config.zones.clone(),
                instances: members().collect(),
                suspended_processes: group
                    .suspended
                    .iter()
                    .map(|process| (process.clone(), "User suspended".to_owned()))
                    .collect(),
                target_group_arns: group.target_group_arns.clone(),
                load_balancer_names: group.load_balancer_names.clone(),
                created_at: group.created_at,
            };
            (name.clone(), shown)
        };
        let items = self.groups.iter().filter(|(name, _)| wanted(name)).map(show).collect();
        page::cut(items, &by.page, false, page::AUTO_SCALING).map(Reply::AutoScalingGroups)
    }

    pub(crate) fn standby(&mut self, call: &Call, request: &StandbyRequest, enter: bool) -> Result<Reply, ApiError> {
        let name = &request.auto_scaling_group_name;
        let group = self.group(name)?;
        let (from, on_the_way, to) =
            if enter { (IN_SERVICE, "EnteringStandby", STANDBY) } else { (STANDBY, "Pending", IN_SERVICE) };
        for id in &request.instance_ids {
            let state = group.members.get(id).ok_or_else(|| {
                ApiError::validation(format!("The instance {id} is not part of Auto Scaling group {name}."))
            })?;
            if state != from {
                return Err(ApiError::validation(format!("The instance {id} is not in {from}.")));
            }
        }
        let in_service = group.members.values().filter(|state| *state == IN_SERVICE).count();
        let left = in_service.saturating_sub(request.instance_ids.len());
        if enter && request.should_decrement_desired_capacity && left < group.min_size as usize {
            return Err(ApiError::validation(format!(
                "AutoScalingGroup {name} has min-size={}, max-size={}, and desired-size={in_service}. To place into \
                 standby {} instance, please update the AutoScalingGroup sizes appropriately.",
                group.min_size,
                group.members.len(),
                request.instance_ids.len()
            )));
        }
        let takes = self.config.timing.auto_scaling_ms / 3;
        let mut activities = Vec::new();
        for id in &request.instance_ids {
            let due = self.due(call, takes, id.as_str());
            if let Some(group) = self.groups.get_mut(name) {
                group.members.insert(id.clone(), on_the_way.to_owned());
                group.changing.insert(id.clone(), (to.to_owned(), due));
            }
            self.schedule.plan(due, Event::LifecycleDue(name.clone(), id.clone()));
            let (verb, id_of) = (if enter { "to" } else { "out of" }, self.fresh_id("activity"));
            activities.push(AutoScalingActivity {
                id: id_of,
                group: name.clone(),
                description: format!("Moving EC2 instance {verb} Standby: {id}"),
                cause: format!("instance {id} was moved {verb} standby in response to a user request"),
                started_at: call.now,
                status: "InProgress".to_owned(),
                progress: 50,
            });
        }
        Ok(Reply::AutoScalingActivities(activities))
    }

    pub(crate) fn suspend(&mut self, request: &ProcessesRequest, suspend: bool) -> Result<Reply, ApiError> {
        let name = &request.auto_scaling_group_name;
        self.group(name)?;
        let named: Vec<String> = if request.scaling_processes.is_empty() {
            PROCESSES.iter().map(ToString::to_string).collect()
        } else {
            request.scaling_processes.clone()
        };
        if let Some(wrong) = named.iter().find(|process| !PROCESSES.contains(&process.as_str())) {
            return Err(ApiError::validation(format!("{wrong} is not a valid scaling process type")));
        }
        if let Some(group) = self.groups.get_mut(name) {
            for process in named {
                if suspend {
                    group.suspended.insert(process);
                } else {
                    group.suspended.remove(&process);
                }
            }
        }
        Ok(Reply::Done)
    }

    pub(crate) fn lifecycle_due(&mut self, at: Millis, group: &str, id: &InstanceId) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if group.changing.get(id).is_some_and(|(_, due)| *due == at)
            && let Some((state, _)) = group.changing.remove(id)
        {
            group.members.insert(id.clone(), state);
        }
    }

    /// Looks which members in service are not running, and since when. One that was found so for too long is unhealthy, and
    /// stays so when it runs again: a group whose replacement was suspended meanwhile replaces it once that is resumed (EC2 Auto
    /// Scaling user guide, "Suspend and resume processes").
    pub(crate) fn watch_groups(&mut self, at: Millis) {
        let patience = self.config.timing.auto_scaling_ms;
        let mut unhealthy = Vec::new();
        for (name, group) in &mut self.groups {
            for (id, state) in &group.members {
                let up = [InstanceState::Running, InstanceState::Pending];
                let down = self.instances.get(id).is_none_or(|record| !up.contains(&record.state));
                if state != IN_SERVICE {
                    group.unhealthy.remove(id);
                }
                let (marked, looks) = (group.unhealthy.contains(id), !group.suspended.contains("HealthCheck"));
                let due = if marked { replaces(&group.suspended) } else { down && looks };
                if state == IN_SERVICE && due {
                    if !group.unhealthy_since.contains_key(id) {
                        group.unhealthy_since.insert(id.clone(), at);
                        unhealthy.push((name.clone(), id.clone()));
                    }
                } else {
                    group.unhealthy_since.remove(id);
                }
            }
        }
        for (group, id) in unhealthy {
            self.schedule.plan(at + patience, Event::MemberUnhealthy(group, id));
        }
    }

    /// A member that was not running for too long is unhealthy: terminated, whatever its own protection says (only scale-in
    /// protection holds Auto Scaling), and replaced by a new, empty instance.
    pub(crate) fn replace_member(&mut self, at: Millis, name: &str, id: &InstanceId, disks: &mut dyn Disks) {
        let patience = self.config.timing.auto_scaling_ms;
        let Some(group) = self.groups.get_mut(name) else { return };
        if group.unhealthy_since.get(id).is_none_or(|since| since + patience != at) {
            return;
        }
        group.unhealthy_since.remove(id);
        if !replaces(&group.suspended) {
            group.unhealthy.insert(id.clone());
            return;
        }
        group.unhealthy.remove(id);
        group.members.remove(id);
        let launch = !group.suspended.contains("Launch");
        let call = Call::by_itself(at, "TerminateInstances");
        self.terminate(&call, disks, id);
        if let Some(record) = self.instances.get(id).filter(|_| launch).cloned() {
            self.launch_replacement(&call, name, &record, disks);
        }
    }

    fn launch_replacement(&mut self, call: &Call, group: &str, like: &InstanceRecord, disks: &mut dyn Disks) {
        let id = InstanceId(self.fresh_id(Kind::Instance.prefix()));
        let root = NewBlockDevice { device_name: ROOT_DEVICE.to_owned(), ..NewBlockDevice::default() };
        let asked = crate::api::CreateVolume {
            size: Some(8),
            volume_type: Some("gp3".to_owned()),
            ..crate::api::CreateVolume::default()
        };
        let Ok(volume) = self.new_volume(call, &asked, like.zone.clone()) else { return };
        let record = InstanceRecord {
            state: InstanceState::Pending,
            due: None,
            state_transition_reason: String::new(),
            state_reason: None,
            start_fails: false,
            reservation: self.fresh_id("r"),
            private_ip: self.free_address(),
            launched_at: call.now,
            client_token: None,
            tags: [("aws:autoscaling:groupName".to_owned(), group.to_owned())].into(),
            block_devices: Vec::new(),
            termination_protection: false,
            stop_protection: false,
            ..like.clone()
        };
        // A host that cannot run it leaves the group one member short, as a capacity error would.
        if self.launch(call, disks, id.clone(), record, &[(root, volume)]).is_ok()
            && let Some(group) = self.groups.get_mut(group)
        {
            group.members.insert(id, IN_SERVICE.to_owned());
        }
    }
}
