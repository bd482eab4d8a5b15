//! Their volumes, and where the application keeps what.

use rehome_model::finding::Severity::{Error, Info, Warning};

use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
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
        "LVM, RAID, LUKS and partitions cannot be mounted by the EBS CSI driver as they are. Where a directory of the file system is \
         mounted, as by a bind mount, a pod would see the file system's root in its place, and start blank.",
        "Move this member's data to a plain volume first. A bind mount: name the mount point of the whole \
         file system in spec.source.volumes[].mountPath, and mount the claim with a subPath; or mount the volume there directly.",
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
        "Terminating the instance would delete the original. The plan switches it off first, and on again on rollback; for a member of \
         an Auto Scaling group it stays off, since a group that replaces the member would delete the original with it.",
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
        "Start the application, or set its data and commit log directories in its configuration, each once and in the usual form; see that spec.application.settings names the configuration file in use.",
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
        "The CSI driver attaches with a role of its own. Without kms:CreateGrant, kms:Decrypt, kms:GenerateDataKeyWithoutPlaintext and kms:DescribeKey on the key its AttachVolume fails, in the downtime, though CreateVolume went well. Where the account encrypts by default a new volume is under the default key, though the old one is under none, and CreateVolume itself fails without kms:CreateGrant of yours. An instance is started in the caller's name with the keys of all its volumes, the root volume among them: without kms:CreateGrant on each no way back ends.",
        "See that the driver's role has the four, by its own policy and by the key's, and that yours has those that `rehome iam` prints. Nothing, if the key is aws/ebs: the command that is shown then says AWS, else CUSTOMER.",
    ),
    check(
        "RH0218",
        Warning,
        "host that cannot take the new volume",
        "After the opening `rollback --keep-writes` would attach the volume that the pod wrote to in the original's place. It is refused where the host's fstab would not mount that one, or where it is not known whose the files are.",
        "Name the file system by UUID= or LABEL=, which the new volume shares; give what lies right below the mount point one owner. Nothing, if new writes need not come back.",
    ),
    check(
        "RH0219",
        Error,
        "mount inside a volume that moves",
        "The volume is unmounted before it is captured, and what is mounted inside keeps it busy: the cutover would wait for it in vain, \
         and be undone. What is in there would not move either.",
        "If it is a volume of its own, name it under spec.source.volumes. Else unmount it, and take its line out of fstab.",
    ),
    check(
        "RH0220",
        Error,
        "file system mounted twice",
        "A file system is unmounted by the mount point that the migration names. While it is mounted elsewhere too, it is in use, and what \
         is captured may lack what was written last.",
        "Unmount the other one, and take its line out of fstab, before you plan. Of a bind mount and what it is made of only one may stay.",
    ),
    check(
        "RH0221",
        Error,
        "host does not boot without its instance store",
        "The cutover stops the instance, which erases its instance store. On the way back systemd waits at boot for a file system that \
         is there no more, and drops into an emergency shell, where neither the SSM agent nor sshd runs: nobody reaches the host.",
        "Give its line in fstab the option nofail, or take it out. What Cassandra needs of it must be made anew at boot.",
    ),
    check(
        "RH0222",
        Warning,
        "volume that moves is used by others",
        "The volume is unmounted before it is captured. Whatever has a file open there, or stands in it, keeps it busy: the cutover waits \
         for it in the downtime, and is undone.",
        "End these processes before the cutover, or keep them off the mount point: shells, agents that read logs there, backups.",
    ),
    check(
        "RH0223",
        Info,
        "encryption by default is not known",
        "Where the account encrypts by default, the new volume of an unencrypted one is under the account's default key. If you or the CSI \
         driver's role may not use that key, the run fails in the downtime.",
        "Allow ec2:GetEbsEncryptionByDefault and ec2:GetEbsDefaultKmsKeyId, as `rehome iam` does, or look yourself: \
         `aws ec2 get-ebs-encryption-by-default`.",
    ),
];
