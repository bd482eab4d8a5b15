//! Reading what the user wrote. Nothing is changed by any error here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write};
use std::path::Path;

use anyhow::Result;
use rehome_model::format;
use rehome_model::migration::{Migration, SetSlots, Slots, Target};
use rehome_model::names;
use rehome_model::plan::Plan;
use rehome_profiles::Profile;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, problem};

/// The longest name of a migration: it becomes part of object names with a suffix of up to 20 characters.
const NAME_MAX_CHARS: usize = 40;

fn usage(message: impl Into<String>, hint: &str) -> anyhow::Error {
    problem(Exit::Usage, message, hint)
}

/// Reads and checks a migration file.
pub fn migration(path: &Path) -> Result<Migration> {
    let text = read(path).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => "write one with `rehome init`",
            _ => "-f names a migration file: YAML in UTF-8",
        };
        usage(format!("{} cannot be read: {error}", path.display()), hint)
    })?;
    let migration =
        parse(&text).map_err(|error| usage(format!("{}: {error}", path.display()), "nothing was changed"))?;
    check(&migration)
        .map_err(|wrong| usage(format!("{}: {}", path.display(), wrong.join("\n  ")), "nothing was changed"))?;
    Ok(migration)
}

/// The most that is read of a file: a plan for a thousand members has some MB.
const FILE_MAX_BYTES: u64 = 256 << 20;

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_MAX_BYTES {
        return Err(std::io::Error::other(format!("it has more than {FILE_MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// Parses a migration; errors have line, column and a snippet.
pub fn parse(text: &str) -> Result<Migration, String> {
    if text.trim().is_empty() {
        return Err("the file is empty; a migration has apiVersion, kind, metadata and spec".to_owned());
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Whether this can be a migration's name.
pub fn check_name(name: &str) -> Result<(), String> {
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty()
        || name.len() > NAME_MAX_CHARS
        || !name.chars().all(label)
        || name.starts_with('-')
        || name.ends_with('-')
    {
        return Err(format!("name {name:?} is not a DNS label of at most {NAME_MAX_CHARS} characters"));
    }
    Ok(())
}

/// What the schema cannot say, all at once.
pub fn check(migration: &Migration) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    wrong.extend(check_name(&migration.metadata.name).err().map(|error| format!("metadata.{error}")));
    let (profile, settings) = (&migration.spec.application.profile, &migration.spec.application.settings);
    if let Some(found) = rehome_profiles::find(profile).filter(|found| !found.is_simulated()) {
        // One that is not known would be passed over, and its default taken.
        let known = found.settings();
        let unknown = settings.keys().filter(|key| !known.contains(&key.as_str()));
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        wrong.extend(unknown.map(|key| {
            format!("spec.application.settings.{key} is no setting of profile {profile}; known are: {known}")
        }));
    } else {
        let known = rehome_profiles::offered().join(", ");
        wrong.push(format!("spec.application.profile {profile:?} is not known; known are: {known}"));
    }
    wrong.extend(migration.spec.source.members.check().err().map(|error| format!("spec.source.members.{error}")));
    let volumes = &migration.spec.source.volumes;
    if volumes.is_empty() {
        wrong.push("spec.source.volumes is empty: nothing would move".to_owned());
    }
    for (index, volume) in volumes.iter().enumerate() {
        let path = &volume.mount_path;
        let of = |what: &str| format!("spec.source.volumes[{index}].mountPath {path:?} {what}");
        if !path.starts_with('/') {
            wrong.push(of("is not absolute"));
        }
        // Scripts have them in a list of words, and findmnt writes such signs its own way.
        if path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            wrong.push(of("has white space or a backslash, which no mount point that moves may have"));
        }
        if path.len() > 1 && path.ends_with('/') || path.contains("//") || path.split('/').any(|part| part == "..") {
            wrong.push(of("is not written as the mount point is: no slash too much, no '..'"));
        }
        if volumes[..index].iter().any(|other| other.mount_path == *path) {
            wrong.push(of("is there twice"));
        }
        if !names::is_label_value(volume.role.as_str()) {
            wrong.push(format!(
                "spec.source.volumes[{index}].role {:?} is no label value of Kubernetes: at most 63 letters, digits, '-', '_' \
                 and '.', a letter or digit at both ends",
                volume.role.as_str()
            ));
        }
        if volumes[..index].iter().any(|other| other.role == volume.role) {
            wrong.push(format!("spec.source.volumes[{index}].role {} is there twice", volume.role));
        }
    }
    match &migration.spec.target.slots {
        Slots::StatefulSets(sets) => {
            if sets.is_empty() {
                wrong.push("spec.target.slots.statefulSets is empty: the members have nowhere to land".to_owned());
            }
            wrong.extend(sets.iter().flat_map(same_slots));
        }
        Slots::Claims(_) => wrong.push("spec.target.slots.claims is not built yet: name statefulSets".to_owned()),
    }
    wrong.extend(no_names(&migration.spec.target));
    wrong.extend(migration.spec.check_tags().into_iter().map(|error| format!("spec.{error}")));
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// What Kubernetes would refuse as a name, and no path or query may have in it.
fn no_names(target: &Target) -> Vec<String> {
    let mut named = vec![("namespace".to_owned(), &target.namespace)];
    if let Slots::StatefulSets(sets) = &target.slots {
        for (index, set) in sets.iter().enumerate() {
            let of = |what: &str| format!("slots.statefulSets[{index}].{what}");
            named.push((of("name"), &set.name));
            named.extend(set.claims.iter().map(|(role, template)| (of(&format!("claims.{role}")), template)));
            named.extend(set.container.iter().map(|container| (of("container"), container)));
        }
    }
    let wrong = named.into_iter().filter(|(_, name)| !names::is_dns_label(name));
    wrong
        .map(|(place, name)| {
            format!(
                "spec.target.{place} {name:?} is no DNS label: at most 63 lower case letters, digits and '-', a letter or digit \
                 at both ends"
            )
        })
        .collect()
}

fn same_slots(set: &SetSlots) -> Vec<String> {
    let mut wrong = Vec::new();
    let ordinals: Vec<_> = set.ordinals.iter().collect();
    for (index, (member, ordinal)) in ordinals.iter().enumerate() {
        if let Some((other, _)) = ordinals[..index].iter().find(|(_, taken)| taken == ordinal) {
            wrong.push(format!(
                "spec.target.slots.statefulSets[].ordinals: {other} and {member} are both given ordinal {ordinal} of {}",
                set.name
            ));
        }
    }
    wrong
}

/// The profile of a migration, which was checked to be known.
pub fn profile(name: &str) -> Result<&'static dyn Profile> {
    rehome_profiles::find(name).ok_or_else(|| {
        let known = rehome_profiles::offered().join(", ");
        usage(format!("profile {name:?} is not known"), &format!("known are: {known}"))
    })
}

/// A plan as a file, with the digest that tells an edited one.
#[derive(Serialize, Deserialize)]
struct PlanFile {
    hash: String,
    plan: serde_json::Value,
}

/// Writes a plan file, whole or not at all: half of one would be refused as edited, and an older one is gone then.
pub fn write_plan(path: &Path, plan: &Plan) -> Result<()> {
    let file = PlanFile { hash: plan.hash(), plan: serde_json::to_value(plan)? };
    let text = serde_json::to_string_pretty(&file)? + "\n";
    // Through a link to what it points at. A device or a pipe is written to, not replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let special = std::fs::metadata(&target).is_ok_and(|found| !found.is_file());
    let written = if special { std::fs::write(&target, &text) } else { replace(&target, &text) };
    written.map_err(|error| {
        usage(
            format!("--out {} cannot be written: {error}", path.display()),
            "name a file in a folder that is there and that you may write to. Nothing was changed",
        )
    })
}

fn replace(target: &Path, text: &str) -> std::io::Result<()> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = target.with_file_name(name);
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let placed = written.and_then(|()| std::fs::rename(&beside, target));
    if placed.is_err() {
        // It may not even be there.
        let _ = std::fs::remove_file(&beside);
    }
    placed
}

/// Refuses a plan that was made from another migration file.
pub fn same_migration(plan: &Plan, migration: &Migration) -> Result<()> {
    let target = &migration.spec.target.namespace;
    let pairs = [
        ("migration", &plan.migration, &migration.metadata.name),
        ("namespace", &plan.namespace, target),
        ("region", &plan.region, &migration.spec.source.region),
    ];
    let differ: Vec<String> = pairs
        .iter()
        .filter(|(_, plan, file)| plan != file)
        .map(|(what, plan, file)| format!("{what} {plan:?} in the plan, {file:?} in the migration file"))
        .collect();
    if differ.is_empty() {
        return Ok(());
    }
    let message = format!("the plan is of another migration: {}", differ.join("; "));
    Err(usage(message, "give the file that the plan was made from, or plan again. Nothing was changed"))
}

/// Refuses settings that no new plan may have. A run that an older rehome began goes on with those it has.
pub fn check_settings(migration: &Migration) -> Result<()> {
    let profile = profile(&migration.spec.application.profile)?;
    let refused = |(key, value): (&String, &String)| {
        let why = profile.check_setting(key, value).err()?;
        Some(format!("spec.application.settings.{key} {why}"))
    };
    let wrong: Vec<String> = migration.spec.application.settings.iter().filter_map(refused).collect();
    if wrong.is_empty() { Ok(()) } else { Err(usage(wrong.join("\n  "), "nothing was changed")) }
}

/// Reads and checks a migration file that a plan is to be made of.
pub fn migration_to_plan(path: &Path) -> Result<Migration> {
    let migration = migration(path)?;
    check_settings(&migration)?;
    Ok(migration)
}

/// Refuses a recorded plan that is not of this migration file, or that has other commands for its hosts and pods. It lies in
/// the cluster, where others may write than may run commands on the hosts.
pub fn same_as_recorded(plan: &Plan, migration: &Migration) -> Result<()> {
    same_migration(plan, migration)?;
    let application = &migration.spec.application;
    let differ = if plan.profile == application.profile {
        let names: BTreeSet<&String> = plan.settings.keys().chain(application.settings.keys()).collect();
        let (planned, now) = (&plan.settings, &application.settings);
        names.into_iter().find(|name| planned.get(*name) != now.get(*name)).map(|name| {
            let of = |settings: &BTreeMap<String, String>| {
                settings.get(name).map_or("none".to_owned(), |v| format!("{v:?}"))
            };
            format!("spec.application.settings.{name} is {} there, {} in the migration file", of(planned), of(now))
        })
    } else {
        Some(format!("its profile is {:?}, that of the migration file {:?}", plan.profile, application.profile))
    };
    let Some(differ) = differ else { return Ok(()) };
    let hint = "if you changed the file since the plan was made, put it back; if not, see who changed the record. Nothing was \
                changed";
    Err(usage(format!("the recorded plan is not as this file has it: {differ}"), hint))
}

/// Reads a plan file.
pub fn read_plan(path: &Path) -> Result<Plan> {
    let refuse = |why: String| usage(format!("{}: {why}", path.display()), "make it anew with `rehome plan --out`");
    let text = read(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let file: PlanFile = serde_json::from_str(&text).map_err(|error| refuse(format!("is no plan file: {error}")))?;
    let version: format::Format = serde_json::from_value(file.plan["format"].clone())
        .map_err(|error| refuse(format!("is no plan file: format: {error}")))?;
    version.check(format::PLAN).map_err(|error| refuse(error.to_string()))?;
    let plan: Plan = serde_json::from_value(file.plan).map_err(|error| refuse(format!("is damaged: {error}")))?;
    if plan.hash() != file.hash {
        return Err(refuse(
            "was edited after it was made; a plan is carried out as it was reviewed, or not at all".to_owned(),
        ));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        serde_json::from_value(serde_json::json!({
            "format": {"name": "rehome.plan", "version": 1}, "migration": "m", "profile": "cassandra", "settings": {},
            "purpose": "apply", "strategy": "snapshot", "cutover": "stop", "account": "1", "region": "r",
            "namespace": "n", "members": [], "steps": [], "groups": [], "facts": [], "findings": [],
            "estimate": {"total_s": [0, 0], "downtime_s": [0, 0], "monthly_cost_cents": 0, "assumptions": []},
        }))
        .unwrap()
    }

    #[test]
    fn a_recorded_plan_with_other_commands_than_the_files_is_refused() {
        let mut migration: Migration = serde_saphyr::from_str(&rehome_sim::migration_yaml()).unwrap();
        migration.metadata.name = "m".to_owned();
        migration.spec.target.namespace = "n".to_owned();
        migration.spec.source.region = "r".to_owned();
        migration.spec.application.profile = "cassandra".to_owned();
        let mut plan = plan();
        same_as_recorded(&plan, &migration).unwrap();
        plan.settings.insert("nodetool".to_owned(), "curl".to_owned());
        let said = same_as_recorded(&plan, &migration).unwrap_err().to_string();
        assert!(said.contains("settings.nodetool is \"curl\" there, none in the migration file"), "{said}");
        migration.spec.application.settings.clone_from(&plan.settings);
        same_as_recorded(&plan, &migration).unwrap();
        plan.profile = "reference".to_owned();
        assert!(same_as_recorded(&plan, &migration).unwrap_err().to_string().contains("its profile is"));
        plan.namespace = "other".to_owned();
        assert!(same_as_recorded(&plan, &migration).unwrap_err().to_string().contains("of another migration"));
    }

    #[test]
    fn a_plan_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        std::fs::write(&path, "an older one").unwrap();
        write_plan(&path, &plan()).unwrap();
        assert_eq!(read_plan(&path).unwrap().hash(), plan().hash());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_plan_file_that_cannot_be_written_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/plan.json");
        let error = write_plan(&path, &plan()).unwrap_err();
        assert_eq!(crate::exit::of(&error), Exit::Usage);
        let said = error.to_string();
        assert!(said.contains("none/plan.json cannot be written") && said.contains("hint: "), "{said}");
    }
}
