//! The Kubernetes objects rehome creates, exactly. The engine sends these; `rehome render` prints them.

use std::collections::BTreeMap;

use rehome_model::ids::{MemberName, RoleName, RunId, StepId, VolumeId, Zone};
use rehome_model::plan::{Action, ClaimSpec, Input, Plan};
use rehome_model::{labels, quantity};
use serde_json::{Map, Value, json};

/// What stands in a rendered manifest for what is known only after apply.
pub const KNOWN_AFTER_APPLY: &str = "(known after apply)";

/// Who creates an object.
#[derive(Clone, Copy, Debug)]
pub struct Maker<'a> {
    /// The migration.
    pub migration: &'a str,
    /// The run.
    pub run: &'a RunId,
    /// The step.
    pub step: &'a StepId,
}

impl Maker<'_> {
    fn labels(self, own: &BTreeMap<String, String>) -> Value {
        let mut all: Map<String, Value> = own.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        all.insert(labels::MIGRATION.to_owned(), json!(self.migration));
        all.insert(labels::RUN.to_owned(), json!(self.run));
        Value::Object(all)
    }
}

/// A parked claim: it names a PersistentVolume that does not exist yet.
pub fn claim(maker: Maker<'_>, claim: &ClaimSpec) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim.name, "namespace": claim.namespace, "labels": maker.labels(&claim.labels),
            "annotations": {
                labels::STEP: maker.step,
                labels::ARGO_SYNC_OPTIONS.0: labels::ARGO_SYNC_OPTIONS.1,
                labels::HELM_KEEP.0: labels::HELM_KEEP.1,
            },
        },
        "spec": {
            "accessModes": claim.access_modes,
            "resources": {"requests": {"storage": quantity::from_gib(claim.size_gib)}},
            "storageClassName": claim.storage_class,
            "volumeMode": "Filesystem",
            "volumeName": claim.volume_name,
        },
    })
}

/// What a PersistentVolume is for.
#[derive(Clone, Copy, Debug)]
pub struct VolumeFor<'a> {
    /// The parked claim.
    pub claim: &'a ClaimSpec,
    /// The uid of the claim that was found parked.
    pub claim_uid: &'a str,
    /// The member.
    pub member: &'a MemberName,
    /// The role.
    pub role: &'a RoleName,
    /// The EBS volume.
    pub volume: &'a VolumeId,
    /// The legacy volume whose data it holds.
    pub legacy_volume: &'a VolumeId,
    /// Its zone.
    pub zone: &'a Zone,
    /// Its file system.
    pub fs_type: &'a str,
    /// The CSI driver.
    pub driver: &'a str,
}

/// A PersistentVolume, for one claim and no other: with another uid than the claim's the binder marks it Released at once and
/// never binds it (kubernetes `pv_controller.go`, `syncVolume`), so that one which is created late, when a rollback has parked
/// the claim anew, lets nothing start. Retain, so that no controller ever deletes the EBS volume (invariant I6).
pub fn volume(maker: Maker<'_>, of: VolumeFor<'_>) -> Value {
    let own = BTreeMap::from([
        (labels::MEMBER.to_owned(), of.member.to_string()),
        (labels::ROLE.to_owned(), of.role.to_string()),
    ]);
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": of.claim.volume_name, "labels": maker.labels(&own),
            "annotations": {labels::STEP: maker.step, labels::LEGACY_VOLUME: of.legacy_volume},
        },
        "spec": {
            "capacity": {"storage": quantity::from_gib(of.claim.size_gib)},
            "accessModes": of.claim.access_modes,
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": of.claim.storage_class,
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": of.claim.namespace, "name": of.claim.name, "uid": of.claim_uid,
            },
            "csi": {"driver": of.driver, "volumeHandle": of.volume, "fsType": of.fs_type},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": labels::TOPOLOGY_ZONE, "operator": "In", "values": [of.zone]},
            ]}]}},
        },
    })
}

/// The ConfigMap of the gate.
pub fn gate(maker: Maker<'_>, namespace: &str, name: &str, data: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": namespace, "labels": maker.labels(&BTreeMap::new()),
            "annotations": {labels::STEP: maker.step},
        },
        "data": data,
    })
}

/// All objects of a plan, in the order of its steps; ids that only EC2 will give are marked.
pub fn all(plan: &Plan, run: &RunId) -> Vec<Value> {
    let mut objects = Vec::new();
    for step in &plan.steps {
        let maker = Maker { migration: &plan.migration, run, step: &step.id };
        match &step.action {
            Action::ParkClaim { claim: spec } => objects.push(claim(maker, spec)),
            Action::CloseSet { config_map, data } => objects.push(gate(maker, &plan.namespace, config_map, data)),
            Action::ReleaseVolume { claim, member, role, volume: id, legacy_volume, zone, fs_type, driver, .. } => {
                let unknown = VolumeId::from(KNOWN_AFTER_APPLY);
                let id = match id {
                    Input::Literal(id) => id,
                    Input::Output { .. } => &unknown,
                };
                let claim_uid = KNOWN_AFTER_APPLY;
                let of = VolumeFor { claim, claim_uid, member, role, volume: id, legacy_volume, zone, fs_type, driver };
                objects.push(volume(maker, of));
            }
            _ => {}
        }
    }
    objects
}
