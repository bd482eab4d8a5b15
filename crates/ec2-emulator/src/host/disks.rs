//! Volumes and snapshots as files, attachments as loop devices.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};

use crate::disks::{Busy, Capture, DiskError, DiskSource, Disks, Machine};

use super::command::run;
use super::guests::Guests;
use super::{extents, mounts};

const GIB: u64 = 1 << 30;

/// Whether attached volumes show as block devices of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// No: volumes are files only. Needs no root.
    None,
    /// As loop devices, each with a link in this directory, named as udev names EBS volumes on Nitro instances
    /// (`nvme-Amazon_Elastic_Block_Store_vol0123...`).
    Loop {
        /// `/dev/disk/by-id`.
        links: PathBuf,
    },
}

/// Disks as files in a directory.
///
/// `volumes/` and `snapshots/` hold one sparse file each; `attached/INSTANCE/VOLUME` holds the device name of an
/// attachment. Copies are reflinks where the file system has them.
#[derive(Debug)]
pub struct HostDisks {
    directory: PathBuf,
    devices: Devices,
    guests: Option<Guests>,
}

impl HostDisks {
    /// Disks in a directory, which is made if it is not there.
    pub fn open(directory: impl Into<PathBuf>, devices: Devices, guests: Option<Guests>) -> io::Result<Self> {
        let directory = directory.into();
        for part in ["volumes", "snapshots", "attached"] {
            fs::create_dir_all(directory.join(part))?;
        }
        if let Devices::Loop { links } = &devices {
            fs::create_dir_all(links)?;
        }
        Ok(Self { directory, devices, guests })
    }

    /// Brings back the devices of attachments, which a restart of the host took away.
    pub fn restore(&mut self) -> Result<(), DiskError> {
        for instance in names(&self.directory.join("attached")) {
            let instance = InstanceId(instance);
            for (volume, device) in self.attached(&instance) {
                self.attach(&volume, &instance, &device)?;
            }
        }
        Ok(())
    }

    /// The machines.
    pub fn guests(&self) -> Option<&Guests> {
        self.guests.as_ref()
    }

    fn volume(&self, id: &VolumeId) -> PathBuf {
        self.directory.join("volumes").join(format!("{id}.img"))
    }

    fn snapshot(&self, id: &SnapshotId) -> PathBuf {
        self.directory.join("snapshots").join(format!("{id}.img"))
    }

    fn attachment(&self, instance: &InstanceId, volume: &VolumeId) -> PathBuf {
        self.directory.join("attached").join(instance.as_str()).join(volume.as_str())
    }

    /// An instance's volumes and their device names.
    fn attached(&self, instance: &InstanceId) -> BTreeMap<VolumeId, String> {
        let directory = self.directory.join("attached").join(instance.as_str());
        let device = |name: &String| fs::read_to_string(directory.join(name)).unwrap_or_default();
        names(&directory).into_iter().map(|name| (VolumeId(name.clone()), device(&name))).collect()
    }

    /// The instances that have one of these volumes.
    fn holders(&self, captures: &[Capture]) -> Vec<InstanceId> {
        let instances = names(&self.directory.join("attached")).into_iter().map(InstanceId);
        let has = |instance: &InstanceId| captures.iter().any(|one| self.attachment(instance, &one.volume).exists());
        instances.filter(has).collect()
    }

    /// The loop device of a volume.
    fn loop_device(&self, volume: &VolumeId) -> Result<Option<PathBuf>, DiskError> {
        let file = self.volume(volume);
        let listed = run(
            "find the loop device",
            volume,
            "losetup",
            [Path::new("-j"), &file, Path::new("-nO"), Path::new("NAME")],
        )?;
        Ok(listed.lines().next().map(|name| PathBuf::from(name.trim())))
    }

    /// The same volume's link, named as on a Nitro instance.
    fn link(links: &Path, volume: &VolumeId) -> PathBuf {
        links.join(format!("nvme-Amazon_Elastic_Block_Store_{}", volume.as_str().replace('-', "")))
    }

    /// Makes a volume's link. Links are the whole machine's: one that leads to somebody else's device stays.
    fn make_link(links: &Path, volume: &VolumeId, block_device: &Path) -> Result<(), DiskError> {
        let link = Self::link(links, volume);
        match fs::read_link(&link) {
            Ok(known) if known == block_device => return Ok(()),
            Ok(other) if in_use(&other) => {
                let reason = format!(
                    "{} leads to {}, which is not ours: another emulator on this machine has a volume of this id, \
                     start with another --seed",
                    link.display(),
                    other.display()
                );
                return Err(DiskError { operation: "attach", subject: volume.to_string(), reason });
            }
            // Left by an emulator that was killed.
            Ok(_) => told(fs::remove_file(&link).map_err(|error| broken("attach", volume, &error))),
            Err(_) => {}
        }
        symlink(block_device, &link).map_err(|error| broken("attach", volume, &error))
    }

    /// Takes the loop device of a volume away.
    fn release(&self, volume: &VolumeId) {
        let Devices::Loop { links } = &self.devices else { return };
        // A device that is in use goes away with its last user.
        let gone = self.loop_device(volume).and_then(|device| {
            let Some(device) = device else { return Ok(()) };
            let link = Self::link(links, volume);
            if fs::read_link(&link).is_ok_and(|to| to == device) {
                fs::remove_file(&link).map_err(|error| broken("detach", volume, &error))?;
            }
            run("detach", volume, "losetup", [Path::new("-d"), &device]).map(|_| ())
        });
        told(gone);
    }
}

/// Whether a loop device has a file.
fn in_use(device: &Path) -> bool {
    run("look at", &device.display(), "losetup", [device]).is_ok()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// EC2 has no reply to put this error into: whoever runs the emulator is told.
fn told(result: Result<(), DiskError>) {
    if let Err(error) = result {
        tracing::error!("{error}");
    }
}

fn copy(operation: &'static str, subject: &impl ToString, from: &Path, to: &Path) -> Result<(), DiskError> {
    // Under another name first: half a copy must not pass for one.
    let part = to.with_extension("part");
    let options = ["--reflink=auto", "--sparse=always", "--"].map(Path::new);
    run(operation, subject, "cp", options.into_iter().chain([from, &part]))?;
    fs::rename(&part, to).map_err(|error| broken(operation, subject, &error))
}

fn set_size(operation: &'static str, volume: &VolumeId, file: &Path, size_gib: u32) -> Result<(), DiskError> {
    let set = || {
        fs::OpenOptions::new().write(true).create(true).truncate(false).open(file)?.set_len(u64::from(size_gib) * GIB)
    };
    set().map_err(|error| broken(operation, volume, &error))
}

fn broken(operation: &'static str, subject: &impl ToString, error: &io::Error) -> DiskError {
    DiskError { operation, subject: subject.to_string(), reason: error.to_string() }
}

impl Disks for HostDisks {
    fn create(&mut self, volume: &VolumeId, size_gib: u32, source: DiskSource<'_>) -> Result<(), DiskError> {
        let file = self.volume(volume);
        match source {
            DiskSource::Blank => {}
            DiskSource::Snapshot(snapshot) => copy("create", volume, &self.snapshot(snapshot), &file)?,
            DiskSource::Volume(from) => copy("create", volume, &self.volume(from), &file)?,
        }
        set_size("create", volume, &file, size_gib)
    }

    fn resize(&mut self, volume: &VolumeId, size_gib: u32) -> Result<(), DiskError> {
        set_size("resize", volume, &self.volume(volume), size_gib)?;
        if let (Devices::Loop { .. }, Some(device)) = (&self.devices, self.loop_device(volume)?) {
            run("resize", volume, "losetup", [Path::new("-c"), &device])?;
        }
        Ok(())
    }

    fn delete_volume(&mut self, volume: &VolumeId) {
        self.release(volume);
        // Gone already is as good.
        let _ = fs::remove_file(self.volume(volume));
    }

    fn capture(&mut self, captures: &[Capture]) -> Result<(), DiskError> {
        let holders = self.holders(captures);
        let mut frozen = Vec::new();
        let mut taken = Ok(());
        for instance in &holders {
            if let Some(guests) = &self.guests {
                // Noted before it is tried: a freeze that failed half-way is undone as well.
                frozen.push(instance);
                taken = taken.and_then(|()| guests.freeze(instance));
            }
        }
        for Capture { volume, snapshot } in captures {
            taken = taken.and_then(|()| copy("capture", volume, &self.volume(volume), &self.snapshot(snapshot)));
        }
        for instance in frozen {
            if let Some(guests) = &self.guests {
                let thawed = guests.thaw(instance);
                taken = taken.and(thawed);
            }
        }
        taken
    }

    fn copy_snapshot(&mut self, from: &SnapshotId, to: &SnapshotId) -> Result<(), DiskError> {
        copy("copy", to, &self.snapshot(from), &self.snapshot(to))
    }

    fn delete_snapshot(&mut self, snapshot: &SnapshotId) {
        let _ = fs::remove_file(self.snapshot(snapshot));
    }

    fn changed_bytes(&self, snapshot: &SnapshotId, since: Option<&SnapshotId>) -> u64 {
        let before = since.map(|id| self.snapshot(id)).filter(|path| path.exists());
        extents::changed_bytes(&self.snapshot(snapshot), before.as_deref())
    }

    fn attach(&mut self, volume: &VolumeId, instance: &InstanceId, device: &str) -> Result<(), DiskError> {
        let note = self.attachment(instance, volume);
        let kept = note.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&note, device));
        kept.map_err(|error| broken("attach", volume, &error))?;
        let Devices::Loop { links } = &self.devices else { return Ok(()) };
        let block_device = match self.loop_device(volume)? {
            Some(known) => known,
            None => PathBuf::from(run(
                "attach",
                volume,
                "losetup",
                [Path::new("--show"), Path::new("-f"), &self.volume(volume)],
            )?),
        };
        Self::make_link(links, volume, &block_device)?;
        match &self.guests {
            Some(guests) => guests.show("attach", instance, device, &block_device, volume),
            None => Ok(()),
        }
    }

    fn detach(&mut self, volume: &VolumeId, instance: &InstanceId, force: bool) -> Result<(), Busy> {
        let note = self.attachment(instance, volume);
        let Ok(device) = fs::read_to_string(&note) else { return Ok(()) };
        if let Devices::Loop { .. } = self.devices {
            // What cannot be told counts as mounted.
            let block_device = self.loop_device(volume).map_err(|_| Busy)?;
            if let Some(block_device) = block_device {
                if !force && mounts::is_mounted(&block_device).unwrap_or(true) {
                    return Err(Busy);
                }
                if let Some(guests) = &self.guests
                    && let Err(error) = guests.show("detach", instance, &device, &block_device, volume)
                {
                    tracing::error!("{error}");
                    if !force {
                        return Err(Busy);
                    }
                }
            }
            self.release(volume);
        }
        let _ = fs::remove_file(note);
        Ok(())
    }

    fn start_machine(&mut self, machine: &Machine) -> Result<(), DiskError> {
        let Some(guests) = self.guests.clone() else { return Ok(()) };
        guests.start(machine)?;
        // Its devices come with it: those attached while it was down, too.
        for (volume, device) in self.attached(&machine.id) {
            self.attach(&volume, &machine.id, &device)?;
        }
        Ok(())
    }

    fn stop_machine(&mut self, instance: &InstanceId, clean: bool) {
        if let Some(guests) = &self.guests {
            // EC2 shows no error here either: the instance stays `stopping` until its machine is down.
            told(guests.stop(instance, clean));
        }
    }

    fn is_down(&self, instance: &InstanceId) -> bool {
        self.guests.as_ref().is_none_or(|guests| guests.is_down(instance))
    }

    fn remove_machine(&mut self, instance: &InstanceId) {
        if let Some(guests) = &self.guests {
            told(guests.remove(instance));
        }
    }
}
