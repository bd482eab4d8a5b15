//! The migration's objects in the cluster, and what their use shows by.

use std::collections::BTreeSet;

use rehome_model::collection::{ClaimSeen, ClusterInventory, ObjectId, PersistentVolumeSeen};
use rehome_model::ids::RunId;
use rehome_model::{labels, names};
use serde_json::Value;

use crate::kubernetes::{Kube, KubeError, ebs_volume, label, paths, text, uid};

/// Looks at all of them.
pub(super) async fn look(kube: &Kube, namespace: &str, migration: &str) -> Result<ClusterInventory, KubeError> {
    // All claims of the namespace: a PersistentVolume's claim may have lost its label.
    let claims = items(kube, &paths::claims(namespace)).await?;
    let ours = |object: &&Value| label(object, labels::MIGRATION) == Some(migration);
    // The key's slash must not be taken for one of the path.
    let selector = format!("?labelSelector={}%3D{migration}", labels::MIGRATION.replace('/', "%2F"));
    let ids = |objects: Vec<Value>| objects.iter().map(object_id).collect::<Vec<_>>();
    Ok(ClusterInventory {
        persistent_volumes: volumes(kube, namespace, migration, &claims).await?,
        claims: claims.iter().filter(ours).map(claim).collect(),
        config_maps: ids(items(kube, &format!("{}{selector}", paths::config_maps(namespace))).await?),
        leases: ids(items(kube, &format!("{}{selector}", paths::leases(namespace))).await?),
        wanted_claims: wanted(kube, namespace).await?,
    })
}

async fn items(kube: &Kube, path: &str) -> Result<Vec<Value>, KubeError> {
    let list = kube.get(path).await?;
    Ok(list.and_then(|mut list| list["items"].as_array_mut().map(std::mem::take)).unwrap_or_default())
}

/// An object's name and uid.
pub(super) fn object_id(object: &Value) -> ObjectId {
    ObjectId { name: text(object, "/metadata/name").to_owned(), uid: uid(object).to_owned() }
}

fn claim(object: &Value) -> ClaimSeen {
    ClaimSeen {
        id: object_id(object),
        phase: text(object, "/status/phase").to_owned(),
        volume_name: text(object, "/spec/volumeName").to_owned(),
        going: !object["metadata"]["deletionTimestamp"].is_null(),
    }
}

/// All PersistentVolumes of the cluster, as they are now.
pub(super) async fn persistent_volumes(
    kube: &Kube,
    namespace: &str,
    migration: &str,
) -> Result<Vec<PersistentVolumeSeen>, KubeError> {
    let claims = items(kube, &paths::claims(namespace)).await?;
    volumes(kube, namespace, migration, &claims).await
}

async fn volumes(
    kube: &Kube,
    namespace: &str,
    migration: &str,
    claims: &[Value],
) -> Result<Vec<PersistentVolumeSeen>, KubeError> {
    let seen = |object: &Value| {
        let name = text(object, "/metadata/name");
        let (of, claim) = (text(object, "/spec/claimRef/namespace"), text(object, "/spec/claimRef/name"));
        // A claim that was parked anew has the name, and is not the one.
        let reserved = text(object, "/spec/claimRef/uid");
        let named = claims.iter().any(|found| {
            text(found, "/metadata/name") == claim
                && text(found, "/spec/volumeName") == name
                && (reserved.is_empty() || reserved == uid(found))
        });
        PersistentVolumeSeen {
            id: object_id(object),
            ours: label(object, labels::MIGRATION) == Some(migration),
            run: label(object, labels::RUN).map(RunId::from),
            handle: ebs_volume(object),
            claim: format!("{of}/{claim}"),
            may_have_been_bound: !reserved.is_empty() || text(object, "/status/phase") != "Available",
            going: !object["metadata"]["deletionTimestamp"].is_null(),
            claimed: of != namespace || named,
        }
    };
    Ok(items(kube, paths::VOLUMES).await?.iter().map(seen).collect())
}

/// Claims that pods use, or that the sets of the namespace ask for with their present replicas. The second matters
/// because a pod that waits for its node does not protect its claim (kubernetes `pvc_protection_controller.go`).
async fn wanted(kube: &Kube, namespace: &str) -> Result<BTreeSet<String>, KubeError> {
    let empty = Vec::new();
    let list = |object: &Value, pointer: &str| {
        object.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or(empty.clone())
    };
    let mut wanted = BTreeSet::new();
    for pod in items(kube, &paths::pods(namespace)).await? {
        let claims = list(&pod, "/spec/volumes");
        wanted.extend(claims.iter().map(|volume| text(volume, "/persistentVolumeClaim/claimName").to_owned()));
    }
    for set in items(kube, &paths::sets(namespace)).await? {
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or(1);
        let first = set["spec"]["ordinals"]["start"].as_u64().unwrap_or(0);
        for template in list(&set, "/spec/volumeClaimTemplates") {
            let of = |ordinal: u64| {
                let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
                names::claim(text(&template, "/metadata/name"), text(&set, "/metadata/name"), ordinal)
            };
            wanted.extend((first..first + replicas).map(of));
        }
    }
    Ok(wanted)
}
