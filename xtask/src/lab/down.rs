//! Takes the lab away: only what it started, known by recorded pid, name or place.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::command::{output, succeeds};
use super::layout::{PREFIX, SOCKETS, STATE, nodes, state};
use super::nodes::socket;
use super::{cgroups, cloud, process};
use crate::cache;

/// Removes every trace.
pub fn down() -> Result<()> {
    let names = process::names();
    let of = |end: &str| names.iter().filter(|name| name.ends_with(end)).cloned().collect::<Vec<_>>();
    for name in of("-kubelet") {
        process::kill(&name);
    }
    let mut sandboxes = Vec::new();
    for node in nodes() {
        sandboxes.extend(end_containers(&socket(&node)));
    }
    for name in of("-containerd") {
        process::stop(&name);
    }
    process::stop(cloud::EMULATOR);
    end_guests();
    // Their state is thrown away: nothing is gained by waiting for them.
    for name in process::names() {
        process::kill(&name);
    }
    // While the pool is mounted: afterwards a loop device no longer tells whose file it has.
    release_loops();
    unmount_all();
    for namespace in sandboxes {
        succeeds(Command::new("ip").args(["netns", "del", &namespace]));
    }
    for namespace in namespaces() {
        succeeds(Command::new("ip").args(["netns", "del", &namespace]));
    }
    cgroups::remove(&format!("{PREFIX}-"));
    for node in nodes() {
        let results = format!("/var/lib/cni/results/{PREFIX}-{}", node.name);
        for entry in glob(&results) {
            let _ = fs::remove_file(entry);
        }
    }
    for place in [SOCKETS, STATE] {
        if Path::new(place).exists() {
            fs::remove_dir_all(place)?;
        }
    }
    Ok(())
}

/// Files whose path begins so.
fn glob(prefix: &str) -> Vec<std::path::PathBuf> {
    let path = Path::new(prefix);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = path.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name)).map(|entry| entry.path()).collect()
}

/// Ends all containers of a containerd. Answers the network namespaces of their sandboxes: ending those behind the
/// kubelet's back runs no CNI DEL.
fn end_containers(socket: &str) -> Vec<String> {
    if !Path::new(socket).exists() {
        return Vec::new();
    }
    let ctr = |arguments: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["20", "ctr", "--address", socket, "--namespace", "k8s.io"]).args(arguments);
        command
    };
    let list = |what: &str| output(&mut ctr(&[what, "ls", "-q"])).unwrap_or_default();
    let mut namespaces = Vec::new();
    for container in list("container").lines() {
        let info = output(&mut ctr(&["container", "info", container])).unwrap_or_default();
        let names = info.split("netns/").skip(1).filter_map(|rest| rest.split('"').next());
        namespaces.extend(names.filter(|name| name.starts_with("cni-")).map(str::to_owned));
    }
    for task in list("task").lines() {
        succeeds(&mut ctr(&["task", "kill", "--signal", "KILL", task]));
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    for task in list("task").lines() {
        succeeds(&mut ctr(&["task", "delete", "--force", task]));
    }
    for container in list("container").lines() {
        succeeds(&mut ctr(&["container", "rm", container]));
    }
    namespaces.sort();
    namespaces.dedup();
    namespaces
}

/// Removes all guests, through the guest program: it knows what it started.
fn end_guests() {
    let Ok(checkout) = cache::checkout() else { return };
    for entry in fs::read_dir(state("guests")).into_iter().flatten().flatten() {
        let id = entry.file_name();
        let mut guest = Command::new(checkout.join("lab/guest/guest"));
        guest.arg("remove").arg(id).env("LAB_GUESTS", state("guests"));
        guest.env("LAB_PREFIX", PREFIX).env("LAB_NETNS", super::layout::CENTER).env("LAB_CIDR_BITS", "16");
        guest.env("LAB_ROOTFS", fs::read_to_string(state("rootfs")).unwrap_or_default().trim());
        if let Err(error) = output(&mut guest) {
            eprintln!("{error:#}");
        }
    }
}

/// Mounts below the lab's places, the deepest first.
fn unmount_all() {
    let table = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let ours = |path: &&str| [STATE, SOCKETS].iter().any(|place| path.starts_with(&format!("{place}/")));
    let mut points: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(1)).filter(ours).collect();
    points.sort_unstable();
    for point in points.iter().rev() {
        succeeds(Command::new("umount").args(["--lazy", point]));
    }
}

/// Loop devices of files in the lab's state, with their links.
fn release_loops() {
    let listed = output(Command::new("losetup").args(["-n", "-O", "NAME,BACK-FILE"])).unwrap_or_default();
    for line in listed.lines() {
        let Some((device, file)) = line.trim().split_once(' ') else { continue };
        if !file.trim().starts_with(STATE) {
            continue;
        }
        for link in glob("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol") {
            if fs::read_link(&link).is_ok_and(|to| to == Path::new(device)) {
                let _ = fs::remove_file(link);
            }
        }
        succeeds(Command::new("losetup").args(["-d", device]));
    }
}

fn namespaces() -> Vec<String> {
    let listed = output(Command::new("ip").args(["netns", "list"])).unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| name.starts_with(&format!("{PREFIX}-"))).map(str::to_owned).collect()
}

/// What of a lab is still on this machine.
pub fn traces() -> Result<Vec<String>> {
    let mut left: Vec<String> = namespaces().into_iter().map(|name| format!("network namespace {name}")).collect();
    left.extend([STATE, SOCKETS].into_iter().filter(|place| Path::new(place).exists()).map(str::to_owned));
    left.extend(cgroups::names(&format!("{PREFIX}-")));
    let table = fs::read_to_string("/proc/mounts")?;
    left.extend(table.lines().filter(|line| line.contains(STATE) || line.contains(SOCKETS)).map(str::to_owned));
    let loops = output(Command::new("losetup").args(["-n", "-O", "NAME,BACK-FILE"]))?;
    left.extend(loops.lines().filter(|line| line.contains(STATE)).map(str::to_owned));
    Ok(left)
}
