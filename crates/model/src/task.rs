//! What rehome asks of a member's inside. A task is data; a profile renders it as a script and reads the answer.

use serde::{Deserialize, Serialize};

use crate::ids::VolumeId;
use crate::on_host::Owner;

/// What [`HostTask::Unmount`] says of a mount point that something still uses: the service runs. A script may fail for many
/// other reasons, a full disk among them, which say nothing of it.
pub const IS_BUSY: &str = "is busy";

/// A task on a legacy instance. All are idempotent: asked again, they find their work done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
pub enum HostTask {
    /// Look around, read-only. Answers [`HostAnswer::Report`].
    Survey,
    /// Bring memory to disk while the member serves, so that little remains for the stop.
    Flush,
    /// Leave service for good: drain, stop, mask the unit. Ends only when no process of the unit is left.
    StopService,
    /// Read the identity files of the stopped member, a part at a time. Answers [`HostAnswer::Part`].
    ReadIdentity {
        /// Number of the part, from 0.
        part: u32,
    },
    /// Sync and unmount the file systems, and see that nothing has them mounted.
    Unmount {
        /// Mount points, deepest last; unmounted in reverse order.
        mount_points: Vec<String>,
    },
    /// Mount them again, as fstab says.
    Mount {
        /// Mount points, deepest last.
        mount_points: Vec<String>,
    },
    /// See that volumes which come back from the new side are mounted as fstab says, and give their files back to the
    /// host's own ids. A mount of another volume is an error, and nothing of it is changed.
    TakeBack {
        /// The volumes, in the order in which they are mounted.
        volumes: Vec<ReturnedVolume>,
    },
    /// Unmask and start the unit.
    StartService,
    /// How the member sees its cluster, a part at a time. Answers [`HostAnswer::Part`].
    View {
        /// Number of the part, from 0.
        part: u32,
    },
}

/// A volume that comes back to a legacy host from the new side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnedVolume {
    /// Where it must be mounted.
    pub mount_point: String,
    /// The volume.
    pub volume: VolumeId,
    /// The device name that EC2 was told, by which a Xen instance knows it. None in plans of an older rehome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Owner of the mount point itself.
    pub top: Owner,
    /// Owner of everything below.
    pub files: Owner,
}

impl HostTask {
    /// Whether it changes nothing.
    pub fn only_looks(&self) -> bool {
        matches!(self, Self::View { .. } | Self::Survey | Self::ReadIdentity { .. })
    }

    /// A short name for logs and script headers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Survey => "survey",
            Self::Flush => "flush",
            Self::StopService => "stop-service",
            Self::ReadIdentity { .. } => "read-identity",
            Self::Unmount { .. } => "unmount",
            Self::Mount { .. } => "mount",
            Self::TakeBack { .. } => "take-back",
            Self::StartService => "start-service",
            Self::View { .. } => "view",
        }
    }
}

/// What a host task answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum HostAnswer {
    /// The task's work is done (also if it was done before).
    Done,
    /// Answer to [`HostTask::Survey`].
    Report(Box<crate::host::HostReport>),
    /// Answer to [`HostTask::ReadIdentity`] and [`HostTask::View`]: part of a base64 text.
    Part {
        /// This part of the text.
        text: String,
        /// Length of the whole text.
        total_chars: usize,
    },
}

/// A task in a pod of the new side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
pub enum PodTask {
    /// How the member sees its cluster. Answers with a [`crate::answer::MemberView`].
    View,
    /// Let clients in.
    Open,
    /// Shut clients out.
    Close,
    /// Leave service for good: shut clients out, and bring all that was taken to the volumes. It takes as long as that does.
    Drain,
}

impl PodTask {
    /// A short name for logs and script headers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Open => "open",
            Self::Close => "close",
            Self::Drain => "drain",
        }
    }
}
