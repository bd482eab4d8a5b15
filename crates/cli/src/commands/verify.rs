//! `verify`: whether the moved cluster is as its plan promised, looked at anew.

use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use rehome_engine::Ports;
use rehome_model::cloud::InstanceState;
use rehome_model::format;
use rehome_model::plan::{Action, ClaimSpec, Input, MemberPlan, Plan};
use rehome_model::record::{Phase, RunRecord};
use rehome_model::task::PodTask;
use rehome_ports::CloudError;
use rehome_profiles::Profile;
use serde_json::Value;

use super::look;
use crate::args::{Format, FromMigration};
use crate::exit::{Exit, problem};
use crate::output::{say, show};
use crate::{connect, input, output};

/// Pods and claims asked about at the same time.
const PODS_AT_ONCE: usize = 32;

/// `rehome verify`.
pub async fn verify(from: &FromMigration) -> Result<Exit> {
    let migration = input::migration(&from.file)?;
    let profile = input::profile(&migration.spec.application.profile)?;
    let ports = connect::ports(&migration).await?;
    let (record, plan) = look::run_of(&ports.kube, &migration, "there is nothing to verify").await?;
    if !serves(record.header.phase) {
        let message = format!("run {} is {}", record.header.run, output::phase_name(record.header.phase));
        let hint = "see `rehome status`. Nothing was changed";
        return Err(problem(Exit::Usage, format!("{message}; there is no new side to verify"), hint));
    }
    let mut wrong = Vec::new();
    let claims = stream::iter(adopted(&plan, &record));
    let claims = claims.map(async |(claim, volume)| claim_differences(&ports, claim, volume).await);
    wrong.extend(claims.buffered(PODS_AT_ONCE).try_concat().await?);
    wrong.extend(legacy_differences(&ports, &plan).await?);
    // One after the other, those whose node is dead would each take its whole limit.
    let pods = stream::iter(&plan.members).map(async |member| {
        let (pod, view) =
            futures::join!(pod_differences(&ports, &plan, member), view_differences(&ports, profile, &plan, member));
        anyhow::Ok([pod?, view].concat())
    });
    wrong.extend(pods.buffered(PODS_AT_ONCE).try_concat().await?);
    match from.output {
        Format::Text => {
            for line in &wrong {
                say!("wrong: {line}")?;
            }
            let (members, run) = (plan.members.len(), &record.header.run);
            if wrong.is_empty() {
                say!("All {members} members are as the plan of run {run} promised.")?;
            } else {
                say!("Run {run}: {} things are not as its plan promised.", wrong.len())?;
            }
        }
        Format::Json => show!(
            "{}",
            output::json(format::VERIFY, serde_json::json!({"members": plan.members.len(), "wrong": wrong}))?
        )?,
    }
    Ok(if wrong.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// Whether the new side serves alone: a finalize lets the old one go, and changes nothing of what the plan promised.
fn serves(phase: Phase) -> bool {
    matches!(phase, Phase::Completed | Phase::Finalizing | Phase::Finalized)
}

/// Each claim of the plan, with the EBS volume that the run put behind it; none where the record does not know it.
fn adopted<'a>(plan: &'a Plan, record: &'a RunRecord) -> Vec<(&'a ClaimSpec, Option<&'a str>)> {
    let releases = plan.steps.iter().filter_map(|step| match &step.action {
        Action::ReleaseVolume { claim, volume, .. } => Some((claim, volume)),
        _ => None,
    });
    let known = |volume: &'a Input<_>| match volume {
        Input::Literal(id) => Some(rehome_model::ids::VolumeId::as_str(id)),
        Input::Output { step, output } => record.steps.get(step)?.outputs.get(output).map(String::as_str),
    };
    releases.map(|(claim, volume)| (claim, known(volume))).collect()
}

/// An object of the cluster; an absent one is `Null`.
async fn get(ports: &Ports, path: String) -> Result<Value> {
    // Which has a limit of time.
    let found = rehome_engine::Kube::new(ports.kube.clone()).get(&path).await;
    let found = found.map_err(|error| {
        problem(Exit::Unreachable, error.to_string(), "see that kubectl may do the same. Nothing was changed")
    })?;
    Ok(found.unwrap_or_default())
}

/// Legacy instances that somebody has started. Those that are terminated are nobody's concern any more.
async fn legacy_differences(ports: &Ports, plan: &Plan) -> Result<Vec<String>> {
    let ids: Vec<_> = plan.members.iter().map(|member| member.instance.clone()).collect();
    let unseen = |error: CloudError| {
        problem(Exit::Unreachable, error.to_string(), "see that the AWS CLI may do the same. Nothing was changed")
    };
    let found = ports.cloud.describe_instances_alone(&ids).await.map_err(unseen)?;
    let up = found.iter().filter(|found| matches!(found.state, InstanceState::Pending | InstanceState::Running));
    let told = up.map(|found| format!("legacy instance {} runs; its service is masked, but stop it again", found.id));
    Ok(told.collect())
}

/// Claim and PersistentVolume are bound to each other, kept, owned by nobody, and on the volume of the run.
async fn claim_differences(ports: &Ports, claim: &ClaimSpec, volume: Option<&str>) -> Result<Vec<String>> {
    let (name, volume_name) = (&claim.name, &claim.volume_name);
    let bound = get(ports, format!("/api/v1/namespaces/{}/persistentvolumeclaims/{name}", claim.namespace)).await?;
    let behind = get(ports, format!("/api/v1/persistentvolumes/{volume_name}")).await?;
    let handle = behind["spec"]["csi"]["volumeHandle"].as_str();
    let promises = [
        (bound["status"]["phase"] == "Bound", format!("claim {name} is not bound")),
        (bound["spec"]["volumeName"] == volume_name.as_str(), format!("claim {name} is not for {volume_name}")),
        (bound["metadata"]["ownerReferences"].is_null(), format!("claim {name} has an owner that could delete it")),
        (
            behind["spec"]["persistentVolumeReclaimPolicy"] == "Retain",
            format!("PersistentVolume {volume_name} is not Retain"),
        ),
        (
            !behind.is_null() && behind["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"],
            format!("PersistentVolume {volume_name} is not bound to claim {name}"),
        ),
        (
            handle.is_some() && handle == volume,
            format!("PersistentVolume {volume_name} is on {handle:?}, the run made {volume:?}"),
        ),
    ];
    Ok(promises.into_iter().filter(|(so, _)| !so).map(|(_, what)| what).collect())
}

/// The pod is there and uses its member's claims.
async fn pod_differences(ports: &Ports, plan: &Plan, member: &MemberPlan) -> Result<Vec<String>> {
    let Some(name) = &member.slot.pod else { return Ok(Vec::new()) };
    let pod = get(ports, format!("/api/v1/namespaces/{}/pods/{name}", plan.namespace)).await?;
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let used: Vec<&str> =
        volumes.iter().filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str()).collect();
    let lacks = member.volumes.iter().map(|volume| volume.claim.name.as_str()).filter(|claim| !used.contains(claim));
    Ok(lacks.map(|claim| format!("pod {name} does not use claim {claim}")).collect())
}

/// Asked inside, the pod is its member and sees all others up.
async fn view_differences(ports: &Ports, profile: &dyn Profile, plan: &Plan, member: &MemberPlan) -> Vec<String> {
    let (Some(pod), Some(container)) = (&member.slot.pod, &member.slot.container) else { return Vec::new() };
    let text = profile.pod_script(&PodTask::View, &plan.settings);
    let script = rehome_ports::PodScript { task: PodTask::View, text, limit_s: rehome_engine::VIEW_SCRIPT_S };
    let answer = ports.pods.run(&plan.namespace, pod, container, &script).await;
    let view = answer
        .map_err(|error| error.to_string())
        .and_then(|output| profile.read_pod_view(&output.stdout).map_err(|error| error.to_string()));
    match view {
        Ok(view) => {
            let mut wrong: Vec<String> =
                member.identity.differences(&view.identity).into_iter().map(|d| format!("pod {pod}: {d}")).collect();
            let down = view.members.iter().filter(|peer| !peer.up);
            wrong.extend(down.map(|peer| format!("pod {pod} sees {} as {}", peer.address, peer.state)));
            if !view.clients_open {
                wrong.push(format!("pod {pod} is closed to clients"));
            }
            wrong
        }
        Err(error) => vec![format!("pod {pod}: {error}")],
    }
}

#[cfg(test)]
mod tests {
    use super::super::staged::{Staged, staged};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_is_forgotten_does_not_hide_one_that_runs() {
        let Staged { world, ports, plan, .. } = staged(3).await;
        // Nothing was stopped: all of them run.
        assert_eq!(legacy_differences(&ports, &plan).await.unwrap().len(), 3);
        world.ec2().with(|inner, _| inner.core.instances.remove(&plan.members[0].instance));
        assert_eq!(legacy_differences(&ports, &plan).await.unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_apiserver_that_does_not_answer_is_not_waited_for_without_end() {
        let Staged { mut ports, plan, .. } = staged(1).await;
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        });
        ports.kube = kube::Client::new(silent, "default");
        let claim = &plan.members[0].volumes[0].claim;
        let looked = claim_differences(&ports, claim, None);
        let looked = tokio::time::timeout(std::time::Duration::from_secs(60), looked).await.expect("it ends");
        assert_eq!(crate::exit::of(&looked.unwrap_err()), Exit::Unreachable);
    }

    #[test]
    fn a_finalized_run_can_be_verified_and_one_that_went_back_cannot() {
        assert!([Phase::Completed, Phase::Finalizing, Phase::Finalized].into_iter().all(serves));
        assert!(![Phase::Preparing, Phase::Cutover, Phase::RolledBack, Phase::Returned].into_iter().any(serves));
    }
}
