//! Bad input against real parts: each is refused with its exit code and its reason, and no call changes anything.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use super::calls::{kept, migration, plan_counted};
use super::command::{last_lines, output};
use super::control_plane::kubectl;
use super::layout::state;
use super::story::find;
use super::{cloud, inside, legacy, pki};

/// A way to be wrong.
struct Refusal {
    name: &'static str,
    /// What of the migration's text is replaced by what.
    instead: Option<(&'static str, &'static str)>,
    /// A stranger's object that is there meanwhile; `VOLUME` stands for the first member's PersistentVolume.
    stranger: Option<&'static str>,
    /// What goes wrong in the account meanwhile: a rule of the emulator's (docs/emulator.md, "Faults").
    fault: Option<&'static str>,
    exit_code: i64,
    says: &'static [&'static str],
}

const FINDINGS: i64 = 3;
const UNREACHABLE: i64 = 4;

const CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data-cassandra-0, namespace: cassandra}
spec: {accessModes: [ReadWriteOnce], storageClassName: ebs, resources: {requests: {storage: 4Gi}}}
";
const VOLUME: &str = "apiVersion: v1
kind: PersistentVolume
metadata: {name: VOLUME}
spec:
  capacity: {storage: 4Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ebs
  persistentVolumeReclaimPolicy: Retain
  csi: {driver: ebs.csi.aws.com, volumeHandle: vol-0aaaaaaaaaaaaaaaa}
";

const REFUSALS: &[Refusal] = &[
    Refusal {
        name: "no such instance",
        instead: Some(("      tags:\n        cluster: prod\n", "      instanceIds: [i-0aaaaaaaaaaaaaaaa]\n")),
        stranger: None,
        fault: None,
        exit_code: FINDINGS,
        says: &["RH0101", "i-0aaaaaaaaaaaaaaaa"],
    },
    Refusal {
        name: "nothing is mounted there",
        instead: Some(("mountPath: /var/lib/cassandra", "mountPath: /srv/elsewhere")),
        stranger: None,
        fault: None,
        exit_code: FINDINGS,
        says: &["RH0201", "/srv/elsewhere"],
    },
    Refusal {
        name: "no such set",
        instead: Some(("- name: cassandra", "- name: casandra")),
        stranger: None,
        fault: None,
        exit_code: FINDINGS,
        says: &["RH0501", "casandra"],
    },
    Refusal {
        name: "a stranger's claim has the name",
        instead: None,
        stranger: Some(CLAIM),
        fault: None,
        exit_code: FINDINGS,
        says: &["RH0401", "data-cassandra-0"],
    },
    Refusal {
        name: "a stranger's PersistentVolume has the name",
        instead: None,
        stranger: Some(VOLUME),
        fault: None,
        exit_code: FINDINGS,
        says: &["RH0402"],
    },
    trouble(
        "describes that the policy does not allow",
        "{action: DescribeVolumes, effect: deny}",
        UNREACHABLE,
        &["UnauthorizedOperation", "\"Action\": \"ec2:DescribeVolumes\"", "Nothing was changed"],
    ),
    trouble(
        "changes that the policy does not allow, found by dry runs",
        "{action: CreateVolume, effect: deny}",
        FINDINGS,
        &["RH0705", "ec2:CreateVolume"],
    ),
    trouble(
        "scripts that the policy does not allow",
        "{action: SendCommand, effect: deny}",
        FINDINGS,
        &["RH0103", "AccessDeniedException"],
    ),
    trouble("agents that are gone", "{effect: agentGone}", FINDINGS, &["RH0103", "SSM does not know it"]),
    trouble("an output that was cut", "{action: SendCommand, effect: {cutOutput: 200}}", FINDINGS, &["RH0103"]),
];

/// What goes wrong in the account.
const fn trouble(name: &'static str, fault: &'static str, exit_code: i64, says: &'static [&'static str]) -> Refusal {
    Refusal { name, instead: None, stranger: None, fault: Some(fault), exit_code, says }
}

/// Tries all of them.
pub fn all_refused() -> Result<()> {
    for refusal in REFUSALS {
        refused(refusal)?;
        println!("          refused: {}", refusal.name);
    }
    disk_nearly_full()?;
    away("a cluster that is away", "KUBECONFIG", &kubeconfig("away", "server: \"https://127.0.0.1:1\"")?)?;
    away("a user who may do nothing in the cluster", "KUBECONFIG", &pki::kubeconfig("nobody"))?;
    away("an account that is away", "AWS_ENDPOINT_URL", "http://127.0.0.1:1")
}

/// The kubeconfig of rehome, with another server.
fn kubeconfig(name: &str, server: &str) -> Result<String> {
    let text = fs::read_to_string(pki::kubeconfig("rehome"))?;
    let path = kept(&format!("{name}.kubeconfig"));
    fs::write(&path, text.replace(&format!("server: \"{}\"", super::layout::APISERVER), server))?;
    Ok(path.display().to_string())
}

fn refused(refusal: &Refusal) -> Result<()> {
    let mut text = fs::read_to_string(migration()?)?;
    if let Some((from, to)) = refusal.instead {
        if !text.contains(from) {
            bail!("{}: the migration does not say {from:?}", refusal.name);
        }
        text = text.replace(from, to);
    }
    let file = kept("refused.yaml");
    fs::write(&file, text)?;
    let plan: Value = serde_json::from_str(&fs::read_to_string(kept("plan-1.json"))?)?;
    let volume = find(&plan, "volume_name").and_then(Value::as_str).unwrap_or("VOLUME");
    if let Some(stranger) = refusal.stranger {
        fs::write(state("stranger.yaml"), stranger.replace("VOLUME", volume))?;
        // Not applied: what is there already is not the stranger's.
        output(&mut kubectl(&["create", "-f", &state("stranger.yaml").display().to_string()]))?;
    }
    let log = kept("refused.log");
    let _ = fs::remove_file(&log);
    if let Some(fault) = refusal.fault {
        cloud::faults("PUT", &format!("faults:\n- {fault}\n"))?;
    }
    // `plan`: an `apply` that is not refused would carry it out.
    let seen = plan_counted(&file, "refused.log");
    if refusal.fault.is_some() {
        cloud::faults("DELETE", "")?;
    }
    if refusal.stranger.is_some() {
        let stranger = state("stranger.yaml").display().to_string();
        output(&mut kubectl(&["delete", "-f", &stranger, "--wait=true", "--timeout=30s"]))?;
    }
    let seen = seen?;
    let said = fs::read_to_string(&log)?;
    let changes: Vec<&str> = seen["names"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        // The survey's own look at the hosts, and at the disks.
        .filter(|name| !matches!(*name, "SendCommand survey" | "SendCommand read-identity"))
        .collect();
    let missing: Vec<&&str> = refusal.says.iter().filter(|word| !said.contains(**word)).collect();
    if seen["exit_code"] != refusal.exit_code || !missing.is_empty() || !changes.is_empty() {
        bail!(
            "{}: exit code {} (wanted {}), not said: {missing:?}, changed: {changes:?}; {}",
            refusal.name,
            seen["exit_code"],
            refusal.exit_code,
            last_lines(&said, 12)
        );
    }
    Ok(())
}

/// A member whose disk is nearly full: real files on its data volume while the plan is made. It is warned of, since the
/// migration may go well.
fn disk_nearly_full() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    // Less than 5 % stay free, and more than Cassandra writes meanwhile.
    const FILL: &str = "free=$(df -B1 --output=avail /var/lib/cassandra | tail -n 1)\n\
                        fallocate -l $((free - 150000000)) /var/lib/cassandra/filler";
    let members = legacy::instances()?;
    let first = &members[..1];
    cloud::run_script(first, LIMIT, FILL)?;
    let warned = refused(&Refusal {
        name: "a disk that is nearly full",
        instead: None,
        stranger: None,
        fault: None,
        exit_code: 0,
        says: &["RH0209", "its file system is nearly full"],
    });
    cloud::run_script(first, LIMIT, "rm /var/lib/cassandra/filler")?;
    warned?;
    println!("          warned of: a disk that is nearly full");
    Ok(())
}

/// A member that will not stop: a process of its database is left, whatever systemd does. No plan is made with it; where it came
/// after the plan the run is given up before anything is captured for good, and undoes itself.
pub fn will_not_stop() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    const STRAY: &str = "systemd-run --quiet --unit=stray \
                         bash -c 'exec -a org.apache.cassandra.service.CassandraDaemon sleep 100000'";
    const FAILED: i64 = 1;
    let text = fs::read_to_string(migration()?)? + "  limits:\n    stopSeconds: 15\n";
    let file = kept("will-not-stop.yaml");
    fs::write(&file, text)?;
    let plan = kept("will-not-stop.plan.json");
    let rehome = |command: &str, options: &[&str]| -> Result<(Option<i64>, String)> {
        let done =
            inside("rehome").arg(command).arg("--file").arg(&file).args(options).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
        fs::write(kept(&format!("will-not-stop.{command}.log")), &said)?;
        Ok((done.status.code().map(i64::from), said))
    };
    let path = plan.display().to_string();
    let (planned, said) = rehome("plan", &["--out", &path])?;
    if planned != Some(0) {
        bail!("no plan: {}", last_lines(&said, 12));
    }
    let members = legacy::instances()?;
    cloud::run_script(&members[..1], LIMIT, STRAY)?;
    let told = rehome("check", &[]).and_then(|checked| Ok((checked, rehome("apply", &["--plan", &path, "--yes"])?)));
    cloud::run_script(&members[..1], LIMIT, "systemctl stop stray")?;
    let (checked, applied) = told?;
    for ((code, said), wanted, says) in
        [(checked, FINDINGS, "RH0118"), (applied, FAILED, "a Cassandra process is left")]
    {
        if code != Some(wanted) || !said.contains(says) {
            bail!("{code:?} (wanted {wanted}, {says:?}); {}", last_lines(&said, 12));
        }
    }
    Ok(())
}

/// A cluster that has moved gets no advice for one that has not.
pub fn moved() -> Result<()> {
    const USAGE: i32 = 2;
    for verb in ["check", "plan"] {
        let done = inside("rehome").arg(verb).arg("--file").arg(migration()?).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.code() != Some(USAGE) || !said.contains("`rehome verify`") || !done.stdout.is_empty() {
            bail!("{verb}: {}; {said}", done.status);
        }
    }
    Ok(())
}

/// Cloud or cluster cannot be asked at all.
fn away(name: &str, variable: &str, value: &str) -> Result<()> {
    let mut command: Command = inside("rehome");
    command.arg("plan").arg("--file").arg(migration()?).env(variable, value).stdin(Stdio::null());
    let done = command.output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    let wanted = i32::try_from(UNREACHABLE)?;
    if done.status.code() != Some(wanted) || !said.contains("Nothing was changed") {
        bail!("{name}: {}; {}", done.status, last_lines(&said, 8));
    }
    println!("          refused: {name}");
    Ok(())
}
