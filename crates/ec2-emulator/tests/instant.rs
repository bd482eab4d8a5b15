//! A snapshot of several volumes is one instant: over the wire, on files of this host, with a machine that writes.
#![cfg(all(feature = "wire", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::server::{EC2, Server, text};
use rehome_ec2_emulator::core::{Config, Core, Timing};
use rehome_ec2_emulator::face::Emulator;
use rehome_ec2_emulator::host::{Devices, Guests, HostDisks};
use tempfile::TempDir;

/// What the machine does: 1 to A, and once that is on the disk, 1 to B; then 2, and so on.
const WRITER: &str = "n=0
while n=$((n + 1)); do
    for volume; do printf %08d $n | dd of=\"$volume\" conv=notrunc,fsync status=none; done
done";

/// Its freeze returns once every process of the machine's group has stopped, and not before.
const GUEST: &str = "group=$(cat \"${0%/*}/group\" 2>/dev/null)
runs() { awk -v group=\"$group\" '$5 == group && $3 !~ /[TZ]/ { n++ } END { exit !n }' /proc/[0-9]*/stat 2>/dev/null; }
case $1 in
freeze) kill -s STOP -- \"-$group\" && while runs; do :; done ;;
thaw) kill -s CONT -- \"-$group\" ;;
esac";

/// A guest program that is called and lets the machine run on.
const GUEST_WITHOUT_FREEZE: &str = "exit 0";

/// A machine with two volumes that it writes to, and a program that stops it.
struct Writing {
    directory: TempDir,
    server: Server,
    instance: String,
    writer: Child,
}

impl Writing {
    async fn start(guest: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let program = directory.path().join("guest");
        fs::write(&program, format!("#!/bin/sh\n{guest}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let guests = Guests::new(program);
        let disks = HostDisks::open(directory.path(), Devices::None, Some(guests.clone())).unwrap();
        let immediate = Config::immediate();
        let timing = Timing { snapshot_interval_ms: 0, ..immediate.timing.clone() };
        let ec2 = Emulator::on(Core::new(Config { timing, ..immediate }), disks, 1_767_225_600_000, Duration::ZERO);
        let server = Server::start(ec2, Some(guests)).await;
        let form = "Action=RunInstances&ImageId=ami-0123456789abcdef0&MinCount=1&MaxCount=1\
                    &BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvdf&BlockDeviceMapping.1.Ebs.VolumeSize=1\
                    &BlockDeviceMapping.2.DeviceName=%2Fdev%2Fxvdg&BlockDeviceMapping.2.Ebs.VolumeSize=1";
        let (status, made) = server.post(EC2, form).await;
        assert_eq!(status, 200, "{made}");
        // The root, then A and B.
        let volumes: Vec<&str> = made.split("<ebs>").skip(1).map(|device| text(device, "volumeId")).collect();
        let files = volumes[1..].iter().map(|id| directory.path().join(format!("volumes/{id}.img")));
        let writer = Command::new("sh").args(["-c", WRITER, "writer"]).args(files).process_group(0).spawn().unwrap();
        fs::write(directory.path().join("group"), writer.id().to_string()).unwrap();
        let instance = text(&made, "instanceId").to_owned();
        Self { directory, server, instance, writer }
    }

    /// What the snapshots of A and B hold.
    async fn capture(&self) -> (u64, u64) {
        let form = format!(
            "Action=CreateSnapshots&InstanceSpecification.InstanceId={}&InstanceSpecification.ExcludeBootVolume=true",
            self.instance
        );
        let (status, made) = self.server.post(EC2, &form).await;
        assert_eq!(status, 200, "{made}");
        let ids: Vec<&str> = made.split("<item>").filter(|item| item.contains("<snapshotId>")).collect();
        let held =
            |item: &str| number(&self.directory.path().join(format!("snapshots/{}.img", text(item, "snapshotId"))));
        (held(ids[0]), held(ids[1]))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // The whole group, stopped or not.
        let group = format!("-{}", self.writer.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.writer.wait();
    }
}

/// The number at the start of a volume; 0 if none was written yet.
fn number(path: &PathBuf) -> u64 {
    let mut digits = [0; 8];
    std::io::Read::read_exact(&mut fs::File::open(path).unwrap(), &mut digits).unwrap();
    str::from_utf8(&digits).unwrap().parse().unwrap_or(0)
}

/// Whether the volumes were written so at some instant: B has what A has, or what A had before.
fn is_one_instant((a, b): (u64, u64)) -> bool {
    a == b || a == b + 1
}

fn can_run() -> bool {
    let found = Path::new("/proc/self/stat").exists() && Command::new("awk").arg("1").arg("/dev/null").status().is_ok();
    if !found {
        eprintln!("skipped: needs /proc and awk");
    }
    found
}

#[tokio::test]
async fn no_snapshot_holds_what_was_written_to_b_without_what_was_written_to_a_before() {
    if !can_run() {
        return;
    }
    let machine = Writing::start(GUEST).await;
    let mut last = 0;
    // Captures between which nothing was written say nothing.
    let mut told = 0;
    let started = Instant::now();
    while told < 25 && started.elapsed() < Duration::from_secs(60) {
        let held = machine.capture().await;
        assert!(is_one_instant(held), "A holds {}, B {}", held.0, held.1);
        told += u32::from(held.0 > last);
        last = held.0;
    }
    assert_eq!(told, 25, "the machine was at {last}");
}

#[tokio::test]
async fn a_machine_that_goes_on_is_seen_in_its_snapshots() {
    if !can_run() {
        return;
    }
    let machine = Writing::start(GUEST_WITHOUT_FREEZE).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        if !is_one_instant(machine.capture().await) {
            return;
        }
    }
    panic!("this test would not see a freeze that fails");
}
