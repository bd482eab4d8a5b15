//! Strangers' things that look like a run's own, and must be as they were at the end.

use rehome_model::cloud::{Tags, VolumeState};
use rehome_model::ids::{SnapshotId, VolumeId};
use rehome_model::labels;
use serde_json::json;

use super::meddle::STRANGERS_TAG;
use super::stage::{NAME, Stage};
use crate::kubernetes::Key;
use crate::world::World;

/// Things of others that look much like a run's, and must be as they were at the end (invariants I7 and I9).
pub struct Bystanders {
    volumes: Vec<VolumeId>,
    snapshots: Vec<SnapshotId>,
    before: Vec<(String, String)>,
}

/// Whose they are: another migration, and one of the same name from another cluster of the account; with the ids of
/// their volume and snapshot. Ids that EC2 accepts: of others nobody could delete anything.
const OTHERS: [(&str, &str, &str); 2] = [("other", "other-00000000", "0"), (NAME, "refdb-11111111", "1")];

/// Another migration's claims, volumes and record in the same account and namespace.
const BYSTANDERS: [(&str, &str); 3] = [
    ("persistentvolumeclaims", "data-other-0"),
    ("persistentvolumes", "rehome-data-other-0"),
    ("configmaps", "rehome-run-other"),
];

impl Bystanders {
    /// Puts them into a world.
    pub fn enter(world: &World) -> Self {
        world.with(|state, now| {
            for (plural, name) in BYSTANDERS {
                let namespace = if plural == "persistentvolumes" { "" } else { NAME };
                let labels = json!({labels::MIGRATION: "other", labels::RUN: "other-00000000"});
                let object = json!({
                    "metadata": {"labels": labels},
                    "spec": {
                        "volumeName": "rehome-data-other-0", "storageClassName": "",
                        "persistentVolumeReclaimPolicy": "Retain", "capacity": {"storage": "1Gi"},
                        "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-bbbbbbbb"},
                        "claimRef": {"namespace": NAME, "name": "data-other-1"},
                    },
                });
                // The world is new: none of these names is taken.
                let _ = state.cluster.put_new(now, &Key::new(plural, namespace, name), object);
            }
        });
        let mut bystanders = Self { volumes: Vec::new(), snapshots: Vec::new(), before: Vec::new() };
        for (migration, run, digit) in OTHERS {
            bystanders.enter_cloud(world, migration, run, digit);
        }
        bystanders.before = bystanders.look(world);
        bystanders
    }

    fn enter_cloud(&mut self, world: &World, migration: &str, run: &str, digit: &str) {
        let tags = |step: &str| -> Tags {
            let pairs = [
                (labels::MIGRATION, migration),
                (labels::RUN, run),
                (labels::STEP, step),
                (labels::MEMBER, "refdb-0"),
                (labels::ROLE, "data"),
                STRANGERS_TAG,
            ];
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        };
        let id = |prefix: &str| format!("{prefix}-{}", digit.repeat(17));
        let (volume, snapshot) = (VolumeId::from(id("vol")), SnapshotId::from(id("snap")));
        world.ec2.with(|inner, now| {
            // Copies of records that EC2 itself made: of the first member's volume.
            let like = inner.core.volumes.values().next().cloned();
            if let Some(like) = like {
                let record = rehome_ec2_emulator::core::VolumeRecord {
                    state: VolumeState::Available,
                    attachments: Vec::new(),
                    tags: tags("create-volume:refdb-0:data"),
                    ..like
                };
                inner.core.volumes.insert(volume.clone(), record);
            }
            let record = rehome_ec2_emulator::core::SnapshotRecord {
                volume: volume.clone(),
                state: rehome_model::cloud::SnapshotState::Completed,
                state_message: None,
                started_at: now,
                completes_at: now,
                fails: false,
                volume_size_gib: 1,
                description: String::new(),
                encrypted: false,
                kms_key_id: None,
                full_bytes: 0,
                tags: tags("final-snapshot:refdb-0"),
            };
            inner.core.snapshots.insert(snapshot.clone(), record);
        });
        self.volumes.push(volume);
        self.snapshots.push(snapshot);
    }

    /// Each thing, and how it is.
    fn look(&self, world: &World) -> Vec<(String, String)> {
        world.with(|state, _| {
            let object = |(plural, name): (&'static str, &str)| {
                let namespace = if plural == "persistentvolumes" { "" } else { NAME };
                let found = state.cluster.get(&Key::new(plural, namespace, name));
                let seen = found.map_or_else(String::new, |found| {
                    let metadata = &found["metadata"];
                    let spec = if plural == "persistentvolumes" { &found["spec"]["csi"] } else { &found["spec"] };
                    format!("{}{}{}{spec}", metadata["uid"], metadata["labels"], metadata["deletionTimestamp"])
                });
                (format!("{plural}/{name}"), seen)
            };
            let mut seen: Vec<(String, String)> = BYSTANDERS.into_iter().map(object).collect();
            world.ec2.with(|inner, _| {
                let core = &inner.core;
                seen.extend(self.volumes.iter().map(|id| (id.to_string(), format!("{:?}", core.volumes.get(id)))));
                seen.extend(self.snapshots.iter().map(|id| (id.to_string(), format!("{:?}", core.snapshots.get(id)))));
            });
            seen
        })
    }

    /// What of it is not as it was, and what strangers made meanwhile and is gone.
    pub(super) fn violations(&self, stage: &Stage) -> Vec<String> {
        let now = self.look(&stage.world);
        let changed = self.before.iter().zip(&now).filter(|(before, now)| before != now);
        let mut found: Vec<String> =
            changed.map(|((what, _), _)| format!("I7: another migration's {what} was changed or deleted")).collect();
        for id in stage.tally.strangers_snapshots() {
            if stage.world.ec2.with(|inner, _| !inner.core.snapshots.contains_key(&id)) {
                found.push(format!("I7: {id} is somebody else's and was deleted"));
            }
        }
        found
    }
}
