"""Every action that the emulator offers, by service. `check.py` holds the list to what is carried out."""

ACTIONS = {
    "ec2": """
        DescribeInstances DescribeInstanceStatus DescribeInstanceTypes DescribeInstanceAttribute DescribeVolumes
        DescribeVolumeStatus DescribeVolumesModifications DescribeSnapshots DescribeAvailabilityZones DescribeRegions
        DescribeTags RunInstances StartInstances StopInstances TerminateInstances ModifyInstanceAttribute CreateVolume
        CopyVolumes DeleteVolume AttachVolume DetachVolume ModifyVolume CreateSnapshot CreateSnapshots DeleteSnapshot
        CopySnapshot CreateTags DeleteTags GetEbsEncryptionByDefault GetEbsDefaultKmsKeyId
    """.split(),
    "autoscaling": """
        DescribeAutoScalingInstances DescribeAutoScalingGroups EnterStandby ExitStandby SuspendProcesses
        ResumeProcesses
    """.split(),
    "sts": ["GetCallerIdentity"],
    "ssm": ["SendCommand", "GetCommandInvocation", "DescribeInstanceInformation"],
}
