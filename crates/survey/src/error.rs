//! Why there is no survey.

use rehome_ports::CloudError;
use thiserror::Error;

/// Why there is no survey. Nothing was changed by trying.
#[derive(Debug, Error)]
pub enum SurveyError {
    /// The cloud.
    #[error("the cloud was asked for {what}: {source}")]
    Cloud {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        #[source]
        source: CloudError,
    },
    /// The cluster.
    #[error("the cluster was asked for {what}: {message}")]
    Cluster {
        /// What was asked for.
        what: String,
        /// Its answer.
        message: String,
    },
    /// The migration selects nothing.
    #[error("no instance matches spec.source.members in region {region}; terminated ones do not count")]
    NoMembers {
        /// Where it was looked.
        region: String,
    },
    /// The account's region is not the migration's.
    #[error("spec.source.region is {wanted}, but the AWS configuration points at {actual}")]
    WrongRegion {
        /// The migration's.
        wanted: String,
        /// The client's.
        actual: String,
    },
}
