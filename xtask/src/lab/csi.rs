//! The EBS CSI driver: a controller with the real external-attacher, and a plugin on each node.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::command::{output, wait_for};
use super::control_plane::{apply_text, kubectl};
use super::layout::{CENTER, SOCKETS, namespace, nodes};
use super::nodes::directory;
use super::{cloud, pki, process};

/// How long the driver may take to show on all nodes.
const READY: Duration = Duration::from_secs(60);
/// Volumes a node can attach, as an m5.large's driver says it: 28 shared, less root and network interface.
const ATTACH_LIMIT: &str = "25";

/// What the driver's own chart installs, as far as attaching needs it.
const OBJECT: &str = "apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata:
  name: ebs.csi.aws.com
spec:
  attachRequired: true
  podInfoOnMount: false
  fsGroupPolicy: File
";

/// Starts the driver and waits until every node has it.
pub fn up(driver: &Path, attacher: &Path, instances: &BTreeMap<String, String>) -> Result<()> {
    apply_text("csi-driver.yaml", OBJECT)?;
    let socket = format!("{SOCKETS}/csi.sock");
    let mut controller = Command::new(driver);
    controller.args(["--mode", "controller", "--endpoint", &format!("unix://{socket}")]);
    cloud::environment(&mut controller);
    process::start("csi-controller", CENTER, &controller)?;
    wait_for("the CSI controller listens", READY, || Ok(Path::new(&socket).exists()))?;
    let mut attaching = Command::new(attacher);
    attaching.arg(format!("--csi-address={socket}")).arg(format!("--kubeconfig={}", pki::kubeconfig("attacher")));
    process::start("csi-attacher", CENTER, &attaching)?;
    for node in nodes() {
        let instance = instances.get(&node.name).with_context(|| format!("no instance is {}", node.name))?;
        let kubelet = directory(&node).join("kubelet");
        let own = kubelet.join("plugins/ebs.csi.aws.com/csi.sock");
        let mut plugin = Command::new(driver);
        plugin.args(["--mode", "node", "--node-id", instance, "--zone", &node.zone, "--attach-limit", ATTACH_LIMIT]);
        plugin.arg("--endpoint").arg(format!("unix://{}", own.display()));
        plugin.arg("--kubelet-registration").arg(kubelet.join("plugins_registry/ebs.csi.aws.com-reg.sock"));
        process::start(&format!("{}-csi", node.name), &namespace(&node), &plugin)?;
    }
    let listed = ["get", "csinodes", "-o", "jsonpath={.items[*].spec.drivers[*].name}"];
    wait_for("every node has the CSI driver", READY, || {
        process::all_alive()?;
        Ok(output(&mut kubectl(&listed))?.split_whitespace().count() == nodes().len())
    })
}
