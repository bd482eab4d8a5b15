//! Mount points of automounts (`x-systemd.automount` in fstab), as systemd and the kernel have them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;

use common::{cassandra, run};
use rehome_model::task::{HostTask, IS_BUSY};
use rehome_profiles::ScriptContext;

const POINT: &str = "/var/lib/cassandra";

/// A host whose files say what is: `unit`, that the automount has one; `autofs`, that it waits at the mount point; `xfs`, that
/// the file system is mounted there; `busy`, that it is in use; `broken`, that systemd cannot mount it; `log` has what was done.
const TOOLS: &str = r#"
is() { [ -e "ROOT/$1" ]; }
findmnt() {
  is autofs && echo "autofs systemd-1"
  is xfs && echo "xfs    /dev/nvme1n1"
  is autofs || is xfs
}
mountpoint() { is autofs || is xfs; }
# No function of dash may have such a name.
mkdir -p ROOT/bin && printf '#!/bin/sh\necho var-lib-cassandra.automount\n' > ROOT/bin/systemd-escape && chmod +x ROOT/bin/systemd-escape
PATH="ROOT/bin:$PATH"
ls() { is autofs && ! is broken && : > ROOT/xfs; }
mount() { echo mount >> ROOT/log; : > ROOT/xfs; }
umount() {
  is busy && return 32
  if is xfs; then echo umount >> ROOT/log; rm ROOT/xfs; else rm ROOT/autofs; fi
}
systemctl() {
  case "$*" in
    show*LoadState*automount) if is unit; then echo LoadState=loaded; else echo LoadState=not-found; fi ;;
    # It refuses to wait at what is a mount point.
    start*automount) is autofs || is xfs || { echo start >> ROOT/log; : > ROOT/autofs; } ;;
    stop*automount)
      if is xfs; then echo detached >> ROOT/log; rm ROOT/xfs; fi
      if is autofs; then echo stop >> ROOT/log; rm ROOT/autofs; fi ;;
  esac
}
"#;

struct Host {
    root: tempfile::TempDir,
    /// What else is different there.
    more: &'static str,
}

impl Host {
    fn new(files: &[&str]) -> Self {
        let host = Self { root: tempfile::tempdir().unwrap(), more: "" };
        for file in files {
            std::fs::write(host.root.path().join(file), "").unwrap();
        }
        host
    }

    /// Code, what was done, and what was said.
    fn run(&self, task: &HostTask) -> (i32, String, String) {
        let log = self.root.path().join("log");
        std::fs::write(&log, "").unwrap();
        let settings = BTreeMap::new();
        let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
        let tools = TOOLS.replace("ROOT", &self.root.path().display().to_string());
        let (code, _, stderr) = run(&format!("{tools}{}{}", self.more, cassandra().host_script(task, &context)));
        (code, std::fs::read_to_string(log).unwrap().replace('\n', " ").trim_end().to_owned(), stderr)
    }

    fn mount(&self) -> (i32, String, String) {
        self.run(&HostTask::Mount { mount_points: vec![POINT.to_owned()] })
    }

    fn unmount(&self) -> (i32, String, String) {
        self.run(&HostTask::Unmount { mount_points: vec![POINT.to_owned()] })
    }

    fn is(&self, file: &str) -> bool {
        self.root.path().join(file).exists()
    }
}

fn done(did: &str) -> (i32, String, String) {
    (0, did.to_owned(), String::new())
}

#[test]
fn an_automount_that_waits_is_no_mount_and_is_asked_for_one() {
    let host = Host::new(&["unit", "autofs"]);
    assert_eq!(host.mount(), done(""));
    assert!(host.is("xfs"));
    assert_eq!(host.mount(), done(""));
}

#[test]
fn where_systemd_does_not_mount_mount_does() {
    for files in [&["unit", "autofs", "broken"][..], &[]] {
        let host = Host::new(files);
        assert_eq!(host.mount(), done("mount"));
        assert!(host.is("xfs"));
    }
}

#[test]
fn an_automount_is_stopped_after_its_file_system_is_unmounted_and_not_before() {
    let host = Host::new(&["unit", "autofs", "xfs"]);
    assert_eq!(host.unmount(), done("umount stop"));
    assert!(!host.is("autofs"), "the next to look would mount it");
    assert_eq!(host.unmount(), done(""));
}

#[test]
fn what_waits_only_is_unmounted_already_but_must_not_stay() {
    let host = Host::new(&["unit", "autofs"]);
    assert_eq!(host.unmount(), done("stop"));
}

#[test]
fn a_file_system_in_use_keeps_its_automount() {
    let host = Host::new(&["unit", "autofs", "xfs", "busy"]);
    let (code, did, said) = host.unmount();
    assert_eq!((code, did.as_str()), (1, ""));
    assert!(said.contains(&format!("{POINT} {IS_BUSY}")), "{said}");
    assert!(host.is("xfs") && host.is("autofs"));
}

#[test]
fn an_automount_that_was_stopped_waits_again_after_the_way_back() {
    let host = Host::new(&["unit"]);
    assert_eq!(host.mount(), done("start"));
    assert!(host.is("autofs") && host.is("xfs"));
}

#[test]
fn a_mount_without_an_automount_is_mounted_and_unmounted_as_ever() {
    let host = Host::new(&["xfs"]);
    assert_eq!(host.unmount(), done("umount"));
    assert_eq!(host.unmount(), done(""));
    assert_eq!(host.mount(), done("mount"));
}

#[test]
fn where_nobody_can_tell_nothing_is_called_unmounted() {
    let mut host = Host::new(&["xfs"]);
    host.more = "command() { [ \"$2\" != findmnt ]; }\n";
    let (code, did, said) = host.unmount();
    assert_eq!((code, did.as_str()), (1, ""));
    assert!(said.contains("findmnt is not in PATH"), "{said}");
}
