//! Hosts whose tools are of 2015 to 2018: Amazon Linux 2 has util-linux 2.30 and systemd 219.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{cassandra, run};
use rehome_model::host::HostReport;
use rehome_model::task::{HostAnswer, HostTask};
use rehome_profiles::ScriptContext;

/// What these tools refuse, in their own words, and what they print.
const TOOLS: &str = r#"
lsblk() {
  case "$*" in
    *PATH*) echo 'lsblk: unknown column: PATH' >&2; return 1 ;;
    *PTTYPE*) echo 'lsblk: unknown column: PTTYPE' >&2; return 1 ;;
  esac
  cat <<'END'
{
   "blockdevices": [
      {"name": "/dev/nvme0n1", "pkname": null, "type": "disk", "size": "8589934592", "fstype": null, "label": null,
       "uuid": null, "serial": "vol00000000000000001", "model": "Amazon Elastic Block Store",
         "children": [
            {"name": "/dev/nvme0n1p1", "pkname": "/dev/nvme0n1", "type": "part", "size": "8587820544", "fstype": "xfs",
             "label": "/", "uuid": "1", "serial": null, "model": null}
         ]
      },
      {"name": "/dev/nvme1n1", "pkname": null, "type": "disk", "size": "107374182400", "fstype": "xfs", "label": null,
       "uuid": "2", "serial": "vol0123456789abcdef0", "model": "Amazon Elastic Block Store"}
   ]
}
END
}
findmnt() {
  case "$*" in *--real*) echo "findmnt: unrecognized option '--real'" >&2; return 1 ;; esac
  case "$*" in *-J*) ;; *) echo /; return ;; esac
  case "$*" in *-t\ noautofs,*) ;; *) echo 'an automount that waits is asked for its size, which mounts it' >&2; return 1 ;; esac
  echo '{"filesystems": [{"source": "/dev/nvme1n1", "target": "/var/lib/cassandra", "fstype": "xfs", "options": "rw",
    "size": "107321753600", "avail": "53660876800"}]}'
}
systemctl() {
  case "$*" in
    *--value*) echo "systemctl: unrecognized option '--value'" >&2; return 1 ;;
    *LoadState*) echo LoadState=loaded ;;
    *DropInPaths*) echo "DropInPaths=$HOLD" ;;
    *Id*) printf 'Id=cassandra.service\nActiveState=active\nUnitFileState=enabled\nRestart=always\n' ;;
    *ActiveState*) echo ActiveState=inactive ;;
    mask*) return 1 ;;
  esac
}
"#;

fn run_there(task: &HostTask, tools: &str, units: &Path) -> (i32, String, String) {
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let script = cassandra().host_script(task, &context).replace("/etc/systemd/system", &units.display().to_string());
    run(&format!("{tools}{script}"))
}

fn survey() -> HostReport {
    survey_with(TOOLS, &[])
}

fn survey_with(tools: &str, mount_paths: &[String]) -> HostReport {
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths };
    let script = cassandra().host_script(&HostTask::Survey, &context);
    let (code, stdout, stderr) = run(&format!("{tools}{script}"));
    assert_eq!(code, 0, "{stderr}");
    match cassandra().read_host_answer(&HostTask::Survey, &stdout).unwrap() {
        HostAnswer::Report(report) => *report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn their_devices_and_mounts_are_told_like_those_of_any_other_host() {
    let seen = survey();
    let of = |path: &str| seen.block_devices.iter().find(|device| device.path == path).unwrap();
    let data = of("/dev/nvme1n1");
    assert_eq!(data.volume.as_ref().unwrap().as_str(), "vol-0123456789abcdef0");
    assert_eq!((data.size_bytes, data.kind.as_str(), data.partitioned), (107_374_182_400, "disk", false));
    // No column says that it has a table, but its partitions do.
    assert!(of("/dev/nvme0n1").partitioned);
    assert_eq!(of("/dev/nvme0n1p1").parent.as_deref(), Some("nvme0n1"));
    let [mount] = seen.mounts.as_slice() else { panic!("{:?}", seen.mounts) };
    assert_eq!((mount.size_bytes, mount.available_bytes), (107_321_753_600, 53_660_876_800));
    assert_eq!(mount.source, data.path);
    assert_eq!((seen.service.unit.as_str(), seen.service.active.as_str()), ("cassandra.service", "active"));
}

/// As xfsprogs 6.6 prints it; of what is no XFS it prints nothing but an error.
const XFS_INFO: &str = r#"
xfs_info() {
  case $1 in
    /var/lib/cassandra) ;;
    *) echo "xfs_info: $1 is not a mounted XFS filesystem" >&2; return 1 ;;
  esac
  cat <<'END'
meta-data=/dev/nvme1n1           isize=512    agcount=4, agsize=6553600 blks
         =                       sectsz=512   attr=2, projid32bit=1
         =                       crc=1        finobt=1, sparse=1, rmapbt=0
         =                       reflink=1    bigtime=1 inobtcount=1 nrext64=1
data     =                       bsize=4096   blocks=26214400, imaxpct=25
         =                       sunit=0      swidth=0 blks
naming   =version 2              bsize=4096   ascii-ci=0, ftype=1
log      =internal log           bsize=4096   blocks=16384, version=2
         =                       sectsz=512   sunit=0 blks, lazy-count=1
realtime =none                   extsz=4096   blocks=0, rtextents=0
END
}
"#;

#[test]
fn what_their_xfs_uses_is_told_of_each_volume_that_has_one() {
    let paths = ["/var/lib/cassandra".to_owned(), "/var/log/cassandra".to_owned()];
    let seen = survey_with(&format!("{TOOLS}{XFS_INFO}"), &paths);
    let [(path, used)] = seen.xfs_features.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", seen.xfs_features) };
    let expected = ["projid32bit", "crc", "finobt", "sparse", "reflink", "bigtime", "inobtcount", "nrext64", "ftype"];
    assert_eq!((path.as_str(), used.as_slice()), ("/var/lib/cassandra", expected.map(str::to_owned).as_slice()));
    // A host without the program.
    let without = format!("{TOOLS}xfs_info() {{ return 127; }}\n");
    assert_eq!(survey_with(&without, &paths).xfs_features, BTreeMap::new());
}

#[test]
fn their_unit_is_held_and_stopped() {
    let units = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = run_there(&HostTask::StopService, TOOLS, units.path());
    assert_eq!((code, stdout.trim(), stderr.as_str()), (0, r#"{"answer":"done"}"#, ""));
}

/// CentOS 7 has util-linux 2.23, which writes no JSON.
#[test]
fn what_a_tool_says_instead_of_json_is_told() {
    for tool in ["lsblk", "findmnt"] {
        let tools =
            format!("{TOOLS}{tool}() {{ echo \"{tool}: invalid option -- 'J'\" >&2; echo 'Usage:' >&2; return 1; }}\n");
        let (code, _, stderr) = run_there(&HostTask::Survey, &tools, Path::new("/nonexistent"));
        assert_eq!(code, 1);
        assert!(stderr.contains(&format!("no JSON from {tool} -J")), "{stderr}");
        assert!(stderr.trim_end().ends_with(&format!(": {tool}: invalid option -- 'J'")), "{stderr}");
    }
}

/// `pgrep -f` of old procps reads 4,095 bytes of a command line; what is used instead reads all of each.
#[test]
fn who_looks_for_processes_does_not_find_itself() {
    let context = ScriptContext { run: None, step: None, settings: &BTreeMap::new(), mount_paths: &[] };
    let script = cassandra().host_script(&HostTask::StartService, &context);
    let (_, from) = script.split_once("\nprocesses() {").unwrap();
    let function = from.split_once("\n}").unwrap().0;
    let command = format!("processes() {{{function}\n}}\nprocesses");
    let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    // Whatever runs on this machine stays longer than the search.
    let found = String::from_utf8(output.stdout).unwrap();
    let gone: Vec<&str> = found.lines().filter(|pid| !std::path::Path::new("/proc").join(pid).exists()).collect();
    assert!(gone.is_empty(), "{gone:?}");
}
