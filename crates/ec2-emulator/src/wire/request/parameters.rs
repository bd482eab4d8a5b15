//! The parameters that EC2's actions have, as its service model (botocore's `ec2/2016-11-15`) lists them: EC2 refuses any
//! other name. Those that the emulator does not model are accepted and have no effect.

use crate::api::ApiError;

use super::super::params::Params;

/// In any request.
const COMMON: [&str; 3] = ["Action", "Version", "DryRun"];

/// Action -> the names that it takes besides those.
const PARAMETERS: [(&str, &str); 28] = [
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

/// Refuses a parameter that the action does not have. Of `Filter.1.Name`, only `Filter` is looked at.
pub(super) fn check(action: &str, params: &Params) -> Result<(), ApiError> {
    let Some((_, known)) = PARAMETERS.iter().find(|(name, _)| *name == action) else { return Ok(()) };
    let is_known = |name: &str| COMMON.contains(&name) || known.split(' ').any(|known| known == name);
    match params.names().find(|name| !is_known(name)) {
        Some(name) => Err(ApiError::unknown_parameter(name)),
        None => Ok(()),
    }
}
