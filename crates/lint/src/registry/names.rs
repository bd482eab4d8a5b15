//! Names of claims and volumes in the cluster, and the tags of the latter.

use rehome_model::finding::Severity::{Error, Info, Warning};

use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
    check(
        "RH0401",
        Error,
        "claim name taken",
        "The set would adopt the claim that is there, with whatever volume it has. One that this migration made is in the way too, \
         unless it is still parked: a pod starts on it as soon as anybody scales the set up.",
        "Delete the claim if nobody needs its volume, or choose other ordinals. One of this migration goes with `rehome rollback` \
         while its run is recorded; with --discard-writes that gives up what was written since the opening.",
    ),
    check(
        "RH0402",
        Error,
        "PersistentVolume name taken",
        "A claim that names a volume which exists is not parked.",
        "Delete the PersistentVolume if nobody needs it (one of this migration is Retain: its EBS volume stays). One that is \
         Terminating was deleted, and is held by a VolumeAttachment, perhaps of a driver that may not call ec2:DetachVolume: `kubectl \
         get volumeattachments` shows it.",
    ),
    check(
        "RH0403",
        Error,
        "volume is behind a PersistentVolume already",
        "Two PersistentVolumes on one EBS volume both bind, and two pods write.",
        "Set the other PersistentVolume to Retain first, or the EBS volume may be deleted with it: `kubectl patch pv NAME -p \
         '{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}'`. See that no pod uses it; then delete it, and its claim.",
    ),
    check(
        "RH0404",
        Warning,
        "claims beyond the members",
        "The set's next replica starts on the claim that is there: with the data of a trial, under the name of production's cluster. \
         `rollback --keep-writes` takes such a claim, if it is bound, for one of a member that was added since, and is refused.",
        "Delete the claims if nobody needs their volumes.",
    ),
    check(
        "RH0405",
        Info,
        "tags that stay behind",
        "AWS Backup plans and policies of Data Lifecycle Manager choose volumes by tags, and so do reports of costs: a new volume without \
         them is in no backup, and nobody is told.",
        "Add those that matter to spec.tags of the migration, as they are shown.",
    ),
    check(
        "RH0406",
        Error,
        "a tag that the driver demands",
        "The policy AmazonEKSBlockStoragePolicy lets EKS Auto Mode attach volumes of its own cluster only, by the tag \
         eks:eks-cluster-name: without it every attachment is refused, in the downtime.",
        "Add eks:eks-cluster-name to spec.tags of the migration, with the cluster's name in EKS. The driver ebs.csi.aws.com demands \
         ebs.csi.aws.com/cluster-name where its role has AmazonEBSCSIDriverEKSClusterScopedPolicy, which nobody here can see.",
    ),
];
