//! Names, places and addresses of the lab. One lab fits a machine: they are machine-wide.

use std::path::PathBuf;

/// All of the lab's state. It is there while a lab is up.
pub const STATE: &str = "/var/lib/rehome-lab";
/// Sockets: their paths must be short.
pub const SOCKETS: &str = "/run/rehome-lab";
/// Held while a command changes the lab.
pub const LOCK: &str = "/run/rehome-lab.lock";
/// Begins the names of network namespaces and control groups.
pub const PREFIX: &str = "lab";
/// The namespace of the control plane, the emulator and the tools under test. It has the bridge.
pub const CENTER: &str = "lab-cp";
/// The control plane's address on the bridge.
pub const CENTER_ADDRESS: &str = "10.99.0.1";
/// Bits of the bridge's network.
pub const NETWORK_BITS: u32 = 16;
/// Where the apiserver is, inside the control plane's namespace.
pub const APISERVER: &str = "https://127.0.0.1:6443";
/// Where the emulator is, inside the control plane's namespace.
pub const EC2: &str = "http://127.0.0.1:4566";
/// The emulator's region.
pub const REGION: &str = "us-east-1";

/// The state directory, or a place in it.
pub fn state(part: &str) -> PathBuf {
    PathBuf::from(STATE).join(part)
}

/// A node: of Kubernetes, or of the legacy cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its address on the bridge.
    pub address: String,
}

/// Zones of the lab: one node and one legacy member in each.
pub const ZONES: [&str; 3] = ["a", "b", "c"];

fn places(name: &str, network: u32, first: u32) -> Vec<Place> {
    let place = |(index, zone): (u32, &&str)| Place {
        name: format!("{name}-{index}"),
        zone: format!("{REGION}{zone}"),
        address: format!("10.99.{network}.{}", first + index),
    };
    (0..).zip(ZONES.iter()).map(place).collect()
}

/// The Kubernetes nodes.
pub fn nodes() -> Vec<Place> {
    places("node", 0, 11)
}

/// The legacy members.
pub fn members() -> Vec<Place> {
    places("cassandra", 1, 10)
}

/// The network of a node's pods.
pub fn pod_network(node: usize) -> String {
    format!("10.244.{node}.0/24")
}

/// The network namespace of a node.
pub fn namespace(node: &Place) -> String {
    format!("{PREFIX}-{}", node.name)
}
