//! What rehome must be allowed to do in the account: one table for `rehome iam`, which a test in the crate `aws` holds to
//! the calls that it makes.

/// What an action is done to. Each is a statement of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionOn {
    /// Everything: describes, which name no resource.
    Everything,
    /// The members' instances.
    Instances,
    /// Volumes, snapshots, and the instances that they are of.
    Storage,
    /// What a run made, by its tag.
    Made,
    /// Auto Scaling groups. Of no use where no member is in one.
    Groups,
    /// Scripts on hosts by Run Command. Of no use with `hosts: ssh`.
    Scripts,
    /// The keys of encrypted volumes, by way of EC2, which acts in the caller's name.
    Keys,
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
    (ActionOn::Everything, "sts:GetCallerIdentity"),
    (ActionOn::Instances, "ec2:ModifyInstanceAttribute"),
    (ActionOn::Instances, "ec2:StartInstances"),
    (ActionOn::Instances, "ec2:StopInstances"),
    (ActionOn::Storage, "ec2:AttachVolume"),
    (ActionOn::Storage, "ec2:CreateSnapshots"),
    (ActionOn::Storage, "ec2:CreateTags"),
    (ActionOn::Storage, "ec2:CreateVolume"),
    (ActionOn::Storage, "ec2:DetachVolume"),
    (ActionOn::Made, "ec2:DeleteSnapshot"),
    (ActionOn::Made, "ec2:DeleteVolume"),
    (ActionOn::Groups, "autoscaling:EnterStandby"),
    (ActionOn::Groups, "autoscaling:ExitStandby"),
    (ActionOn::Scripts, "ssm:CancelCommand"),
    (ActionOn::Scripts, "ssm:DescribeInstanceInformation"),
    (ActionOn::Scripts, "ssm:GetCommandInvocation"),
    (ActionOn::Scripts, "ssm:SendCommand"),
    // Nobody here calls these: EC2 does, when it makes a volume of an encrypted snapshot and when it starts an instance
    // with encrypted volumes (EBS user guide, "Requirements for Amazon EBS encryption").
    (ActionOn::Keys, "kms:CreateGrant"),
    (ActionOn::Keys, "kms:Decrypt"),
    (ActionOn::Keys, "kms:DescribeKey"),
    (ActionOn::Keys, "kms:GenerateDataKeyWithoutPlaintext"),
    (ActionOn::Keys, "kms:ReEncryptFrom"),
    (ActionOn::Keys, "kms:ReEncryptTo"),
];
