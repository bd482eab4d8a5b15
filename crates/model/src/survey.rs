//! The survey: everything observed at one time. Immutable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::answer::MemberIdentity;
use crate::cloud::{AutoScalingGroup, CallerIdentity, DefaultEncryption, Instance, InstanceType, Volume};
use crate::cluster::ClusterReport;
use crate::host::HostReport;
use crate::ids::{InstanceId, MemberName, VolumeId, Zone};

/// Auto Scaling's word for a member in its care.
const IN_SERVICE: &str = "InService";

/// Cloud, hosts and cluster at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// When it was made, in ms since 1970.
    pub at_ms: u64,
    /// Who asks the cloud, and where.
    pub caller: CallerIdentity,
    /// The legacy members, in the order of their names.
    pub members: Vec<MemberSurvey>,
    /// The volumes attached to them.
    pub volumes: BTreeMap<VolumeId, Volume>,
    /// The instance types of members and nodes, as far as EC2 describes them.
    pub instance_types: BTreeMap<String, InstanceType>,
    /// The target cluster.
    pub cluster: ClusterReport,
    /// Instance ids the migration names that EC2 does not know.
    pub missing_instances: Vec<InstanceId>,
    /// The Auto Scaling groups of the members.
    #[serde(default)]
    pub auto_scaling_groups: Vec<AutoScalingGroup>,
    /// The zones of the instances under the cluster's nodes that may take pods, of those that EC2 shows the caller. None if it was
    /// not asked: no node is an EC2 instance, or the survey is an older rehome's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_zones: Option<BTreeMap<InstanceId, Zone>>,
    /// What EC2 does with new volumes that nobody asked to be encrypted. None if it was not asked, as in surveys of an older rehome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_encryption: Option<DefaultEncryption>,
    /// Cloud permissions that a dry run found missing, as EC2 actions.
    pub denied_cloud_actions: Vec<String>,
}

/// A legacy member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSurvey {
    /// Its name in the plan.
    pub name: MemberName,
    /// Its instance.
    pub instance: Instance,
    /// What the host shows; none if it could not be asked.
    pub host: Option<HostReport>,
    /// Why `host` is none.
    pub host_error: Option<String>,
    /// Who its disk says it is; none where it does not answer, or was not asked, and in surveys of an older rehome.
    #[serde(default)]
    pub disk: Option<DiskIdentity>,
}

/// What the reading of a disk's identity came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskIdentity {
    /// The identity.
    Read(MemberIdentity),
    /// Why it cannot be read.
    Unreadable(String),
}

impl Survey {
    /// The group that must let go of a member before it is stopped: none if it does so already, be it that the member is in
    /// Standby or that the group's processes are suspended.
    pub fn group_to_leave<'a>(&self, instance: &'a Instance) -> Option<&'a str> {
        let membership =
            instance.auto_scaling.as_ref().filter(|membership| membership.lifecycle_state == IN_SERVICE)?;
        let group = self.auto_scaling_groups.iter().find(|group| group.name == membership.group);
        (!group.is_some_and(AutoScalingGroup::is_suspended)).then_some(membership.group.as_str())
    }
}
