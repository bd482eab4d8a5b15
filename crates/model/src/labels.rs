//! Labels, tags and annotations: how everything rehome makes is found again without its run record (invariant I7).

/// Kubernetes label and EC2 tag: the migration's name.
pub const MIGRATION: &str = "rehome.dev/migration";
/// Kubernetes label and EC2 tag: the run that created the object.
pub const RUN: &str = "rehome.dev/run";
/// Kubernetes annotation and EC2 tag: the step that created the object (a step id has characters no label takes).
pub const STEP: &str = "rehome.dev/step";
/// Kubernetes label and EC2 tag: the member it belongs to.
pub const MEMBER: &str = "rehome.dev/member";
/// Kubernetes label and EC2 tag: the volume's role in the member.
pub const ROLE: &str = "rehome.dev/role";
/// Annotation that is touched to wake the claim binder (measured: bound in 0.9 s instead of 22 s).
pub const NUDGE: &str = "rehome.dev/nudged-at";
/// Annotation of a PersistentVolume: the volume the member had before.
pub const LEGACY_VOLUME: &str = "rehome.dev/legacy-volume";

/// EC2 tag of a legacy instance: the run that may stop it, from before its first protection until that is lifted; empty then.
/// Runs know of each other by their record, and a run in another cluster has another.
pub const HELD_BY: &str = "rehome.dev/held-by";

/// EC2 tag of a final snapshot after `finalize`: until when `gc` keeps it, in RFC 3339.
pub const KEEP_UNTIL: &str = "rehome.dev/keep-until";

/// EC2 tag of a legacy volume that `rollback --keep-writes` replaced: instance and device it was attached at.
pub const REPLACED_AT: &str = "rehome.dev/replaced-at";
/// EC2 tag of a legacy volume that `rollback --keep-writes` replaced: the volume that took its place.
pub const REPLACED_BY: &str = "rehome.dev/replaced-by";

/// Keys of the EC2 tags that a run gives what it, or another run, made before. All others come with the creation.
pub const LATER_ON_MADE: [&str; 3] = [ROLE, STEP, KEEP_UNTIL];
/// Keys of the EC2 tags that a run gives a legacy volume. With [`MIGRATION`] among them whoever may tag could have any volume
/// deleted: the tag is what allows it.
pub const ON_ORIGINALS: [&str; 2] = [REPLACED_AT, REPLACED_BY];
/// Keys of the EC2 tags that a run gives a legacy instance.
pub const ON_INSTANCES: [&str; 1] = [HELD_BY];

/// Keeps Argo CD from pruning the claims it did not make (argo-cd#3050).
pub const ARGO_SYNC_OPTIONS: (&str, &str) = ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false");
/// Keeps Helm from deleting the claims.
pub const HELM_KEEP: (&str, &str) = ("helm.sh/resource-policy", "keep");

/// Tag without which AmazonEBSCSIDriverPolicyV2 lets the driver neither attach nor detach a volume.
pub const CSI_CLUSTER: (&str, &str) = ("ebs.csi.aws.com/cluster", "true");
/// Tags that tell a person, and older driver policies, which claim a volume serves.
pub const CSI_CLAIM_NAME: &str = "kubernetes.io/created-for/pvc/name";
/// See [`CSI_CLAIM_NAME`].
pub const CSI_CLAIM_NAMESPACE: &str = "kubernetes.io/created-for/pvc/namespace";
/// See [`CSI_CLAIM_NAME`].
pub const CSI_VOLUME_NAME: &str = "kubernetes.io/created-for/pv/name";
/// The tag by which the consoles name a resource.
pub const NAME: &str = "Name";

/// Whether a run gives its snapshots or volumes a tag of this key.
pub fn is_runs_tag(key: &str) -> bool {
    const OTHERS: [&str; 5] = [NAME, CSI_CLUSTER.0, CSI_CLAIM_NAME, CSI_CLAIM_NAMESPACE, CSI_VOLUME_NAME];
    key.starts_with("rehome.dev/") || OTHERS.contains(&key)
}

/// Whether a snapshot gets the tag as its volume does: the user's own, what is found again by, and what a driver's policy asks
/// for. Which claim a volume serves is nothing of its snapshot's.
pub fn is_snapshots_tag(key: &str) -> bool {
    !is_runs_tag(key) || key.starts_with("rehome.dev/") || key == CSI_CLUSTER.0
}

/// The driver that attaches EBS volumes, unless the migration names another (EKS Auto Mode does).
pub const EBS_CSI_DRIVER: &str = "ebs.csi.aws.com";
/// Node label with the zone.
pub const TOPOLOGY_ZONE: &str = "topology.kubernetes.io/zone";
