//! The legacy volumes.

use std::collections::BTreeMap;

use rehome_model::cloud::DefaultEncryption;
use rehome_model::host::{HostBlockDevice, Mount};
use rehome_model::ids::VolumeId;
use rehome_model::survey::MemberSurvey;

use crate::context::{Context, mounted};

/// File systems the EBS CSI driver mounts.
const MOUNTABLE: &[&str] = &["xfs", "ext4", "ext3"];
/// Below this share of free bytes a flush, or a commit log replay, can fill the volume. Percent.
const FREE_PERCENT: u64 = 5;

pub(crate) fn check(context: &mut Context<'_>) {
    let (survey, migration) = (context.survey, context.migration);
    let mut users: BTreeMap<VolumeId, Vec<String>> = BTreeMap::new();
    for member in survey.members.iter().filter(|member| member.host.is_some()) {
        check_boot(context, member);
        check_holders(context, member);
        for source in &migration.spec.source.volumes {
            let subject = format!("member {} role {}", member.name, source.role);
            let Some((mount, device)) = mounted(member, &source.mount_path) else {
                let mounts = member.host.iter().flat_map(|host| &host.mounts);
                let seen = mounts.map(|mount| format!("{} is mounted at {}", mount.source, mount.target)).collect();
                let message = format!("nothing is mounted at {}", source.mount_path);
                context.report("RH0201", subject, message, seen);
                continue;
            };
            let seen = || vec![format!("{} at {}: {}", mount.source, mount.target, mount.fs_type)];
            if !MOUNTABLE.contains(&mount.fs_type.as_str()) {
                let message = format!("the CSI driver cannot mount {}", mount.fs_type);
                context.report("RH0204", subject.clone(), message, seen());
            }
            if mount.available_bytes * 100 < mount.size_bytes * FREE_PERCENT {
                let free = format!("{} of {} bytes are free", mount.available_bytes, mount.size_bytes);
                context.report("RH0209", subject.clone(), "its file system is nearly full".to_owned(), vec![free]);
            }
            check_mount(context, &subject, member, mount);
            let Some(device) = device else { continue };
            if device.instance_store {
                let message = "its data is on an instance store, which a stop erases".to_owned();
                context.report("RH0203", subject.clone(), message, seen());
            }
            if device.partitioned || device.kind != "disk" {
                let what = if device.partitioned { "partitioned" } else { device.kind.as_str() };
                let message = format!("its file system is not on a whole volume ({what})");
                context.report("RH0202", subject.clone(), message, seen());
            }
            if let Some(id) = &device.volume {
                users.entry(id.clone()).or_default().push(subject.clone());
                check_volume(context, &subject, id);
            }
        }
    }
    check_keys(context, &users);
    for (id, subjects) in users.into_iter().filter(|(_, subjects)| subjects.len() > 1) {
        context.report("RH0206", format!("volume {id}"), "it serves more than one claim".to_owned(), subjects);
    }
}

/// A stopped instance comes back with blank instance stores: their file systems are not there.
fn check_boot(context: &mut Context<'_>, member: &MemberSurvey) {
    let Some(host) = &member.host else { return };
    // A file system may be on several of them (RAID), each a parent of it.
    let erased: Vec<_> = host.block_devices.iter().filter(|device| device.instance_store).collect();
    let is_on = |device: &HostBlockDevice| {
        let parent = device.parent.as_deref();
        erased.iter().any(|of| of.path == device.path || Some(of.path.trim_start_matches("/dev/")) == parent)
    };
    let names = |device: &HostBlockDevice, source: &str| {
        let by = |key: &str, value: &Option<String>| {
            value.as_ref().is_some_and(|value| source.strip_prefix(key).is_some_and(|wanted| wanted == value))
        };
        source == device.path || by("UUID=", &device.uuid) || by("LABEL=", &device.label)
    };
    let seen: Vec<String> = host
        .fstab
        .iter()
        .filter(|line| host.block_devices.iter().any(|device| is_on(device) && names(device, &line.source)))
        // Nobody waits for swap, nor for what is mounted when somebody looks.
        .filter(|line| line.target.starts_with('/'))
        .filter(|line| {
            !line.options.split(',').any(|option| matches!(option, "nofail" | "noauto" | "x-systemd.automount"))
        })
        .map(|line| format!("fstab: {} {} {}", line.source, line.target, line.options))
        .collect();
    if !seen.is_empty() {
        let message = "after a stop it does not boot: a file system of its instance store must be there".to_owned();
        context.report("RH0221", format!("member {}", member.name), message, seen);
    }
}

fn check_holders(context: &mut Context<'_>, member: &MemberSurvey) {
    let Some(host) = member.host.as_ref().filter(|host| !host.holders.is_empty()) else { return };
    let message = format!("{} processes of others use its volumes", host.holders.len());
    context.report("RH0222", format!("member {}", member.name), message, host.holders.clone());
}

/// A pod has all of the file system mounted; and what is mounted elsewhere too is not unmounted by its mount point.
fn check_mount(context: &mut Context<'_>, subject: &str, member: &MemberSurvey, mount: &Mount) {
    if let Some(part) = &mount.part {
        let message = format!("only directory {part} of its file system is mounted");
        let seen = vec![format!("{}[{part}] at {}: {}", mount.source, mount.target, mount.fs_type)];
        context.report("RH0202", subject.to_owned(), message, seen);
    }
    let same = |other: &&Mount| other.source == mount.source || other.target == mount.target;
    let all = member.host.iter().flat_map(|host| &host.mounts);
    let others = all.filter(same).filter(|other| !std::ptr::eq(*other, mount));
    let seen: Vec<String> = others
        .map(|other| {
            let part = other.part.as_ref().map(|part| format!("[{part}]")).unwrap_or_default();
            format!("{}{part} is mounted at {}", other.source, other.target)
        })
        .collect();
    if !seen.is_empty() {
        let message = format!("it is mounted at {} and once more", mount.target);
        context.report("RH0220", subject.to_owned(), message, seen);
    }
}

/// Whose volumes a key encrypts.
#[derive(Default)]
struct Keyed {
    /// Those that move: the new ones are under it too.
    moved: Vec<String>,
    /// Unencrypted ones that move, in an account that encrypts by default.
    by_default: Vec<String>,
    /// Others of the members' instances.
    stay: Vec<String>,
}

/// The driver attaches a volume with its own permissions, which nobody here can ask about, and no dry run asks about keys. A key's
/// ARN does not tell whether it is the one that AWS manages, which needs none; the alias does.
fn check_keys(context: &mut Context<'_>, users: &BTreeMap<VolumeId, Vec<String>>) {
    let survey = context.survey;
    let key_of =
        |id: &VolumeId| survey.volumes.get(id).filter(|found| found.spec.encrypted)?.spec.kms_key_id.as_deref();
    let mut keys: BTreeMap<&str, Keyed> = BTreeMap::new();
    let mut open = Vec::new();
    for (id, subjects) in users {
        let lines = subjects.iter().map(|subject| format!("{subject}: {id}"));
        if let Some(key) = key_of(id) {
            keys.entry(key).or_default().moved.extend(lines);
        } else if survey.volumes.get(id).is_some_and(|found| !found.spec.encrypted) {
            open.extend(lines);
        }
    }
    for member in &survey.members {
        for id in member.instance.block_devices.iter().map(|device| &device.volume) {
            if let Some(key) = key_of(id).filter(|_| !users.contains_key(id)) {
                keys.entry(key).or_default().stay.push(format!("member {}: {id} stays", member.name));
            }
        }
    }
    match survey.default_encryption.as_ref().filter(|_| !open.is_empty()) {
        Some(DefaultEncryption::On(key)) => {
            let lines = open.iter().map(|line| format!("{line} is not encrypted, and its new volume will be"));
            keys.entry(key).or_default().by_default.extend(lines);
        }
        Some(DefaultEncryption::Unknown(why)) => {
            let message = "whether new volumes of unencrypted ones are encrypted is not known".to_owned();
            context.report("RH0223", "account".to_owned(), message, vec![why.clone()]);
        }
        _ => {}
    }
    for (key, keyed) in keys.into_iter().filter(|(key, _)| !key.ends_with("alias/aws/ebs")) {
        let message = if !keyed.by_default.is_empty() {
            "EC2 encrypts new volumes with it: unless it is aws/ebs, you and the CSI driver's own role must be allowed to use it"
        } else if !keyed.moved.is_empty() {
            "unless it is aws/ebs, the CSI driver's own role must be allowed to use it"
        } else {
            "unless it is aws/ebs, you must be allowed to use it: on every way back the instances are started with it"
        };
        let Keyed { moved, by_default, stay } = keyed;
        let mut seen: Vec<String> = moved.into_iter().chain(by_default).chain(stay).collect();
        seen.push(format!(
            "aws kms describe-key --region {} --key-id '{key}' --query KeyMetadata.KeyManager",
            survey.caller.region
        ));
        context.report("RH0217", format!("key {key}"), message.to_owned(), seen);
    }
}

fn check_volume(context: &mut Context<'_>, subject: &str, id: &VolumeId) {
    let survey = context.survey;
    let Some(volume) = survey.volumes.get(id) else { return };
    if volume.multi_attach {
        let seen = vec![format!("{id} is {} with Multi-Attach", volume.spec.volume_type)];
        context.report("RH0205", subject.to_owned(), "its volume may be attached twice".to_owned(), seen);
    }
    let spec = &volume.spec;
    // A gp2 volume below 34 GiB has 100 IOPS (EBS user guide, "General Purpose SSD volumes"); magnetic and HDD types are
    // slower still for small reads.
    const GP2_SMALL_GIB: u32 = 34;
    let slow = matches!(spec.volume_type.as_str(), "standard" | "sc1" | "st1")
        || (spec.volume_type == "gp2" && spec.size_gib < GP2_SMALL_GIB);
    if slow {
        let seen = vec![format!("{id} is {} of {} GiB", spec.volume_type, spec.size_gib)];
        context.report("RH0207", subject.to_owned(), "its volume is slow: the start will take long".to_owned(), seen);
    }
    let instances = survey.members.iter().map(|member| &member.instance);
    let deleted = instances.flat_map(|i| &i.block_devices).any(|d| d.volume == *id && d.delete_on_termination);
    if deleted {
        let seen = vec![format!("{id} is deleted with its instance")];
        context.report("RH0208", subject.to_owned(), "DeleteOnTermination is on".to_owned(), seen);
    }
    let used: Vec<String> = survey
        .cluster
        .volumes
        .iter()
        .filter(|found| found.handle.as_deref() == Some(id.as_str()))
        .map(|found| format!("PersistentVolume {} has handle {id}", found.name))
        .collect();
    if !used.is_empty() {
        let message = "its volume is behind a PersistentVolume already".to_owned();
        context.report("RH0403", subject.to_owned(), message, used);
    }
}
