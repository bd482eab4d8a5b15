//! The legacy side: three instances with a real Cassandra each, on emulated EBS volumes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cloud;
use super::command::output;
use super::layout::{members, state};
use crate::cache;

/// A volume of a member besides its root's.
struct Disk {
    device: &'static str,
    gib: u32,
    fs_type: &'static str,
    /// Where it is mounted. The second is inside the first, as many have it: the order of mounting matters.
    path: &'static str,
}
/// The volumes of a member: one for each role of `lab/cassandra/migration.yaml`.
const DISKS: [Disk; 2] = [
    Disk { device: "/dev/xvdf", gib: 4, fs_type: "xfs", path: "/var/lib/cassandra" },
    Disk { device: "/dev/xvdg", gib: 1, fs_type: "ext4", path: "/var/lib/cassandra/commitlog" },
];
/// How long a member may take to be set up.
const SETUP_LIMIT: Duration = Duration::from_secs(400);
/// What all members are found by.
const TAG: &str = "cluster=prod";

/// Launches and sets up the members, and fills the cluster with rows.
pub fn up(rows: u32) -> Result<()> {
    let mut instances = BTreeMap::new();
    let disks: Vec<String> = DISKS.iter().map(|disk| format!("{}={}", disk.device, disk.gib)).collect();
    for member in members() {
        instances.insert(member.name.clone(), cloud::launch(&member, &disks, &[TAG])?);
    }
    let described: Vec<String> =
        DISKS.iter().map(|disk| format!("{}:{}:{}", disk.device, disk.fs_type, disk.path)).collect();
    let described = described.join(" ");
    fs::write(state("members.json"), serde_json::to_string(&instances)?)?;
    let ids: Vec<String> = instances.values().cloned().collect();
    cloud::wait_online(&ids)?;
    let text = fs::read_to_string(cache::checkout()?.join("lab/cassandra/member.sh"))?;
    let addresses: Vec<String> = members().into_iter().map(|member| member.address).collect();
    // All are seeds, and wait for each other: started at the same time.
    std::thread::scope(|scope| {
        let each = members().into_iter().map(|member| {
            let (text, addresses, instances, described) = (&text, &addresses, &instances, &described);
            scope.spawn(move || {
                let rack = member.zone.chars().last().unwrap_or('a');
                // One member's unit was written by hand, and cannot be masked there.
                let units = if rack == 'b' { "/etc/systemd/system" } else { "" };
                let settings = format!(
                    "export CLUSTER=prod DC=us-east-1 RACK={rack} UNITS={units} SEEDS={} ADDRESS={} DISKS='{described}'\n",
                    addresses.join(","),
                    member.address
                );
                let id = instances.get(&member.name).context("launched above")?;
                cloud::run_script(std::slice::from_ref(id), SETUP_LIMIT, &(settings + text)).map(|_| ())
            })
        });
        let each: Vec<_> = each.collect();
        each.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a set-up panicked"))?)
    })?;
    allow_ssh(&ids)?;
    println!("== loading {rows} rows");
    output(client()?.arg("init").args(hosts(&addresses)))?;
    output(client()?.args(["load", "--rows", &rows.to_string()]).args(hosts(&addresses))).map(|_| ())
}

/// The members' instances.
pub fn instances() -> Result<Vec<String>> {
    let noted: BTreeMap<String, String> = serde_json::from_str(&fs::read_to_string(state("members.json"))?)?;
    Ok(noted.into_values().collect())
}

/// The ssh_config with which the members are reached.
pub fn ssh_config() -> PathBuf {
    state("ssh/config")
}

/// Lets the lab's own key in, as the user data of real instances would.
fn allow_ssh(instances: &[String]) -> Result<()> {
    fs::create_dir_all(state("ssh"))?;
    let key = state("ssh/key");
    output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
    let public = fs::read_to_string(key.with_extension("pub"))?;
    let settings = format!(
        "Host *\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  \
         StrictHostKeyChecking accept-new\n",
        key.display(),
        state("ssh/known_hosts").display()
    );
    fs::write(ssh_config(), settings)?;
    let script = format!(
        "install -d -m 700 /root/.ssh\nprintf '%s\\n' '{}' > /root/.ssh/authorized_keys\nchmod 600 /root/.ssh/authorized_keys\n",
        public.trim()
    );
    const LIMIT: Duration = Duration::from_secs(30);
    cloud::run_script(instances, LIMIT, &script).map(|_| ())
}

/// The CQL client.
pub fn client() -> Result<Command> {
    cloud::script("cassandra/client.py")
}

/// The client's option for addresses.
pub fn hosts(addresses: &[String]) -> [String; 2] {
    ["--hosts".to_owned(), addresses.join(",")]
}

/// Where the cache keeps what is built of Cassandra: root file system and image.
pub fn build() -> Result<PathBuf> {
    let script = cache::checkout()?.join("lab/cassandra/build.sh");
    println!("== building Cassandra's root file system and image");
    let printed = output(Command::new(script).arg(cache::directory()?.join("lab")))?;
    printed.lines().last().map(PathBuf::from).context("build.sh printed no directory")
}
