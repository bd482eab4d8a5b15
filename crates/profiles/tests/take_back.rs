//! The script that takes a volume back from a pod, with the tools of a host stood in for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rehome_model::host::{DataPath, FstabEntry, HostReport};
use rehome_model::on_host::Owner;
use rehome_model::task::{HostAnswer, HostTask, ReturnedVolume};
use rehome_profiles::{Profile, ScriptContext, find};

fn cassandra() -> &'static dyn Profile {
    find("cassandra").expect("the profile is built in")
}

/// A mount, of which an automount is a part, as `findmnt -o FSTYPE` and `-o FSTYPE,SOURCE` print it.
const MOUNTED: &str = r#"case "$*" in
  *SOURCE*) echo 'autofs systemd-1'; echo 'xfs    /dev/null[/subvolume]' ;;
  *) echo autofs; echo xfs ;;
esac"#;

/// Where it is run, a line for each of its files.
const CHOWN: &str = r#"owner=$2; shift 2
for file; do case $file in /*) ;; *) file=$(pwd -P)/${file#./} ;; esac; printf '%s %s\n' "$owner" "$file" >> "$LOG"; done"#;

/// A host with one mount point and tools that say what a test wants them to.
struct Host {
    root: tempfile::TempDir,
    point: PathBuf,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let point = root.path().canonicalize().unwrap().join("var/lib/it's data");
        for folder in ["data/system", "commitlog", "lost+found"] {
            std::fs::create_dir_all(point.join(folder)).unwrap();
        }
        for file in ["data/system/nb-1-big-Data.db", "commitlog/CommitLog-7-1.log", "lost+found/#12"] {
            std::fs::write(point.join(file), file).unwrap();
        }
        std::fs::create_dir(root.path().join("bin")).unwrap();
        let host = Self { root, point };
        host.tool("chown", CHOWN);
        host.tool("mount", "exit 32");
        host.tool("findmnt", MOUNTED);
        host.tool("systemctl", "exit 1");
        host.tool("lsblk", "echo vol0123456789abcdef0");
        host
    }

    fn tool(&self, name: &str, body: &str) {
        let path = self.root.path().join("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn set_mode(&self, mode: u32) {
        std::fs::set_permissions(&self.point, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(&self) -> u32 {
        std::fs::metadata(&self.point).unwrap().permissions().mode() & 0o7777
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("log")
    }

    /// What was chowned, and how.
    fn chowned(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.replace(&self.point.display().to_string(), "POINT")
    }

    fn take_back(&self, files: Owner, top: Owner) -> (i32, String, String) {
        self.take_back_attached_at(None, files, top)
    }

    fn take_back_attached_at(&self, device: Option<&str>, files: Owner, top: Owner) -> (i32, String, String) {
        let (mount_point, device) = (self.point.display().to_string(), device.map(str::to_owned));
        let volumes = vec![ReturnedVolume { mount_point, volume: "vol-0123456789abcdef0".into(), device, top, files }];
        let task = HostTask::TakeBack { volumes };
        let settings = BTreeMap::new();
        let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
        let script = cassandra().host_script(&task, &context);
        let script = format!("export POINT=\"{}\"\n{script}", self.point.display());
        let (code, stdout, stderr) = run(&script, &self.root.path().join("bin"), &self.log());
        if code == 0 {
            assert_eq!(cassandra().read_host_answer(&task, &stdout).unwrap(), HostAnswer::Done);
        }
        (code, stdout, stderr)
    }
}

/// Runs a script as a host does: on standard input of a shell.
fn run(script: &str, tools: &Path, log: &Path) -> (i32, String, String) {
    use std::io::Write;
    // Where the root volume is full, it is a file.
    let own = tools.with_file_name("run-rehome");
    let script = script.replace("\nOWN=/run/rehome\n", &format!("\nOWN='{}'\n", own.display()));
    let script = script.replace("/var/lib/rehome", &tools.with_file_name("words").display().to_string());
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.arg("-s").env("PATH", path).env("LOG", log);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// As the scripts pack a tool's JSON.
fn packed(text: &str) -> String {
    use base64::Engine as _;
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap())
}

const OWN: Owner = Owner { uid: 54_997, gid: 54_998 };
const TOP: Owner = Owner { uid: 54_001, gid: 54_002 };

#[test]
fn every_file_below_is_given_back_and_the_mount_point_to_its_own_owner() {
    let host = Host::new();
    let (code, stdout, stderr) = host.take_back(OWN, TOP);
    assert_eq!((code, stdout.trim()), (0, r#"{"answer":"done"}"#), "{stderr}");
    let chowned = host.chowned();
    for path in ["POINT/data", "POINT/data/system/nb-1-big-Data.db", "POINT/commitlog/CommitLog-7-1.log"] {
        assert!(chowned.contains(&format!("54997:54998 {path}\n")), "{path} is not in {chowned}");
    }
    assert!(!chowned.contains("lost+found"), "that is the file system's own: {chowned}");
    assert!(chowned.starts_with("0:0 POINT\n") && chowned.ends_with("54001:54002 POINT\n"), "{chowned}");
}

#[test]
fn what_is_the_hosts_already_is_left_alone() {
    let host = Host::new();
    let seen = std::fs::metadata(&host.point).unwrap();
    let own = Owner { uid: seen.uid(), gid: seen.gid() };
    let (code, _, stderr) = host.take_back(own, own);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(host.chowned(), format!("0:0 POINT\n{}:{} POINT\n", own.uid, own.gid));
}

#[test]
fn a_mount_of_another_volume_is_refused_and_nothing_of_it_is_changed() {
    let host = Host::new();
    host.tool("lsblk", "echo vol0fffffffffffffff0");
    let (code, stdout, stderr) = host.take_back(OWN, TOP);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("is mounted from /dev/null, which is not vol-0123456789abcdef0"), "{stderr}");
    assert_eq!(host.chowned(), "");
    // A device that says nothing of itself is no proof either.
    host.tool("lsblk", "exit 1");
    assert_eq!(host.take_back(OWN, TOP).0, 1);
    assert_eq!(host.chowned(), "");
}

/// Xen's block devices have neither a serial number nor udev's link, and the letters of the name that EC2 was told.
#[test]
fn on_a_xen_instance_the_device_that_ec2_was_told_is_the_volume() {
    let host = Host::new();
    host.tool("lsblk", "echo");
    let mounted = |from: &str| host.tool("findmnt", &MOUNTED.replace("/dev/null[/subvolume]", from));
    for (source, told, code) in [
        ("/dev/xvdf", Some("/dev/sdf"), 0),
        ("/dev/xvdf", Some("xvdf"), 0),
        ("/dev/xvdba", Some("/dev/xvdba"), 0),
        ("/dev/xvdf", Some("/dev/sdg"), 1),
        ("/dev/xvdf1", Some("/dev/sdf"), 1),
        ("/dev/xvdf", None, 1),
        ("/dev/nvme1n1", Some("/dev/sdf"), 1),
        ("/dev/mapper/data", Some("/dev/mapper/data"), 1),
    ] {
        mounted(source);
        let (found, _, stderr) = host.take_back_attached_at(told, OWN, TOP);
        assert_eq!(found, code, "{source} {told:?}: {stderr}");
    }
    // A device that tells another volume is that one, whatever its name.
    host.tool("lsblk", "echo vol0fffffffffffffff0");
    mounted("/dev/xvdf");
    assert_eq!(host.take_back_attached_at(Some("/dev/sdf"), OWN, TOP).0, 1);
}

#[test]
fn what_fstab_does_not_mount_is_an_error() {
    let host = Host::new();
    host.tool("findmnt", "exit 1");
    let (code, _, stderr) = host.take_back(OWN, TOP);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot be mounted as fstab says"), "{stderr}");
    assert_eq!(host.chowned(), "");
    host.tool("mount", r#"printf 'mount %s\n' "$*" >> "$LOG""#);
    host.tool("findmnt", &format!("[ -e \"$LOG\" ] || exit 1\n{MOUNTED}"));
    let (code, _, stderr) = host.take_back(OWN, TOP);
    assert_eq!(code, 0, "{stderr}");
    assert!(host.chowned().starts_with("mount POINT\n0:0 POINT\n"), "{}", host.chowned());
}

#[test]
fn files_that_cannot_be_given_back_are_an_error() {
    let host = Host::new();
    host.tool("chown", "[ \"$2\" = 0:0 ]");
    let (code, stdout, stderr) = host.take_back(OWN, TOP);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("cannot be given to 54997:54998"), "{stderr}");
    host.tool("chown", "exit 1");
    assert!(host.take_back(OWN, TOP).2.contains("cannot be given to root"));
}

#[test]
fn nobody_is_let_in_while_files_are_given_back_and_the_mount_point_has_its_mode_again() {
    let host = Host::new();
    host.set_mode(0o2775);
    host.tool(
        "chown",
        r#"stat -c '%a %n' "$POINT" >> "$LOG"; case $(pwd) in /*/data/system) echo in data/system ;; esac >> "$LOG""#,
    );
    assert_eq!(host.take_back(OWN, TOP).0, 0);
    let during: Vec<String> = host.chowned().lines().map(str::to_owned).collect();
    assert_eq!(
        during.first().map(String::as_str),
        Some("2775 POINT"),
        "its owner could open what is shut before: {during:?}"
    );
    assert!(
        during.len() > 3 && during[1..].iter().all(|line| line == "700 POINT" || line == "in data/system"),
        "{during:?}"
    );
    assert!(during.contains(&"in data/system".to_owned()), "each directory is changed from within: {during:?}");
    assert_eq!(host.mode(), 0o2775);
}

#[test]
fn a_script_that_was_killed_is_finished_by_the_next_with_the_mode_of_before() {
    for root_volume_is_full in [false, true] {
        let host = Host::new();
        host.set_mode(0o2750);
        if root_volume_is_full {
            std::fs::write(host.root.path().join("words"), "").unwrap();
        }
        // The shell is the parent of the first and the last, and `find` that of those between.
        for (owner, mode) in [("0:0", 0o2750), ("54997:54998", 0o700), ("54001:54002", 0o700)] {
            host.tool("chown", &format!("[ \"$2\" != {owner} ] || kill -9 $PPID"));
            assert_ne!(host.take_back(OWN, TOP).0, 0, "{owner}");
            assert_eq!(host.mode(), mode, "{owner}");
        }
        host.tool("chown", CHOWN);
        let (code, _, stderr) = host.take_back(OWN, TOP);
        assert_eq!((code, host.mode()), (0, 0o2750), "{stderr}");
    }
}

#[test]
fn a_mount_point_that_was_shut_and_whose_mode_nobody_knows_any_more_is_opened() {
    // A word in /run is gone after a restart. Of a service of root's own it may have been so before.
    for (files, mode) in [(OWN, 0o755), (Owner { uid: 0, gid: 0 }, 0o700)] {
        let host = Host::new();
        host.set_mode(0o700);
        host.tool("stat", r#"case $2 in %u:%g:%a) echo 0:0:700 ;; *) PATH=/usr/bin:/bin exec stat "$@" ;; esac"#);
        assert_eq!(host.take_back(files, TOP).0, 0);
        assert_eq!(host.mode(), mode, "{files:?}");
    }
}

#[test]
fn the_survey_tells_fstab_and_whose_the_files_are() {
    let mounts = r#"{"filesystems":[{"source":"/dev/nvme1n1","target":"/var/lib/cassandra","fstype":"xfs"}]}"#;
    let text = format!(
        "@@ os\nDebian\n@@ lsblk\n{}\n@@ links\n@@ mounts\n{}\n@@ fstab\nUUID=\"0a-1b\" /var/lib/cassandra/ defaults\nLABEL=root / defaults\n\
         @@ service\nActiveState=active\n@@ modes\n2775 /var/lib/cassandra\n@@ paths\n0 0 /var/lib/cassandra\n997 998 /var/lib/cassandra/data\n",
        packed(r#"{"blockdevices":[]}"#),
        packed(mounts)
    );
    let HostAnswer::Report(report) = cassandra().read_host_answer(&HostTask::Survey, &text).unwrap() else {
        panic!("no report")
    };
    let HostReport { fstab, data_paths, .. } = *report;
    let entry = |source: &str, target: &str| FstabEntry {
        source: source.to_owned(),
        target: target.to_owned(),
        options: "defaults".to_owned(),
    };
    assert_eq!(fstab, [entry("UUID=0a-1b", "/var/lib/cassandra"), entry("LABEL=root", "/")]);
    let path = |path: &str, uid, gid, mode| {
        let mount_point = "/var/lib/cassandra".to_owned();
        DataPath { path: path.to_owned(), mount_point, uid, gid, mode }
    };
    let wanted = [path("/var/lib/cassandra", 0, 0, Some(0o2775)), path("/var/lib/cassandra/data", 997, 998, None)];
    assert_eq!(data_paths, wanted);
}

#[test]
fn the_surveys_script_looks_below_each_mount_point() {
    let host = Host::new();
    host.tool("lsblk", "echo '{}'");
    host.tool("findmnt", "echo '{}'");
    let settings = BTreeMap::new();
    let mounts = [host.root.path().join("var/lib").display().to_string()];
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &mounts };
    let script = cassandra().host_script(&HostTask::Survey, &context);
    let (code, stdout, stderr) = run(&script, &host.root.path().join("bin"), &host.log());
    assert_eq!(code, 0, "{stderr}");
    let (modes, paths) = stdout.split_once("@@ modes").unwrap().1.split_once("@@ paths").unwrap();
    let digits = modes.trim().strip_suffix(&format!(" {}", mounts[0])).unwrap();
    assert!(u32::from_str_radix(digits, 8).is_ok(), "{modes}");
    for path in [&mounts[0], &host.point.display().to_string()] {
        assert!(paths.lines().any(|line| line.ends_with(path)), "{path} is not in {paths}");
    }
}
