//! The cluster itself, and what the caller may do.

use rehome_model::finding::Severity::{Error, Info};

use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
    check(
        "RH0701",
        Error,
        "Kubernetes version",
        "Older versions lack what the plan relies on.",
        "Upgrade the cluster first.",
    ),
    check(
        "RH0702",
        Error,
        "namespace",
        "Claims live in the target namespace.",
        "Create it, or wait until it is deleted and create it anew.",
    ),
    check(
        "RH0704",
        Error,
        "permission in the cluster",
        "The plan would stop half way.",
        "Bind a role with what `rehome rbac` prints.",
    ),
    check(
        "RH0705",
        Error,
        "permission in the account",
        "The plan would stop half way.",
        "Allow the action in the caller's policy; `rehome iam` prints one that has all. If the action is allowed already: \
         ec2:CreateSnapshots and ec2:CreateVolume are denied, too, if ec2:CreateTags is, or if a policy forbids one of the tags that they \
         give; ec2:ModifyInstanceAttribute if it is not allowed for each of the attributes DisableApiTermination, DisableApiStop and \
         BlockDeviceMapping.",
    ),
    check(
        "RH0706",
        Info,
        "deletions that cannot be asked about",
        "A rollback deletes what its run made, which is not there yet: only things that no run made could be asked about, and to be denied those is as it should be.",
        "Nothing, if the caller's policy allows the action on volumes and snapshots with the tag rehome.dev/migration, as the policy \
         that `rehome iam` prints does. Else allow it for these: without it a rollback leaves behind what its run made.",
    ),
];
