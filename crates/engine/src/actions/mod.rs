//! The actions: each looks first, acts only if needed, and looks again. One file a topic.

mod attachments;
mod claims;
mod drain;
mod fence;
mod finalize;
pub(crate) mod gate;
mod groups;
mod hosts;
mod instances;
mod left;
mod members;
mod mounts;
mod prepared;
mod release;
mod replicas;
mod returned;
mod revision;
mod sets;
mod snapshots;
mod starts;
mod sweep;
mod volumes;

use rehome_model::plan::{Action, Purpose};

use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::undo;

/// Carries out one action, once, from wherever an earlier attempt left it.
pub(crate) async fn perform(context: &StepContext, action: &Action) -> Result<Outputs, StepError> {
    if context.undo && looks_at_the_cloud(action) {
        context.settle().await?;
    }
    match action {
        Action::ParkClaim { claim } => claims::park(context, claim).await,
        Action::UnreleaseVolume { claim, pod } => claims::unrelease(context, claim, pod.as_deref()).await,
        Action::CloseSet { config_map, data } | Action::UncloseSet { config_map, data } => {
            gate::write(context, config_map, data).await
        }
        Action::RemoveGate { config_map } => gate::remove(context, config_map).await,
        Action::ProtectInstance { instance, delete_on_termination, auto_scaling_group } => {
            instances::protect(context, instance, delete_on_termination, auto_scaling_group.as_deref()).await
        }
        Action::UnprotectInstance { instance, delete_on_termination, auto_scaling_group } => {
            instances::unprotect(context, instance, delete_on_termination, auto_scaling_group.as_deref()).await
        }
        Action::SnapshotInstance { .. } => snapshots::create(context, action).await,
        Action::AwaitSnapshots { snapshots } => snapshots::completed(context, snapshots).await,
        Action::DeleteSnapshots { made_by } => snapshots::delete(context, made_by).await,
        Action::CreateVolume { .. } => volumes::create(context, action).await,
        Action::DeleteVolumes { made_by } => volumes::delete(context, made_by).await,
        Action::Host { instance, host_task } => hosts::task(context, instance, host_task).await,
        Action::InspectDisk { instance, identity } => hosts::inspect(context, instance, identity).await,
        Action::StopInstance { instance } => {
            if context.plan().purpose == Purpose::Apply && !context.undo {
                groups::let_go_still(context, std::slice::from_ref(instance)).await?;
                fence::still_captured(context, instance).await?;
            }
            instances::stop(context, instance).await
        }
        Action::StartInstance { instance } => instances::start(context, instance).await,
        Action::AwaitLegacyFenced { instances } => fence::fenced(context, instances).await,
        Action::ReleaseVolume { .. } => release::release(context, action).await,
        Action::ScaleSet { set, replicas, gone } => sets::scale(context, set, *replicas, gone).await,
        Action::AwaitPods { pods, volumes } => sets::pods_run(context, pods, volumes).await,
        Action::AwaitMembers { pods, legacy_addresses, open } => {
            let outputs = members::in_pods(context, pods, legacy_addresses, *open).await?;
            if context.plan().purpose == Purpose::Apply && !context.undo {
                fence::keep_stopped(context).await?;
            }
            Ok(outputs)
        }
        Action::Open { pods } => members::switch(context, pods, true).await,
        Action::Close { pods } => members::switch(context, pods, false).await,
        Action::AwaitLegacyMembers { members } => {
            if context.plan().purpose == Purpose::Apply && !context.undo {
                prepared::still(context).await?;
            }
            if context.undo && !undo::is_in_cutover(&context.shared) {
                return members::untouched(context, members).await;
            }
            members::on_hosts(context, members).await
        }
        Action::Sweep { keep } => sweep::sweep(context, keep).await,
        Action::RetireGate { config_map, set, open } => finalize::retire_gate(context, config_map, set, open).await,
        Action::KeepSnapshots { snapshots, until } => finalize::keep_snapshots(context, snapshots, until).await,
        Action::AwaitDetached { volumes } => returned::detached(context, volumes).await,
        Action::KeepOriginal { instance, volume, tags } => returned::keep(context, instance, volume, tags).await,
        Action::AttachReturned { volume, instance, device } => {
            returned::attach(context, volume, instance, device).await
        }
        Action::InspectReturned { instance, identity } => hosts::inspect_returned(context, instance, identity).await,
        Action::AwaitReturnedMembers { members } => members::returned(context, members).await,
        Action::GiveBackInstance { instance, auto_scaling_group, protected } => {
            instances::give_back(context, instance, auto_scaling_group.as_deref(), *protected).await
        }
        Action::ReleaseInstance { instance, delete_on_termination, protected, stop_protected } => {
            let was = finalize::Protections { termination: *protected, stop: *stop_protected };
            finalize::release_instance(context, instance, delete_on_termination, was).await
        }
    }
}

/// Whether what is to be done follows from what EC2 describes.
fn looks_at_the_cloud(action: &Action) -> bool {
    matches!(
        action,
        Action::DeleteSnapshots { .. }
            | Action::DeleteVolumes { .. }
            | Action::StartInstance { .. }
            | Action::UnprotectInstance { .. }
    )
}
