//! The migration: what the user wants, one YAML file, `kind: Migration`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::cloud::Tags;
use crate::ids::{InstanceId, RoleName};
use crate::labels;

/// The only apiVersion there is.
pub const API_VERSION: &str = "rehome.dev/v1alpha1";

/// A migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Migration {
    /// Version of this schema.
    pub api_version: ApiVersion,
    /// Always `Migration`.
    pub kind: Kind,
    /// Its name.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: Spec,
}

/// Versions of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[serde(rename = "rehome.dev/v1alpha1")]
    V1Alpha1,
}

/// Kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A migration.
    Migration,
}

/// The migration's own name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// A DNS-1123 label of at most 40 characters: it becomes part of object names.
    pub name: String,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// What runs on the members.
    pub application: Application,
    /// Where it runs now.
    pub source: Source,
    /// Where it shall run.
    pub target: Target,
    /// How the volumes get there.
    #[serde(default)]
    pub strategy: Strategy,
    /// How service passes over.
    #[serde(default)]
    pub cutover: Cutover,
    /// Limits of time that differ from the profile's.
    #[serde(default)]
    pub limits: Limits,
    /// Tags of every snapshot and volume that a run makes, besides its own: what the account's policies demand, what costs are
    /// told apart by, `eks:eks-cluster-name` where the cluster's volume driver may touch tagged volumes only.
    #[serde(default)]
    pub tags: Tags,
}

impl Spec {
    /// Whether EC2 takes the tags beside those of a run, and none of them is one.
    pub fn check_tags(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, value) in &self.tags {
            let why = if key.trim().is_empty() || key.chars().count() > TAG_KEY_MAX_CHARS {
                format!("EC2's keys have 1 to {TAG_KEY_MAX_CHARS} characters")
            } else if value.chars().count() > TAG_VALUE_MAX_CHARS {
                format!("EC2's values have at most {TAG_VALUE_MAX_CHARS} characters")
            } else if key.to_ascii_lowercase().starts_with("aws:") {
                "only AWS gives tags whose keys begin with aws:".to_owned()
            } else if labels::is_runs_tag(key) {
                "a run gives this tag itself".to_owned()
            } else {
                continue;
            };
            wrong.push(format!("tags[{key:?}]: {why}"));
        }
        if self.tags.len() > TAGS_MAX {
            wrong.push(format!(
                "tags has {} entries; EC2 takes 50 for each resource, of which a run leaves {TAGS_MAX}",
                self.tags.len()
            ));
        }
        wrong
    }
}

/// EC2's limits of tags (API reference, `Tag`).
const TAG_KEY_MAX_CHARS: usize = 128;
/// See [`TAG_KEY_MAX_CHARS`].
const TAG_VALUE_MAX_CHARS: usize = 256;
/// Tags that are left to the user of the 50 that a resource has: a run gives ten, and some room for what comes.
const TAGS_MAX: usize = 35;

/// The application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Application {
    /// The profile: `cassandra`.
    pub profile: String,
    /// Settings of the profile, such as the unit's name (docs/cassandra.md).
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// The legacy side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// AWS region.
    pub region: String,
    /// Which instances are the members.
    pub members: MemberSelector,
    /// The volumes of a member that move, by role.
    pub volumes: Vec<SourceVolume>,
    /// How to reach a member's inside.
    #[serde(default)]
    pub hosts: HostAccess,
}

/// Which instances are the members. Exactly one way is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum MemberSelector {
    /// These instances.
    InstanceIds(Vec<InstanceId>),
    /// All that carry these tags and are not terminated.
    Tags(BTreeMap<String, String>),
    /// The members of this Auto Scaling group.
    AutoScalingGroup(String),
}

impl MemberSelector {
    /// Whether it selects anything in particular. Without a single filter EC2 answers with every instance of the region,
    /// and each would be taken for a member.
    pub fn check(&self) -> Result<(), String> {
        let wrong = match self {
            Self::Tags(tags) if tags.is_empty() => {
                "tags is empty, so every instance of the region would be a member: name a tag that all members carry"
            }
            Self::Tags(tags) if tags.keys().any(|key| key.trim().is_empty()) => {
                "tags has an empty key; EC2 knows no such tag, so name the one that all members carry"
            }
            Self::InstanceIds(ids) if ids.is_empty() => "instanceIds is empty: name the members' instances",
            Self::InstanceIds(ids) if ids.iter().any(|id| id.as_str().trim().is_empty()) => {
                "instanceIds has an empty id: name an instance, or take the line away"
            }
            Self::AutoScalingGroup(name) if name.trim().is_empty() => {
                "autoScalingGroup is empty: name the group whose members move"
            }
            _ => return Ok(()),
        };
        Err(wrong.to_owned())
    }
}

/// A volume that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceVolume {
    /// What it is for.
    pub role: RoleName,
    /// Where it is mounted on the legacy hosts.
    pub mount_path: String,
}

/// How to reach a member's inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HostAccess {
    /// AWS Systems Manager Run Command.
    #[default]
    Ssm,
    /// The user's own OpenSSH.
    Ssh(SshAccess),
}

/// Settings for OpenSSH; all else comes from the user's ssh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SshAccess {
    /// User to log in as; needs password-less sudo unless it is root.
    #[serde(default)]
    pub user: Option<String>,
    /// ssh_config file to use instead of the user's.
    #[serde(default)]
    pub config_file: Option<String>,
    /// Port.
    #[serde(default)]
    pub port: Option<u16>,
}

/// The new side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// kubeconfig context; the current one if not given.
    #[serde(default)]
    pub context: Option<String>,
    /// Namespace.
    pub namespace: String,
    /// Where the members land.
    pub slots: Slots,
    /// CSI driver of the PersistentVolumes.
    #[serde(default = "default_driver")]
    pub csi_driver: String,
}

fn default_driver() -> String {
    crate::labels::EBS_CSI_DRIVER.to_owned()
}

/// Where the members land.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Slots {
    /// Ordinals of one StatefulSet; or of several, where each member must be named under `ordinals` of one of them.
    StatefulSets(Vec<SetSlots>),
    /// Claims named by a pattern, for operators that name them their own way. Not built yet: refused.
    Claims(ClaimPattern),
}

/// The slots of one StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetSlots {
    /// The set's name.
    pub name: String,
    /// Role -> volume claim template; roles not named here have a template of the role's name.
    #[serde(default)]
    pub claims: BTreeMap<RoleName, String>,
    /// Member (name or instance id) -> ordinal. If there is one set only, members not named here land on what is left, in the
    /// order of their names. From a set's first ordinal to its last none may be left without a member.
    #[serde(default)]
    pub ordinals: BTreeMap<String, u32>,
    /// The container the application runs in; the first one if not given.
    #[serde(default)]
    pub container: Option<String>,
}

/// Claims named by a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimPattern {
    /// With `{role}` and `{ordinal}`: `server-data-dc1-rack1-sts-{ordinal}`.
    pub pattern: String,
    /// Storage class of the claims.
    pub storage_class: String,
    /// First ordinal.
    #[serde(default)]
    pub first_ordinal: u32,
}

/// How the volumes get there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A base snapshot while serving, a small one after the stop, volumes made from it.
    #[default]
    Snapshot,
}

/// How service passes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cutover {
    /// All members stop, all volumes are captured, the new side starts closed, is verified, is opened.
    #[default]
    Stop,
}

/// Limits of time, in seconds, and of what is asked of EC2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// For a base snapshot to complete. Default: 24 h.
    #[serde(default)]
    pub base_snapshot_seconds: Option<Seconds>,
    /// For a final snapshot to complete. Default: 2 h.
    #[serde(default)]
    pub final_snapshot_seconds: Option<Seconds>,
    /// For the service of a member to stop, and again for its volumes to be unmounted. One try of the script has 10 min of it.
    /// Default: the profile's; cassandra: 15 min.
    #[serde(default)]
    pub stop_seconds: Option<Seconds>,
    /// For all pods to run: to be scheduled, their volumes to be attached and mounted, images to be pulled. A `fsGroup` without
    /// `OnRootMismatch` changes every file within it. Default: 30 min.
    #[serde(default)]
    pub pods_seconds: Option<Seconds>,
    /// For a member to be up and seen by all others. Default: the profile's; cassandra: 30 min.
    #[serde(default)]
    pub member_up_seconds: Option<Seconds>,
    /// The share of the account's rates of EC2 calls that a run may use, in percent. The rest is left to everybody else
    /// in the account and region, the cluster's own volume driver among them. Default: 80.
    #[serde(default)]
    pub api_share_percent: Option<Percent>,
}

/// A share of something, from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Percent(#[schemars(range(min = 1, max = 100))] u8);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        whole(from, "a share in percent", 1..=100).map(Self)
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

/// A limit of time, in whole seconds. One of nothing would end what it limits before it begins, in the downtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Seconds(#[schemars(range(min = 10, max = 604_800))] u32);

impl Seconds {
    /// As a number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        whole(from, "a number of seconds", 10..=604_800).map(Self)
    }
}

/// A whole number of a range; an error says what it is for, and what was written instead.
fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    from: D,
    what: &str,
    range: RangeInclusive<u64>,
) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Other(serde_json::Value),
    }
    let written = Written::deserialize(from)?;
    let number = match &written {
        Written::Number(number) => Some(*number).filter(|number| range.contains(number)),
        Written::Other(_) => None,
    };
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        let shown = match written {
            Written::Number(number) => number.to_string(),
            Written::Other(other) => other.to_string(),
        };
        D::Error::custom(format!("{shown} is not {what}: a whole number from {} to {}", range.start(), range.end()))
    })
}
