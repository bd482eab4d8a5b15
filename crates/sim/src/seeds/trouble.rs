//! What can go wrong, in words: a story's parts.

use std::fmt;

use crate::gate::Port;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It fails before it has any effect.
    Fails,
    /// It has its effect, and no reply comes.
    LosesReply,
    /// EC2 answers with this code, without effect.
    Code(&'static str),
    /// The apiserver answers with this status, without effect.
    Status(u16, &'static str),
    /// The script's caller is told that it timed out; the effect comes so many seconds later.
    GoesOn(u64),
    /// The output ends in the middle.
    CutOutput,
    /// The driver dies before the call is sent; what it had sent before lands.
    KillsBefore,
    /// The driver dies after the effect, before the reply.
    KillsAfter,
    /// The driver stands still between its check and this call, for so many seconds.
    Pauses(u64),
}

/// What somebody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Scales the set.
    Scales(u32),
    /// Scales the set to the number of members again and again, for ten minutes, as GitOps does.
    KeepsScaling,
    /// Deletes a pod of the set.
    EvictsPod(u32),
    /// Deletes a claim of the set.
    DeletesClaim(u32),
    /// Writes its own name into the Lease, and then does nothing.
    StealsLease,
    /// Unmasks and starts a member's service, as configuration management does.
    StartsService(u32),
    /// The same, once it has taken away the drop-ins that it did not write.
    SetsUpService(u32),
    /// Puts a tag of its own on a new volume of a member.
    TagsVolume(u32),
    /// Deletes a new volume of a member, if nothing holds it.
    DeletesVolume(u32),
    /// Deletes the newest snapshot of a member.
    DeletesSnapshot(u32),
    /// Attaches a new volume of a member to an instance of its own for a minute.
    BorrowsVolume(u32),
    /// Takes a snapshot of a member's legacy volume.
    TakesSnapshot(u32),
    /// Takes a snapshot of a new volume of a member, with a copy of all its tags, as backup tools do.
    BacksUpVolume(u32),
    /// Makes a member's legacy volume larger.
    GrowsVolume(u32),
    /// Opens the gate that keeps pods closed to clients until they are verified.
    OpensGate,
    /// Gives the set's template a value in the gate's place: pods start open.
    UngatesSet,
    /// Gives the set's template another image, as a pipeline does.
    DeploysImage,
    /// Puts members of the Auto Scaling group that it finds in Standby back into service.
    ExitsStandby,
    /// Deletes the set, as helm does when it uninstalls.
    DeletesSet,
    /// Deletes the set and installs it anew a minute later, with so many replicas.
    ReplacesSet(u32),
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Trouble {
    /// At the n-th call of any driver that changes something, at one port or at any.
    Call { port: Option<Port>, nth: u64, how: How },
    /// At so many calls in a row that only look, from the n-th.
    Read { port: Port, nth: u64, times: u64, how: How },
    /// What the n-th call of an EC2 action made fails after it was accepted.
    FailsLater { action: &'static str, nth: u64 },
    /// What the n-th call of an EC2 action began takes so many seconds longer.
    Slow { action: &'static str, nth: u64, by_s: u64 },
    /// A host's agent does not answer.
    AgentGone { member: u32, at_s: u64, for_s: u64 },
    /// A host's root disk is full: no script that changes something succeeds.
    DiskFull { member: u32, at_s: u64, for_s: u64 },
    /// A host reboots: its service goes down cleanly and comes up again unless it is masked.
    Reboots { member: u32, at_s: u64, for_s: u64 },
    /// A node of the cluster is gone; another is in its zone.
    NodeLost { node: u32, at_s: u64 },
    /// The apiserver does not answer.
    ApiserverAway { at_s: u64, for_s: u64 },
    /// A driver is killed; what it had sent lands.
    Killed { at_s: u64 },
    /// The driver is killed, and before it is started again somebody brings the legacy side back by hand, unless pods run or
    /// are wanted by then (docs/without-a-record.md).
    RestoredByHand { at_s: u64 },
    /// A second person runs `rehome apply`.
    SecondApply { at_s: u64 },
    /// A second person runs `rehome rollback --discard-writes`.
    SecondRollback { at_s: u64 },
    /// Somebody else acts.
    Stranger { at_s: u64, what: Stranger },
    /// Somebody else acts between plan and apply.
    BeforeApply { what: Stranger },
}

impl Trouble {
    /// Whether it takes something away that the run cannot make again, so that the run may end undone or stuck.
    pub fn is_damage(&self) -> bool {
        let (Self::Stranger { what, .. } | Self::BeforeApply { what }) = self else { return false };
        matches!(
            what,
            Stranger::DeletesClaim(_)
                | Stranger::DeletesVolume(_)
                | Stranger::DeletesSnapshot(_)
                | Stranger::KeepsScaling
                | Stranger::SetsUpService(_)
                | Stranger::ExitsStandby
        )
    }

    /// The same so much later. A port sees about a third of all calls.
    pub(crate) fn later(self, by_s: u64, by_calls: u64) -> Self {
        match self {
            Self::Call { port, nth, how } => {
                Self::Call { port, nth: nth + if port.is_some() { by_calls / 3 } else { by_calls }, how }
            }
            Self::Read { port, nth, times, how } => Self::Read { port, nth: nth + 2 * by_calls, times, how },
            Self::AgentGone { member, at_s, for_s } => Self::AgentGone { member, at_s: at_s + by_s, for_s },
            Self::ApiserverAway { at_s, for_s } => Self::ApiserverAway { at_s: at_s + by_s, for_s },
            Self::Killed { at_s } => Self::Killed { at_s: at_s + by_s },
            Self::RestoredByHand { at_s } => Self::RestoredByHand { at_s: at_s + by_s },
            Self::SecondApply { at_s } => Self::SecondApply { at_s: at_s + by_s },
            Self::SecondRollback { at_s } => Self::SecondRollback { at_s: at_s + by_s },
            Self::Stranger { at_s, what } => Self::Stranger { at_s: at_s + by_s, what },
            other => other,
        }
    }

    /// Whether it leaves a set whose claims a stranger has deleted: a second stranger who starts pods then makes blank
    /// volumes, which no driver can prevent.
    pub(crate) fn opens_the_claims(&self) -> bool {
        matches!(self, Self::Stranger { what: Stranger::DeletesClaim(_), .. })
    }

    pub(crate) fn starts_pods(&self) -> bool {
        matches!(
            self,
            Self::Stranger {
                what: Stranger::Scales(_) | Stranger::KeepsScaling | Stranger::EvictsPod(_) | Stranger::ReplacesSet(_),
                ..
            }
        )
    }

    /// Whether it takes away what tells which version ran on the volumes.
    pub(crate) fn takes_the_set(&self) -> bool {
        matches!(self, Self::Stranger { what: Stranger::DeletesSet | Stranger::ReplacesSet(_), .. })
    }

    /// Whether it rightly rules out that the new writes go back: nobody knows whether the legacy side can read them.
    pub(crate) fn hides_the_version(&self) -> bool {
        self.takes_the_set() || matches!(self, Self::Stranger { what: Stranger::DeploysImage, .. })
    }

    /// Whether somebody else than a person between two tries may start pods: whoever restores the legacy side by hand makes
    /// sure that nobody does.
    pub(crate) fn acts_beside(&self) -> bool {
        let late = matches!(self, Self::Call { how: How::Pauses(_), .. });
        late || self.starts_pods() || matches!(self, Self::SecondApply { .. } | Self::SecondRollback { .. })
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fails => write!(f, "fails before its effect"),
            Self::LosesReply => write!(f, "has its effect and loses its reply"),
            Self::Code(code) => write!(f, "is answered with {code}"),
            Self::Status(status, reason) => write!(f, "is answered with {status} {reason}"),
            Self::GoesOn(after) => write!(f, "times out, and takes effect {after} s later"),
            Self::CutOutput => write!(f, "has its output cut"),
            Self::KillsBefore => write!(f, "is never sent: the driver is killed"),
            Self::KillsAfter => write!(f, "has its effect, and the driver is killed before the reply"),
            Self::Pauses(for_s) => write!(f, "is sent {for_s} s late: its driver stood still"),
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scales(replicas) => write!(f, "scales the set to {replicas}"),
            Self::KeepsScaling => write!(f, "scales the set up every 20 s, for ten minutes"),
            Self::EvictsPod(n) => write!(f, "deletes pod {n}"),
            Self::DeletesClaim(n) => write!(f, "deletes claim {n}"),
            Self::StealsLease => write!(f, "steals the Lease"),
            Self::StartsService(n) => write!(f, "unmasks and starts the service of member {n}"),
            Self::SetsUpService(n) => {
                write!(f, "takes the drop-ins of member {n} away, unmasks and starts its service")
            }
            Self::TagsVolume(n) => write!(f, "tags the new volume of member {n}"),
            Self::DeletesVolume(n) => write!(f, "deletes the new volume of member {n}"),
            Self::DeletesSnapshot(n) => write!(f, "deletes the newest snapshot of member {n}"),
            Self::BorrowsVolume(n) => write!(f, "attaches the new volume of member {n} to its own instance for 60 s"),
            Self::TakesSnapshot(n) => write!(f, "takes a snapshot of member {n}"),
            Self::BacksUpVolume(n) => write!(f, "takes a snapshot of the new volume of member {n}, with all its tags"),
            Self::GrowsVolume(n) => write!(f, "makes the legacy volume of member {n} larger"),
            Self::OpensGate => write!(f, "opens the gate"),
            Self::UngatesSet => write!(f, "writes into the set's template that pods start open"),
            Self::DeploysImage => write!(f, "writes another image into the set's template"),
            Self::ExitsStandby => write!(f, "puts members in Standby back into service"),
            Self::DeletesSet => write!(f, "deletes the set"),
            Self::ReplacesSet(replicas) => {
                write!(f, "deletes the set, and installs it anew a minute later with {replicas} replicas")
            }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_port =
            |port: &Option<Port>| port.map_or_else(String::new, |port| format!(" of {port:?}").to_lowercase());
        match self {
            Self::Call { port, nth, how } => write!(f, "changing call {nth}{} {how}", at_port(port)),
            Self::Read { port, nth, times, how } => {
                write!(f, "looks {nth} to {}{}: each {how}", nth + times - 1, at_port(&Some(*port)))
            }
            Self::FailsLater { action, nth } => write!(f, "what {action} {nth} makes fails after it was accepted"),
            Self::Slow { action, nth, by_s } => write!(f, "what {action} {nth} begins takes {by_s} s longer"),
            Self::AgentGone { member, at_s, for_s } => {
                write!(f, "the agent of member {member} is gone from {at_s} s for {for_s} s")
            }
            Self::DiskFull { member, at_s, for_s } => {
                write!(f, "the root disk of member {member} is full from {at_s} s for {for_s} s")
            }
            Self::Reboots { member, at_s, for_s } => write!(f, "member {member} reboots at {at_s} s, for {for_s} s"),
            Self::NodeLost { node, at_s } => write!(f, "node {node} is lost at {at_s} s"),
            Self::ApiserverAway { at_s, for_s } => write!(f, "the apiserver is away from {at_s} s for {for_s} s"),
            Self::Killed { at_s } => write!(f, "the driver is killed at {at_s} s"),
            Self::RestoredByHand { at_s } => {
                write!(f, "the driver is killed at {at_s} s, and somebody brings the legacy side back by hand")
            }
            Self::SecondApply { at_s } => write!(f, "a second person applies at {at_s} s"),
            Self::SecondRollback { at_s } => write!(f, "a second person rolls back at {at_s} s"),
            Self::Stranger { at_s, what } => write!(f, "at {at_s} s a stranger {what}"),
            Self::BeforeApply { what } => write!(f, "between plan and apply a stranger {what}"),
        }
    }
}
