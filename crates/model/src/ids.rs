//! Identifiers as types, so that a volume is never passed where a snapshot is meant.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares a newtype over `String`; a macro because the eleven types differ in nothing but name and meaning.
macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// Wraps a string that is already known to be such an id.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

string_id!(
    /// An EC2 instance, `i-0123456789abcdef0`.
    InstanceId
);
string_id!(
    /// An EBS volume, `vol-0123456789abcdef0`.
    VolumeId
);
string_id!(
    /// An EBS snapshot, `snap-0123456789abcdef0`.
    SnapshotId
);
string_id!(
    /// An availability zone by name, `us-east-1a`.
    Zone
);
string_id!(
    /// A member of the application's cluster, as the plan calls it: the Name tag where unique, else the instance id.
    MemberName
);
string_id!(
    /// What a volume is for in a member: `data`, `commitlog`.
    RoleName
);
string_id!(
    /// A step of a plan: `park-claim:cassandra-0:data`. Stable: the same migration gives the same ids.
    StepId
);
string_id!(
    /// One execution of one plan.
    RunId
);
string_id!(
    /// A check's stable code: `RH0123`.
    FindingCode
);
