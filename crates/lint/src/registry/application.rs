//! What the set says of the application.

use rehome_model::finding::Severity::{Error, Warning};

use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
    check(
        "RH0601",
        Error,
        "cluster name",
        "The application refuses to start on data of a cluster of another name.",
        "Use the members' cluster name.",
    ),
    check(
        "RH0602",
        Error,
        "data center",
        "The application refuses to start in another data center than its data says.",
        "Use the members' data center.",
    ),
    check(
        "RH0603",
        Error,
        "rack",
        "The application refuses to start in another rack than its data says.",
        "Give each pod its member's rack.",
    ),
    check(
        "RH0604",
        Error,
        "token count",
        "The application refuses to start with another number of tokens than its data has.",
        "Use the members' number of tokens.",
    ),
    check(
        "RH0605",
        Error,
        "image older than the data",
        "An older version cannot read what a newer one wrote.",
        "Use an image of the members' version.",
    ),
    check(
        "RH0606",
        Error,
        "set cannot start closed",
        "Clients would write before the members were verified, and nothing could be undone after that.",
        "Take the variable from the key of its name in ConfigMap rehome-gate-<set>, with optional: true; rehome writes that one.",
    ),
    check(
        "RH0607",
        Error,
        "readiness needs clients",
        "Pods that start closed would never be ready, and a rolling start would stand still.",
        "Probe the internode port instead.",
    ),
    check(
        "RH0608",
        Error,
        "literal addresses",
        "A literal address is a legacy one, or a pod's that changes.",
        "Use the pods' DNS names.",
    ),
    check(
        "RH0609",
        Error,
        "container missing",
        "The application's container is asked for its view and opened.",
        "Correct spec.target.slots.statefulSets[].container.",
    ),
    check(
        "RH0610",
        Error,
        "claim is not mounted",
        "The application would start beside its data.",
        "Mount the claim template in the application's container.",
    ),
    check(
        "RH0611",
        Error,
        "pods look elsewhere for data",
        "A pod starts without what it does not look for: tables of a second data directory are gone without a word, a commit log is \
         not replayed, and where it finds nothing at all a new member is made. What another volume is mounted over is seen by nobody.",
        "Mount each claim template (with subPath, if need be) so that every directory is where the pods look for it, and nothing else \
         over it; or mount a configuration that names the directories as they will be.",
    ),
    check(
        "RH0612",
        Warning,
        "where pods look for data cannot be told",
        "The image, a mounted configuration or a command of the set's own decides where the pods look.",
        "Compare what is said here with data_file_directories, commitlog_directory and hints_directory as the pods will have them.",
    ),
    check(
        "RH0613",
        Warning,
        "version that opens in part",
        "The members start closed to clients and are opened when they are verified; until its next start a member of this version then \
         lacks what the finding names.",
        "Use an image in which it is mended, or restart the pods one by one right after the opening.",
    ),
    check(
        "RH0614",
        Error,
        "probe ends closed pods",
        "A pod that lets no clients in yet would be ended again and again before it is verified.",
        "Probe the internode port instead.",
    ),
    check(
        "RH0615",
        Error,
        "no seeds",
        "A member that is its own seed finds none of the others at their new addresses.",
        "Name some of the pods' DNS names as seeds.",
    ),
    check(
        "RH0616",
        Error,
        "settings of the members",
        "Pods that ask for no password open the data to everybody who reaches them; pods that do not encrypt as the members do, or write \
         later than they do, are another service than the one that moves.",
        "Mount a configuration that has the members' settings.",
    ),
    check(
        "RH0617",
        Warning,
        "settings that nobody compares",
        "The members do not have the settings of a new installation; the image, a mounted configuration or a command of the set's own \
         decides whether the pods have them too.",
        "See that the pods' configuration says the same.",
    ),
    check(
        "RH0618",
        Warning,
        "pods that want to be asked otherwise",
        "The pods are verified and opened by nodetool, in the downtime: one that is refused there ends the cutover after its limit, and the \
         run undoes itself.",
        "Say how pods call nodetool under spec.application.settings.podNodetool (docs/cassandra.md).",
    ),
    check(
        "RH0619",
        Warning,
        "image of another version",
        "An older version may not read what a newer one has written, so that `rollback --keep-writes` is refused unless the image's tag \
         names the members' very version: after the opening the way back would cost all new writes.",
        "Move with an image of the members' own version, named in full (5.0.9, not 5.0), and upgrade after finalize. Nothing, if new \
         writes need not come back.",
    ),
    check(
        "RH0620",
        Warning,
        "pods look elsewhere for hints",
        "Hints that the members had not delivered when they stopped would never be: writes at consistency ANY are then nowhere, and \
         others are repaired by reads and by repair only. What is in cdc_raw would not be read.",
        "Mount the claim template so that the directory is where the pods look for it, or mount a configuration that names it.",
    ),
    check(
        "RH0621",
        Warning,
        "what pods say of themselves cannot be told",
        "The application refuses to start in another cluster, data center or rack, or with another number of tokens, than its data says, \
         and that would show in the downtime. The image, a mounted configuration or a command of the set's own decides what its pods say.",
        "See that each pod has the values that are shown. Where pods differ, a command can choose by the pod's ordinal; which member lands \
         in which pod is in the plan.",
    ),
    check(
        "RH0622",
        Warning,
        "seeds that are no pods",
        "A pod that finds none of its seeds does not start, in the downtime; one that finds a legacy host's name there, or another \
         cluster, asks that one.",
        "Name some of the members' pods (<pod>.<service>), or a service of the namespace that selects them.",
    ),
];
