//! What goes in and out of the core: EC2's actions, replies, objects and errors, in EC2's own terms.
//!
//! Field names are EC2's parameter names in snake case; their meaning is the EC2 API reference's. A face turns them
//! into another form (Query protocol, the port `Cloud`) and back, and decides nothing.

mod action;
mod error;
mod objects;
mod reply;
mod requests;

pub use action::{ACTIONS, Action, Service};
pub use error::ApiError;
pub use objects::{
    Attachment, AutoScalingActivity, AutoScalingGroupDescription, AutoScalingInstance, AvailabilityZone,
    CallerIdentity, Initialization, InitializationType, Instance, InstanceAttribute, InstanceBlockDevice,
    InstanceStateChange, InstanceStatus, InstanceType, ModificationState, Region, Snapshot, TagDescription, Volume,
    VolumeModification, VolumeStatus,
};
pub use reply::{Paged, Reply};
pub use requests::{
    AttachVolume, Caller, CopySnapshot, CopyVolumes, CreateSnapshot, CreateSnapshots, CreateVolume,
    DescribeAutoScaling, DescribeById, DescribeInstanceTypes, DescribeSnapshots, DescribeTags, DetachVolume, Filter,
    InstanceAttributeName, InstanceChange, ModifyInstanceAttribute, ModifyVolume, NewBlockDevice, Page,
    ProcessesRequest, RunInstances, StandbyRequest, StopInstances, TagSpecification, TagsRequest,
};
