//! What the survey reads of a host's devices and mounts, and in which order these are unmounted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;

use base64::Engine as _;
use common::{cassandra, run};
use rehome_model::task::{HostAnswer, HostTask};
use rehome_profiles::ScriptContext;

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
