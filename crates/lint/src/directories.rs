//! What of the members' volumes the application sees in a pod, and where it looks for it.

use std::collections::BTreeSet;

use rehome_model::cluster::{ContainerReport, StatefulSetReport, VolumeMount};
use rehome_model::host::Holds;
use rehome_model::migration::SetSlots;
use rehome_profiles::SetConfiguration;

use crate::context::{Context, template_of};

/// Is each volume mounted where the application runs, and nothing blank beside it? What another container mounts, one that
/// makes backups, is of no use to the application.
pub(crate) fn check_mounts(
    context: &mut Context<'_>,
    subject: &str,
    slots: &SetSlots,
    set: &StatefulSetReport,
    container: &ContainerReport,
) {
    let volumes = &context.migration.spec.source.volumes;
    let filled: BTreeSet<&str> = volumes.iter().map(|source| template_of(slots, &source.role)).collect();
    for template in &filled {
        if container.mounts.iter().all(|mount| mount.volume != *template) {
            let message = format!("container {} does not mount claim template {template}", container.name);
            context.report("RH0610", subject.to_owned(), message, Vec::new());
        }
    }
    let of_template = |mount: &&VolumeMount| set.templates.iter().any(|template| template.name == mount.volume);
    let blank: Vec<String> = container
        .mounts
        .iter()
        .filter(of_template)
        .filter(|mount| !filled.contains(mount.volume.as_str()))
        .map(|mount| format!("template {} is mounted at {}", mount.volume, mount.path))
        .collect();
    if !blank.is_empty() {
        let message = "the application would get blank volumes, from templates that no role is mapped to".to_owned();
        context.report("RH0518", subject.to_owned(), message, blank);
    }
}

/// Would a pod look for what the members keep on their volumes where the set mounts these? One that looks elsewhere starts
/// without a part of the data, or replays no commit log, and tells nobody.
pub(crate) fn check_places(
    context: &mut Context<'_>,
    subject: &str,
    slots: &SetSlots,
    container: &ContainerReport,
    configuration: &SetConfiguration,
) {
    let writes = look(context, slots, container, configuration, Holds::Writes);
    // Under another mount nobody finds it, whatever the configuration says.
    let (mut wrong, mut unknown) = (writes.hidden, writes.unknown);
    if configuration.directories_are_certain {
        wrong.extend(writes.elsewhere);
    } else {
        unknown.extend(writes.elsewhere);
    }
    if !wrong.is_empty() {
        let message = "its pods look for data where the volumes do not have it".to_owned();
        context.report("RH0611", subject.to_owned(), message, wrong.into_iter().collect());
    }
    if !unknown.is_empty() {
        let message = "it cannot be told that its pods look for data where the volumes have it".to_owned();
        context.report("RH0612", subject.to_owned(), message, unknown.into_iter().collect());
    }
    let deliveries = look(context, slots, container, configuration, Holds::Deliveries);
    let undelivered: Vec<String> = deliveries.hidden.into_iter().chain(deliveries.elsewhere).collect();
    if !undelivered.is_empty() {
        let message = "its pods do not look for what the members keep for others where the volumes have it".to_owned();
        context.report("RH0620", subject.to_owned(), message, undelivered);
    }
}

/// The directories of the members that are not where a pod looks for them, a line for each.
#[derive(Default)]
struct Looked {
    /// Another mount lies over it.
    hidden: BTreeSet<String>,
    /// Pods look in another place.
    elsewhere: BTreeSet<String>,
    /// It is not known where pods look, or whether they see all of it.
    unknown: BTreeSet<String>,
}

fn look(
    context: &Context<'_>,
    slots: &SetSlots,
    container: &ContainerReport,
    configuration: &SetConfiguration,
    holds: Holds,
) -> Looked {
    let volumes = &context.migration.spec.source.volumes;
    let filled: BTreeSet<&str> = volumes.iter().map(|source| template_of(slots, &source.role)).collect();
    let mut looked = Looked::default();
    for member in context.members_of(slots) {
        let directories = member.host.iter().flat_map(|host| &host.directories);
        for directory in directories.filter(|directory| directory.holds == holds) {
            let (Some(path), Some(mount_point)) = (&directory.path, &directory.mount_point) else { continue };
            // What is on no volume that moves is another check's.
            let Some(source) = volumes.iter().find(|source| source.mount_path == *mount_point) else { continue };
            let on_volume = path.strip_prefix(mount_point.as_str()).unwrap_or_default().trim_matches('/');
            let place = Place::of(container, template_of(slots, &source.role), on_volume);
            let line = format!("{} of {path} would be at {}", directory.purpose, place.told());
            match configuration.directories.get(&directory.purpose) {
                _ if place.seen.is_empty() && !place.hidden.is_empty() => {
                    looked.hidden.insert(line);
                }
                Some(wanted) if place.seen.contains(wanted) => {}
                Some(wanted) => {
                    looked.elsewhere.insert(format!("{line}, and they look at {wanted}"));
                }
                None => {
                    looked.unknown.insert(line);
                }
            }
            for mount in container.mounts.iter().filter(|mount| !filled.contains(mount.volume.as_str())) {
                if place.seen.iter().any(|seen| mount.path != *seen && is_within(&mount.path, seen)) {
                    let line = format!("{} of {path}: volume {} lies", directory.purpose, mount.volume);
                    looked.unknown.insert(format!("{line} over a part of it, at {}", mount.path));
                }
            }
        }
    }
    looked
}

/// Where a directory of a volume is in a container.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    /// Paths at which it is seen.
    seen: Vec<String>,
    /// Paths at which it would be, and what lies over each.
    hidden: Vec<String>,
}

impl Place {
    fn of(container: &ContainerReport, template: &str, on_volume: &str) -> Self {
        let mut place = Self::default();
        for mount in container.mounts.iter().filter(|mount| mount.volume == template) {
            let Some(path) = seen_at(mount, on_volume) else { continue };
            // The deeper mount wins, whichever order the set has them in.
            let deeper =
                |other: &&VolumeMount| other.path.trim_end_matches('/').len() > mount.path.trim_end_matches('/').len();
            match container.mounts.iter().filter(deeper).find(|other| is_within(&path, &other.path)) {
                Some(over) => place.hidden.push(format!("{path}, under volume {} at {}", over.volume, over.path)),
                None => place.seen.push(path),
            }
        }
        place
    }

    fn told(&self) -> String {
        match (self.seen.as_slice(), self.hidden.as_slice()) {
            ([], []) => "nowhere in the pods".to_owned(),
            ([], hidden) => format!("{} in the pods", hidden.join(" and ")),
            (seen, _) => format!("{} in the pods", seen.join(" and ")),
        }
    }
}

/// Where a directory of a volume would be seen in a container by one of its mounts.
fn seen_at(mount: &VolumeMount, on_volume: &str) -> Option<String> {
    let shown = match mount.sub_path.as_deref().map(|path| path.trim_matches('/')) {
        None | Some("") => on_volume,
        Some(only) if on_volume == only => "",
        Some(only) => on_volume.strip_prefix(only)?.strip_prefix('/')?,
    };
    let path = mount.path.trim_end_matches('/');
    Some(if shown.is_empty() { path.to_owned() } else { format!("{path}/{shown}") })
}

/// Whether a path is a directory, or lies below it.
fn is_within(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(volume: &str, path: &str, sub_path: Option<&str>) -> VolumeMount {
        VolumeMount { volume: volume.to_owned(), path: path.to_owned(), sub_path: sub_path.map(str::to_owned) }
    }

    #[test]
    fn a_directory_is_seen_where_its_volume_and_sub_path_show_it() {
        let seen =
            |path: &str, sub_path: Option<&str>, directory: &str| seen_at(&mount("data", path, sub_path), directory);
        assert_eq!(seen("/var/lib/cassandra", None, "data").as_deref(), Some("/var/lib/cassandra/data"));
        assert_eq!(seen("/var/lib/cassandra/", None, "").as_deref(), Some("/var/lib/cassandra"));
        assert_eq!(seen("/db/data", Some("cassandra/data"), "cassandra/data").as_deref(), Some("/db/data"));
        assert_eq!(seen("/db", Some("cassandra"), "cassandra/data").as_deref(), Some("/db/data"));
        assert_eq!(seen("/db", Some("cassandra"), "cassandra2/data"), None);
        assert_eq!(seen("/db", Some("cassandra/data"), "commitlog"), None);
    }

    #[test]
    fn a_deeper_mount_of_anything_hides_what_it_covers() {
        let place = |deeper: VolumeMount, template: &str, directory: &str| {
            let mounts = vec![deeper, mount("data", "/var/lib/cassandra", None)];
            let place = Place::of(&ContainerReport { mounts, ..ContainerReport::default() }, template, directory);
            (place.seen, place.hidden.len())
        };
        let seen = |path: &str| (vec![path.to_owned()], 0);
        let hidden = (Vec::new(), 1);
        let log = |path: &str| mount("log", path, None);
        assert_eq!(place(log("/var/lib/cassandra/commitlog"), "data", "commitlog"), hidden);
        assert_eq!(place(log("/var/lib/cassandra/commitlog/"), "data", "commitlog"), hidden);
        assert_eq!(place(log("/var/lib/cassandra/c"), "data", "c/commitlog"), hidden);
        // Beside it, below it, above the volume's own mount; and the volume that belongs there.
        assert_eq!(place(log("/var/lib/cassandra/commitlog2"), "data", "commitlog").1, 0);
        assert_eq!(place(log("/var/lib/cassandra/data/ks"), "data", "data"), seen("/var/lib/cassandra/data"));
        assert_eq!(place(log("/var/lib"), "data", "data"), seen("/var/lib/cassandra/data"));
        assert_eq!(place(log("/var/lib/cassandra/commitlog"), "log", ""), seen("/var/lib/cassandra/commitlog"));
        let again = mount("data", "/var/lib/cassandra/commitlog", Some("commitlog"));
        assert_eq!(place(again, "data", "commitlog"), (vec!["/var/lib/cassandra/commitlog".to_owned()], 1));
    }
}
