//! All checks, with what they mean. Codes are stable: they are never used again for something else.

use rehome_model::finding::Severity;

/// A check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its code.
    pub code: &'static str,
    /// How bad a finding of it is. `Error`: data could be lost or the move would stand still half way.
    pub severity: Severity,
    /// What it looks for.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// The check of a code.
pub fn explain(code: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.code.eq_ignore_ascii_case(code))
}

const fn check(
    code: &'static str,
    severity: Severity,
    title: &'static str,
    why: &'static str,
    fix: &'static str,
) -> Check {
    Check { code, severity, title, why, fix }
}

use Severity::{Error, Info, Warning};

/// All checks, by code.
pub const CHECKS: &[Check] = &[
    check(
        "RH0101",
        Error,
        "instance does not exist",
        "A member that is not found would be left behind, and its replicas with it.",
        "Correct spec.source.members or the region.",
    ),
    check(
        "RH0102",
        Error,
        "instance is not running",
        "The base snapshot and the drain need a member that serves; one that was down has missed writes.",
        "Start it, let it catch up, then plan again.",
    ),
    check(
        "RH0103",
        Error,
        "host cannot be asked",
        "Without a look inside nothing is known of its volumes and identity, and it could not be quiesced.",
        "See that SSM (or ssh) reaches it: agent online, instance profile, security group.",
    ),
    check(
        "RH0104",
        Error,
        "application does not answer",
        "A member is moved by its identity, which the running application tells.",
        "Start the application on it and see why it does not answer.",
    ),
    check(
        "RH0105",
        Error,
        "two members with one identity",
        "Two copies of one member in one cluster evict each other and lose writes.",
        "Find out which is the copy; remove it from the cluster before anything else.",
    ),
    check(
        "RH0106",
        Error,
        "cluster has members that the migration does not name",
        "What is left behind keeps part of the data, and would talk to the moved members' old addresses.",
        "Name all members under spec.source.members, or decommission those that shall not move.",
    ),
    check(
        "RH0107",
        Error,
        "a member is not up",
        "A replica that is down lacks writes that hints may not bring to it after the move.",
        "Bring it up, repair if it was down longer than the hint window, then plan again.",
    ),
    check(
        "RH0108",
        Error,
        "members of different clusters",
        "Members of two clusters in one set would mix their data.",
        "Select the members of one cluster only.",
    ),
    check(
        "RH0109",
        Warning,
        "member of an Auto Scaling group",
        "A group terminates members that it finds stopped. The plan puts each that is in service into Standby first, and back on rollback, unless the group's processes Terminate and ReplaceUnhealthy are both suspended. A dry run cannot tell whether the caller may do so.",
        "Nothing, if the caller may autoscaling:EnterStandby and ExitStandby; else suspend both processes yourself before you plan, and leave them so until the legacy instances are no longer needed. In a group over several zones suspend AZRebalance for that time, too: members in Standby unbalance it, and a group that rebalances terminates members.",
    ),
    check(
        "RH0110",
        Error,
        "no agreement on one schema",
        "Members that start with different schemas refuse or misread each other's writes.",
        "Let the schema settle (see the application's own tool), then plan again.",
    ),
    check(
        "RH0112",
        Info,
        "Name tag is not used",
        "A member's name becomes a label of its PersistentVolume, and names must differ. Such a member is called by its instance id.",
        "Nothing; or a tag of letters, digits, '-', '_' and '.', 63 characters at most, that no other member has.",
    ),
    check(
        "RH0113",
        Error,
        "Auto Scaling group's MinSize",
        "EnterStandby lowers the desired capacity, and is refused where fewer than MinSize would be left: the run would fail half way, and be undone.",
        "Lower MinSize by the command that is shown, then plan again; raise it again after a rollback.",
    ),
    check(
        "RH0114",
        Error,
        "member on its way in its Auto Scaling group",
        "Only a member in service can be put into Standby, and only one in Standby is left alone when it is stopped.",
        "Wait until it is InService or Standby, then plan again.",
    ),
    check(
        "RH0115",
        Error,
        "disk of another member",
        "The directory that the configuration names is not the one the running member uses: an old copy of its data would be moved.",
        "See where the application really keeps its data, and correct its configuration or spec.application.settings.",
    ),
    check(
        "RH0116",
        Error,
        "identity cannot be read from the disk",
        "Once a member has stopped its disk is all that says who it is, and no volume is moved without. Formats that cannot be read (Cassandra before 4.0, BTI and other compressors than LZ4 for its own tables) would be found out in the downtime.",
        "See that spec.application.settings names the configuration file and the data directory in use; else this version or table format cannot be moved yet.",
    ),
    check(
        "RH0117",
        Error,
        "Auto Scaling group behind a load balancer",
        "EnterStandby deregisters a member from the group's target groups and load balancers, with a draining of 300 s by default. It is done while the run prepares, up to a day before the cutover: an outage for whoever comes by them, that nobody announced.",
        "Suspend the group's processes yourself, by the command that is shown, before you plan: rehome leaves such a group alone (RH0109). Or detach the target group, if its clients can do without it. Then plan again.",
    ),
    check(
        "RH0118",
        Error,
        "not run by its unit",
        "The cutover stops and holds a unit of systemd, and the way back starts it: what something else runs is neither stopped nor \
         started again.",
        "Name the unit in spec.application.settings.unit, or have systemd run the application.",
    ),
    check(
        "RH0119",
        Warning,
        "public address",
        "A public address that is no Elastic IP is given away when the instance stops: on the way back the member would have another \
         one, and its seeds and peers would name addresses that nobody has.",
        "See that it is an Elastic IP (aws ec2 describe-addresses), or have the members talk by private addresses.",
    ),
    check(
        "RH0201",
        Error,
        "nothing is mounted where the data should be",
        "The volume of a role is found by its mount point.",
        "Correct spec.source.volumes[].mountPath.",
    ),
    check(
        "RH0202",
        Error,
        "file system is not on a whole volume",
        "LVM, RAID, LUKS and partitions cannot be mounted by the EBS CSI driver as they are.",
        "Move this member's data to a plain volume first, or wait for strategy copy.",
    ),
    check(
        "RH0203",
        Error,
        "data on an instance store",
        "Instance stores cannot be snapshotted and are erased when the instance stops.",
        "Move the data to EBS first.",
    ),
    check(
        "RH0204",
        Error,
        "file system that the CSI driver cannot mount",
        "The driver mounts xfs, ext4 and ext3.",
        "Move the data to one of these file systems first.",
    ),
    check(
        "RH0205",
        Error,
        "Multi-Attach volume",
        "A volume that may be attached twice has no single writer by construction.",
        "Switch Multi-Attach off, with the volume detached.",
    ),
    check(
        "RH0206",
        Error,
        "one volume for two claims",
        "Two pods would write to one volume.",
        "Give each role a volume of its own, or one role for both directories.",
    ),
    check(
        "RH0207",
        Warning,
        "slow volume",
        "Small gp2, HDD and magnetic volumes read slowly; the start after the move reads much.",
        "Modify the volume to gp3 before the move.",
    ),
    check(
        "RH0208",
        Info,
        "DeleteOnTermination is on",
        "Terminating the instance would delete the original. The plan switches it off first, and on again on rollback unless a group cares for the member.",
        "Nothing.",
    ),
    check(
        "RH0209",
        Warning,
        "file system nearly full",
        "A flush, or the replay of a commit log at the first start, may fill it.",
        "Free space or grow the volume first.",
    ),
    check(
        "RH0212",
        Error,
        "data beside the volumes that move",
        "Only what is mounted at spec.source.volumes[].mountPath is captured. A data directory or a commit log elsewhere stays behind, and the writes in it are lost without an error.",
        "Name the directory's mount point under spec.source.volumes; or move the directory to a volume that is named there.",
    ),
    check(
        "RH0213",
        Warning,
        "what is kept for others is beside the volumes that move",
        "A hint is a copy of a write for a replica that was down, and other replicas have that write; only one at consistency ANY may be nowhere else. Until a repair the replica lacks it. Who reads a log of changes (CDC) misses what is lost of it.",
        "Move the directory to a volume that moves; or see that nothing is left in it before the cutover, and repair after it.",
    ),
    check(
        "RH0214",
        Error,
        "directories not known",
        "Whether all data moves cannot be told without knowing where it is. What the configuration does not say only the running process tells.",
        "Start the application, or set its data and commit log directories in its configuration; see that spec.application.settings names the configuration file in use.",
    ),
    check(
        "RH0215",
        Error,
        "mount point without a line in fstab",
        "An undo mounts what it unmounted by `mount <mount point>`, which reads /etc/fstab alone; without its line the member would stay down. A systemd .mount unit does not take its place.",
        "Add the line, by UUID; a .mount unit of the same mount point may stay.",
    ),
    check(
        "RH0216",
        Warning,
        "fstab names a device that may change",
        "A rollback stops and starts the instance, after which a kernel name may be another volume's: the member would start on the wrong data, or not at all.",
        "Name the file system by UUID= or LABEL=.",
    ),
    check(
        "RH0217",
        Warning,
        "volumes encrypted with a key of the account's own",
        "The CSI driver attaches with a role of its own. Without kms:CreateGrant, kms:Decrypt, kms:GenerateDataKeyWithoutPlaintext and kms:DescribeKey on the key its AttachVolume fails, in the downtime, though CreateVolume went well.",
        "See that the driver's role has the four, by its own policy and by the key's. Nothing, if the key is aws/ebs: the command that is shown then says AWS, else CUSTOMER.",
    ),
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
        "RH0401",
        Error,
        "claim name taken",
        "The set would adopt the claim that is there, with whatever volume it has.",
        "Delete the claim if nobody needs its volume, or choose other ordinals.",
    ),
    check(
        "RH0402",
        Error,
        "PersistentVolume name taken",
        "A claim that names a volume which exists is not parked.",
        "Delete the PersistentVolume if nobody needs it.",
    ),
    check(
        "RH0403",
        Error,
        "volume is behind a PersistentVolume already",
        "Two PersistentVolumes on one EBS volume both bind, and two pods write.",
        "Delete the other PersistentVolume (Retain keeps the volume).",
    ),
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
        "Add the template, or map the role under spec.target.slots[].claims.",
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
        "Use ReadWriteOnce or ReadWriteOncePod in the template.",
    ),
    check("RH0505", Error, "block mode", "The adopted volume holds a file system.", "Use volumeMode: Filesystem."),
    check(
        "RH0506",
        Error,
        "storage class",
        "A class of another driver, or none, cannot hold the adopted volume.",
        "Use a class of the EBS CSI driver in the template.",
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
        "fsGroup without OnRootMismatch",
        "The kubelet changes the group of every file before the first start: minutes to hours of downtime.",
        "Set fsGroupChangePolicy: OnRootMismatch, or no fsGroup.",
    ),
    check(
        "RH0512",
        Error,
        "uid mismatch",
        "The application could not write its own files; fsGroup changes groups, never the uid.",
        "Set runAsUser to the files' uid, or leave it out with an image that changes the owner at start.",
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
        "Scale the set to 0 and remove its claims if nobody needs them.",
    ),
    check(
        "RH0517",
        Error,
        "selector or VolumeAttributesClass in the template",
        "The first keeps claims from binding to provisioned volumes, the second modifies the adopted one.",
        "Remove it from the template.",
    ),
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
        "Correct spec.target.slots[].container.",
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
         not replayed, and where it finds nothing at all a new member is made.",
        "Mount each claim template (with subPath, if need be) so that every directory is where the pods look for it, or mount a \
         configuration that names the directories as they will be.",
    ),
    check(
        "RH0612",
        Warning,
        "where pods look for data cannot be told",
        "The image, a mounted configuration or a command of the set's own decides where the pods look.",
        "Compare what is said here with data_file_directories and commitlog_directory as the pods will have them.",
    ),
    check(
        "RH0613",
        Error,
        "version that does not open",
        "The members start closed to clients and are opened when they are verified; this version does that only in part.",
        "Use an image in which it is mended.",
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
        "Allow the action in the caller's policy; `rehome iam` prints one that has all. A creation is also denied for want of ec2:CreateTags, and where a tag policy does not take the tags; ec2:ModifyInstanceAttribute where a policy allows not all of DisableApiTermination, DisableApiStop and BlockDeviceMapping.",
    ),
    check(
        "RH0706",
        Info,
        "deletions that cannot be asked about",
        "A rollback deletes what its run made, which is not there yet: only things that no run made could be asked about, and to be denied those is as it should be.",
        "Nothing, if the caller's policy allows the action for what has the tag rehome.dev/migration, as the one that `rehome iam` prints does; else add it.",
    ),
];

#[cfg(test)]
mod tests {
    use super::CHECKS;

    #[test]
    fn codes_are_in_order_and_none_stands_for_two_things() {
        assert!(CHECKS.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(CHECKS.len() >= 25);
    }

    #[test]
    fn every_check_says_why_and_what_to_do() {
        for check in CHECKS {
            assert!(check.why.ends_with('.') && check.fix.ends_with('.'), "{}", check.code);
        }
    }
}
