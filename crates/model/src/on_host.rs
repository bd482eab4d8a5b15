//! How a legacy host holds a volume: what decides whether another volume can take its place there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::host::{DataPath, HostReport};

/// How a legacy host mounts a volume, and whose files are on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnHost {
    /// The first field of the mount point's line in fstab: `UUID=...`; none if it has no line.
    pub fstab: Option<String>,
    /// Owner of the mount point itself.
    pub top: Owner,
    /// Owner of all that lies right below it, root's own apart; none if there are several.
    pub files: Option<Owner>,
}

/// Numeric owner and group of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as stat calls them")]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl OnHost {
    /// How a host holds what is mounted at a path; none if the survey did not look there.
    pub fn of(host: &HostReport, mount_path: &str) -> Option<Self> {
        let owner = |path: &DataPath| Owner { uid: path.uid, gid: path.gid };
        let top = owner(host.data_paths.iter().find(|path| path.path == mount_path)?);
        // What root owns beside the application's files (lost+found) can be the application's as well.
        let below = host.data_paths.iter().filter(|path| path.mount_point == mount_path && path.path != mount_path);
        let owners: BTreeSet<Owner> = below.map(owner).filter(|owner| owner.uid != 0).collect();
        let files = match owners.len() {
            0 => Some(top),
            1 => owners.first().copied(),
            _ => None,
        };
        let line = host.fstab.iter().find(|line| line.target == mount_path);
        Some(Self { fstab: line.map(|line| line.source.clone()), top, files })
    }

    /// Why a volume that was made from this one, attached as `device` in its place, would not serve there.
    pub fn keeps_out(&self, mount_path: &str, device: Option<&str>) -> Vec<String> {
        let mut reasons = Vec::new();
        match &self.fstab {
            None => reasons.push(format!("fstab of its host has no line for {mount_path}")),
            Some(source) if names_what_is_copied(source, device) => {}
            Some(source) => reasons.push(format!(
                "fstab of its host mounts {source} at {mount_path}: the new volume does not carry that name. Use UUID= \
                 or LABEL=, which it shares with the old one"
            )),
        }
        if self.files.is_none() {
            reasons
                .push(format!("the files in {mount_path} have several owners: which file is whose would not be known"));
        }
        reasons
    }
}

/// Whether what an fstab line names is on the copy of a volume too: a UUID or a label is part of what was captured. A
/// device name counts only if it is the very one that EC2 is told: the copy is attached there.
fn names_what_is_copied(source: &str, device: Option<&str>) -> bool {
    const COPIED: [&str; 8] = [
        "UUID=",
        "LABEL=",
        "PARTUUID=",
        "PARTLABEL=",
        "/dev/disk/by-uuid/",
        "/dev/disk/by-label/",
        "/dev/disk/by-partuuid/",
        "/dev/disk/by-partlabel/",
    ];
    let letters = |name: &str| name.strip_prefix("/dev/xvd").or(name.strip_prefix("/dev/sd")).map(str::to_owned);
    COPIED.iter().any(|prefix| source.starts_with(prefix))
        || letters(source).is_some_and(|letters_of| device.and_then(letters) == Some(letters_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_copy_carries_are_taken() {
        for source in ["UUID=1", "LABEL=data", "PARTUUID=1", "/dev/disk/by-uuid/1", "/dev/disk/by-label/data"] {
            assert!(names_what_is_copied(source, None), "{source}");
        }
        assert!(names_what_is_copied("/dev/xvdf", Some("/dev/sdf")));
        for source in
            ["/dev/xvdg", "/dev/nvme1n1", "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol1", "/dev/mapper/d"]
        {
            assert!(!names_what_is_copied(source, Some("/dev/xvdf")), "{source}");
        }
        assert!(!names_what_is_copied("/dev/xvdf", None));
    }
}
