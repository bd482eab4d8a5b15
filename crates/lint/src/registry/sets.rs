//! The set and its claims, as the API has them.

use rehome_model::finding::Severity::{Error, Warning};

use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
    check(
        "RH0501",
        Error,
        "set does not exist",
        "Claims are named and classed after the set's templates.",
        "Create the StatefulSet with replicas: 0.",
    ),
    check(
        "RH0502",
        Error,
        "claim template missing",
        "A role lands in the claim of a template.",
        "Map the role to a template under spec.target.slots.statefulSets[].claims, or add the template (the set must be created anew \
         for it).",
    ),
    check(
        "RH0503",
        Warning,
        "volume smaller than the template asks for",
        "The claim asks for the volume's own size; replicas added later get the template's.",
        "Nothing, if that is meant; else grow the volume before the move.",
    ),
    check(
        "RH0504",
        Error,
        "access mode",
        "An EBS volume is attached to one node at a time.",
        "Use ReadWriteOnce or ReadWriteOncePod in the template (the set must be created anew for it).",
    ),
    check(
        "RH0505",
        Error,
        "block mode",
        "The adopted volume holds a file system.",
        "Use volumeMode: Filesystem in the template (the set must be created anew for it).",
    ),
    check(
        "RH0506",
        Error,
        "storage class",
        "A class of another driver, or none, cannot hold the adopted volume.",
        "Use a class of the EBS CSI driver in the template (the set must be created anew for it).",
    ),
    check(
        "RH0507",
        Error,
        "retention policy Delete",
        "The StatefulSet controller would delete the claims of adopted data.",
        "Set persistentVolumeClaimRetentionPolicy to Retain for both.",
    ),
    check(
        "RH0508",
        Error,
        "no headless service",
        "Pods have no stable names without it.",
        "Create the headless service that spec.serviceName names.",
    ),
    check(
        "RH0509",
        Error,
        "not-ready addresses not published",
        "Members that wait for each other before they are ready never meet.",
        "Set publishNotReadyAddresses: true on the service.",
    ),
    check(
        "RH0510",
        Warning,
        "pods start one after the other",
        "After a full stop the first member waits for the others, which wait for it to be ready: slow, or for ever.",
        "Use podManagementPolicy: Parallel (the set must be created anew for it).",
    ),
    check(
        "RH0511",
        Warning,
        "fsGroup that changes every file",
        "The kubelet changes group and mode of every file before the first start: minutes to hours of downtime, on volumes that are \
         still loaded from their snapshots. With OnRootMismatch it does so too, unless the volume's root has that group already, with \
         rwx for it and setgid.",
        "Set no fsGroup; or the files' own group with fsGroupChangePolicy: OnRootMismatch, and before the base snapshots give the \
         members' mount points what it looks for: that group, and `chmod g+rwxs <mount point>`, the mount point alone. Else give the \
         pods the time it takes by spec.limits.podsSeconds.",
    ),
    check(
        "RH0512",
        Error,
        "uid mismatch",
        "The application could not write its own files; fsGroup changes groups, never the uid.",
        "Set runAsUser to the files' uid, or leave it out with an image that changes the owner at start (see RH0520).",
    ),
    check(
        "RH0513",
        Error,
        "host network",
        "The pods would use addresses of instances, and no network policy fences them.",
        "Remove hostNetwork.",
    ),
    check(
        "RH0514",
        Warning,
        "set is owned by something else",
        "GitOps or an operator may undo the plan's scaling, or prune claims it did not make.",
        "Let the owner's manifest have the same replicas, or pause it; parked claims are safe either way.",
    ),
    check(
        "RH0515",
        Error,
        "autoscaler",
        "It would change the replicas in the middle of the move.",
        "Remove or pause the autoscaler.",
    ),
    check(
        "RH0516",
        Error,
        "set has pods already",
        "Their members are not the ones that move, and their claims hold the names.",
        "If these pods are not the moved cluster: scale the set to 0, and remove its claims if nobody needs them. If they are, change \
         nothing and see `rehome status`.",
    ),
    check(
        "RH0517",
        Error,
        "selector or VolumeAttributesClass in the template",
        "The first keeps claims from binding to provisioned volumes, the second modifies the adopted one.",
        "Remove it from the template (the set must be created anew for it).",
    ),
    check(
        "RH0518",
        Error,
        "template without a role",
        "Its claims are provisioned blank. Where a commit log or a table is looked for on one, acknowledged writes are gone without a \
         word; and no claim of it is parked, so that nothing keeps a pod from starting on it.",
        "Map a role to it under spec.target.slots.statefulSets[].claims, or make the set without it: what may be blank (logs, heap dumps) is an \
         emptyDir or a generic ephemeral volume of the pod.",
    ),
    check(
        "RH0519",
        Error,
        "set wants more pods than members",
        "The pods beyond the members get blank volumes, and start while the run prepares: under the members' cluster name, as new \
         members of it.",
        "Set spec.replicas to 0, or to the number of members at most, also where it is kept in Git.",
    ),
    check(
        "RH0520",
        Warning,
        "image that takes all files over",
        "The official image, started as root, walks the volume at each start and changes the owner of every file that is not its own \
         user's (uid 999 in Cassandra's): on a volume that is still loaded from its snapshot that is minutes to hours of downtime.",
        "Set runAsUser (and runAsGroup) to the files' owner; the image then leaves the files as they are.",
    ),
];
