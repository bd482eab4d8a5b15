//! What happens by itself as time passes.

use rehome_model::cloud::{AttachmentState, InstanceState, SnapshotState, VolumeState};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};

use crate::disks::Disks;

use super::handle::Call;
use super::power::reason;
use super::schedule::Event;
use super::state::Core;
use super::timing::Millis;

impl Core {
    /// Lets everything happen that was due by `now`, in order, each at its own time.
    pub fn advance(&mut self, now: Millis, disks: &mut dyn Disks) {
        self.now = self.now.max(now);
        self.watch_groups(self.now);
        while let Some((at, event)) = self.schedule.due(self.now) {
            self.happen(at, event, disks);
            self.watch_groups(at);
        }
        self.look_at_the_busy(disks);
        self.look_at_those_going_down(disks);
        self.instance_views.trim(self.now);
        self.volume_views.trim(self.now);
        self.snapshot_views.trim(self.now);
    }

    /// When something will happen by itself, if no call comes before.
    pub fn next_change(&self) -> Option<Millis> {
        self.schedule.next()
    }

    /// When something that takes about `base` is over: spread by seed and object, and slowed by a fault.
    pub(crate) fn due(&self, call: &Call, base: u64, id: &str) -> Millis {
        call.now + self.spread(base, id, call.now) + call.slow_ms
    }

    fn spread(&self, base: u64, id: &str, salt: u64) -> u64 {
        let spread = self.config.timing.spread_percent.min(100);
        if spread == 0 || base == 0 {
            return base;
        }
        let percent = 100 - spread + self.chance(&["spread", id], salt) % (2 * spread + 1);
        base * percent / 100
    }

    fn happen(&mut self, at: Millis, event: Event, disks: &mut dyn Disks) {
        match event {
            Event::VolumeReady(id) => self.volume_ready(at, &id, disks),
            Event::AttachmentDue(volume, instance) => self.attachment_due(at, &volume, &instance, disks),
            Event::ForcedDetachDue(volume, instance) => self.forced_detach_due(at, &volume, &instance, disks),
            Event::ModificationDue(id) => self.modification_due(at, &id, disks),
            Event::SnapshotDone(id) => self.snapshot_done(at, &id),
            Event::InstanceDue(id) => self.instance_due(at, &id, disks),
            Event::ForgetInstance(id) => {
                self.instances.remove(&id);
            }
            Event::LifecycleDue(group, instance) => self.lifecycle_due(at, &group, &instance),
            Event::MemberUnhealthy(group, instance) => self.replace_member(at, &group, &instance, disks),
        }
    }

    fn volume_ready(&mut self, at: Millis, id: &VolumeId, disks: &mut dyn Disks) {
        if self.volumes.get(id).is_none_or(|record| record.due != Some(at)) {
            return;
        }
        self.changing_volume(at, id);
        let Some(record) = self.volumes.get_mut(id) else { return };
        record.due = None;
        if !record.fails {
            record.state = VolumeState::Available;
            return;
        }
        record.state = VolumeState::Error;
        self.burn_tokens(at, id.as_str());
        if self.config.limits.failed_volumes_vanish {
            self.volumes.remove(id);
            disks.delete_volume(id);
        }
    }

    fn snapshot_done(&mut self, at: Millis, id: &SnapshotId) {
        if self.snapshots.get(id).is_none_or(|record| record.completes_at != at) {
            return;
        }
        self.changing_snapshot(at, id);
        let Some(record) = self.snapshots.get_mut(id) else { return };
        if record.fails {
            record.state = SnapshotState::Error;
            record.state_message = Some("Given key ID is not accessible".to_owned());
        } else {
            record.state = SnapshotState::Completed;
        }
    }

    fn attachment_due(&mut self, at: Millis, volume: &VolumeId, instance: &InstanceId, disks: &mut dyn Disks) {
        let attachment = |core: &Self| {
            let record = core.volumes.get(volume)?;
            record.attachments.iter().find(|found| found.instance == *instance && found.due == Some(at)).cloned()
        };
        let Some(found) = attachment(self) else { return };
        match found.state {
            AttachmentState::Attaching => {
                if disks.attach(volume, instance, &found.device).is_err() {
                    // The device did not appear: it hangs in `attaching`, and EC2 goes on trying.
                    const AGAIN_MS: u64 = 1_000;
                    self.set_attachment(volume, instance, AttachmentState::Attaching, Some(at + AGAIN_MS));
                    self.schedule.plan(at + AGAIN_MS, Event::AttachmentDue(volume.clone(), instance.clone()));
                    return;
                }
                self.changing_volume(at, volume);
                self.changing_instance(at, instance);
                self.set_attachment(volume, instance, AttachmentState::Attached, None);
            }
            AttachmentState::Detaching | AttachmentState::Busy => {
                if disks.detach(volume, instance, false).is_ok() {
                    self.detached(at, volume, instance);
                } else {
                    self.changing_volume(at, volume);
                    self.changing_instance(at, instance);
                    self.set_attachment(volume, instance, AttachmentState::Busy, None);
                    self.busy.insert((volume.clone(), instance.clone()));
                }
            }
            AttachmentState::Attached | AttachmentState::Detached => {}
        }
    }

    fn forced_detach_due(&mut self, at: Millis, volume: &VolumeId, instance: &InstanceId, disks: &mut dyn Disks) {
        let due = |found: &super::state::AttachmentRecord| found.instance == *instance && found.due == Some(at);
        if self.volumes.get(volume).is_some_and(|record| record.attachments.iter().any(due)) {
            // Forced: the device goes, whatever is mounted.
            let _ = disks.detach(volume, instance, true);
            self.detached(at, volume, instance);
        }
    }

    pub(crate) fn set_attachment(
        &mut self,
        volume: &VolumeId,
        instance: &InstanceId,
        state: AttachmentState,
        due: Option<Millis>,
    ) {
        let attachments = self.volumes.get_mut(volume).map(|record| &mut record.attachments);
        for found in attachments.into_iter().flatten().filter(|found| found.instance == *instance) {
            found.state = state;
            found.due = due;
        }
    }

    /// The device is gone from the instance: so is the attachment.
    pub(crate) fn detached(&mut self, at: Millis, volume: &VolumeId, instance: &InstanceId) {
        self.changing_volume(at, volume);
        self.changing_instance(at, instance);
        self.forget_attachment(volume, instance);
    }

    fn forget_attachment(&mut self, volume: &VolumeId, instance: &InstanceId) {
        self.busy.remove(&(volume.clone(), instance.clone()));
        if let Some(record) = self.volumes.get_mut(volume) {
            record.attachments.retain(|found| found.instance != *instance);
            if record.attachments.is_empty() && record.state == VolumeState::InUse {
                record.state = VolumeState::Available;
            }
        }
        if let Some(record) = self.instances.get_mut(instance) {
            record.block_devices.retain(|device| device.volume != *volume);
        }
    }

    /// As on EC2: a mounted volume stays `busy` until it is unmounted. When that was is not known here, only that it was
    /// before now: so it shows at once.
    fn look_at_the_busy(&mut self, disks: &mut dyn Disks) {
        for (volume, instance) in self.busy.clone() {
            if disks.detach(&volume, &instance, false).is_ok() {
                self.forget_attachment(&volume, &instance);
            }
        }
    }

    fn instance_due(&mut self, at: Millis, id: &InstanceId, disks: &mut dyn Disks) {
        let Some(state) = self.instances.get(id).filter(|record| record.due == Some(at)).map(|record| record.state)
        else {
            return;
        };
        match state {
            InstanceState::Pending => {
                self.changing_instance(at, id);
                if let Some(record) = self.instances.get_mut(id) {
                    record.due = None;
                    record.state = InstanceState::Running;
                    // As with a volume whose key the caller may not use (EC2 user guide, "Troubleshoot instance launch issues").
                    if std::mem::take(&mut record.start_fails) {
                        record.state = InstanceState::Stopped;
                        let fell_back = reason("Client.InternalError", "Client error on launch");
                        record.state_transition_reason.clone_from(&fell_back.message);
                        record.state_reason = Some(fell_back);
                    }
                }
            }
            InstanceState::Stopping | InstanceState::ShuttingDown => {
                if disks.is_down(id) {
                    self.instance_is_down(at, id, disks);
                } else {
                    self.going_down.insert(id.clone());
                }
            }
            InstanceState::Running | InstanceState::Stopped | InstanceState::Terminated => {}
        }
    }

    fn look_at_those_going_down(&mut self, disks: &mut dyn Disks) {
        for id in self.going_down.clone() {
            if disks.is_down(&id) {
                self.instance_is_down(self.now, &id, disks);
            }
        }
    }

    fn instance_is_down(&mut self, at: Millis, id: &InstanceId, disks: &mut dyn Disks) {
        self.going_down.remove(id);
        self.changing_instance(at, id);
        let Some(record) = self.instances.get_mut(id) else { return };
        record.due = None;
        if record.state == InstanceState::Stopping {
            record.state = InstanceState::Stopped;
            return;
        }
        record.state = InstanceState::Terminated;
        let devices = std::mem::take(&mut record.block_devices);
        disks.remove_machine(id);
        for device in devices {
            self.changing_volume(at, &device.volume);
            // The machine is gone: nothing can have the device mounted any more.
            let _ = disks.detach(&device.volume, id, true);
            self.busy.remove(&(device.volume.clone(), id.clone()));
            let Some(volume) = self.volumes.get_mut(&device.volume) else { continue };
            volume.attachments.retain(|found| found.instance != *id);
            if !volume.attachments.is_empty() {
                continue;
            }
            volume.state = VolumeState::Available;
            if device.delete_on_termination {
                self.remove_volume(at, &device.volume, disks);
            }
        }
        self.schedule.plan(at + self.config.timing.forget_terminated_ms, Event::ForgetInstance(id.clone()));
    }
}
