//! Zones and nodes.

use rehome_model::finding::Severity::{Error, Warning};

use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
    check(
        "RH0301",
        Error,
        "zone without a usable node",
        "An EBS volume can be attached in its own zone only; its pod would stay Pending in the downtime.",
        "Add a node to the zone that the set's pods may go to, or uncordon one. Dedicated nodes count once the pod template tolerates their taints, and fits its own nodeSelector and affinity.",
    ),
    check(
        "RH0302",
        Error,
        "CSI driver missing",
        "Without it no node attaches EBS volumes.",
        "Install the EBS CSI driver, or name the right one in spec.target.csiDriver.",
    ),
    check(
        "RH0303",
        Error,
        "attach limits",
        "A node can attach only so many volumes; the pod would stay Pending in the downtime.",
        "Add nodes to the zone or free attachments.",
    ),
    check(
        "RH0304",
        Error,
        "nodes without zones",
        "PersistentVolumes draw pods to zones by the label topology.kubernetes.io/zone.",
        "Label the nodes; the cloud provider normally does.",
    ),
    check(
        "RH0305",
        Error,
        "nodes of another account",
        "A volume can be attached to instances of its own account, region and zone only, and zones of one name are different places in different accounts: in the downtime EC2 would not know the volume, or the node.",
        "Use the kubeconfig of a cluster whose nodes run in the account that `rehome check` names, and the credentials of that account; correct the label topology.kubernetes.io/zone where EC2 shows another zone.",
    ),
    check(
        "RH0306",
        Warning,
        "nodes that volumes cannot be attached to",
        "They have the zone's label, but are in another account or zone: a pod that is placed there waits for its volume in vain.",
        "Correct their labels, cordon them, or keep the set's pods away by node affinity.",
    ),
    check(
        "RH0307",
        Warning,
        "nodes whose kernel may not mount the file systems",
        "A kernel mounts an XFS only if it knows every feature that its mkfs has put into it: a newer legacy host may have file systems \
         that an older node refuses (\"wrong fs type, bad option, bad superblock\"), in the downtime. The run would put the legacy side \
         back after some minutes.",
        "Use nodes of a newer image in the zone, or cordon the old ones. Distributions bring some features to older kernels (EL 8 and 9 \
         do): nothing, if a volume that was made on such a host is mounted on such a node already. A snapshot of a member, as a volume \
         on a node, tells.",
    ),
];
