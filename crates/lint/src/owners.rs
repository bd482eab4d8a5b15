//! Whose the files on the volumes are, and who the pods run as.

use std::collections::BTreeSet;

use rehome_model::cluster::StatefulSetReport;
use rehome_model::host::DataPath;
use rehome_model::migration::SetSlots;
use rehome_model::on_host::OnHost;
use rehome_profiles::SetConfiguration;

use crate::context::{Context, at_most};

/// What the kubelet gives the root of a volume with fsGroup: rwx for the group, and setgid.
const GROUP_MODE: u32 = 0o2770;

pub(crate) fn check(
    context: &mut Context<'_>,
    subject: &str,
    slots: &SetSlots,
    set: &StatefulSetReport,
    configuration: &SetConfiguration,
) {
    check_uid(context, subject, configuration);
    check_start(context, subject, slots, configuration);
    check_group(context, subject, slots, set);
}

fn check_uid(context: &mut Context<'_>, subject: &str, configuration: &SetConfiguration) {
    let Some(uid) = configuration.uid.filter(|uid| *uid != 0) else { return };
    let (survey, volumes) = (context.survey, &context.migration.spec.source.volumes);
    let wrong: Vec<String> = survey
        .members
        .iter()
        .filter_map(|member| Some((&member.name, member.host.as_ref()?)))
        .flat_map(|(name, host)| volumes.iter().map(move |volume| (name, host, volume.mount_path.as_str())))
        .filter_map(|(name, host, path)| Some((name, path, OnHost::of(host, path)?)))
        // The application's files count, if they have one owner; root's own mount point keeps nobody from them.
        .filter(|(_, _, on_host)| on_host.files.unwrap_or(on_host.top).uid != uid)
        .map(|(name, path, on_host)| match on_host.files {
            Some(files) => format!("{name}: the files in {path} are owned by uid {}", files.uid),
            None => format!("{name}: {path} is owned by uid {}", on_host.top.uid),
        })
        .collect();
    if !wrong.is_empty() {
        let message = format!("its pods run as uid {uid} and cannot write the members' files");
        context.report("RH0512", subject.to_owned(), message, wrong);
    }
}

/// An image that makes itself the owner at each start changes every file that is somebody else's.
fn check_start(context: &mut Context<'_>, subject: &str, slots: &SetSlots, configuration: &SetConfiguration) {
    let Some(owner) = configuration.takes_files_over_as else { return };
    let volumes = &context.migration.spec.source.volumes;
    let mut seen = Vec::new();
    for member in context.members_of(slots) {
        for path in volumes.iter().map(|volume| volume.mount_path.as_str()) {
            let files = member.host.as_ref().and_then(|host| OnHost::of(host, path));
            let files = files.map(|on_host| on_host.files.unwrap_or(on_host.top));
            if let Some(files) = files.filter(|files| files.uid != owner) {
                seen.push(format!("{}: the files in {path} are owned by uid {}", member.name, files.uid));
            }
        }
    }
    if !seen.is_empty() {
        let message = format!("its pods start as root, and give every file to uid {owner} first");
        context.report("RH0520", subject.to_owned(), message, at_most(seen));
    }
}

/// OnRootMismatch leaves the files alone only where the volume's root is as the kubelet would make it (kubernetes
/// `pkg/volume/volume_linux.go`, requiresPermissionChange). A legacy mount point hardly ever is.
fn check_group(context: &mut Context<'_>, subject: &str, slots: &SetSlots, set: &StatefulSetReport) {
    let Some(group) = set.fs_group else { return };
    let message = "every file of the volume is changed before the first start".to_owned();
    if set.fs_group_change_policy.as_deref() != Some("OnRootMismatch") {
        let seen = vec![format!("fsGroup {:?}, fsGroupChangePolicy {:?}", set.fs_group, set.fs_group_change_policy)];
        context.report("RH0511", subject.to_owned(), message, seen);
        return;
    }
    let volumes = &context.migration.spec.source.volumes;
    let (mut seen, mut advice) = (Vec::new(), BTreeSet::new());
    for member in context.members_of(slots) {
        for source in volumes {
            let data_paths = member.host.iter().flat_map(|host| &host.data_paths);
            let Some(top) = data_paths.into_iter().find(|path| path.path == source.mount_path) else { continue };
            if let Some(why) = mismatch(top, group) {
                seen.push(format!("{}: {why}", member.name));
                let path = &source.mount_path;
                // Another group than the files' would take it from who gets at it by theirs, and be that of new files only.
                let of_files =
                    member.host.as_ref().and_then(|host| OnHost::of(host, path)?.files).map_or(top.gid, |o| o.gid);
                if of_files != group {
                    advice.insert(format!("the files' own group is {of_files}: fsGroup: {of_files}"));
                }
                if top.gid != of_files {
                    advice.insert(format!("on the members: chgrp {of_files} {path}"));
                }
                advice.insert(format!("on the members: chmod g+rwxs {path}"));
            }
        }
    }
    if !seen.is_empty() {
        let mut seen = at_most(seen);
        seen.extend(advice);
        context.report("RH0511", subject.to_owned(), message, seen);
    }
}

/// Why the root of a volume is not as fsGroup wants it. The mode of an older survey is not known.
fn mismatch(top: &DataPath, group: u32) -> Option<String> {
    if top.gid != group {
        return Some(format!("{} is of group {}, and fsGroup is {group}", top.path, top.gid));
    }
    let mode = top.mode.filter(|mode| mode & GROUP_MODE != GROUP_MODE)?;
    Some(format!("{} has mode {mode:04o}, and fsGroup wants {GROUP_MODE:04o}", top.path))
}
