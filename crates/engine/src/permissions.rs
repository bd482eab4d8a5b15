//! What a way back asks of EC2, asked about before it is begun: half-way neither side serves.

use rehome_model::cloud::{Tags, Volume};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::plan::{Action, MemberPlan, Plan};
use rehome_model::record::{Phase, RunRecord, StepState};
use rehome_planner::ReturnSeen;
use rehome_ports::{Cloud, CloudError, CreateSnapshots, Intended};

/// What is done to instances by a rollback that keeps writes, and to the original that gives way. Auto Scaling has no dry run.
const OF_ORIGINALS: [&str; 5] =
    ["StartInstances", "ModifyInstanceAttribute", "DescribeInstanceAttribute", "DetachVolume", "CreateTags"];
/// And to the volume that comes back. A policy may tell the two by their tags.
const OF_RETURNED: [&str; 1] = ["AttachVolume"];

/// Of what a return does, what the caller is denied. The first member stands for all, as in the survey.
pub(crate) async fn denied_return(
    cloud: &dyn Cloud,
    plan: &Plan,
    record: &RunRecord,
    seen: &ReturnSeen,
) -> Result<Vec<String>, CloudError> {
    let Some(member) = plan.members.first() else { return Ok(Vec::new()) };
    let shown = |id: Option<VolumeId>| id.and_then(|id| seen.volumes.get(&id)).cloned().into_iter().collect();
    let role = member.volumes.first();
    let original: Vec<Volume> = shown(role.map(|volume| volume.legacy_volume.clone()));
    let returned: Vec<Volume> = shown(role.and_then(|volume| rehome_planner::adopted(record, member, volume)));
    let mut denied = cloud.denied_actions(&intended(member, instances(plan), original, &OF_ORIGINALS)).await?;
    denied.extend(cloud.denied_actions(&intended(member, Vec::new(), returned, &OF_RETURNED)).await?);
    Ok(denied)
}

/// Of what a rollback that discards writes cannot do without, what the caller is denied. Asked only where the new side serves: where
/// nobody does there is nothing better to do than to go on, and one instance that may not be started keeps no other down.
///
/// What cannot be asked is no denial: production may wait, and the start itself will tell.
pub(crate) async fn denied_start(cloud: &dyn Cloud, plan: &Plan, record: &RunRecord) -> Vec<String> {
    let stopped = stopped(plan, record);
    let serves = record.header.phase == Phase::Completed;
    let Some(member) = plan.members.first().filter(|_| serves && !stopped.is_empty()) else { return Vec::new() };
    match cloud.denied_actions(&intended(member, stopped, Vec::new(), &["StartInstances"])).await {
        Ok(denied) => denied,
        Err(error) => {
            tracing::warn!(%error, "whether the legacy instances may be started could not be asked");
            Vec::new()
        }
    }
}

/// The instances that the run has stopped, or may have.
fn stopped(plan: &Plan, record: &RunRecord) -> Vec<InstanceId> {
    let begun = plan.steps.iter().filter(|step| {
        let line = record.steps.get(&step.id);
        line.is_some_and(|line| line.state != StepState::Undone)
    });
    let instance = |action: &Action| match action {
        Action::StopInstance { instance } => Some(instance.clone()),
        _ => None,
    };
    begun.filter_map(|step| instance(&step.action)).collect()
}

fn instances(plan: &Plan) -> Vec<InstanceId> {
    plan.members.iter().map(|member| member.instance.clone()).collect()
}

fn intended(
    member: &MemberPlan,
    instances: Vec<InstanceId>,
    originals: Vec<Volume>,
    only: &'static [&'static str],
) -> Intended {
    let capture = CreateSnapshots {
        instance: member.instance.clone(),
        exclude: Vec::new(),
        include_root: false,
        description: String::new(),
        tags: Tags::new(),
    };
    Intended { instances, capture, originals, volume_tags: Tags::new(), only: Some(only) }
}
