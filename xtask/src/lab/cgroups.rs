//! Control groups (version 1) of nodes: a group in every hierarchy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

const ROOT: &str = "/sys/fs/cgroup";

/// An error on machines whose control groups the lab does not know.
pub fn check() -> Result<()> {
    if Path::new(ROOT).join("freezer").is_dir() {
        return Ok(());
    }
    bail!("the lab needs control groups of version 1 ({ROOT}/freezer): boot with systemd.unified_cgroup_hierarchy=0")
}

fn hierarchies() -> Vec<PathBuf> {
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Makes a group in each hierarchy.
pub fn make(name: &str) -> Result<()> {
    // The one of version 2 is there for systemd alone.
    for hierarchy in hierarchies().into_iter().filter(|path| !path.ends_with("unified")) {
        fs::create_dir_all(hierarchy.join(name))?;
    }
    Ok(())
}

/// Groups whose name begins so.
fn groups(prefix: &str) -> Vec<PathBuf> {
    let entries =
        hierarchies().into_iter().flat_map(|hierarchy| fs::read_dir(hierarchy).into_iter().flatten().flatten());
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).map(|entry| entry.path()).collect()
}

/// The same, for people.
pub fn names(prefix: &str) -> Vec<String> {
    groups(prefix).into_iter().map(|path| format!("control group {}", path.display())).collect()
}

/// Removes groups whose name begins so, and all within them. What still has processes stays.
pub fn remove(prefix: &str) {
    for group in groups(prefix) {
        remove_tree(&group);
    }
}

fn remove_tree(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
