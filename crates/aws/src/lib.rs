//! The cloud and host ports on the AWS SDK; the only crate that depends on it.
