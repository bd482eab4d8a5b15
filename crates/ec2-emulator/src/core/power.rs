//! Start, stop, terminate.

use rehome_model::cloud::{InstanceState, StateReason};
use rehome_model::ids::InstanceId;

use crate::api::{ApiError, InstanceStateChange, Reply, StopInstances};
use crate::disks::{Disks, Machine};

use super::handle::Call;
use super::ids::Kind;
use super::schedule::Event;
use super::state::{Core, InstanceRecord};
use super::volumes::internal;

impl Core {
    /// All named instances, or the error that names the missing ones.
    fn named(&self, call: &Call, ids: &[InstanceId]) -> Result<(), ApiError> {
        if ids.is_empty() {
            return Err(ApiError::missing("InstanceId"));
        }
        for id in ids {
            Kind::Instance.check(id.as_str())?;
        }
        let missing: Vec<&str> =
            ids.iter().filter(|id| self.instance(call.now, id).is_err()).map(InstanceId::as_str).collect();
        if missing.is_empty() { Ok(()) } else { Err(ApiError::instances_not_found(&missing)) }
    }

    /// Does `check` for all instances before anything changes for one of them: EC2 refuses a request as a whole.
    fn check_all(
        &self,
        ids: &[InstanceId],
        check: impl Fn(&InstanceId, &InstanceRecord) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        for id in ids {
            if let Some(record) = self.instances.get(id) {
                check(id, record)?;
            }
        }
        Ok(())
    }

    pub(crate) fn start_instances(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        ids: &[InstanceId],
    ) -> Result<Reply, ApiError> {
        self.named(call, ids)?;
        call.permit()?;
        self.check_all(ids, |id, record| match record.state {
            InstanceState::Running | InstanceState::Pending | InstanceState::Stopped => Ok(()),
            _ => Err(ApiError::new(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in a state from which it can be started."),
            )),
        })?;
        let mut changes = Vec::new();
        for id in ids {
            let previous = self.instances.get(id).map_or(InstanceState::Terminated, |record| record.state);
            if previous == InstanceState::Stopped {
                let due = self.due(call, self.config.timing.start_ms, id.as_str());
                self.changing_instance(call.now, id);
                if let Some(record) = self.instances.get_mut(id) {
                    // One that falls back never gets as far as its own system.
                    if !call.fails_later {
                        disks.start_machine(&machine(id, record)).map_err(|error| internal(&error))?;
                    }
                    record.start_fails = call.fails_later;
                    record.state_reason = None;
                    record.state = InstanceState::Pending;
                    record.due = Some(due);
                    record.launched_at = call.now;
                    record.state_transition_reason.clear();
                }
                self.schedule.plan(due, Event::InstanceDue(id.clone()));
            }
            changes.push(self.change(id, previous));
        }
        Ok(Reply::InstanceStateChanges(changes))
    }

    pub(crate) fn stop_instances(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        request: &StopInstances,
    ) -> Result<Reply, ApiError> {
        let ids = &request.instance_ids;
        self.named(call, ids)?;
        call.permit()?;
        let clean = !request.force && !request.skip_os_shutdown;
        self.check_all(ids, |id, record| match record.state {
            InstanceState::Stopped | InstanceState::Stopping => Ok(()),
            _ if record.stop_protection => Err(ApiError::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try \
                     again."
                ),
            )),
            InstanceState::Running => Ok(()),
            _ => Err(ApiError::new(
                "IncorrectInstanceState",
                format!("This instance '{id}' is not in a state from which it can be stopped."),
            )),
        })?;
        let mut changes = Vec::new();
        for id in ids {
            let previous = self.instances.get(id).map_or(InstanceState::Terminated, |record| record.state);
            let again = previous == InstanceState::Stopping && !clean;
            if previous == InstanceState::Running || again {
                self.go_down(call, disks, id, InstanceState::Stopping, clean);
            }
            changes.push(self.change(id, previous));
        }
        Ok(Reply::InstanceStateChanges(changes))
    }

    pub(crate) fn terminate_instances(
        &mut self,
        call: &Call,
        disks: &mut dyn Disks,
        ids: &[InstanceId],
    ) -> Result<Reply, ApiError> {
        self.named(call, ids)?;
        call.permit()?;
        self.check_all(ids, |id, record| {
            if record.termination_protection {
                return Err(ApiError::new(
                    "OperationNotPermitted",
                    format!(
                        "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance \
                         attribute and try again."
                    ),
                ));
            }
            Ok(())
        })?;
        let mut changes = Vec::new();
        for id in ids {
            let previous = self.instances.get(id).map_or(InstanceState::Terminated, |record| record.state);
            self.terminate(call, disks, id);
            changes.push(self.change(id, previous));
        }
        Ok(Reply::InstanceStateChanges(changes))
    }

    /// Termination without a look at protection: Auto Scaling's way.
    pub(crate) fn terminate(&mut self, call: &Call, disks: &mut dyn Disks, id: &InstanceId) {
        let gone = [InstanceState::ShuttingDown, InstanceState::Terminated];
        if self.instances.get(id).is_some_and(|record| !gone.contains(&record.state)) {
            self.go_down(call, disks, id, InstanceState::ShuttingDown, true);
        }
    }

    fn go_down(&mut self, call: &Call, disks: &mut dyn Disks, id: &InstanceId, to: InstanceState, clean: bool) {
        let timing = &self.config.timing;
        let base = if to == InstanceState::Stopping { timing.stop_ms } else { timing.terminate_ms };
        let due = self.due(call, base, id.as_str());
        self.changing_instance(call.now, id);
        disks.stop_machine(id, clean);
        if let Some(record) = self.instances.get_mut(id) {
            record.state = to;
            record.due = Some(due);
            "User initiated".clone_into(&mut record.state_transition_reason);
            record.state_reason = Some(reason("Client.UserInitiatedShutdown", "User initiated shutdown"));
        }
        self.schedule.plan(due, Event::InstanceDue(id.clone()));
    }

    fn change(&self, id: &InstanceId, previous: InstanceState) -> InstanceStateChange {
        let current = self.instances.get(id).map_or(InstanceState::Terminated, |record| record.state);
        InstanceStateChange { instance: id.clone(), previous, current }
    }
}

/// A reason as EC2 words it.
pub(crate) fn reason(code: &str, words: &str) -> StateReason {
    StateReason { code: code.to_owned(), message: format!("{code}: {words}") }
}

pub(crate) fn machine(id: &InstanceId, record: &InstanceRecord) -> Machine {
    Machine {
        id: id.clone(),
        zone: record.zone.clone(),
        private_ip: record.private_ip.clone(),
        instance_type: record.instance_type.clone(),
        tags: record.tags.clone(),
    }
}
