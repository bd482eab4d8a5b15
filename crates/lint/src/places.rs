//! Where the application keeps its files on a host, and whether the host mounts them again by itself.

use std::collections::BTreeSet;

use rehome_model::host::{FstabEntry, Holds, HostBlockDevice, HostReport, Mount, StateDirectory};
use rehome_model::on_host::OnHost;
use rehome_model::survey::MemberSurvey;

use crate::context::{Context, mounted};

pub(crate) fn check(context: &mut Context<'_>) {
    let survey = context.survey;
    for member in &survey.members {
        if let Some(host) = &member.host {
            check_directories(context, member, host);
            check_inside(context, member, host);
            check_fstab(context, member, host);
            check_return(context, member, host);
        }
    }
}

/// A volume is found by its mount point: what the application keeps elsewhere would stay behind unseen.
fn check_directories(context: &mut Context<'_>, member: &MemberSurvey, host: &HostReport) {
    let volumes = &context.migration.spec.source.volumes;
    let moved: BTreeSet<&str> = volumes.iter().map(|volume| volume.mount_path.as_str()).collect();
    let subject = format!("member {}", member.name);
    let (writes, deliveries): (Vec<&StateDirectory>, Vec<&StateDirectory>) = host
        .directories
        .iter()
        .filter(|directory| directory.holds != Holds::Nothing)
        .partition(|directory| directory.holds == Holds::Writes);
    let mut unknown: Vec<String> = writes.iter().filter_map(|directory| unknown(directory)).collect();
    if writes.is_empty() {
        unknown.push("none was found".to_owned());
    }
    if !unknown.is_empty() {
        let message = "it is not known where it keeps its data".to_owned();
        context.report("RH0214", subject.clone(), message, unknown);
    }
    let left = |directory: &&StateDirectory| left_behind(directory, host, &moved);
    let lost: Vec<String> = writes.iter().flat_map(left).collect();
    if !lost.is_empty() {
        let message = "part of its data is not on the volumes that move".to_owned();
        context.report("RH0212", subject.clone(), message, lost);
    }
    let mut undelivered: Vec<String> = deliveries.iter().filter_map(|directory| self::unknown(directory)).collect();
    undelivered.extend(deliveries.iter().flat_map(left));
    if !undelivered.is_empty() {
        let message = "what it keeps for others is not on the volumes that move".to_owned();
        context.report("RH0213", subject, message, undelivered);
    }
}

fn unknown(directory: &StateDirectory) -> Option<String> {
    match (&directory.path, &directory.mount_point) {
        (None, _) => Some(format!("{}: its directory is not known", directory.purpose)),
        (Some(path), None) => Some(format!("{}: it is not known what {path} is mounted from", directory.purpose)),
        (Some(_), Some(_)) => None,
    }
}

/// The directory, if it is on another mount, and the mounts inside it that are of no volume that moves.
fn left_behind(directory: &StateDirectory, host: &HostReport, moved: &BTreeSet<&str>) -> Vec<String> {
    let (Some(path), Some(on)) = (&directory.path, &directory.mount_point) else { return Vec::new() };
    let purpose = &directory.purpose;
    if !moved.contains(on.as_str()) {
        return vec![format!("{purpose}: {path} is on {on}")];
    }
    let inside = format!("{}/", path.trim_end_matches('/'));
    let mounts = host.mounts.iter().map(|mount| mount.target.as_str());
    mounts
        .filter(|target| target.starts_with(&inside) && !moved.contains(target))
        .map(|target| format!("{purpose}: {target} is mounted inside {path}"))
        .collect()
}

/// What is mounted below a mount point keeps it busy for as long as it is: nothing would unmount it.
fn check_inside(context: &mut Context<'_>, member: &MemberSurvey, host: &HostReport) {
    let volumes = &context.migration.spec.source.volumes;
    let moved: BTreeSet<&str> = volumes.iter().map(|volume| volume.mount_path.as_str()).collect();
    let below = |target: &str| {
        moved.iter().any(|at| target.strip_prefix(at.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/')))
    };
    let inside: Vec<String> = host
        .mounts
        .iter()
        .filter(|mount| below(&mount.target) && !moved.contains(mount.target.as_str()))
        .map(|mount| format!("{} ({}) is mounted at {}", mount.source, mount.fs_type, mount.target))
        .collect();
    if !inside.is_empty() {
        let message = "something else is mounted inside a volume that moves".to_owned();
        context.report("RH0219", format!("member {}", member.name), message, inside);
    }
}

/// An undo mounts by the mount point alone, and so does a start of the instance: both need its line in fstab.
fn check_fstab(context: &mut Context<'_>, member: &MemberSurvey, host: &HostReport) {
    let (survey, migration) = (context.survey, context.migration);
    let nitro = survey.instance_types.get(&member.instance.instance_type).is_some_and(|found| found.nitro);
    for source in &migration.spec.source.volumes {
        let Some((mount, device)) = mounted(member, &source.mount_path) else { continue };
        let subject = format!("member {} role {}", member.name, source.role);
        let Some(line) = host.fstab.iter().find(|line| line.target == mount.target) else {
            let message = format!("/etc/fstab has no line for {}", mount.target);
            context.report("RH0215", subject, message, vec![format!("to add: {}", line_for(mount, device))]);
            continue;
        };
        if let Some(why) = unsteady(line, nitro) {
            let message = format!("/etc/fstab mounts {} by a name that may come to mean another volume", mount.target);
            let seen = vec![format!("{}: {why}", line.source), format!("instead: {}", line_for(mount, device))];
            context.report("RH0216", subject, message, seen);
        }
    }
}

/// What of the host would rule `rollback --keep-writes` out. Told before the move: after the opening it is too late to mend.
fn check_return(context: &mut Context<'_>, member: &MemberSurvey, host: &HostReport) {
    let migration = context.migration;
    for source in &migration.spec.source.volumes {
        let Some((_, device)) = mounted(member, &source.mount_path) else { continue };
        // A line that is missing is told by its own check, which nothing passes.
        let on_host = OnHost::of(host, &source.mount_path).filter(|on_host| on_host.fstab.is_some());
        let Some(on_host) = on_host else { continue };
        let volume = device.and_then(|device| device.volume.as_ref());
        let attached = member.instance.block_devices.iter().find(|device| Some(&device.volume) == volume);
        let reasons = on_host.keeps_out(&source.mount_path, attached.map(|device| device.device.as_str()));
        if !reasons.is_empty() {
            let subject = format!("member {} role {}", member.name, source.role);
            context.report("RH0218", subject, "new writes could not be brought back to it".to_owned(), reasons);
        }
    }
}

fn line_for(mount: &Mount, device: Option<&HostBlockDevice>) -> String {
    let uuid = device.and_then(|device| device.uuid.as_deref()).unwrap_or("<as blkid shows it>");
    format!("UUID={uuid} {} {} defaults,nofail 0 2", mount.target, mount.fs_type)
}

/// Why the device that a line names may be another one after a stop and a start of the instance.
fn unsteady(line: &FstabEntry, nitro: bool) -> Option<&'static str> {
    let named = |prefix: &str| line.source.starts_with(prefix);
    if named("/dev/nvme") {
        Some("the kernel numbers NVMe devices anew at each start, in the order in which they answer")
    } else if nitro && (named("/dev/xvd") || named("/dev/sd")) {
        Some("on a Nitro instance this is a link, which not every image makes")
    } else {
        None
    }
}
