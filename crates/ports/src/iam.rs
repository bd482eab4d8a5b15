//! What rehome must be allowed to do in the account: one table for `rehome iam`, which a test in the crate `aws` holds to
//! the calls that it makes.

/// What an action is done to. Each is a statement of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionOn {
    /// Everything: describes, which name no resource.
    Everything,
    /// The members' instances.
    Instances,
    /// Their protections, and what happens to their volumes at a termination: attributes, of which most are nothing to rehome.
    Attributes,
    /// Volumes, snapshots, and the instances that they are of.
    Storage,
    /// Tags of what is made, of what a run made, and of the originals.
    Tags,
    /// What a run made, by its tag.
    Made,
    /// Auto Scaling groups. Of no use where no member is in one.
    Groups,
    /// What is asked of Run Command, which names no resource. Of no use with `hosts: ssh`.
    Scripts,
    /// Scripts on the members, as root. Of no use with `hosts: ssh`.
    Commands,
    /// The keys of encrypted volumes, by way of EC2, which acts in the caller's name.
    Keys,
    /// Grants of these keys to EC2.
    Grants,
}

/// All actions, as policies name them.
pub const ACTIONS: &[(ActionOn, &str)] = &[
    (ActionOn::Everything, "autoscaling:DescribeAutoScalingGroups"),
    (ActionOn::Everything, "autoscaling:DescribeAutoScalingInstances"),
    (ActionOn::Everything, "ec2:DescribeInstanceAttribute"),
    (ActionOn::Everything, "ec2:DescribeInstanceTypes"),
    (ActionOn::Everything, "ec2:DescribeInstances"),
    (ActionOn::Everything, "ec2:DescribeSnapshots"),
    (ActionOn::Everything, "ec2:DescribeVolumes"),
    (ActionOn::Everything, "ec2:GetEbsDefaultKmsKeyId"),
    (ActionOn::Everything, "ec2:GetEbsEncryptionByDefault"),
    (ActionOn::Everything, "sts:GetCallerIdentity"),
    (ActionOn::Attributes, "ec2:ModifyInstanceAttribute"),
    (ActionOn::Instances, "ec2:StartInstances"),
    (ActionOn::Instances, "ec2:StopInstances"),
    (ActionOn::Storage, "ec2:AttachVolume"),
    (ActionOn::Storage, "ec2:CreateSnapshots"),
    (ActionOn::Storage, "ec2:CreateVolume"),
    (ActionOn::Storage, "ec2:DetachVolume"),
    (ActionOn::Tags, "ec2:CreateTags"),
    (ActionOn::Made, "ec2:DeleteSnapshot"),
    (ActionOn::Made, "ec2:DeleteVolume"),
    (ActionOn::Groups, "autoscaling:EnterStandby"),
    (ActionOn::Groups, "autoscaling:ExitStandby"),
    (ActionOn::Scripts, "ssm:CancelCommand"),
    (ActionOn::Scripts, "ssm:DescribeInstanceInformation"),
    (ActionOn::Scripts, "ssm:GetCommandInvocation"),
    (ActionOn::Commands, "ssm:SendCommand"),
    // Nobody here calls these: EC2 does, when it makes a volume of an encrypted snapshot and when it starts an instance
    // with encrypted volumes (EBS user guide, "Requirements for Amazon EBS encryption").
    (ActionOn::Grants, "kms:CreateGrant"),
    (ActionOn::Keys, "kms:Decrypt"),
    (ActionOn::Keys, "kms:DescribeKey"),
    (ActionOn::Keys, "kms:GenerateDataKeyWithoutPlaintext"),
    (ActionOn::Keys, "kms:ReEncryptFrom"),
    (ActionOn::Keys, "kms:ReEncryptTo"),
];
