//! Tags that the new volumes would lack: those of the members' volumes, and what their driver demands.

use rehome_model::cloud::{Tags, Volume};
use rehome_model::labels;

use crate::context::{Context, mounted};

/// The driver of EKS Auto Mode.
const AUTO_MODE: &str = "ebs.csi.eks.amazonaws.com";
/// What its policy asks for of a volume that is attached (AWS managed policy reference, `AmazonEKSBlockStoragePolicy`).
const AUTO_MODE_TAG: &str = "eks:eks-cluster-name";

pub(crate) fn check(context: &mut Context<'_>) {
    check_driver(context);
    check_shared(context);
}

fn check_driver(context: &mut Context<'_>) {
    let spec = &context.migration.spec;
    if spec.target.csi_driver != AUTO_MODE || spec.tags.get(AUTO_MODE_TAG).is_some_and(|value| !value.is_empty()) {
        return;
    }
    let seen =
        ["spec:", "  tags:", "    \"eks:eks-cluster-name\": the cluster's name in EKS"].map(str::to_owned).to_vec();
    let message = format!("it attaches volumes with the tag {AUTO_MODE_TAG} only, which the new ones would not have");
    context.report("RH0406", format!("CSI driver {AUTO_MODE}"), message, seen);
}

/// AWS Backup and Data Lifecycle Manager choose volumes by their tags. A run gives its volumes its own and those of the
/// migration, never those of the volume that one was made from.
fn check_shared(context: &mut Context<'_>) {
    let (survey, migration) = (context.survey, context.migration);
    let sources = || migration.spec.source.volumes.iter();
    let volumes = survey.members.iter().flat_map(|member| {
        sources().filter_map(move |source| {
            let (_, device) = mounted(member, &source.mount_path)?;
            survey.volumes.get(device?.volume.as_ref()?)
        })
    });
    let lost = shared(volumes).into_iter().filter(|(key, _)| {
        let given = labels::is_runs_tag(key) || key.to_ascii_lowercase().starts_with("aws:");
        !given && !migration.spec.tags.contains_key(key)
    });
    let lines: Vec<String> = lost.map(|(key, value)| format!("    {key:?}: {value:?}")).collect();
    if !lines.is_empty() {
        let seen = ["spec:".to_owned(), "  tags:".to_owned()].into_iter().chain(lines).collect();
        let message = "all of them have tags that the new ones would not".to_owned();
        context.report("RH0405", "the members' volumes".to_owned(), message, seen);
    }
}

/// The tags that all volumes have, with the same values.
fn shared<'a>(mut volumes: impl Iterator<Item = &'a Volume>) -> Tags {
    let Some(first) = volumes.next() else { return Tags::new() };
    let mut tags = first.tags.clone();
    for volume in volumes {
        tags.retain(|key, value| volume.tags.get(key) == Some(value));
    }
    tags
}
