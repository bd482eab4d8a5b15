//! The Cassandra profile against what a real Cassandra 5.0.9 wrote and printed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use common::{HOST_ID, cassandra, fixture, run};
use rehome_model::task::{HostAnswer, HostTask};
use rehome_profiles::ScriptContext;
use rehome_profiles::cassandra::{IdentityError, identity};

const TOKENS: &str = "-9011212673304524488,-8916600247986494926,-6157841438141011610,-4949588584730912443,\
-4939305456090907378,-4472836648704705585,-4447172164412882562,-3268109062090465086,-2350134002969960157,\
341623464317144718,1702081326490081746,3772222194110001717,5411817973248913164,5412758846498109545,\
5881850445501613061,6449435441948258734";

/// The files of an archive, by path.
fn files(archive: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = fixture(archive);
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
    let entries = tar.entries().unwrap().map(Result::unwrap).filter(|entry| entry.header().entry_type().is_file());
    entries
        .map(|mut entry| {
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (path, bytes)
        })
        .collect()
}

#[test]
fn the_disk_and_the_live_node_tell_the_same_identity() {
    let on_disk = cassandra().disk_identity(&fixture("drained.tar.gz")).unwrap();
    let view = cassandra().read_pod_view(&String::from_utf8(fixture("view.txt")).unwrap()).unwrap();
    assert_eq!(on_disk.id, HOST_ID);
    assert_eq!(on_disk.attributes["tokens"], TOKENS);
    assert_eq!(on_disk.attributes["partitioner"], "Murmur3Partitioner");
    assert_eq!(view.identity.differences(&on_disk), Vec::<String>::new());
    assert_eq!(view.identity.version.as_deref(), Some("5.0.9"));
    assert_eq!(on_disk.version.as_deref(), Some("5.0.9"));
}

#[test]
fn a_member_that_moved_keeps_its_identity_at_another_address() {
    let before = identity(&files("drained.tar.gz")).unwrap();
    let after = identity(&files("moved.tar.gz")).unwrap();
    assert_eq!(before.broadcast_address.as_deref(), Some("10.78.1.10"));
    assert_eq!(after.broadcast_address.as_deref(), Some("10.78.2.10"));
    assert_eq!((before.host_id, before.tokens), (after.host_id, after.tokens));
    let peers: Vec<&str> = after.peers.iter().map(|peer| peer.address.as_str()).collect();
    assert_eq!(peers, ["10.78.1.11", "10.78.1.12"]);
}

#[test]
fn of_several_sstables_the_newest_cell_wins() {
    let mut both = files("drained.tar.gz");
    both.extend(files("moved.tar.gz"));
    let locals = both.keys().filter(|path| path.contains("local-") && path.ends_with("-Data.db")).count();
    assert_eq!(locals, 2, "the two archives have different generations");
    let merged = identity(&both).unwrap();
    assert_eq!(merged.broadcast_address.as_deref(), Some("10.78.2.10"));
    assert_eq!(merged.tokens.len(), 16);
}

/// A value of a case's `expected.json`, as text.
fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn the_disk_says_what_the_live_node_said_in_every_state_of_its_files() {
    let cases = ["ring", "drained", "moved", "peer-left", "peer-other-port", "peer-deleted", "uncompressed"];
    for case in cases {
        let expected: serde_json::Value =
            serde_json::from_slice(&fixture(&format!("cases/{case}/expected.json"))).unwrap();
        let local = &expected["local"];
        let found = identity(&files(&format!("cases/{case}/archive.tar.gz"))).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert_eq!(found.host_id, text(&local["host_id"]), "{case}");
        assert_eq!(found.broadcast_address, local["broadcast_address"].as_str().map(str::to_owned), "{case}");
        let mut tokens: Vec<i64> =
            local["tokens"].as_array().unwrap().iter().map(|t| text(t).parse().unwrap()).collect();
        tokens.sort_unstable();
        let mut on_disk = found.tokens;
        on_disk.sort_unstable();
        assert_eq!(on_disk, tokens, "{case}");
        let mut peers: Vec<(String, String)> = expected["peers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|peer| (text(&peer["peer"]), text(&peer["host_id"])))
            .collect();
        peers.sort();
        let mut saved: Vec<(String, String)> =
            found.peers.into_iter().map(|peer| (peer.address, peer.host_id.unwrap_or_default())).collect();
        saved.sort();
        assert_eq!(saved, peers, "{case}");
    }
}

#[test]
fn an_empty_directory_is_no_member() {
    assert_eq!(identity(&BTreeMap::new()), Err(IdentityError::NotCassandra));
}

#[test]
fn another_sstable_format_is_named_and_refused() {
    let renamed =
        files("drained.tar.gz").into_iter().map(|(path, bytes)| (path.replace("/nb-", "/oa-"), bytes)).collect();
    let error = identity(&renamed).unwrap_err().to_string();
    assert!(error.contains("format oa") && error.contains("sstabledump"), "{error}");
    let renamed =
        files("drained.tar.gz").into_iter().map(|(path, bytes)| (path.replace("/nb-", "/me-"), bytes)).collect();
    let error = identity(&renamed).unwrap_err().to_string();
    assert!(error.contains("format me") && error.contains("nodetool upgradesstables system local peers_v2"), "{error}");
}

#[test]
fn a_missing_component_is_named() {
    let mut files = files("drained.tar.gz");
    files.retain(|path, _| !path.ends_with("Statistics.db"));
    let error = identity(&files).unwrap_err().to_string();
    assert!(error.contains("Statistics.db is missing"), "{error}");
}

proptest::proptest! {
    #[test]
    fn damaged_files_give_errors_and_never_a_panic(file in 0_usize..100, at in 0_usize..10_000, value: u8, cut: bool) {
        let mut files = files("drained.tar.gz");
        let count = files.len();
        if let Some(bytes) = files.values_mut().nth(file % count).filter(|bytes| !bytes.is_empty()) {
            let at = at % bytes.len();
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] = value;
            }
        }
        // Any answer will do, but one must come.
        let _ = identity(&files);
    }

    #[test]
    fn random_bytes_are_no_archive(bytes: Vec<u8>) {
        proptest::prop_assert!(cassandra().disk_identity(&bytes).is_err());
    }
}

/// A data directory as it was on the node.
fn data_directory() -> (tempfile::TempDir, BTreeMap<String, String>) {
    let root = tempfile::tempdir().unwrap();
    let data: PathBuf = root.path().join("data");
    tar::Archive::new(flate2::read::GzDecoder::new(fixture("drained.tar.gz").as_slice())).unpack(&data).unwrap();
    let config = root.path().join("cassandra.yaml");
    std::fs::write(&config, format!("cluster_name: prod\ndata_file_directories:\n  - {}\n", data.display())).unwrap();
    let settings = BTreeMap::from([("configFile".to_owned(), config.display().to_string())]);
    (root, settings)
}

fn read_identity(settings: &BTreeMap<String, String>, part: u32) -> (i32, String, String) {
    let context = ScriptContext { run: None, step: None, settings, mount_paths: &[] };
    run(&cassandra().host_script(&HostTask::ReadIdentity { part }, &context))
}

#[test]
fn the_script_brings_the_identity_in_parts_that_fit_together() {
    let (_root, settings) = data_directory();
    let mut encoded = String::new();
    for part in 0.. {
        let (code, stdout, stderr) = read_identity(&settings, part);
        assert_eq!(code, 0, "{stderr}");
        let task = HostTask::ReadIdentity { part };
        let answer = cassandra().read_host_answer(&task, &stdout).unwrap();
        let HostAnswer::IdentityPart { text, total_chars } = answer else { panic!("{answer:?}") };
        assert!(!text.is_empty());
        encoded.push_str(&text);
        if encoded.len() >= total_chars {
            break;
        }
    }
    let archive = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    assert_eq!(cassandra().disk_identity(&archive).unwrap().id, HOST_ID);
}

#[test]
fn a_blank_data_directory_is_an_error_of_the_script() {
    let root = tempfile::tempdir().unwrap();
    let settings = BTreeMap::from([
        ("configFile".to_owned(), "/nonexistent".to_owned()),
        ("dataDirectory".to_owned(), root.path().display().to_string()),
    ]);
    let (code, _, stderr) = read_identity(&settings, 0);
    assert_eq!(code, 1);
    assert!(stderr.contains("no system.local"), "{stderr}");
}

/// What a script's `packed` makes of a text.
fn packed(text: &str) -> String {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
    base64::engine::general_purpose::STANDARD.encode(gzip.finish().unwrap())
}

/// A survey's output with these devices, the first of them mounted, as lsblk and udev show them.
fn survey_of(lsblk: &serde_json::Value, links: &str) -> rehome_model::host::HostReport {
    let mounts = serde_json::json!({"filesystems": [{"source": lsblk["blockdevices"][0]["name"],
        "target": "/var/lib/cassandra", "fstype": "xfs", "options": "rw", "size": 1, "avail": 1}]});
    let text = format!(
        "@@ os\nDebian\n@@ lsblk\n{}\n@@ links\n{links}\n@@ mounts\n{}\n@@ service\nId=cassandra.service\n\
         ActiveState=active\n@@ paths\n997 997 /var/lib/cassandra\n",
        packed(&lsblk.to_string()),
        packed(&mounts.to_string())
    );
    match cassandra().read_host_answer(&HostTask::Survey, &text).unwrap() {
        HostAnswer::Report(report) => *report,
        other => panic!("{other:?}"),
    }
}

fn survey_of_device(lsblk_type: &str, link: &str) -> rehome_model::host::HostReport {
    let device =
        serde_json::json!({"name": "/dev/loop7", "type": lsblk_type, "size": 4_294_967_296_u64, "fstype": "xfs"});
    survey_of(&serde_json::json!({"blockdevices": [device]}), &format!("{link} /dev/loop7"))
}

#[test]
fn nvme_devices_say_their_volume_and_an_instance_store_is_none() {
    let lsblk = serde_json::json!({"blockdevices": [
        {"name": "/dev/nvme1n1", "pkname": null, "type": "disk", "size": 107_374_182_400_u64, "fstype": "xfs",
         "label": "cassandra", "uuid": "0b5a0c3c-0000-4000-8000-0000000000aa", "pttype": null,
         "serial": "vol0123456789abcdef0", "model": "Amazon Elastic Block Store"},
        {"name": "/dev/nvme0n1", "pkname": null, "type": "disk", "size": 8_589_934_592_u64, "fstype": null, "label": null,
         "uuid": null, "pttype": "gpt", "serial": "vol00000000000000001", "model": "Amazon Elastic Block Store",
         "children": [{"name": "/dev/nvme0n1p1", "pkname": "/dev/nvme0n1", "type": "part", "size": 8_588_886_016_u64,
                       "fstype": "xfs", "label": "/", "uuid": "1", "pttype": "gpt", "serial": null, "model": null}]},
        {"name": "/dev/nvme2n1", "pkname": null, "type": "disk", "size": 75_000_000_000_u64, "fstype": null, "label": null,
         "uuid": null, "pttype": null, "serial": "AWS00000000000000001", "model": "Amazon EC2 NVMe Instance Storage"}]});
    let seen = survey_of(&lsblk, "");
    let of = |path: &str| seen.block_devices.iter().find(|device| device.path == path).unwrap();
    assert_eq!(of("/dev/nvme1n1").volume.as_ref().unwrap().as_str(), "vol-0123456789abcdef0");
    assert!(!of("/dev/nvme1n1").partitioned && of("/dev/nvme0n1").partitioned);
    assert_eq!(of("/dev/nvme0n1p1").volume, None);
    assert!(of("/dev/nvme2n1").instance_store && of("/dev/nvme2n1").volume.is_none());
    assert_eq!(seen.service.unit, "cassandra.service");
}

#[test]
fn a_bind_mount_is_told_from_a_mount_of_the_whole() {
    let whole = survey_of(&serde_json::json!({"blockdevices": [{"name": "/dev/nvme1n1", "type": "disk"}]}), "");
    assert_eq!((whole.mounts[0].source.as_str(), whole.mounts[0].part.as_deref()), ("/dev/nvme1n1", None));
    let part = survey_of(&serde_json::json!({"blockdevices": [{"name": "/dev/nvme1n1[/cassandra]"}]}), "");
    assert_eq!((part.mounts[0].source.as_str(), part.mounts[0].part.as_deref()), ("/dev/nvme1n1", Some("/cassandra")));
}

#[test]
fn whatever_is_mounted_below_a_mount_point_is_told() {
    let settings = BTreeMap::new();
    let points = vec!["/var/lib/cassandra/".to_owned()];
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &points };
    let script = cassandra().host_script(&HostTask::Survey, &context);
    let fakes = r#"
lsblk() { echo '{}'; }
findmnt() {
  case "$*" in *-J*) echo '{"filesystems":[{"source":"/dev/nvme1n1","target":"/var/lib/cassandra","fstype":"xfs"}]}'; return ;; esac
  printf '%s\n' '/ xfs /dev/nvme0n1p1' '/var/lib/cassandra xfs /dev/nvme1n1' '/var/lib/cassandra/hints tmpfs tmpfs' \
    '/var/lib/cassandra2 tmpfs tmpfs' '/var/lib/cassandra/backup nfs4 fs-0:/'
}
systemctl() { :; }
"#;
    let (code, stdout, stderr) = run(&format!("{fakes}{script}"));
    assert_eq!(code, 0, "{stderr}");
    let answer = cassandra().read_host_answer(&HostTask::Survey, &stdout).unwrap();
    let HostAnswer::Report(report) = answer else { panic!("{answer:?}") };
    let told: Vec<(&str, &str)> = report.mounts.iter().map(|m| (m.target.as_str(), m.fs_type.as_str())).collect();
    let below = [("/var/lib/cassandra/hints", "tmpfs"), ("/var/lib/cassandra/backup", "nfs4")];
    assert_eq!(told, [[("/var/lib/cassandra", "xfs")].as_slice(), below.as_slice()].concat());
}

/// The script itself, here: hundreds of devices stay under what Run Command gives back.
#[test]
fn a_survey_of_hundreds_of_devices_is_not_cut() {
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let script = cassandra().host_script(&HostTask::Survey, &context);
    let device = |n: u32| {
        format!(
            "{{\"name\":\"/dev/loop{n}\",\"pkname\":null,\"type\":\"loop\",\"size\":{n},\"fstype\":\"squashfs\",\"label\":null}}"
        )
    };
    let devices: Vec<String> = (0..400).map(device).collect();
    let lsblk = format!("{{\"blockdevices\":[{}]}}", devices.join(",\n"));
    let fakes = format!("lsblk() {{ cat <<'END'\n{lsblk}\nEND\n}}\nfindmnt() {{ echo '{{\"filesystems\":[]}}'; }}\n");
    assert!(lsblk.len() > 24_000);
    let (code, stdout, stderr) = run(&format!("{fakes}systemctl() {{ :; }}\n{script}"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.len() < 24_000, "{} characters", stdout.len());
    let answer = cassandra().read_host_answer(&HostTask::Survey, &stdout).unwrap();
    let HostAnswer::Report(report) = answer else { panic!("{answer:?}") };
    assert_eq!(report.block_devices.len(), 400);
}

#[test]
fn mounts_inside_one_another_are_unmounted_from_the_inside_whatever_their_order() {
    let settings = BTreeMap::new();
    let points = vec!["/data/log".to_owned(), "/data".to_owned()];
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &points };
    for (task, wanted) in [
        (HostTask::Unmount { mount_points: points.clone() }, ["detach '/data/log'\n", "detach '/data'\n"]),
        (HostTask::Mount { mount_points: points.clone() }, ["attach '/data'\n", "attach '/data/log'\n"]),
    ] {
        let script = cassandra().host_script(&task, &context);
        let at = |words: &str| script.find(words).unwrap_or_else(|| panic!("no {words} in {script}"));
        assert!(at(wanted[0]) < at(wanted[1]), "{script}");
    }
}

#[test]
fn a_device_that_udev_links_as_an_ebs_volume_is_a_whole_one_whatever_the_kernel_calls_it() {
    let linked = survey_of_device("loop", "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0");
    assert_eq!(linked.block_devices[0].kind, "disk");
    assert_eq!(
        linked.block_devices[0].volume.as_ref().map(rehome_model::ids::VolumeId::as_str),
        Some("vol-0123456789abcdef0")
    );
    let foreign = survey_of_device("loop", "/dev/xvdf");
    assert_eq!((foreign.block_devices[0].kind.as_str(), &foreign.block_devices[0].volume), ("loop", &None));
    let partition = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0-part1";
    let part = survey_of_device("part", partition);
    assert_eq!((part.block_devices[0].kind.as_str(), &part.block_devices[0].volume), ("part", &None));
}

/// Runs a task's script on a host whose systemctl is this shell function's body, with its units in a folder of the test.
fn run_with_systemctl(task: &HostTask, units: &Path, systemctl: &str) -> (i32, String, String) {
    let settings = BTreeMap::new();
    let context = ScriptContext { run: None, step: None, settings: &settings, mount_paths: &[] };
    let script = cassandra().host_script(task, &context);
    let moved = script.replace("/etc/systemd/system", &units.display().to_string());
    assert_ne!(script, moved);
    run(&format!("systemctl() {{\n{systemctl}\n}}\n{moved}"))
}

/// A unit that is itself a file in /etc, which systemd refuses to mask; a drop-in is seen once it is there.
const UNMASKABLE: &str = r#"
case "$*" in
  mask*) return 1 ;;
  *LoadState*) echo LoadState=loaded ;;
  *DropInPaths*) echo DropInPaths=$(ls "$SYSTEMD/$UNIT.d"/* 2>/dev/null) ;;
  *ActiveState*) echo ActiveState=inactive ;;
  is-active*) return 3 ;;
esac"#;

#[test]
fn a_unit_that_cannot_be_masked_is_held_by_an_assertion_and_let_go_again() {
    let units = tempfile::tempdir().unwrap();
    let hold = units.path().join("cassandra.service.d/rehome-hold.conf");
    let (code, stdout, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), UNMASKABLE);
    assert_eq!((code, stdout.trim()), (0, r#"{"answer":"done"}"#), "{stderr}");
    assert!(std::fs::read_to_string(&hold).unwrap().contains("AssertPathExists=/nonexistent/"));
    let (code, _, stderr) = run_with_systemctl(&HostTask::StartService, units.path(), UNMASKABLE);
    assert_eq!(code, 0, "{stderr}");
    assert!(!hold.exists());
}

/// A unit that systemd masks.
const MASKABLE: &str = r#"
case "$*" in
  *LoadState*) echo LoadState=masked ;;
  *ActiveState*) echo ActiveState=inactive ;;
  is-active*) return 3 ;;
esac"#;

#[test]
fn a_masked_unit_is_held_too_for_the_day_that_somebody_unmasks_it() {
    let units = tempfile::tempdir().unwrap();
    let hold = units.path().join("cassandra.service.d/rehome-hold.conf");
    let (code, _, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), MASKABLE);
    assert_eq!(code, 0, "{stderr}");
    assert!(std::fs::read_to_string(&hold).unwrap().contains("AssertPathExists=/nonexistent/"));
    let (code, _, stderr) = run_with_systemctl(&HostTask::StartService, units.path(), MASKABLE);
    assert_eq!(code, 0, "{stderr}");
    assert!(!hold.exists());
}

/// A unit whose own ExecStop ends what its control group does not have: systemd forgets it once the unit is masked.
const STOPS_ITSELF: &str = r#"
case "$*" in
  mask*) : > "$SYSTEMD/masked" ;;
  unmask*) rm -f "$SYSTEMD/masked" ;;
  daemon-reload) [ ! -e "$SYSTEMD/masked" ] || : > "$SYSTEMD/forgotten" ;;
  *LoadState*) if [ -e "$SYSTEMD/masked" ]; then echo LoadState=masked; else echo LoadState=loaded; fi ;;
  *DropInPaths*) [ -e "$SYSTEMD/masked" ] || echo DropInPaths=$(ls "$SYSTEMD/$UNIT.d"/* 2>/dev/null) ;;
  *ActiveState*) if [ -e "$SYSTEMD/stopped" ]; then echo ActiveState=inactive; else echo ActiveState=active; fi ;;
  stop*) : > "$SYSTEMD/stopped"; [ -e "$SYSTEMD/forgotten" ] || rm "$SYSTEMD/process" ;;
esac"#;

#[test]
fn a_unit_is_stopped_as_its_own_file_says_and_held_all_the_while() {
    let units = tempfile::tempdir().unwrap();
    let hold = units.path().join("cassandra.service.d/rehome-hold.conf");
    std::fs::write(units.path().join("process"), "").unwrap();
    // What is asked to drain is held by then.
    let fakes = format!(
        "{STOPS_ITSELF}\n}}\nnodetool() {{ [ -s {0} ] && : > {1}; }}\ngrep() {{ case $1 in -lzx) [ ! -e {2} ] || echo /proc/7/cmdline ;; *) command grep \"$@\" ;; esac",
        hold.display(),
        units.path().join("drained").display(),
        units.path().join("process").display()
    );
    let (code, _, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), &fakes);
    assert_eq!(code, 0, "{stderr}");
    assert!(units.path().join("drained").exists() && !units.path().join("process").exists());
    assert!(units.path().join("masked").exists() && hold.exists());
}

#[test]
fn a_masked_unit_is_enough_where_no_drop_in_can_be_written() {
    let units = tempfile::tempdir().unwrap();
    // A file where the folder should be, as if the root volume were full.
    std::fs::write(units.path().join("cassandra.service.d"), "").unwrap();
    let (code, _, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), MASKABLE);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), UNMASKABLE);
    assert!(code == 1 && stderr.contains("rehome-hold.conf cannot be written"), "{stderr}");
}

/// Runs a task's script for a run, on a host whose folders are the test's.
fn run_for(task: &HostTask, of: &str, root: &Path) -> (i32, String, String) {
    let (settings, id) = (BTreeMap::new(), rehome_model::ids::RunId(of.to_owned()));
    let context = ScriptContext { run: Some(&id), step: None, settings: &settings, mount_paths: &[] };
    let mut script = cassandra().host_script(task, &context);
    for folder in ["/etc/systemd/system", "/var/lib/rehome", "/run/rehome"] {
        script = script.replace(folder, &format!("{}{folder}", root.display()));
    }
    std::fs::create_dir_all(root.join("etc/systemd/system")).unwrap();
    run(&format!("systemctl() {{\n{UNMASKABLE}\n}}\n{script}"))
}

#[test]
fn a_script_that_comes_after_its_run_was_taken_back_does_nothing() {
    let root = tempfile::tempdir().unwrap();
    let hold = root.path().join("etc/systemd/system/cassandra.service.d/rehome-hold.conf");
    for forward in [HostTask::StopService, HostTask::Unmount { mount_points: vec!["/nonexistent".to_owned()] }] {
        assert_eq!(run_for(&forward, "lab-1", root.path()).0, 0, "{forward:?}");
    }
    assert_eq!(run_for(&HostTask::StartService, "lab-1", root.path()).0, 0);
    for late in [HostTask::StopService, HostTask::Unmount { mount_points: Vec::new() }, HostTask::Flush] {
        let (code, stdout, stderr) = run_for(&late, "lab-1", root.path());
        assert_eq!((code, stdout.as_str()), (1, ""), "{late:?}");
        assert!(stderr.contains("run lab-1 was taken back here"), "{stderr}");
    }
    assert!(!hold.exists());
    // Another run of the same migration goes forward, and this one can be taken back once more.
    assert_eq!(run_for(&HostTask::StopService, "lab-2", root.path()).0, 0);
    assert_eq!(run_for(&HostTask::StartService, "lab-1", root.path()).0, 0);
}

#[test]
fn where_the_root_volume_is_full_the_word_lasts_until_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    // A file where the folder should be: it cannot be made.
    std::fs::create_dir_all(root.path().join("var/lib")).unwrap();
    std::fs::write(root.path().join("var/lib/rehome"), "").unwrap();
    assert_eq!(run_for(&HostTask::StartService, "lab-1", root.path()).0, 0);
    let (code, _, stderr) = run_for(&HostTask::StopService, "lab-1", root.path());
    assert!(code == 1 && stderr.contains("taken back"), "{stderr}");
}

#[test]
fn a_service_that_nothing_holds_is_not_called_stopped() {
    let units = tempfile::tempdir().unwrap();
    let blind = "case \"$*\" in *LoadState*) echo LoadState=loaded ;; mask*) return 1 ;; esac";
    let (code, stdout, stderr) = run_with_systemctl(&HostTask::StopService, units.path(), blind);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("neither masked nor held"), "{stderr}");
}

#[test]
fn no_name_ends_the_comment_that_a_script_begins_with() {
    let (settings, step) = (BTreeMap::new(), "flush:db\ntouch /tmp/owned\r".into());
    let context = ScriptContext { run: None, step: Some(&step), settings: &settings, mount_paths: &[] };
    let script = cassandra().host_script(&HostTask::Flush, &context);
    assert!(script.starts_with("# rehome flush run survey step flush:db?touch /tmp/owned?\nUNIT="), "{script}");
}

#[test]
fn scripts_say_which_run_and_step_they_belong_to_and_quote_settings() {
    let settings = BTreeMap::from([("unit".to_owned(), "it's.service".to_owned())]);
    let (step, run) = ("stop-service:cassandra-0".into(), "run-1".into());
    let context = ScriptContext { run: Some(&run), step: Some(&step), settings: &settings, mount_paths: &[] };
    let script = cassandra().host_script(&HostTask::StopService, &context);
    assert!(script.starts_with("# rehome stop-service run run-1 step stop-service:cassandra-0\n"), "{script}");
    assert!(script.contains(r"UNIT='it'\''s.service'"));
    assert!(script.find("\nhold\n").unwrap() < script.find("systemctl stop").unwrap());
}
