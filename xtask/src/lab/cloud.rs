//! The emulated account: its disks on a file system with reflinks, its machines systemd-nspawn guests.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::command::{output, run, succeeds, wait_for};
use super::layout::{CENTER, EC2, NETWORK_BITS, PREFIX, Place, REGION, state};
use super::process;
use crate::{cache, python};

/// The size of the pool, which is a sparse file.
const POOL_GIB: u64 = 60;
/// How long the emulator may take to answer.
const READY: Duration = Duration::from_secs(30);
/// The emulator's process.
pub const EMULATOR: &str = "ec2-emulator";

/// Makes the pool and starts the emulator on it.
pub fn up(rehome: &Path, rootfs: &Path, time_scale: f64) -> Result<()> {
    let pool = state("pool");
    let image = state("pool.img");
    fs::create_dir_all(&pool)?;
    fs::create_dir_all(state("guests"))?;
    fs::create_dir_all(transcripts())?;
    fs::File::create(&image)?.set_len(POOL_GIB << 30)?;
    run(&format!("mkfs.xfs -q -m reflink=1 {}", image.display()))?;
    run(&format!("mount -o loop {} {}", image.display(), pool.display()))?;
    fs::write(state("rootfs"), rootfs.display().to_string())?;
    start_emulator(rehome, time_scale)
}

/// Where the emulator notes what crosses its wire.
pub fn transcripts() -> std::path::PathBuf {
    state("transcripts")
}

/// Starts the emulator: tests end it and start it again.
pub fn start_emulator(rehome: &Path, time_scale: f64) -> Result<()> {
    let rootfs = fs::read_to_string(state("rootfs"))?;
    let guest = cache::checkout()?.join("lab/guest/guest");
    let mut emulator = Command::new(rehome);
    emulator
        .args(["emulate", "ec2", "--devices", "--time-scale", &time_scale.to_string()])
        // Ids of its own: links of volumes are named by them, and are the whole machine's.
        .args(["--seed", &std::process::id().to_string()])
        .arg("--state")
        .arg(state("pool/ec2"))
        .arg("--transcript")
        .arg(transcripts().join("lab.jsonl"))
        .arg("--guests")
        .arg(guest)
        .env("LAB_GUESTS", state("guests"))
        .env("LAB_ROOTFS", rootfs.trim())
        .env("LAB_NETNS", CENTER)
        .env("LAB_PREFIX", PREFIX)
        .env("LAB_CIDR_BITS", NETWORK_BITS.to_string());
    process::start(EMULATOR, CENTER, &emulator)?;
    wait_for("the EC2 emulator answers", READY, || {
        process::all_alive()?;
        let mut ask = Command::new("nsenter");
        ask.arg(format!("--net=/run/netns/{CENTER}"));
        Ok(succeeds(ask.args(["curl", "-s", "-o", "/dev/null", "--max-time", "2", EC2])))
    })
}

/// A command in the control plane's namespace that finds the account as any AWS client does.
pub fn client(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{CENTER}")).arg(program);
    environment(&mut command);
    command
}

/// Where AWS clients find the account.
pub fn environment(command: &mut Command) {
    command
        .env("AWS_ENDPOINT_URL", EC2)
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "lab")
        .env("AWS_SECRET_ACCESS_KEY", "lab")
        .env("AWS_EC2_METADATA_DISABLED", "true");
}

/// A Python script of the lab's, with the project's Python packages.
pub fn script(name: &str) -> Result<Command> {
    let mut command = client(python::venv()?.join("bin/python"));
    command.arg(cache::checkout()?.join("lab").join(name));
    Ok(command)
}

/// Launches an instance with disks (`DEVICE=GIB`) besides the root's, and answers its id.
pub fn launch(place: &Place, disks: &[String], tags: &[&str]) -> Result<String> {
    let mut command = script("account.py")?;
    command.args(["launch", "--name", &place.name, "--zone", &place.zone, "--address", &place.address]);
    for disk in disks {
        command.args(["--disk", disk]);
    }
    for tag in tags {
        command.args(["--tag", tag]);
    }
    Ok(output(&mut command)?.trim().to_owned())
}

/// Starts or stops instances, and waits until they are.
pub fn power(verb: &str, instances: &[String]) -> Result<()> {
    output(script("account.py")?.arg("power").arg(verb).args(instances)).map(|_| ())
}

/// Waits until SSM knows these instances.
pub fn wait_online(instances: &[String]) -> Result<()> {
    output(script("account.py")?.arg("online").args(instances)).map(|_| ())
}

/// Runs a script on instances through SSM.
pub fn run_script(instances: &[String], limit: Duration, text: &str) -> Result<String> {
    let mut command = script("account.py")?;
    command.args(["script", "--limit-s", &limit.as_secs().to_string()]).args(instances);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(input) = child.stdin.take() {
        std::io::Write::write_all(&mut { input }, text.as_bytes())?;
    }
    let done = child.wait_with_output().context("account.py script")?;
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        bail!("a script failed: {printed}{}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(printed)
}

/// Sets the account's faults, takes them away, or tells them.
pub fn faults(method: &str, text: &str) -> Result<String> {
    let mut command = client("curl");
    command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "10", "--request", method]);
    output(command.args(["--data-binary", text]).arg(format!("{EC2}/_emulator/faults")))
}
