//! From AWS's standard configuration to the ports.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::DisplayErrorContext;
use rehome_ports::CALL_LIMIT;
use thiserror::Error;

use crate::cloud::AwsCloud;
use crate::ssm::SsmHosts;

/// How long a connection may take to open.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What is not taken from the environment and the shared configuration files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Region; the standard chain's if not given (`AWS_REGION`, profile, instance metadata).
    pub region: Option<String>,
    /// Profile of the shared configuration files; the standard chain's if not given.
    pub profile: Option<String>,
    /// Where all four services are; the SDK's own choice if not given, which `AWS_ENDPOINT_URL`,
    /// `AWS_ENDPOINT_URL_EC2` and the like can change.
    pub endpoint_url: Option<String>,
    /// How long one call may take, from its sending to the end of its reply.
    pub call_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { region: None, profile: None, endpoint_url: None, call_limit: CALL_LIMIT }
    }
}

/// Why no call can be made at all.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No region is configured anywhere.
    #[error("no AWS region is set: name one in the migration, in AWS_REGION, or in the AWS profile")]
    NoRegion,
    /// The standard chain found no credentials, or found some that cannot be used.
    #[error("no usable AWS credentials: {reason}")]
    NoCredentials {
        /// What the chain said.
        reason: String,
    },
}

/// Connects with AWS's standard chain. Makes no call to EC2; the credentials are fetched, so that their lack is told
/// here and not by the first step of a run.
pub async fn connect(options: Options) -> Result<(AwsCloud, SsmHosts), ConnectError> {
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).operation_attempt_timeout(options.call_limit).build();
    // Retries stay as they are here: the clients by which the chain asks STS and SSO for credentials take theirs from this.
    // One throttled refresh must not end a run in the middle of its cutover.
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).timeout_config(timeouts);
    if let Some(region) = options.region {
        loader = loader.region(Region::new(region));
    }
    if let Some(profile) = options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = options.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    with_config(&loader.load().await).await
}

/// The same with a configuration made elsewhere. Its retries are switched off for the four services, not for the provider
/// of its credentials.
pub async fn with_config(config: &SdkConfig) -> Result<(AwsCloud, SsmHosts), ConnectError> {
    let region = config.region().ok_or(ConnectError::NoRegion)?.to_string();
    let nobody = || ConnectError::NoCredentials { reason: "none are configured".to_owned() };
    let provider = config.credentials_provider().ok_or_else(nobody)?;
    provider.provide_credentials().await.map_err(no_credentials)?;
    let config = config.to_builder().retry_config(RetryConfig::disabled()).build();
    Ok((AwsCloud::new(&config, region), SsmHosts::new(&config)))
}

fn no_credentials(error: CredentialsError) -> ConnectError {
    let reason = match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            "none found in the environment, the AWS profile, a web identity or the instance's role".to_owned()
        }
        other => DisplayErrorContext(other).to_string(),
    };
    ConnectError::NoCredentials { reason }
}
