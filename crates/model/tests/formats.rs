//! Every format that ever landed is read; a later one is refused by name.

use rehome_model::format::{self, FormatError};
use rehome_model::plan::{Plan, Purpose};
use rehome_model::record::{Phase, RunHeader};

/// A header as version 1 wrote it.
const HEADER_1: &str = r#"{
  "format": {"name": "rehome.run", "version": 1}, "run": "refdb-0a1b2c3d", "migration": "refdb", "plan_hash": "00",
  "generation": 1, "phase": "completed", "started_at_ms": 1, "cutover_at_ms": 2, "opened_at_ms": 3
}"#;
/// A header as version 2 writes it after a finalize.
const HEADER_2: &str = r#"{
  "format": {"name": "rehome.run", "version": 2}, "run": "refdb-0a1b2c3d", "migration": "refdb", "plan_hash": "00",
  "generation": 1, "phase": "finalized", "started_at_ms": 1, "cutover_at_ms": 2, "opened_at_ms": 3,
  "finalize": {"at_ms": 4, "keep_until_ms": 5, "release_legacy": false}
}"#;
/// A header as version 3 writes it after a rollback that kept the writes.
const HEADER_3: &str = r#"{
  "format": {"name": "rehome.run", "version": 3}, "run": "refdb-0a1b2c3d", "migration": "refdb", "plan_hash": "00",
  "generation": 1, "phase": "returned", "started_at_ms": 1, "cutover_at_ms": 2, "opened_at_ms": 3,
  "keep_writes": {"at_ms": 4, "devices": {"vol-1": "/dev/xvdf"}}
}"#;
/// A plan as version 1 wrote it, with one step.
const PLAN_1: &str = r#"{
  "format": {"name": "rehome.plan", "version": 1}, "migration": "refdb", "profile": "reference", "settings": {},
  "purpose": "apply", "strategy": "snapshot", "cutover": "stop", "account": "1", "region": "us-east-1",
  "namespace": "refdb", "members": [], "groups": [], "facts": [], "findings": [],
  "steps": [{
    "id": "protect-instance:refdb-0", "title": "t", "why": "w", "member": "refdb-0", "group": null, "after": [],
    "action": {"kind": "protect-instance", "instance": "i-1", "delete_on_termination": {"/dev/xvdf": true},
      "auto_scaling_group": null},
    "undo": {"nothing": "n"}, "deadline_s": 600
  }],
  "estimate": {"total_s": [1, 2], "downtime_s": [1, 2], "monthly_cost_cents": 3, "assumptions": []}
}"#;

/// What an older rehome noted of a host: neither fstab nor directories, nor what starts only once.
const HOST_1: &str = r#"{
  "os": "Debian", "block_devices": [], "mounts": [], "data_paths": [], "view": null, "view_error": "down",
  "service": {"unit": "cassandra.service", "active": "active", "enabled": "enabled", "restart": "always"}
}"#;

#[test]
fn a_host_of_an_older_survey_is_read_and_says_nothing_of_its_directories() {
    let host: rehome_model::host::HostReport = serde_json::from_str(HOST_1).expect("read");
    assert!(host.directories.is_empty() && host.fstab.is_empty() && host.starts_once.is_empty());
    assert_eq!(host.service.processes, None);
}

#[test]
fn what_an_older_rehome_did_not_note_of_mounts_and_returned_volumes_is_none_and_not_written() {
    let mount =
        r#"{"source":"/dev/xvdf","target":"/d","fs_type":"xfs","options":"rw","size_bytes":1,"available_bytes":1}"#;
    let returned = r#"{"mount_point":"/d","volume":"vol-1","top":{"uid":0,"gid":0},"files":{"uid":1,"gid":1}}"#;
    let read: rehome_model::host::Mount = serde_json::from_str(mount).expect("read");
    assert_eq!((read.part.as_ref(), serde_json::to_string(&read).expect("written").as_str()), (None, mount));
    let read: rehome_model::task::ReturnedVolume = serde_json::from_str(returned).expect("read");
    assert_eq!((read.device.as_ref(), serde_json::to_string(&read).expect("written").as_str()), (None, returned));
}

#[test]
fn a_header_of_the_first_format_is_read_and_says_nothing_of_a_finalize() {
    let header: RunHeader = serde_json::from_str(HEADER_1).expect("read");
    assert_eq!(header.format.check(format::RUN), Ok(()));
    assert_eq!((header.phase, header.finalize), (Phase::Completed, None));
}

#[test]
fn a_finalized_header_is_read_here_and_refused_by_a_reader_of_the_first_format() {
    let header: RunHeader = serde_json::from_str(HEADER_2).expect("read");
    assert_eq!(header.phase, Phase::Finalized);
    assert!(header.phase.is_final());
    let refused = header.format.check(("rehome.run", 1));
    assert_eq!(refused, Err(FormatError::Newer { name: "rehome.run", found: 2, newest: 1 }));
}

#[test]
fn a_header_of_a_rollback_that_kept_writes_is_read_here_and_refused_by_older_readers() {
    let header: RunHeader = serde_json::from_str(HEADER_3).expect("read");
    assert!(header.phase == Phase::Returned && header.phase.is_back() && header.phase.is_final());
    let devices = header.keep_writes.map(|choice| choice.devices).unwrap_or_default();
    assert_eq!(devices.into_values().collect::<Vec<_>>(), ["/dev/xvdf"]);
    let refused = header.format.check(("rehome.run", 2));
    assert_eq!(refused, Err(FormatError::Newer { name: "rehome.run", found: 3, newest: 2 }));
    let older: RunHeader = serde_json::from_str(HEADER_2).expect("read");
    assert_eq!(older.keep_writes, None);
}

#[test]
fn a_plan_of_the_first_format_is_read_and_keeps_its_hash() {
    let plan: Plan = serde_json::from_str(PLAN_1).expect("read");
    assert_eq!(plan.format.check(format::PLAN), Ok(()));
    assert_eq!((plan.purpose, plan.steps.len()), (Purpose::Apply, 1));
    let again: Plan = serde_json::from_slice(&serde_json::to_vec(&plan).expect("written")).expect("read");
    assert_eq!(again.hash(), plan.hash(), "a run of it goes on under this build");
}
