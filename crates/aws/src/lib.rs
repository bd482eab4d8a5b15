//! The cloud and host ports on the AWS SDK; the only crate that depends on it.
//!
//! In: AWS's standard configuration and credential chain. Out: [`AwsCloud`], which is `rehome_ports::Cloud`, and
//! [`SsmHosts`], which is `rehome_ports::Hosts`. The SDK's own retries are off for EC2, Auto Scaling, SSM and STS: reads
//! are sent again here, within named limits; a call that changes something is sent once, and what its error means is for
//! the caller to decide. They stay on where credentials are fetched: that changes nothing, and nobody here sees it.

mod auto_scaling;
mod cloud;
mod connect;
mod convert;
mod error;
mod filters;
mod in_time;
mod instances;
mod permissions;
mod retry;
mod snapshots;
mod ssm;
mod volumes;

pub use cloud::AwsCloud;
pub use connect::{ConnectError, Options, connect, with_config};
pub use ssm::SsmHosts;
