//! What the target Kubernetes cluster shows of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, Zone};
use crate::placement::{Placement, Taint};

/// The target cluster at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// `v1.34.1`.
    pub version: String,
    /// Its nodes.
    pub nodes: Vec<NodeReport>,
    /// Names of its CSIDriver objects.
    pub csi_drivers: Vec<String>,
    /// Its storage classes.
    pub storage_classes: Vec<StorageClassReport>,
    /// The target namespace; none if it does not exist.
    pub namespace: Option<NamespaceReport>,
    /// The StatefulSets the migration names, as far as they exist.
    pub sets: Vec<StatefulSetReport>,
    /// The services of the target namespace.
    pub services: Vec<ServiceReport>,
    /// The claims of the target namespace.
    pub claims: Vec<ClaimReport>,
    /// All PersistentVolumes of the cluster.
    pub volumes: Vec<PersistentVolumeReport>,
    /// HorizontalPodAutoscalers of the target namespace, as `kind/name` of what they scale.
    pub autoscaled: Vec<String>,
    /// What the caller may do, for each thing the plan needs.
    pub permissions: Vec<PermissionReport>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Name.
    pub name: String,
    /// Zone, from the topology label.
    pub zone: Option<Zone>,
    /// The EC2 instance it runs on, from providerID; none if it is on no such.
    pub instance: Option<InstanceId>,
    /// Its kernel (`5.10.226-214.880.amzn2.x86_64`). Empty in surveys of an older rehome.
    #[serde(default)]
    pub kernel: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether pods may be placed on it (not cordoned).
    pub schedulable: bool,
    /// Its taints that keep pods away.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Volumes of the EBS driver it may have attached (CSINode allocatable); none if the driver is not on it.
    pub attach_limit: Option<u32>,
    /// Volumes attached to it now, by VolumeAttachments.
    pub attached: u32,
}

/// A storage class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageClassReport {
    /// Name.
    pub name: String,
    /// `ebs.csi.aws.com`.
    pub provisioner: String,
    /// `Delete` or `Retain`.
    pub reclaim_policy: String,
    /// `Immediate` or `WaitForFirstConsumer`.
    pub binding_mode: String,
    /// Whether it is the default class.
    pub is_default: bool,
}

/// The target namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceReport {
    /// Name.
    pub name: String,
    /// Pod security level it enforces.
    pub pod_security: Option<String>,
    /// `Active`, `Terminating`.
    pub phase: String,
}

/// A StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatefulSetReport {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Wanted replicas.
    pub replicas: u32,
    /// Pods there are.
    pub current_replicas: u32,
    /// spec.ordinals.start.
    pub first_ordinal: u32,
    /// spec.serviceName.
    pub service_name: String,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: String,
    /// persistentVolumeClaimRetentionPolicy.whenDeleted.
    pub when_deleted: String,
    /// persistentVolumeClaimRetentionPolicy.whenScaled.
    pub when_scaled: String,
    /// spec.selector.matchLabels.
    pub selector: BTreeMap<String, String>,
    /// Its claim templates.
    pub templates: Vec<ClaimTemplateReport>,
    /// A short hash of spec.template, the whole of it. None in surveys of an older rehome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_hash: Option<String>,
    /// Its containers, init containers not among them.
    pub containers: Vec<ContainerReport>,
    /// Pod security context: runAsUser.
    pub run_as_user: Option<u32>,
    /// Pod security context: fsGroup.
    pub fs_group: Option<u32>,
    /// Pod security context: fsGroupChangePolicy.
    pub fs_group_change_policy: Option<String>,
    /// Whether its pods use the node's network.
    pub host_network: bool,
    /// Which nodes its pods may go to.
    #[serde(default)]
    pub placement: Placement,
    /// Managers of its fields: `kubectl-client-side-apply`, `helm`, `argocd-controller`, ...
    pub managers: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, but for kubectl's last applied configuration.
    pub annotations: BTreeMap<String, String>,
    /// Whether it has an owner object (an operator).
    pub owner: Option<String>,
}

/// A volume claim template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimTemplateReport {
    /// Name.
    pub name: String,
    /// Class; none means the default class is put in.
    pub storage_class: Option<String>,
    /// Requested size, a quantity.
    pub request: String,
    /// Access modes.
    pub access_modes: Vec<String>,
    /// `Filesystem` or `Block`.
    pub volume_mode: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it has a selector, which the EBS provisioner refuses.
    pub has_selector: bool,
    /// volumeAttributesClassName: would modify the adopted volume.
    pub attributes_class: Option<String>,
}

/// A container of the pod template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// Environment with its ConfigMap references resolved, as far as they could be read.
    pub env: BTreeMap<String, EnvValue>,
    /// What it takes its environment from as a whole: nobody tells what is in there.
    #[serde(default)]
    pub env_from: Vec<String>,
    /// Whether the set gives it a command or arguments of its own, in the place of the image's.
    #[serde(default)]
    pub own_command: bool,
    /// Where volumes are mounted, those of the claim templates among them.
    pub mounts: Vec<VolumeMount>,
    /// runAsUser of the container.
    pub run_as_user: Option<u32>,
    /// The readiness probe in short: `tcp:7000`, `http:8080/ready`, `exec:...`. Ports by number.
    pub readiness: Option<String>,
    /// The liveness probe.
    #[serde(default)]
    pub liveness: Option<String>,
    /// The startup probe.
    #[serde(default)]
    pub startup: Option<String>,
}

/// Where a container finds a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// The volume or claim template.
    pub volume: String,
    /// Its path in the container.
    pub path: String,
    /// The directory of the volume that is seen there, if not its root.
    pub sub_path: Option<String>,
}

/// Where an environment variable comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvValue {
    /// A literal.
    Literal(String),
    /// A key of a ConfigMap.
    ConfigMap {
        /// ConfigMap.
        name: String,
        /// Key.
        key: String,
        /// Whether the pod starts without it.
        optional: bool,
        /// Its value now.
        value: Option<String>,
    },
    /// Anything else: secret, field, resource. Not read.
    Other(String),
}

impl EnvValue {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Literal(value) => Some(value),
            Self::ConfigMap { value, .. } => value.as_deref(),
            Self::Other(_) => None,
        }
    }
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Name.
    pub name: String,
    /// Whether it is headless (`clusterIP: None`).
    pub headless: bool,
    /// publishNotReadyAddresses.
    pub publishes_not_ready: bool,
}

/// A claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimReport {
    /// Name.
    pub name: String,
    /// `Pending`, `Bound`, `Lost`.
    pub phase: String,
    /// The volume it names.
    pub volume_name: Option<String>,
    /// Whether it is being deleted.
    #[serde(default)]
    pub going: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistentVolumeReport {
    /// Name.
    pub name: String,
    /// `Available`, `Bound`, `Released`; `Terminating` while it is being deleted.
    pub phase: String,
    /// CSI driver, or `kubernetes.io/aws-ebs` for the old in-tree field.
    pub driver: Option<String>,
    /// Volume handle, reduced to `vol-...` for in-tree `aws://zone/vol-...`.
    pub handle: Option<String>,
    /// `namespace/name` of the claim it is reserved for or bound to.
    pub claim: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Whether the caller may do one thing (SelfSubjectAccessReview).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionReport {
    /// Verb.
    pub verb: String,
    /// `group/resource`, with subresource: `apps/statefulsets/scale`.
    pub resource: String,
    /// Namespace; none for cluster-wide objects.
    pub namespace: Option<String>,
    /// The answer.
    pub allowed: bool,
}
