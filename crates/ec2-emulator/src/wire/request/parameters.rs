//! The parameters that EC2's actions have, as its service model (botocore's `ec2/2016-11-15`) lists them: EC2 refuses any
//! other name. Those that the emulator does not model are accepted and have no effect.

use crate::api::ApiError;

use super::super::params::Params;

/// In any request.
const COMMON: [&str; 3] = ["Action", "Version", "DryRun"];

/// Action -> the names that it takes besides those.
const PARAMETERS: [(&str, &str); 30] = [
    ("DescribeInstances", "Filter IncludeManagedResources InstanceId MaxResults NextToken"),
    ("DescribeInstanceStatus", "Filter IncludeAllInstances IncludeManagedResources InstanceId MaxResults NextToken"),
    ("DescribeInstanceTypes", "Filter IncludeUnsupportedInRegion InstanceType MaxResults NextToken"),
    ("DescribeInstanceAttribute", "Attribute InstanceId"),
    ("DescribeVolumes", "Filter IncludeManagedResources MaxResults NextToken VolumeId"),
    ("DescribeVolumeStatus", "Filter IncludeManagedResources MaxResults NextToken VolumeId"),
    ("DescribeVolumesModifications", "Filter IncludeManagedResources MaxResults NextToken VolumeId"),
    ("DescribeSnapshots", "Filter MaxResults NextToken Owner RestorableBy SnapshotId"),
    ("DescribeAvailabilityZones", "AllAvailabilityZones Filter ZoneId ZoneName"),
    ("DescribeRegions", "AllRegions Filter RegionName"),
    ("DescribeTags", "Filter MaxResults NextToken"),
    ("GetEbsEncryptionByDefault", ""),
    ("GetEbsDefaultKmsKeyId", ""),
    (
        "RunInstances",
        "AdditionalInfo BlockDeviceMapping CapacityReservationSpecification ClientToken CpuOptions \
         CreditSpecification DisableApiStop DisableApiTermination EbsOptimized ElasticGpuSpecification \
         ElasticInferenceAccelerator EnablePrimaryIpv6 EnclaveOptions HibernationOptions IamInstanceProfile \
         ImageId InstanceInitiatedShutdownBehavior InstanceMarketOptions InstanceType Ipv6Address \
         Ipv6AddressCount KernelId KeyName LaunchTemplate LicenseSpecification MaintenanceOptions MaxCount \
         MetadataOptions MinCount Monitoring NetworkInterface NetworkPerformanceOptions Operator Placement \
         PrivateDnsNameOptions PrivateIpAddress RamdiskId SecondaryInterface SecurityGroup SecurityGroupId \
         SubnetId TagSpecification UserData",
    ),
    ("StartInstances", "AdditionalInfo InstanceId"),
    ("StopInstances", "Force Hibernate InstanceId SkipOsShutdown"),
    ("TerminateInstances", "Force InstanceId SkipOsShutdown"),
    (
        "ModifyInstanceAttribute",
        "Attribute BlockDeviceMapping DisableApiStop DisableApiTermination EbsOptimized EnaSupport \
         EnclaveOptions GroupId InstanceId InstanceInitiatedShutdownBehavior InstanceType Kernel Ramdisk \
         SourceDestCheck SriovNetSupport UserData Value",
    ),
    (
        "CreateVolume",
        "AvailabilityZone AvailabilityZoneId ClientToken Encrypted Iops KmsKeyId MultiAttachEnabled Operator \
         OutpostArn Size SnapshotId TagSpecification Throughput VolumeInitializationRate VolumeType",
    ),
    (
        "CopyVolumes",
        "ClientToken Encrypted Iops KmsKeyId MultiAttachEnabled Size SourceVolumeId TagSpecification \
         Throughput VolumeType",
    ),
    ("DeleteVolume", "VolumeId"),
    ("AttachVolume", "Device EbsCardIndex InstanceId VolumeId"),
    ("DetachVolume", "Device Force InstanceId VolumeId"),
    ("ModifyVolume", "Iops MultiAttachEnabled Size Throughput VolumeId VolumeType"),
    ("CreateSnapshot", "Description Location OutpostArn TagSpecification VolumeId"),
    ("CreateSnapshots", "CopyTagsFromSource Description InstanceSpecification Location OutpostArn TagSpecification"),
    ("DeleteSnapshot", "SnapshotId"),
    (
        "CopySnapshot",
        "CompletionDurationMinutes Description DestinationAvailabilityZone DestinationOutpostArn \
         DestinationRegion Encrypted KmsKeyId PresignedUrl SourceRegion SourceSnapshotId TagSpecification",
    ),
    ("CreateTags", "ResourceId Tag"),
    ("DeleteTags", "ResourceId Tag"),
];

/// Structure -> its members, of all actions that have one of this name: of the structures that the emulator reads.
const MEMBERS: [(&str, &str); 7] = [
    ("BlockDeviceMapping", "DeviceName Ebs NoDevice VirtualName"),
    (
        "Ebs",
        "AvailabilityZone AvailabilityZoneId DeleteOnTermination EbsCardIndex Encrypted Iops KmsKeyId OutpostArn \
         SnapshotId Throughput VolumeId VolumeInitializationRate VolumeSize VolumeType",
    ),
    ("Filter", "Name Value"),
    ("InstanceSpecification", "ExcludeBootVolume ExcludeDataVolumeId InstanceId"),
    (
        "Placement",
        "Affinity AvailabilityZone AvailabilityZoneId GroupId GroupName HostId HostResourceGroupArn PartitionNumber \
         SpreadDomain Tenancy",
    ),
    ("Tag", "Key Value"),
    ("TagSpecification", "ResourceType Tag"),
];

/// Refuses a parameter that the action does not have, or a member that its structure does not have: EC2 tells the last
/// part of the name.
pub(super) fn check(action: &str, params: &Params) -> Result<(), ApiError> {
    let Some((_, known)) = PARAMETERS.iter().find(|(name, _)| *name == action) else { return Ok(()) };
    for name in params.names() {
        // `Filter.1.Value.2` is the member Value of Filter.
        let mut parts = name.split('.').filter(|part| part.parse::<usize>().is_err());
        let mut part = parts.next().unwrap_or_default();
        if !COMMON.contains(&part) && !has(known, part) {
            return Err(ApiError::unknown_parameter(part));
        }
        for member in parts {
            let structure = MEMBERS.iter().find(|(structure, _)| *structure == part);
            if structure.is_some_and(|(_, members)| !has(members, member)) {
                return Err(ApiError::unknown_parameter(member));
            }
            part = member;
        }
    }
    Ok(())
}

fn has(names: &str, name: &str) -> bool {
    names.split(' ').any(|known| known == name)
}
