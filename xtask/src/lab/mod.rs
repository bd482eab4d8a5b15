//! `cargo xtask lab`: real parts on one machine. Kubernetes with three nodes in three zones, the EC2 emulator on the
//! wire, an EBS CSI driver, and three legacy instances that run a real Cassandra.

mod bench;
mod calls;
mod cgroups;
mod cloud;
mod command;
mod control_plane;
mod csi;
mod down;
mod hammer;
mod images;
mod layout;
mod legacy;
mod network;
mod nodes;
mod packages;
mod pki;
mod process;
mod refusals;
mod soak;
mod story;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::{cache, cargo, go};
use layout::{LOCK, SOCKETS, STATE, nodes, state};

/// What to do with the lab.
#[derive(Subcommand)]
pub enum Lab {
    /// Bring it up: Kubernetes, the EC2 emulator, the CSI driver, the legacy cluster with its rows.
    Up(Up),
    /// What runs, and where it is found.
    Status,
    /// The last lines of what a part wrote; without a name, the parts.
    Logs {
        /// The part, such as `kube-apiserver`.
        name: Option<String>,
        /// Lines.
        #[arg(long, default_value_t = 40)]
        lines: usize,
    },
    /// End a part as `kill -9` does, and start it again as it was.
    Restart {
        /// The part, such as `kube-apiserver`; `lab logs` lists them.
        name: String,
    },
    /// Run a command where the lab's cluster and account are found: `lab run -- rehome plan -f FILE`.
    Run {
        /// The command.
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Bring it up, tell the whole story on it (plan, apply, proof, rollback, twelve kills), take it away.
    Test {
        /// How the lab comes up.
        #[command(flatten)]
        up: Up,
        /// Leave it up at the end, and use one that is up.
        #[arg(long)]
        keep: bool,
        /// Kill the apiserver, the emulator, etcd, a kubelet and the controller-manager during the move.
        #[arg(long)]
        trouble: bool,
    },
    /// Hold the CSI driver to csi-sanity, on an emulated account of its own. Needs no lab.
    Sanity,
    /// Measure one move and write docs/proof.md. EC2 is as fast as can be, unless --time-scale says otherwise.
    Bench {
        /// Rows in the legacy cluster.
        #[arg(long, default_value_t = 100_000)]
        rows: u32,
        /// EC2's delays times this.
        #[arg(long, default_value_t = 0.0)]
        time_scale: f64,
    },
    /// Move there and back under a writing client until so many drivers were killed at random instants, with parts of
    /// the lab dying now and then; add the result to docs/evidence. Uses the lab that is up, which must be as `up` makes it.
    Soak {
        /// Kills.
        #[arg(long, default_value_t = 100)]
        kills: u64,
        /// Seed of the instants.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Rows in the legacy cluster.
        #[arg(long, default_value_t = 100_000)]
        rows: u32,
    },
    /// Take it away, every trace.
    Down,
}

/// Options of `lab up`.
#[derive(Args, Clone)]
pub struct Up {
    /// Rows in the legacy cluster.
    #[arg(long, default_value_t = 100_000)]
    rows: u32,
    /// EC2's delays times this; 0 makes everything ready at once.
    #[arg(long, default_value_t = 0.1)]
    time_scale: f64,
    /// Kubernetes and the account only, without the legacy cluster.
    #[arg(long)]
    no_legacy: bool,
}

/// Carries it out; true if all is well.
pub fn lab(what: &Lab) -> Result<bool> {
    match what {
        Lab::Up(options) => locked(|| up(options)).map(|()| true),
        Lab::Status => Ok(status()),
        Lab::Logs { name, lines } => logs(name.as_deref(), *lines),
        Lab::Restart { name } => locked(|| process::restart(name)).map(|()| true),
        Lab::Run { command } => run(command),
        Lab::Test { up: options, keep, trouble } => locked(|| test(options, *keep, *trouble)),
        Lab::Sanity => sanity(),
        Lab::Bench { rows, time_scale } => {
            let options = Up { rows: *rows, time_scale: *time_scale, no_legacy: false };
            locked(|| bench(&options)).map(|()| true)
        }
        Lab::Soak { kills, seed, rows } => {
            let options = Up { rows: *rows, time_scale: 0.0, no_legacy: false };
            locked(|| soak::soak(&options, *kills, *seed)).map(|()| true)
        }
        Lab::Down => locked(down::down).map(|()| true),
    }
}

/// Runs something while no other command changes the lab.
fn locked<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    let root = command::output(Command::new("id").arg("-u"))?;
    if root.trim() != "0" {
        bail!("the lab makes namespaces, mounts and loop devices: run it as root");
    }
    let lock = fs::File::create(LOCK).with_context(|| LOCK.to_owned())?;
    if lock.try_lock().is_err() {
        bail!("another command is changing the lab ({LOCK}); wait for it");
    }
    act()
}

/// Brings the lab up. One that does not come up stays, for a look.
fn up(options: &Up) -> Result<()> {
    if Path::new(STATE).exists() {
        bail!("a lab is up or half up ({STATE}): `cargo xtask lab down` first");
    }
    cgroups::check()?;
    packages::install()?;
    let parts = Parts::build()?;
    let started = Instant::now();
    for part in ["bin", "log", "processes", "recipes", "nodes", "story"] {
        fs::create_dir_all(state(part))?;
    }
    fs::create_dir_all(SOCKETS)?;
    let made = start(options, &parts, started);
    if made.is_err() {
        eprintln!("the lab did not come up; it stays for a look (`cargo xtask lab logs`) until `cargo xtask lab down`");
    }
    made
}

/// Everything that is built.
struct Parts {
    kubernetes: std::path::PathBuf,
    driver: std::path::PathBuf,
    attacher: std::path::PathBuf,
    rehome: std::path::PathBuf,
    cassandra: std::path::PathBuf,
}

impl Parts {
    fn build() -> Result<Self> {
        crate::python::venv()?;
        Ok(Self {
            kubernetes: go::kubernetes()?,
            driver: go::csi_driver()?,
            attacher: go::attacher()?,
            rehome: cargo::rehome()?,
            cassandra: legacy::build()?,
        })
    }
}

fn start(options: &Up, parts: &Parts, started: Instant) -> Result<()> {
    let tell = |what: &str| println!("{:6.1} s  {what}", started.elapsed().as_secs_f64());
    symlink(&parts.kubernetes, state("bin/lab-k8s"))?;
    symlink(&parts.kubernetes, state("bin/kubectl"))?;
    // A copy: what is rebuilt while the lab is up must not change what runs in it.
    fs::copy(&parts.rehome, state("bin/rehome"))?;
    network::up()?;
    pki::up()?;
    tell("network and certificates");
    cloud::up(&state("bin/rehome"), &parts.cassandra.join("rootfs"), options.time_scale)?;
    let mut instances = BTreeMap::new();
    for node in nodes() {
        instances.insert(node.name.clone(), cloud::launch(&node, &[], &["kubernetes.io/cluster/lab=owned"])?);
    }
    fs::write(state("nodes.json"), serde_json::to_string(&instances)?)?;
    tell("the EC2 emulator answers, with an instance for each node");
    control_plane::up(&parts.kubernetes)?;
    tell("the apiserver is ready");
    let images = [images::pause()?, parts.cassandra.join("image.tar")];
    nodes::up(&parts.kubernetes, &instances, &images)?;
    control_plane::dns(&parts.kubernetes)?;
    tell("three nodes and DNS are ready");
    csi::up(&parts.driver, &parts.attacher, &instances)?;
    control_plane::apply(&cache::checkout()?.join("lab/cassandra/target.yaml"))?;
    allow_rehome()?;
    tell("the CSI driver is on every node; the empty set is there");
    if !options.no_legacy {
        legacy::up(options.rows)?;
        tell("the legacy cluster serves its rows");
    }
    process::all_alive()
}

/// Lets the user `rehome` do what `rehome rbac` asks for, and no more.
fn allow_rehome() -> Result<()> {
    const NAMESPACE: &str = "cassandra";
    let roles = command::output(Command::new(state("bin/rehome")).args(["rbac", "--namespace", NAMESPACE]))?;
    let subject = "subjects: [{kind: User, name: rehome, apiGroup: rbac.authorization.k8s.io}]";
    let binding = |kind: &str, role: &str, metadata: &str| {
        format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {metadata}\n{subject}\n\
             roleRef: {{kind: {role}, name: rehome, apiGroup: rbac.authorization.k8s.io}}\n"
        )
    };
    let text = roles
        + &binding("RoleBinding", "Role", &format!("{{name: rehome, namespace: {NAMESPACE}}}"))
        + &binding("ClusterRoleBinding", "ClusterRole", "{name: rehome}");
    control_plane::apply_text("rehome-rbac.yaml", &text)
}

/// Installs the Debian packages that the lab needs, and some tests besides.
pub fn install_packages() -> Result<()> {
    packages::install()
}

/// Why this machine cannot have a lab; none if it can.
pub fn obstacle() -> Option<String> {
    let found = |program: &str| command::succeeds(Command::new("sh").args(["-c", &format!("command -v {program}")]));
    let root = command::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root {
        return Some("it makes namespaces, mounts and loop devices: run as root".to_owned());
    }
    if !found("go") {
        return Some("Kubernetes is built with Go 1.26 (golang.org/dl)".to_owned());
    }
    if !found("apt-get") {
        return Some("it installs Debian packages, and this machine has no apt-get".to_owned());
    }
    if let Some(reason) = crate::python::missing() {
        return Some(reason.to_owned());
    }
    cgroups::check().err().map(|error| error.to_string())
}

/// `lab: 18 passed, 0 failed`
pub fn closing_line(line: &str) -> Option<(u64, u64)> {
    let (passed, failed) = line.strip_prefix("lab: ")?.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
}

fn sanity() -> Result<bool> {
    packages::install()?;
    let rehome = cargo::rehome()?;
    let mut test = go::command(&cache::checkout()?.join("lab/csi"))?;
    // Never from Go's cache of results: the emulator is part of what is tested.
    Ok(test.args(["test", "-count=1", "."]).env("REHOME", rehome).status().context("go test")?.success())
}

/// Measures on a lab of its own.
fn bench(options: &Up) -> Result<()> {
    // Built first: only the coming up is measured.
    Parts::build()?;
    let started = Instant::now();
    up(options)?;
    bench::bench(options, started.elapsed())?;
    down::down()
}

/// The story, on a lab of its own or on the one that is up.
fn test(options: &Up, keep: bool, trouble: bool) -> Result<bool> {
    let is_up = Path::new(STATE).exists();
    if is_up && !keep {
        bail!("a lab is up ({STATE}): `cargo xtask lab down` first, or --keep to use it");
    }
    if !is_up && let Err(error) = up(options) {
        if !keep {
            tell_the_dead();
            down::down()?;
        }
        return Err(error);
    }
    let so = story::Story::of(options.rows, trouble).tell();
    if keep {
        return Ok(so);
    }
    if !so {
        tell_the_dead();
    }
    down::down()?;
    let left = down::traces()?;
    for trace in &left {
        println!("NOT SO  lab down leaves {trace}");
    }
    Ok(so && left.is_empty())
}

/// The last words of parts that ended by themselves.
fn tell_the_dead() {
    for name in process::names().into_iter().filter(|name| process::pid(name).is_none()) {
        println!("{name} has ended: {}", command::tail(&process::log(&name), 20));
    }
}

fn status() -> bool {
    if !Path::new(STATE).exists() {
        println!("no lab is up: `cargo xtask lab up`");
        return false;
    }
    let mut well = true;
    for name in process::names() {
        let pid = process::pid(&name);
        well &= pid.is_some();
        println!("{:24} {}", name, pid.map_or("ended".to_owned(), |pid| format!("runs, pid {pid}")));
    }
    println!("\nkubeconfig {}\nEC2        {} in namespace {}", pki::kubeconfig("rehome"), layout::EC2, layout::CENTER);
    well
}

fn logs(name: Option<&str>, lines: usize) -> Result<bool> {
    let Some(name) = name else {
        for name in process::names() {
            println!("{name}");
        }
        return Ok(true);
    };
    let file = process::log(name);
    if !file.exists() {
        bail!("no part is called {name}: `cargo xtask lab logs` lists them");
    }
    println!("{}", command::tail(&file, lines));
    Ok(true)
}

/// A command in the control plane's namespace, with the account's and rehome's own settings.
fn inside(program: &str) -> Command {
    let mut command = cloud::client(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", state("bin").display())).env("KUBECONFIG", pki::kubeconfig("rehome"));
    command
}

fn run(words: &[String]) -> Result<bool> {
    Ok(inside(&words[0]).args(&words[1..]).status()?.success())
}
