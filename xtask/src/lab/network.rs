//! The lab's network: a bridge in the control plane's namespace, a namespace for each node. No namespace has a default
//! route and none is linked to the machine's own, so that nothing can leave the machine.

use anyhow::Result;

use super::command::run;
use super::layout::{CENTER, CENTER_ADDRESS, NETWORK_BITS, namespace, nodes, pod_network};

/// Makes it.
pub fn up() -> Result<()> {
    run(&format!("ip netns add {CENTER}"))?;
    run(&format!("ip -n {CENTER} link set lo up"))?;
    run(&format!("ip -n {CENTER} link add br0 type bridge"))?;
    run(&format!("ip -n {CENTER} addr add {CENTER_ADDRESS}/{NETWORK_BITS} dev br0"))?;
    run(&format!("ip -n {CENTER} link set br0 up"))?;
    for (index, node) in nodes().iter().enumerate() {
        let own = namespace(node);
        run(&format!("ip netns add {own}"))?;
        run(&format!("ip -n {own} link set lo up"))?;
        run(&format!("ip -n {CENTER} link add {} type veth peer name eth0 netns {own}", node.name))?;
        run(&format!("ip -n {CENTER} link set {} master br0 up", node.name))?;
        run(&format!("ip -n {own} addr add {}/{NETWORK_BITS} dev eth0", node.address))?;
        run(&format!("ip -n {own} link set eth0 up"))?;
        run(&format!("ip -n {CENTER} route add {} via {}", pod_network(index), node.address))?;
        for (other, to) in nodes().iter().enumerate().filter(|(other, _)| *other != index) {
            run(&format!("ip -n {own} route add {} via {}", pod_network(other), to.address))?;
        }
        run(&format!("nsenter --net=/run/netns/{own} sysctl -qw net.ipv4.ip_forward=1"))?;
    }
    Ok(())
}
