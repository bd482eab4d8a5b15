//! Who calls, and what it may do.

use rehome_model::cloud::{InstanceState, Tags};

use super::check::{Checked, Under, capture, fails, holds, same};
use crate::cloud::Intended;
use crate::error::ErrorClass;

/// The actions of a run that can be asked about beforehand.
const ASKED: [&str; 12] = [
    "AttachVolume",
    "CreateSnapshots",
    "CreateTags",
    "CreateVolume",
    "DeleteSnapshot",
    "DeleteVolume",
    "DescribeInstanceAttribute",
    "DescribeSnapshots",
    "DetachVolume",
    "ModifyInstanceAttribute",
    "StartInstances",
    "StopInstances",
];

/// What a run would ask for that moves a new instance's one volume.
async fn intended(under: Under<'_>) -> Checked<Intended> {
    let instance = under.world.instance(&Tags::new()).await;
    let volume = under.world.volume(&instance, "/dev/xvdf", 1).await;
    let capture = capture(&instance, "permissions");
    let volume_tags = capture.tags.clone();
    let originals = vec![under.volume(&volume).await?];
    Ok(Intended { instances: vec![instance], capture, originals, volume_tags, only: None })
}

pub(super) async fn caller(under: Under<'_>) -> Checked {
    let caller = under.cloud.caller().await?;
    let full = !caller.account.is_empty() && caller.arn.starts_with("arn:") && !caller.region.is_empty();
    holds(full, || format!("{caller:?}"))
}

pub(super) async fn denied(under: Under<'_>) -> Checked {
    let intended = intended(under).await?;
    same("nothing denied", &under.cloud.denied_actions(&intended).await?, &Vec::new())?;
    for action in ASKED {
        under.world.set_denied(action, true).await;
        let denied = under.cloud.denied_actions(&intended).await;
        under.world.set_denied(action, false).await;
        same("the denied actions", &denied?, &vec![format!("ec2:{action}")])?;
    }
    let some = Intended { only: Some(&["StartInstances"]), ..intended };
    for (action, told) in [("StopInstances", Vec::new()), ("StartInstances", vec!["ec2:StartInstances".to_owned()])] {
        under.world.set_denied(action, true).await;
        let denied = under.cloud.denied_actions(&some).await;
        under.world.set_denied(action, false).await;
        same("of what is asked about", &denied?, &told)?;
    }
    Ok(())
}

pub(super) async fn dry_runs_change_nothing(under: Under<'_>) -> Checked {
    let intended = intended(under).await?;
    let (instance, volume) = (&intended.capture.instance, &intended.originals[0].id);
    let before = (under.instance(instance).await?, under.volume(volume).await?);
    under.cloud.denied_actions(&intended).await?;
    under.world.settle().await;
    same("the world after", &(under.instance(instance).await?, under.volume(volume).await?), &before)
}

pub(super) async fn denied_call_stops(under: Under<'_>) -> Checked {
    let instance = under.world.instance(&Tags::new()).await;
    under.world.volume(&instance, "/dev/xvdf", 1).await;
    under.world.set_denied("StopInstances", true).await;
    under.world.set_denied("CreateSnapshots", true).await;
    let (stopped, captured) =
        (under.cloud.stop_instance(&instance).await, under.cloud.create_snapshots(&capture(&instance, "d")).await);
    under.world.set_denied("StopInstances", false).await;
    under.world.set_denied("CreateSnapshots", false).await;
    same("the class", &fails("UnauthorizedOperation", stopped)?.class(), &ErrorClass::Stop)?;
    same("the operation", &fails("UnauthorizedOperation", captured)?.operation, &"CreateSnapshots")?;
    same("the state", &under.instance(&instance).await?.state, &InstanceState::Running)
}
