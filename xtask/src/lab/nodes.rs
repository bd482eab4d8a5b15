//! Kubernetes nodes: a containerd and a kubelet in a network namespace each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::command::{output, run, succeeds, wait_for};
use super::control_plane::kubectl;
use super::layout::{CENTER_ADDRESS, Place, REGION, SOCKETS, namespace, nodes, pod_network, state};
use super::{cgroups, pki, process};

/// How long a node may take to be ready.
const READY: Duration = Duration::from_secs(120);
/// Machine-wide settings that a kubelet changes at its start.
const SYSCTLS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// A node's own directory.
pub fn directory(node: &Place) -> PathBuf {
    state("nodes").join(&node.name)
}

/// A node's containerd.
pub fn socket(node: &Place) -> String {
    format!("{SOCKETS}/{}/containerd.sock", node.name)
}

/// Starts all nodes, with the EC2 instance that each is, and waits until they are ready.
pub fn up(binary: &Path, instances: &BTreeMap<String, String>, images: &[PathBuf]) -> Result<()> {
    let sysctls = remember_sysctls();
    for (index, node) in nodes().iter().enumerate() {
        prepare(index, node)?;
        let settings = directory(node).join("containerd.toml");
        let mut containerd = Command::new("containerd");
        process::start(&format!("{}-containerd", node.name), &namespace(node), containerd.arg("-c").arg(settings))?;
    }
    // Each node unpacks an image for itself: all at once, as they are told apart by their sockets.
    std::thread::scope(|scope| {
        let imports: Vec<_> = nodes().into_iter().map(|node| scope.spawn(move || import(&node, images))).collect();
        imports.into_iter().try_for_each(|import| import.join().map_err(|_| anyhow::anyhow!("an import panicked"))?)
    })?;
    for node in nodes() {
        let instance = instances.get(&node.name).with_context(|| format!("no instance is {}", node.name))?;
        start_kubelet(binary, &node, instance)?;
    }
    for node in nodes() {
        wait_for(&format!("{} is ready", node.name), READY, || {
            process::all_alive()?;
            let name = format!("node/{}", node.name);
            Ok(succeeds(&mut kubectl(&["wait", "--for=condition=Ready", &name, "--timeout=1s"])))
        })?;
    }
    put_back(&sysctls);
    Ok(())
}

/// Starts the kubelet of a node: tests end it and start it again.
pub fn start_kubelet(binary: &Path, node: &Place, instance: &str) -> Result<()> {
    let own = directory(node);
    let zone = &node.zone;
    fs::write(own.join("kubelet.yaml"), kubelet_settings(node, instance))?;
    let mut kubelet = Command::new(binary);
    kubelet.arg("kubelet").args([
        format!("--config={}", own.join("kubelet.yaml").display()),
        format!("--kubeconfig={}", pki::kubeconfig(&node.name)),
        format!("--root-dir={}", own.join("kubelet").display()),
        format!("--cert-dir={}", own.join("pki").display()),
        format!("--hostname-override={}", node.name),
        format!("--node-ip={}", node.address),
        format!(
            "--node-labels=topology.kubernetes.io/zone={zone},topology.kubernetes.io/region={REGION},\
             node.kubernetes.io/instance-type=m5.large"
        ),
    ]);
    process::start(&format!("{}-kubelet", node.name), &namespace(node), &kubelet)
}

fn prepare(index: usize, node: &Place) -> Result<()> {
    let own = directory(node);
    for part in ["cni", "kubelet", "containerd", "kubelet/plugins_registry", "kubelet/plugins/ebs.csi.aws.com"] {
        fs::create_dir_all(own.join(part))?;
    }
    fs::create_dir_all(format!("{SOCKETS}/{}", node.name))?;
    // Mounts of pods must be seen by the kubelet and its plugins alike.
    let kubelet = own.join("kubelet").display().to_string();
    run(&format!("mount --bind {kubelet} {kubelet}"))?;
    run(&format!("mount --make-rshared {kubelet}"))?;
    cgroups::make(&namespace(node))?;
    fs::write(own.join("containerd.toml"), containerd_settings(node))?;
    let network = format!(
        r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [{{"type": "bridge", "bridge": "cni0", "isGateway": true,
 "ipMasq": false, "hairpinMode": true, "ipam": {{"type": "host-local", "dataDir": "{data}",
 "ranges": [[{{"subnet": "{subnet}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}
"#,
        name = namespace(node),
        data = own.join("ipam").display(),
        subnet = pod_network(index),
    );
    fs::write(own.join("cni/10-lab.conflist"), network)?;
    Ok(())
}

fn containerd_settings(node: &Place) -> String {
    let own = directory(node);
    format!(
        r#"version = 2
root = "{root}"
state = "{SOCKETS}/{name}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE no sandbox starts otherwise ("can't get final child's PID from pipe: EOF").
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#,
        root = own.join("containerd").display(),
        name = node.name,
        socket = socket(node),
        pause = super::images::PAUSE,
        cni = own.join("cni").display(),
    )
}

fn kubelet_settings(node: &Place, instance: &str) -> String {
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: false}}, x509: {{clientCAFile: {authority}}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupRoot: /{group}
failSwapOn: false
failCgroupV1: false
clusterDNS: [{CENTER_ADDRESS}]
clusterDomain: cluster.local
resolvConf: ""
containerRuntimeEndpoint: unix://{socket}
# This machine's disk is shared with whatever else it does: no pod is evicted for it.
evictionHard: {{memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
nodeStatusUpdateFrequency: 4s
syncFrequency: 10s
registerNode: true
providerID: aws:///{zone}/{instance}
podLogsDir: {logs}
"#,
        address = node.address,
        authority = pki::file("ca.crt"),
        group = namespace(node),
        socket = socket(node),
        zone = node.zone,
        logs = directory(node).join("logs").display(),
    )
}

fn import(node: &Place, images: &[PathBuf]) -> Result<()> {
    let ctr = |arguments: &[&str]| {
        let mut command = Command::new("ctr");
        command.args(["--address", &socket(node), "--namespace", "k8s.io"]).args(arguments);
        command
    };
    wait_for(&format!("containerd of {} answers", node.name), READY, || {
        process::all_alive()?;
        Ok(succeeds(&mut ctr(&["version"])))
    })?;
    for image in images {
        output(&mut ctr(&["images", "import", &image.display().to_string()]))?;
    }
    Ok(())
}

fn remember_sysctls() -> Vec<(String, String)> {
    let path = |name: &&str| format!("/proc/sys/{name}");
    let read = |path: String| Some((fs::read_to_string(&path).ok()?, path)).map(|(value, path)| (path, value));
    SYSCTLS.iter().map(path).filter_map(read).collect()
}

fn put_back(sysctls: &[(String, String)]) {
    for (path, value) in sysctls {
        if fs::read_to_string(path).is_ok_and(|now| now != *value) {
            // A machine that does not let us had them set by somebody else.
            let _ = fs::write(path, value);
        }
    }
}
