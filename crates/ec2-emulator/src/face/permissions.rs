//! The dry runs by which permissions are asked about.

use std::collections::BTreeMap;

use rehome_model::cloud::{Tags, Volume};
use rehome_model::ids::SnapshotId;
use rehome_ports::Intended;

use super::convert;
use crate::api::{
    self, Action, AttachVolume, DescribeSnapshots, DetachVolume, InstanceAttributeName, InstanceChange,
    ModifyInstanceAttribute, StopInstances, TagSpecification, TagsRequest,
};

/// A snapshot that cannot be there: permission is asked before existence.
const NO_SNAPSHOT: &str = "snap-00000000000000000";
/// A device name for dry runs.
const DEVICE: &str = "/dev/xvdzz";

/// A dry run of each action that a run performs, as far as one is possible on what exists.
pub(super) fn probes(intended: &Intended) -> Vec<Action> {
    let instance = &intended.capture.instance;
    let stop = StopInstances { instance_ids: intended.instances.clone(), ..StopInstances::default() };
    // One action, but a policy may tell its attributes apart (condition key ec2:Attribute): all that a run changes.
    let modify =
        |change| Action::ModifyInstanceAttribute(ModifyInstanceAttribute { instance_id: instance.clone(), change });
    let keep = BTreeMap::from([(intended.device().unwrap_or(DEVICE).to_owned(), false)]);
    let attribute = InstanceAttributeName::DisableApiTermination;
    let mut probes = vec![
        Action::StopInstances(stop),
        Action::StartInstances(intended.instances.clone()),
        convert::create_snapshots(&intended.capture),
        modify(InstanceChange::DisableApiTermination(true)),
        modify(InstanceChange::DisableApiStop(true)),
        modify(InstanceChange::DeleteOnTermination(keep)),
        Action::DescribeInstanceAttribute { instance_id: instance.clone(), attribute },
        Action::DescribeSnapshots(DescribeSnapshots {
            owners: vec!["self".to_owned()],
            page: api::Page { max_results: Some(5), ..api::Page::default() },
            ..DescribeSnapshots::default()
        }),
        Action::DeleteSnapshot(SnapshotId::from(NO_SNAPSHOT)),
    ];
    // A way back goes on without it.
    if intended.only.is_none() {
        probes.push(tag(instance.as_str(), intended.instance_tags()));
    }
    for original in &intended.originals {
        let volume_id = original.id.clone();
        let attach =
            AttachVolume { volume_id: volume_id.clone(), instance_id: instance.clone(), device: DEVICE.to_owned() };
        probes.extend([
            create(original, intended),
            tag(volume_id.as_str(), intended.original_tags()),
            Action::DetachVolume(DetachVolume::of(volume_id.clone())),
            Action::AttachVolume(attach),
            Action::DeleteVolume(volume_id),
        ]);
    }
    probes
}

fn tag(resource: &str, tags: Tags) -> Action {
    let tags = tags.into_iter().map(|(key, value)| (key, Some(value))).collect();
    Action::CreateTags(TagsRequest { resources: vec![resource.to_owned()], tags })
}

/// A volume as a run makes one in place of another: blank, since there is no snapshot yet.
fn create(original: &Volume, intended: &Intended) -> Action {
    let spec = &original.spec;
    Action::CreateVolume(api::CreateVolume {
        availability_zone: Some(original.zone.clone()),
        size: Some(i64::from(spec.size_gib)),
        volume_type: Some(spec.volume_type.clone()),
        iops: spec.iops.map(i64::from),
        throughput: spec.throughput_mib_s.map(i64::from),
        encrypted: spec.encrypted.then_some(true),
        tag_specifications: vec![TagSpecification::new("volume", intended.volume_tags.clone())],
        ..api::CreateVolume::default()
    })
}
