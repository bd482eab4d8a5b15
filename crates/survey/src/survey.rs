//! Putting the survey together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rehome_model::answer::PeerView;
use rehome_model::cloud::{CallerIdentity, DefaultEncryption, Instance, InstanceState, Volume};
use rehome_model::cluster::NodeReport;
use rehome_model::host::HostReport;
use rehome_model::ids::{InstanceId, MemberName, VolumeId, Zone};
use rehome_model::migration::{MemberSelector, Migration, Slots};
use rehome_model::names;
use rehome_model::survey::{MemberSurvey, Survey};
use rehome_model::task::{HostAnswer, HostTask};
use rehome_ports::{Cloud, CloudError, ErrorClass, HostScript, Hosts, InstanceFilter, VolumeFilter};
use rehome_profiles::{Parts, Profile, ScriptContext};

use crate::ask::{HOST_SURVEY_S, HOSTS_AT_ONCE, ask, twice, whole};
use crate::attached::name_volumes;
use crate::cluster::cluster;
use crate::error::SurveyError;
use crate::identities;
use crate::intended::intended;

/// What the survey looks through.
pub struct Ports<'a> {
    /// The cloud.
    pub cloud: &'a dyn Cloud,
    /// The hosts.
    pub hosts: &'a dyn Hosts,
    /// The cluster.
    pub kube: &'a kube::Client,
    /// Now, in ms since 1970.
    pub now_ms: u64,
}

/// Looks at everything a migration concerns.
pub async fn survey(ports: &Ports<'_>, migration: &Migration, profile: &dyn Profile) -> Result<Survey, SurveyError> {
    let source = &migration.spec.source;
    let caller = caller(ports.cloud, &source.region).await?;
    let (instances, missing) = instances(ports.cloud, &source.members).await?;
    if instances.is_empty() && missing.is_empty() {
        return Err(SurveyError::NoMembers { region: source.region.clone() });
    }
    let mut survey = of_instances(ports, migration, profile, caller, instances).await?;
    survey.missing_instances = missing;
    let volumes: Vec<Volume> = survey.volumes.values().cloned().collect();
    if let Some(intended) = intended(migration, &survey.members, &volumes) {
        survey.denied_cloud_actions = ports.cloud.denied_actions(&intended).await.map_err(asked("its permissions"))?;
    }
    survey.node_zones = node_zones(ports.cloud, &survey).await?;
    survey.default_encryption = Some(default_encryption(ports.cloud).await?);
    identities::read(ports.hosts, profile, &context(migration, &mount_paths(migration)), &mut survey.members).await;
    Ok(survey)
}

/// The same for a plan that is there already, which only its facts are compared with. Of one that is being carried out the members
/// are looked up by what it says: the selector of the migration finds an instance no more that was terminated, or that has lost its
/// tag. Without `members` the selector has its say. What the caller may do is not asked, and the disks are not read: the dry runs
/// would come out of the rates that volumes are attached with, in the downtime.
pub async fn survey_of_facts(
    ports: &Ports<'_>,
    migration: &Migration,
    profile: &dyn Profile,
    members: Option<&[InstanceId]>,
) -> Result<Survey, SurveyError> {
    let source = &migration.spec.source;
    let caller = caller(ports.cloud, &source.region).await?;
    let selector = members.map_or_else(|| source.members.clone(), |ids| MemberSelector::InstanceIds(ids.to_vec()));
    let (instances, missing) = instances(ports.cloud, &selector).await?;
    if members.is_none() && instances.is_empty() && missing.is_empty() {
        return Err(SurveyError::NoMembers { region: source.region.clone() });
    }
    of_instances(ports, migration, profile, caller, instances).await
}

async fn caller(cloud: &dyn Cloud, region: &str) -> Result<CallerIdentity, SurveyError> {
    let caller = cloud.caller().await.map_err(asked("who is calling"))?;
    if caller.region != region {
        return Err(SurveyError::WrongRegion { wanted: region.to_owned(), actual: caller.region });
    }
    Ok(caller)
}

async fn of_instances(
    ports: &Ports<'_>,
    migration: &Migration,
    profile: &dyn Profile,
    caller: CallerIdentity,
    instances: Vec<Instance>,
) -> Result<Survey, SurveyError> {
    let ids: Vec<VolumeId> =
        instances.iter().flat_map(|i| i.block_devices.iter().map(|device| device.volume.clone())).collect();
    let volumes = if ids.is_empty() {
        Vec::new()
    } else {
        ports.cloud.describe_volumes(&VolumeFilter::Ids(ids)).await.map_err(asked("the members' volumes"))?
    };
    let types: BTreeSet<String> = instances.iter().map(|instance| instance.instance_type.clone()).collect();
    let types: Vec<String> = types.into_iter().collect();
    let groups: BTreeSet<String> =
        instances.iter().filter_map(|instance| Some(instance.auto_scaling.as_ref()?.group.clone())).collect();
    let auto_scaling_groups = if groups.is_empty() {
        Vec::new()
    } else {
        let groups: Vec<String> = groups.into_iter().collect();
        ports.cloud.describe_auto_scaling_groups(&groups).await.map_err(asked("Auto Scaling groups"))?
    };
    let instance_types = ports.cloud.describe_instance_types(&types).await.map_err(asked("instance types"))?;
    let sets: Vec<String> = match &migration.spec.target.slots {
        Slots::StatefulSets(sets) => sets.iter().map(|set| set.name.clone()).collect(),
        Slots::Claims(_) => Vec::new(),
    };
    let cluster =
        cluster(ports.kube, &migration.spec.target.namespace, &migration.spec.target.csi_driver, &sets).await?;
    let mut members = members(ports.hosts, migration, profile, instances).await;
    for member in &mut members {
        if let Some(host) = &mut member.host {
            name_volumes(host, &member.instance, &volumes);
        }
    }
    Ok(Survey {
        at_ms: ports.now_ms,
        caller,
        members,
        volumes: volumes.into_iter().map(|volume| (volume.id.clone(), volume)).collect(),
        instance_types: instance_types.into_iter().map(|found| (found.name.clone(), found)).collect(),
        cluster,
        missing_instances: Vec::new(),
        auto_scaling_groups,
        node_zones: None,
        default_encryption: None,
        denied_cloud_actions: Vec::new(),
    })
}

/// Where the instances are that pods may come to, as far as the account has them. Zones of one name are other places in another
/// account, and none of its instances can have a volume of this one.
async fn node_zones(cloud: &dyn Cloud, survey: &Survey) -> Result<Option<BTreeMap<InstanceId, Zone>>, SurveyError> {
    let zones: BTreeSet<&Zone> = survey.members.iter().map(|member| &member.instance.zone).collect();
    let wanted = |node: &&NodeReport| {
        node.ready && node.schedulable && node.zone.as_ref().is_some_and(|zone| zones.contains(zone))
    };
    let nodes = survey.cluster.nodes.iter().filter(wanted);
    let ids: Vec<InstanceId> = nodes.filter_map(|node| node.instance.clone()).collect();
    if ids.is_empty() {
        return Ok(None);
    }
    let found = cloud.describe_instances_alone(&ids).await.map_err(asked("the nodes' instances"))?;
    Ok(Some(found.into_iter().map(|instance| (instance.id, instance.zone)).collect()))
}

/// A policy may know nothing of these two questions: that is told of, and no reason to look no further.
async fn default_encryption(cloud: &dyn Cloud) -> Result<DefaultEncryption, SurveyError> {
    match cloud.default_key().await {
        Ok(None) => Ok(DefaultEncryption::Off),
        Ok(Some(key)) => Ok(DefaultEncryption::On(key)),
        Err(error) if error.class() == ErrorClass::Stop => Ok(DefaultEncryption::Unknown(error.to_string())),
        Err(error) => Err(asked("encryption by default")(error)),
    }
}

fn asked(what: &'static str) -> impl FnOnce(CloudError) -> SurveyError {
    move |source| SurveyError::Cloud { what, source }
}

/// The instances of a selector, and those it names that there are not.
async fn instances(
    cloud: &dyn Cloud,
    selector: &MemberSelector,
) -> Result<(Vec<Instance>, Vec<InstanceId>), SurveyError> {
    let filter = match selector {
        MemberSelector::InstanceIds(ids) => InstanceFilter::Ids(ids.clone()),
        MemberSelector::Tags(tags) => InstanceFilter::Tags(tags.clone()),
        MemberSelector::AutoScalingGroup(group) => InstanceFilter::AutoScalingGroup(group.clone()),
    };
    let mut found = cloud.describe_instances(&filter).await.map_err(asked("the members' instances"))?;
    let missing = match selector {
        MemberSelector::InstanceIds(ids) => {
            let shown: BTreeSet<&InstanceId> = found.iter().map(|instance| &instance.id).collect();
            ids.iter().filter(|id| !shown.contains(id)).cloned().collect()
        }
        MemberSelector::Tags(_) => {
            found.retain(|i| !matches!(i.state, InstanceState::Terminated | InstanceState::ShuttingDown));
            Vec::new()
        }
        MemberSelector::AutoScalingGroup(_) => Vec::new(),
    };
    Ok((found, missing))
}

/// Names the members and looks into each host. A host that cannot be asked is part of the result.
async fn members(
    hosts: &dyn Hosts,
    migration: &Migration,
    profile: &dyn Profile,
    instances: Vec<Instance>,
) -> Vec<MemberSurvey> {
    use futures::stream::{self, StreamExt};
    let mut named: BTreeMap<Vec<NamePart>, (MemberName, Instance)> = BTreeMap::new();
    for instance in &instances {
        let name = name(instance, &instances);
        named.insert(natural(name.as_str()), (name, instance.clone()));
    }
    let mount_paths = mount_paths(migration);
    let context = &context(migration, &mount_paths);
    // A thousand members that each list a thousand: what one of them says, most say.
    let mut said: Option<Arc<[PeerView]>> = None;
    stream::iter(named.into_values())
        .map(|(name, instance)| async move {
            let looked = match instance.state {
                InstanceState::Running | InstanceState::Pending => look(hosts, profile, context, &instance.id).await,
                // Nobody answers there, and to find that out takes its time.
                state => Err(format!("the instance is {state}")),
            };
            let (host, host_error) = match looked {
                Ok(report) => (Some(report), None),
                Err(error) => (None, Some(error)),
            };
            MemberSurvey { name, instance, host, host_error, disk: None }
        })
        .buffered(HOSTS_AT_ONCE)
        .map(|mut member: MemberSurvey| {
            if let Some(view) = member.host.as_mut().and_then(|host| host.view.as_mut()) {
                match &said {
                    Some(said) if *said == view.members => view.members = Arc::clone(said),
                    _ => said = Some(Arc::clone(&view.members)),
                }
            }
            member
        })
        .collect()
        .await
}

fn mount_paths(migration: &Migration) -> Vec<String> {
    migration.spec.source.volumes.iter().map(|volume| volume.mount_path.clone()).collect()
}

fn context<'a>(migration: &'a Migration, mount_paths: &'a [String]) -> ScriptContext<'a> {
    ScriptContext { run: None, step: None, settings: &migration.spec.application.settings, mount_paths }
}

async fn look(
    hosts: &dyn Hosts,
    profile: &dyn Profile,
    context: &ScriptContext<'_>,
    instance: &InstanceId,
) -> Result<HostReport, String> {
    let text = profile.host_script(&HostTask::Survey, context);
    let script = HostScript { task: HostTask::Survey, text, limit_s: HOST_SURVEY_S };
    let output = ask(hosts, instance, &script).await.map_err(|error| error.to_string())?;
    if output.exit_code != 0 {
        return Err(format!("the survey script ended with exit code {}: {}", output.exit_code, output.stderr.trim()));
    }
    let mut report = match profile.read_host_answer(&script.task, &output.stdout).map_err(|error| error.to_string())? {
        HostAnswer::Report(report) => *report,
        other => return Err(format!("the survey script answered {other:?}")),
    };
    if report.view.is_none() && report.view_error.is_none() {
        let view = twice(async || {
            let packed = whole(hosts, profile, context, instance, Parts::view()).await?;
            profile.host_view(&packed).map_err(|error| error.to_string())
        });
        match view.await {
            Ok(view) => report.view = Some(view),
            Err(reason) => report.view_error = Some(reason),
        }
    }
    Ok(report)
}

/// The Name tag, where no other member has it and Kubernetes takes it as a label; else the instance id.
fn name(instance: &Instance, all: &[Instance]) -> MemberName {
    let tag = |instance: &Instance| instance.tags.get("Name").cloned();
    let own = tag(instance).filter(|own| names::is_label_value(own));
    match own {
        Some(own) if all.iter().filter(|other| tag(other).as_ref() == Some(&own)).count() == 1 => MemberName(own),
        _ => MemberName(instance.id.to_string()),
    }
}

/// Part of a name, so that `cassandra-2` comes before `cassandra-10`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NamePart {
    Number(u64, String),
    Text(String),
}

fn natural(name: &str) -> Vec<NamePart> {
    let mut parts: Vec<(bool, String)> = Vec::new();
    for character in name.chars() {
        let digit = character.is_ascii_digit();
        match parts.last_mut() {
            Some((is_digit, text)) if *is_digit == digit => text.push(character),
            _ => parts.push((digit, character.to_string())),
        }
    }
    let part = |(digit, text): (bool, String)| match text.parse() {
        Ok(number) if digit => NamePart::Number(number, text),
        _ => NamePart::Text(text),
    };
    parts.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn member_10_comes_after_member_2() {
        assert!(natural("cassandra-2") < natural("cassandra-10"));
        assert!(natural("a-02") != natural("a-2"));
    }
}
