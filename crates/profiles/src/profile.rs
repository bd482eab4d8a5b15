//! What rehome asks of an application's profile.

use std::collections::BTreeMap;

use rehome_model::answer::{MemberIdentity, MemberView};
use rehome_model::cluster::{ContainerReport, StatefulSetReport};
use rehome_model::ids::{RunId, StepId};
use rehome_model::task::{HostAnswer, HostTask, PodTask};

/// Who asks, for the header that marks a script on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptContext<'a> {
    /// The run; none for a survey.
    pub run: Option<&'a RunId>,
    /// The step; none for a survey.
    pub step: Option<&'a StepId>,
    /// The migration's settings for the profile.
    pub settings: &'a BTreeMap<String, String>,
    /// Mount paths of the volumes that move.
    pub mount_paths: &'a [String],
}

/// How a set starts closed to clients: a ConfigMap key that its pods read as an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Environment variable, and key of the ConfigMap.
    pub variable: &'static str,
    /// Its value while the set must stay closed.
    pub closed: &'static str,
    /// Its value once the set is open.
    pub open: &'static str,
}

/// Limits of time of an application's own doing, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLimits {
    /// For a flush.
    pub flush_s: u32,
    /// For drain and stop.
    pub stop_s: u32,
    /// For a started member to be up in every other's view.
    pub member_up_s: u32,
}

/// What the set's configuration says of the application it will start, as far as it says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetConfiguration {
    /// The container the application runs in.
    pub container: String,
    /// Values by the names of [`MemberIdentity::attributes`], and `cluster`; compared with every member's.
    pub attributes: BTreeMap<String, String>,
    /// What of `attributes` the pods must have as the members' data has it, and may have from where nobody can look.
    pub unknown_attributes: Vec<String>,
    /// The application's version, from the image's tag.
    pub version: Option<String>,
    /// The uid it runs as, where image or set say it.
    pub uid: Option<u32>,
    /// The uid to which the image gives all files before it starts, where it is started as root and does so.
    pub takes_files_over_as: Option<u32>,
    /// Whether the readiness probe can only pass once clients are let in.
    pub readiness_needs_clients: bool,
    /// The probe, liveness or startup, that ends a pod which lets no clients in.
    pub closed_is_ended_by: Option<&'static str>,
    /// Where the application looks for what in a pod, by the purposes of `StateDirectory`; none that cannot be told.
    pub directories: BTreeMap<String, String>,
    /// Whether nothing in the set can make it look elsewhere than `directories` says.
    pub directories_are_certain: bool,
    /// Settings as the pods have them, by the names of `HostReport::settings`, where nothing in the set can make it another.
    pub settings: BTreeMap<String, String>,
    /// Whether nothing says whom a member asks for its cluster, so that each asks itself alone.
    pub is_its_own_seed: bool,
    /// What keeps a pod from answering rehome's questions, unless a setting of the migration says how to ask.
    pub question_refused: Option<String>,
    /// What does not work after the opening, though it says that it is open: a fault of this version.
    pub opening_fault: Option<String>,
    /// Literal addresses of the configuration (seeds).
    pub addresses: Vec<String>,
}

impl SetConfiguration {
    /// Whether the image's tag names this version: `5.0.9`, `5.0.9-bookworm`. A tag that says less (`5.0`, `latest`) may be
    /// another one tomorrow.
    pub fn is_of_version(&self, version: &str) -> bool {
        let rest = self.version.as_deref().and_then(|tag| tag.strip_prefix(version));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// An application's answer that could not be understood.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} of {profile} was not understood: {reason}")]
pub struct AnswerError {
    /// The profile.
    pub profile: &'static str,
    /// What was read: `nodetool status`, `system.local`.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An application, as data and pure functions. Scripts go out as text, answers come back as text; nothing here runs.
pub trait Profile: Send + Sync {
    /// Its name in a migration.
    fn name(&self) -> &'static str;

    /// The settings that a migration may give it.
    fn settings(&self) -> Vec<&'static str>;

    /// Why a setting cannot have this value: what is wrong, and what to write instead.
    fn check_setting(&self, _name: &str, _value: &str) -> Result<(), String> {
        Ok(())
    }

    /// The shell script for a task on a legacy host. Idempotent, run as root.
    fn host_script(&self, task: &HostTask, context: &ScriptContext<'_>) -> String;

    /// Reads what the script of `task` printed.
    fn read_host_answer(&self, task: &HostTask, stdout: &str) -> Result<HostAnswer, AnswerError>;

    /// The shell script for a task in a pod, with the migration's settings for the profile.
    fn pod_script(&self, task: &PodTask, settings: &BTreeMap<String, String>) -> String;

    /// Reads what the script of [`PodTask::View`] printed.
    fn read_pod_view(&self, stdout: &str) -> Result<MemberView, AnswerError>;

    /// Reads what [`HostTask::View`] brought (decoded from base64).
    fn host_view(&self, packed: &[u8]) -> Result<MemberView, AnswerError>;

    /// The identity in the archive that [`HostTask::ReadIdentity`] brought (decoded from base64).
    fn disk_identity(&self, archive: &[u8]) -> Result<MemberIdentity, AnswerError>;

    /// Whether its application is in the simulated world only.
    fn is_simulated(&self) -> bool {
        false
    }

    /// How its sets start closed.
    fn gate(&self) -> Gate;

    /// Its limits of time.
    fn limits(&self) -> ProfileLimits;

    /// Whether a full stop needs all pods to start together.
    fn needs_parallel_start(&self) -> bool;

    /// The settings of `HostReport::settings` as a new installation has them.
    fn usual_settings(&self) -> &'static [(&'static str, &'static str)];

    /// Reads a set's configuration, in the light of the migration's settings for the profile.
    fn set_configuration(
        &self,
        set: &StatefulSetReport,
        container: &ContainerReport,
        settings: &BTreeMap<String, String>,
    ) -> SetConfiguration;
}

/// The tag of an image, where it has one: not the digest that may follow it, and not the port of its registry
/// (distribution `reference/reference.go`: `[domain[:port]/]path[:tag][@digest]`).
pub(crate) fn image_tag(image: &str) -> Option<String> {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map(|(_, tag)| tag.to_owned())
}

/// The profile of a name.
pub fn find(name: &str) -> Option<&'static dyn Profile> {
    ALL.iter().copied().find(|profile| profile.name() == name)
}

/// The names of the profiles whose applications run on hosts.
pub fn offered() -> Vec<&'static str> {
    ALL.iter().filter(|profile| !profile.is_simulated()).map(|profile| profile.name()).collect()
}

/// The names of all profiles.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|profile| profile.name()).collect()
}

const ALL: &[&dyn Profile] = &[&crate::cassandra::Cassandra, &crate::reference::Reference];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_must_name_the_whole_version() {
        let tagged = |tag: &str| SetConfiguration { version: Some(tag.to_owned()), ..SetConfiguration::default() };
        assert!(tagged("5.0.9").is_of_version("5.0.9") && tagged("5.0.9-bookworm").is_of_version("5.0.9"));
        for tag in ["5.0", "5.0.91", "5.0.10", "latest", "5.1.9"] {
            assert!(!tagged(tag).is_of_version("5.0.9"), "{tag}");
        }
        assert!(!SetConfiguration::default().is_of_version("5.0.9"));
    }

    #[test]
    fn the_version_of_an_image_is_its_tag_whatever_stands_around_it() {
        for profile in ALL {
            let version = |image: &str| {
                let container = ContainerReport { image: image.to_owned(), ..ContainerReport::default() };
                profile.set_configuration(&StatefulSetReport::default(), &container, &BTreeMap::new()).version
            };
            for image in
                ["cassandra:5.0.9", "cassandra:5.0.9@sha256:0123", "registry:5000/library/cassandra:5.0.9@sha256:0123"]
            {
                assert_eq!(version(image).as_deref(), Some("5.0.9"), "{image}");
            }
            for image in ["cassandra", "cassandra@sha256:0123", "registry:5000/library/cassandra", ""] {
                assert_eq!(version(image), None, "{image}");
            }
        }
    }
}
