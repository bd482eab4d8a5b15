//! `cargo xtask lab test`: the whole story on real parts. Every step is one line that says whether it is so.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::calls::{chaos, give_lease_back, kept, kept_run, migration, proof, rehome, tutorial, tutorial_command};
use super::command::{last_lines, output};
use super::control_plane::kubectl;
use super::layout::members;
use super::{cloud, hammer, inside, legacy, process, refusals};
use crate::cache;

/// Kills of one migration, each in the process that goes on after the one before: at the first call that matches, and
/// when. The names and modes are those of `lab/chaos.py`.
const KILLS: [(&str, &str); 12] = [
    ("POST .*/configmaps", "lost"),
    ("CreateSnapshots", "lost"),
    ("ModifyInstanceAttribute", "after"),
    ("PUT .*/configmaps/rehome-run-.*", "before"),
    ("SendCommand stop-service", "lost"),
    ("SendCommand unmount", "before"),
    // The base snapshots are done: these are the final ones.
    ("CreateSnapshots", "lost"),
    ("StopInstances", "after"),
    ("CreateVolume", "lost"),
    ("POST .*/persistentvolumes", "lost"),
    ("PUT .*/scale", "after"),
    ("exec enablebinary", "before"),
];

/// Every so many kills the dead driver's lease is waited out, which takes 15 s.
const LEASE_WAITED_OUT: usize = 4;

/// Verbs of the tutorial's commands, all of which the story gives.
const TUTORIAL: [&str; 10] =
    ["init", "check", "plan", "render", "apply", "status", "verify", "rollback", "finalize", "gc"];

/// The ledger of what was written to the pods and kept.
const KEPT: &str = "kept";

/// One step of it.
type Step = fn(&Story) -> Result<()>;

/// Parts that are killed and started again while the tutorial's apply runs, with `--trouble`: seconds after the one
/// before, and which.
const TROUBLE: [(u64, &str); 5] = [
    (18, "kube-apiserver"),
    (8, cloud::EMULATOR),
    (10, "etcd"),
    (12, "node-1-kubelet"),
    (10, "kube-controller-manager"),
];

/// The story, and how far it got.
pub struct Story {
    rows: u32,
    trouble: bool,
    passed: u32,
    failed: u32,
}

impl Story {
    /// A story about a legacy cluster of so many rows; with parts of the lab that die meanwhile, or without.
    pub fn of(rows: u32, trouble: bool) -> Self {
        Self { rows, trouble, passed: 0, failed: 0 }
    }

    /// Tells it all; stops at the first thing that is not so. Answers whether all was.
    pub fn tell(mut self) -> bool {
        let all: [(&str, Step); 36] = [
            ("every command of the tutorial is one that this story gives", |_| tutorial_verbs()),
            ("foreign clients note who the legacy members are", |_| proof(&["before"])),
            ("the tutorial's init writes a file in which check finds no error", |_| init()),
            ("the tutorial's check finds no error", |_| tutorial("check", None)),
            ("the tutorial's plan is made", |_| tutorial("plan", None)),
            ("the tutorial's render prints the objects", |_| tutorial("render", None)),
            ("plan is the same twice", |_| plan_twice()),
            ("bad input is refused, and changes nothing", |_| refusals::all_refused()),
            ("a member that will not stop ends the run, which undoes itself", |_| refusals::will_not_stop()),
            ("all rows are there at QUORUM, on the legacy members that serve again", |story| {
                story.check_rows(&legacy_addresses())
            }),
            ("plan over OpenSSH is the plan over SSM", |_| plan_over_ssh()),
            ("the tutorial's apply moves the cluster", |story| story.apply()),
            ("every object that render printed is there", |_| rendered()),
            ("foreign clients see volume, claim, pod and member belong together; a deleted pod comes back", |_| {
                proof(&["adopted", "--restart", "cassandra-1"])
            }),
            ("all rows are there at QUORUM, in the pods", |story| story.check_rows(&pods()?)),
            ("the tutorial's verify agrees", |_| tutorial("verify", None)),
            ("the tutorial's status tells it without the cloud", |_| status("completed")),
            ("applying again changes nothing", |_| unchanged()),
            ("check and plan give no advice on a cluster that has moved", |_| refusals::moved()),
            ("legacy instances that somebody starts do not serve", |_| started_by_hand()),
            ("the tutorial's rollback, over OpenSSH, brings the legacy cluster back", |_| {
                tutorial("rollback", Some(&migration_over_ssh()?))
            }),
            ("foreign clients see the legacy cluster, and a set that starts no clone", |_| proof(&["rolled-back"])),
            ("all rows are there at QUORUM, on the legacy members", |story| story.check_rows(&legacy_addresses())),
            ("killed with -9 at twelve calls, a migration ends in the same state", |_| killed_again_and_again()),
            ("foreign clients see that state, with no second snapshot or volume", |_| proof(&["adopted"])),
            ("all rows are there at QUORUM, in the pods of the killed migration", |story| story.check_rows(&pods()?)),
            ("a rollback that keeps writes brings all of them back", |_| kept_writes()),
            ("foreign clients see the legacy members on the volumes that the pods wrote to", |_| proof(&["returned"])),
            ("all rows are there at QUORUM, on the members that came back", |story| {
                story.check_rows(&legacy_addresses())
            }),
            ("foreign clients note the members once more", |_| proof(&["before"])),
            ("a migration moves what came back", |_| rehome("apply-again", &["apply", "--yes"])),
            ("foreign clients see that it did", |_| proof(&["adopted"])),
            ("every write of the first move is there, in the pods of the last", |_| {
                hammer::verify(KEPT, None, hammer::Where::Pods).map(|_| ())
            }),
            ("the tutorial's finalize ends the way back", |_| finalize()),
            ("foreign clients see the snapshots that are kept, and the legacy side untouched", |_| {
                proof(&["finalized"])
            }),
            ("gc lists all and deletes the one orphan", |_| collect()),
        ];
        for (name, step) in all {
            if !self.step(name, step) {
                break;
            }
        }
        if self.failed == 0 {
            self.step("every reply of EC2, Auto Scaling, STS and SSM is as AWS' models have it", |_| replies());
        }
        println!("lab: {} passed, {} failed", self.passed, self.failed);
        self.failed == 0
    }

    fn step(&mut self, name: &str, step: impl FnOnce(&Self) -> Result<()>) -> bool {
        let started = Instant::now();
        let done = step(self);
        let took = started.elapsed().as_secs_f64();
        match done {
            Ok(()) => {
                self.passed += 1;
                println!("so      {name} ({took:.1} s)");
                true
            }
            Err(error) => {
                self.failed += 1;
                println!("NOT SO  {name} ({took:.1} s): {error:#}");
                false
            }
        }
    }

    fn apply(&self) -> Result<()> {
        if !self.trouble {
            return tutorial("apply", None);
        }
        std::thread::scope(|scope| {
            let applied = scope.spawn(|| tutorial("apply", None));
            for (after, part) in TROUBLE {
                std::thread::sleep(Duration::from_secs(after));
                if !applied.is_finished() {
                    println!("          killed and started again: {part}");
                    process::restart(part)?;
                }
            }
            applied.join().map_err(|_| anyhow::anyhow!("the apply panicked"))?
        })
    }

    fn check_rows(&self, addresses: &[String]) -> Result<()> {
        check_rows(self.rows, addresses)
    }
}

/// Reads every row back at QUORUM.
pub fn check_rows(rows: u32, addresses: &[String]) -> Result<()> {
    output(legacy::client()?.args(["check", "--rows", &rows.to_string()]).args(legacy::hosts(addresses))).map(|_| ())
}

fn plan_twice() -> Result<()> {
    let plan = |file: &str| -> Result<Value> {
        let path = kept(file);
        rehome(file, &["plan", "--out", &path.display().to_string()])?;
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    };
    let (mut first, mut second) = (plan("plan-1.json")?, plan("plan-2.json")?);
    // When the survey was made is all that may differ.
    for plan in [&mut first, &mut second] {
        forget(plan, "made_at_ms");
        forget(plan, "hash");
    }
    if first != second {
        bail!("two plans of one state differ: see {} and plan-2.json", kept("plan-1.json").display());
    }
    Ok(())
}

/// The same migration, its hosts reached by the user's own ssh.
fn migration_over_ssh() -> Result<PathBuf> {
    let text = fs::read_to_string(migration()?)?;
    let hosts = format!("hosts: {{ssh: {{configFile: {}}}}}", legacy::ssh_config().display());
    let changed = text.replace("hosts: ssm", &hosts);
    if changed == text {
        bail!("{} does not say hosts: ssm", migration()?.display());
    }
    let file = kept("migration-over-ssh.yaml");
    fs::write(&file, changed)?;
    Ok(file)
}

/// Runs rehome on the migration over ssh; what it printed.
fn rehome_over_ssh(words: &[&str]) -> Result<String> {
    output(inside("rehome").arg(words[0]).arg("--file").arg(migration_over_ssh()?).args(&words[1..]))
}

fn plan_over_ssh() -> Result<()> {
    let file = kept("plan-over-ssh.json");
    rehome_over_ssh(&["plan", "--out", &file.display().to_string()])?;
    let read = |path: PathBuf| -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(path)?)?) };
    let (ssh, ssm) = (read(file)?, read(kept("plan-1.json"))?);
    let steps = |plan: &Value| find(plan, "steps").cloned();
    if steps(&ssh).is_none() || steps(&ssh) != steps(&ssm) {
        bail!("the steps differ: see {} and plan-1.json", kept("plan-over-ssh.json").display());
    }
    Ok(())
}

/// Somebody starts the stopped legacy instances while the pods serve, and has their service started as configuration
/// management would. It must stay down: a member that came up would be a second holder of its identity.
fn started_by_hand() -> Result<()> {
    let ids = legacy::instances()?;
    cloud::power("start", &ids)?;
    cloud::wait_online(&ids)?;
    // Longer than a service with Restart=always needs to come back.
    let script = "sleep 10; systemctl unmask cassandra.service; systemctl start cassandra.service; sleep 5; \
                  if pgrep -f CassandraDaemon; then echo 'it serves' >&2; exit 1; fi";
    const LIMIT: Duration = Duration::from_secs(60);
    let held = cloud::run_script(&ids, LIMIT, script);
    cloud::power("stop", &ids)?;
    held.map(|_| ())
}

/// The first member of that name, wherever it is.
pub fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members.get(name).or_else(|| members.values().find_map(|member| find(member, name))),
        Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}

/// Takes every member of that name away.
fn forget(value: &mut Value, name: &str) {
    match value {
        Value::Object(members) => {
            members.remove(name);
            members.values_mut().for_each(|member| forget(member, name));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| forget(item, name)),
        _ => {}
    }
}

fn status(wanted: &str) -> Result<()> {
    let mut command = tutorial_command("status", None)?;
    // No account to be found: the record in the cluster must do.
    command.env_remove("AWS_ENDPOINT_URL").env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let printed = output(&mut command)?;
    if !printed.contains(wanted) {
        bail!("status does not say {wanted}: {printed}");
    }
    Ok(())
}

/// Applies once more under the eyes of the proxies: no call may change anything but the run's own record.
fn unchanged() -> Result<()> {
    let seen = chaos(&[], "apply-again.log")?;
    let names: Vec<&str> = seen["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let changes: Vec<&&str> =
        names.iter().filter(|name| !name.contains("/configmaps") && !name.contains("/exec")).collect();
    if seen["exit_code"] != 0 || !changes.is_empty() {
        bail!(
            "it ended with {} and made {changes:?}: {}",
            seen["exit_code"],
            super::command::tail(&kept("apply-again.log"), 20)
        );
    }
    Ok(())
}

fn killed_again_and_again() -> Result<()> {
    for (index, (call, mode)) in KILLS.iter().enumerate() {
        // The next driver waits until the dead one's lease is over. Seen often enough, it is given back for it.
        if index % LEASE_WAITED_OUT != 0 {
            give_lease_back()?;
        }
        let seen = chaos(&["--kill-at", call, "--mode", mode], "killed.log")?;
        let Some(name) = seen["killed_at"].as_str() else {
            bail!(
                "kill {} at call {call} did not come about: {seen}; {}",
                index + 1,
                super::command::tail(&kept("killed.log"), 20)
            );
        };
        println!("          killed {mode} {name}");
    }
    let seen = chaos(&[], "killed.log")?;
    if seen["exit_code"] != 0 {
        bail!("the last apply ended with {}: {}", seen["exit_code"], super::command::tail(&kept("killed.log"), 30));
    }
    Ok(())
}

fn tutorial_verbs() -> Result<()> {
    let page = fs::read_to_string(cache::checkout()?.join("docs/tutorial.md"))?;
    for line in page.lines().filter_map(|line| line.strip_prefix("$ rehome ")) {
        let verb = line.split(' ').next().unwrap_or_default();
        if !TUTORIAL.contains(&verb) {
            bail!("docs/tutorial.md has a command that is not run: rehome {line}");
        }
    }
    Ok(())
}

/// `init` writes to stdout; what it wrote is a migration of this very cluster.
fn init() -> Result<()> {
    tutorial("init", None)?;
    kept_run("check-init", {
        let mut command = inside("rehome");
        command.arg("check").arg("--file").arg(kept("init.out"));
        command
    })
}

/// A client writes to the pods; the volumes go back with what it wrote.
fn kept_writes() -> Result<()> {
    let client = hammer::Hammer::start(KEPT, 2, Duration::from_millis(5))?;
    std::thread::sleep(Duration::from_secs(3));
    client.stop()?;
    rehome("rollback-keep-writes", &["rollback", "--keep-writes", "--yes"])?;
    let found = hammer::verify(KEPT, None, hammer::Where::Legacy)?;
    println!("          {found} writes to the pods are there on the legacy members");
    Ok(())
}

/// What `render` said would be made, by name.
fn rendered() -> Result<()> {
    output(&mut kubectl(&["get", "-f", &kept("render.out").display().to_string()])).map(|_| ())
}

fn finalize() -> Result<()> {
    tutorial("finalize", None)?;
    let refused = tutorial_command("rollback", None)?.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    if refused.status.success() || !said.contains("finalize") {
        bail!("a rollback after it is not refused: {}; {}", refused.status, last_lines(&said, 8));
    }
    Ok(())
}

/// A volume is left behind; `gc` lists it, and deletes it when told to.
fn collect() -> Result<()> {
    proof(&["orphan"])?;
    tutorial("gc", None)?;
    let listed = fs::read_to_string(kept("gc.out"))?;
    if listed.matches("  orphaned  ").count() != 1 {
        bail!("gc does not list one orphan: {}", last_lines(&listed, 30));
    }
    rehome("gc-delete", &["gc", "--delete", "--yes"])?;
    proof(&["collected"])
}

/// What crossed the emulator's wire, whoever called (rehome, the CSI driver, boto3), against botocore's service models.
fn replies() -> Result<()> {
    let outcome = crate::foreign::models_of(&cloud::transcripts())?;
    println!("          {}", last_lines(&outcome.output, 1));
    if outcome.failed > 0 {
        bail!("{}", last_lines(&outcome.output, 40));
    }
    Ok(())
}

/// The pods' addresses.
pub fn pods() -> Result<Vec<String>> {
    let wanted = ["get", "pods", "-n", "cassandra", "-o", "jsonpath={.items[*].status.podIP}"];
    Ok(output(&mut kubectl(&wanted))?.split_whitespace().map(str::to_owned).collect())
}

pub fn legacy_addresses() -> Vec<String> {
    members().into_iter().map(|member| member.address).collect()
}
