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

/// A host with one mount point and tools that say what a test wants them to.
struct Host {
    root: tempfile::TempDir,
    point: PathBuf,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let point = root.path().join("var/lib/it's data");
        for folder in ["data/system", "commitlog", "lost+found"] {
            std::fs::create_dir_all(point.join(folder)).unwrap();
        }
        for file in ["data/system/nb-1-big-Data.db", "commitlog/CommitLog-7-1.log", "lost+found/#12"] {
            std::fs::write(point.join(file), file).unwrap();
        }
        std::fs::create_dir(root.path().join("bin")).unwrap();
        let host = Self { root, point };
        host.tool("chown", r#"printf '%s\n' "$*" >> "$LOG""#);
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
    let own = tempfile::tempdir().unwrap();
    let script = script.replace("\nOWN=/run/rehome\n", &format!("\nOWN='{}'\n", own.path().display()));
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
        assert!(chowned.contains(path), "{path} is not in {chowned}");
    }
    assert!(chowned.starts_with("-h 54997:54998 "), "links are not followed: {chowned}");
    assert!(!chowned.contains("lost+found"), "that is the file system's own: {chowned}");
    assert!(chowned.ends_with("-h 54001:54002 POINT\n"), "{chowned}");
}

#[test]
fn what_is_the_hosts_already_is_left_alone() {
    let host = Host::new();
    let seen = std::fs::metadata(&host.point).unwrap();
    let own = Owner { uid: seen.uid(), gid: seen.gid() };
    let (code, _, stderr) = host.take_back(own, own);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(host.chowned(), format!("-h {}:{} POINT\n", own.uid, own.gid));
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
    assert!(host.chowned().starts_with("mount POINT\n"), "{}", host.chowned());
}

#[test]
fn files_that_cannot_be_given_back_are_an_error() {
    let host = Host::new();
    host.tool("chown", "exit 1");
    let (code, stdout, stderr) = host.take_back(OWN, TOP);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("cannot be given to 54997:54998"), "{stderr}");
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
