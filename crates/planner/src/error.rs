//! Why no plan is made.

use rehome_model::finding::Finding;
use rehome_model::ids::{MemberName, RoleName};

/// Why no plan is made. Nothing was changed by asking for one.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// Checks found errors.
    #[error("{} of the checks found an error", .0.len())]
    Findings(Vec<Finding>),
    /// Two members were given one slot.
    #[error("members {first} and {second} are both given ordinal {ordinal} of {set}")]
    SameSlot {
        /// A member.
        first: MemberName,
        /// Another.
        second: MemberName,
        /// The set.
        set: String,
        /// The ordinal.
        ordinal: u32,
    },
    /// A member was given two slots.
    #[error("member {member} is given ordinal {first} and ordinal {second}")]
    TwoSlots {
        /// The member.
        member: MemberName,
        /// An ordinal and its set.
        first: String,
        /// Another.
        second: String,
    },
    /// A pod of the set would have no member.
    #[error(
        "members land on ordinals {ordinals} of {set}, whose pods begin at {first}: they must be consecutive from there, or pods \
         between them would start on blank volumes"
    )]
    Gap {
        /// The set.
        set: String,
        /// Its first ordinal.
        first: u32,
        /// Where members land.
        ordinals: String,
    },
    /// A slot was given to a member that there is not.
    #[error(
        "spec.target.slots.statefulSets[].ordinals gives an ordinal of {set} to {member}, which is no member (members: {known})"
    )]
    UnknownMember {
        /// What the migration names.
        member: String,
        /// The set.
        set: String,
        /// The members there are.
        known: String,
    },
    /// With several sets each member's place must be said.
    #[error(
        "member {0} has no ordinal: with several sets, say each member's under spec.target.slots.statefulSets[].ordinals"
    )]
    NoSlot(MemberName),
    /// What the plan needs was not seen.
    #[error("{subject}: {missing} was not seen by the survey")]
    NotSeen {
        /// Member, set or volume.
        subject: String,
        /// What is missing.
        missing: String,
    },
    /// A member has no volume for a role.
    #[error("member {member} has no volume for role {role} at {mount_path}")]
    NoVolume {
        /// The member.
        member: MemberName,
        /// The role.
        role: RoleName,
        /// Where it should be mounted.
        mount_path: String,
    },
    /// Claims by pattern are planned up to the claims only, which this build does not carry out yet.
    #[error("slots by claim pattern are not carried out by this version; name the StatefulSet")]
    ClaimPattern,
}
