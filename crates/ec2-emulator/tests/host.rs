//! The emulator on files of this host, with a guest program that notes how it is called. Only what
//! shows devices needs root, and is skipped without.
#![cfg(feature = "wire")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rehome_ec2_emulator::core::{Config, Core};
use rehome_ec2_emulator::disks::{Busy, Capture, DiskSource, Disks};
use rehome_ec2_emulator::face::{Emulator, StateFile};
use rehome_ec2_emulator::host::{Devices, Guests, HostDisks, Output};
use rehome_model::ids::{InstanceId, SnapshotId, VolumeId};
use tempfile::TempDir;

/// A guest program in a directory, whose calls are in `calls`.
fn guests(directory: &Path) -> Guests {
    let program = directory.join("guest");
    let text = format!(
        "#!/bin/sh\necho \"$1 $2\" >>{}/calls\ncase $1 in exec) exec timeout \"$3\" sh ;; esac\n",
        directory.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Guests::new(program)
}

fn calls(directory: &Path) -> Vec<String> {
    fs::read_to_string(directory.join("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn disks(directory: &TempDir) -> HostDisks {
    HostDisks::open(directory.path(), Devices::None, Some(guests(directory.path()))).unwrap()
}

#[test]
fn a_capture_holds_what_the_volumes_held_while_their_machine_stood_still() {
    let directory = TempDir::new().unwrap();
    let mut disks = disks(&directory);
    let instance = InstanceId::from("i-1");
    let mut captures = Vec::new();
    for number in 0..2 {
        let volume = VolumeId(format!("vol-{number}"));
        disks.create(&volume, 1, DiskSource::Blank).unwrap();
        disks.attach(&volume, &instance, "/dev/xvdf").unwrap();
        captures.push(Capture { volume, snapshot: SnapshotId(format!("snap-{number}")) });
    }
    let file = directory.path().join("volumes/vol-1.img");
    fs::write(&file, b"before").unwrap();
    disks.capture(&captures).unwrap();
    fs::write(&file, b"after").unwrap();
    assert_eq!(calls(directory.path()), ["freeze i-1", "thaw i-1"]);
    let clone = VolumeId::from("vol-2");
    disks.create(&clone, 1, DiskSource::Snapshot(&captures[1].snapshot)).unwrap();
    let bytes = fs::read(directory.path().join("volumes/vol-2.img")).unwrap();
    assert!(bytes.starts_with(b"before\0") && bytes.len() == 1 << 30);
}

#[test]
fn a_machine_is_thawed_even_if_its_volume_cannot_be_captured() {
    let directory = TempDir::new().unwrap();
    let mut disks = disks(&directory);
    let volume = VolumeId::from("vol-1");
    disks.create(&volume, 1, DiskSource::Blank).unwrap();
    disks.attach(&volume, &InstanceId::from("i-1"), "/dev/xvdf").unwrap();
    fs::remove_file(directory.path().join("volumes/vol-1.img")).unwrap();
    let error = disks.capture(&[Capture { volume, snapshot: SnapshotId::from("snap-1") }]).unwrap_err();
    assert!(error.to_string().starts_with("capture of vol-1: cp ended with"), "{error}");
    assert_eq!(calls(directory.path()), ["freeze i-1", "thaw i-1"]);
    assert!(!directory.path().join("snapshots/snap-1.img").exists());
}

/// Runs a program that must succeed.
fn run(program: &str, arguments: &[&Path]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}

#[test]
fn a_mounted_volume_cannot_be_detached_and_an_unmounted_one_leaves_no_device() {
    let user = Command::new("id").arg("-u").output().unwrap().stdout;
    if user != b"0\n" || !Path::new("/dev/loop-control").exists() {
        eprintln!("skipped: needs root and loop devices");
        return;
    }
    let directory = TempDir::new().unwrap();
    let (links, mounted) = (directory.path().join("by-id"), directory.path().join("mounted"));
    fs::create_dir(&mounted).unwrap();
    let devices = Devices::Loop { links: links.clone() };
    let mut disks = HostDisks::open(directory.path(), devices, Some(guests(directory.path()))).unwrap();
    let (volume, instance) = (VolumeId::from("vol-0f"), InstanceId::from("i-1"));
    disks.create(&volume, 1, DiskSource::Blank).unwrap();
    // Twice, as the core may ask: one device all the same.
    for _ in 0..2 {
        disks.attach(&volume, &instance, "/dev/xvdf").unwrap();
    }
    let link = links.join("nvme-Amazon_Elastic_Block_Store_vol0f");
    let device = fs::read_link(&link).unwrap();
    run("mkfs.ext4", &[Path::new("-q"), &device]);
    run("mount", &[&device, &mounted]);
    let while_mounted = disks.detach(&volume, &instance, false);
    let still_there = link.exists();
    run("umount", &[&mounted]);
    assert_eq!((while_mounted, still_there), (Err(Busy), true));
    assert_eq!(disks.detach(&volume, &instance, false), Ok(()));
    assert!(fs::read_link(&link).is_err());
    let file = directory.path().join("volumes/vol-0f.img");
    let left = Command::new("losetup").arg("-j").arg(&file).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&left), "");
    assert_eq!(calls(directory.path()), ["attach i-1", "attach i-1", "detach i-1"]);
}

#[test]
fn two_accounts_on_one_machine_do_not_take_each_others_links() {
    let user = Command::new("id").arg("-u").output().unwrap().stdout;
    if user != b"0\n" || !Path::new("/dev/loop-control").exists() {
        eprintln!("skipped: needs root and loop devices");
        return;
    }
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let links = one.path().join("by-id");
    let open =
        |directory: &TempDir| HostDisks::open(directory.path(), Devices::Loop { links: links.clone() }, None).unwrap();
    let (mut first, mut second) = (open(&one), open(&other));
    let (volume, instance) = (VolumeId::from("vol-0f"), InstanceId::from("i-1"));
    first.create(&volume, 1, DiskSource::Blank).unwrap();
    second.create(&volume, 1, DiskSource::Blank).unwrap();
    first.attach(&volume, &instance, "/dev/xvdf").unwrap();
    let link = links.join("nvme-Amazon_Elastic_Block_Store_vol0f");
    let device = fs::read_link(&link).unwrap();
    let refused = second.attach(&volume, &instance, "/dev/xvdf").unwrap_err();
    assert!(refused.to_string().contains("another --seed"), "{refused}");
    second.delete_volume(&volume);
    assert_eq!(fs::read_link(&link).unwrap(), device, "the first one's link stays");
    assert_eq!(first.detach(&volume, &instance, false), Ok(()));
    assert!(fs::read_link(&link).is_err());
}

#[tokio::test]
async fn a_script_runs_in_the_machine_and_is_ended_at_its_limit() {
    let directory = TempDir::new().unwrap();
    let (guests, instance) = (guests(directory.path()), InstanceId::from("i-1"));
    let ended = guests.exec(&instance, "echo out; echo err >&2; exit 3", Duration::from_secs(60)).await.unwrap();
    let expected = Output::Ended { exit_code: 3, stdout: "out\n".to_owned(), stderr: "err\n".to_owned() };
    assert_eq!(ended, expected);
    let ended = guests.exec(&instance, "sleep 1000", Duration::from_secs(1)).await.unwrap();
    assert_eq!(ended, Output::TimedOut);
    let ended = guests.exec(&instance, "exit 69", Duration::from_secs(60)).await.unwrap();
    assert_eq!(ended, Output::Unreachable);
}

#[test]
fn an_account_goes_on_where_it_was_and_a_damaged_one_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("account.json");
    let file = StateFile::new(&path);
    assert!(file.load().unwrap().is_none());
    let mut core = Core::new(Config::immediate());
    core.calls.insert("CreateVolume".to_owned(), 7);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let emulator = Emulator::on(core, disks(&directory), 0, Duration::ZERO).saved_in(file.clone()).unwrap();
    emulator.with(|inner, _| inner.core.calls.insert("CreateVolume".to_owned(), 8));
    emulator.tick().unwrap();
    let again = file.load().unwrap().unwrap();
    assert_eq!(again.calls["CreateVolume"], 8);
    fs::write(&path, "{}").unwrap();
    let error = file.load().unwrap_err();
    assert!(error.to_string().contains("is no state of this version"), "{error}");
}
