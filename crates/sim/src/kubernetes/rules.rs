//! What a write may say of an object, and what a patch makes of it.

use rehome_model::quantity;
use serde_json::{Value, json};

use super::objects::{Failure, Key, text};

pub(super) fn check_version(key: &Key, found: &Value, sent: &Value) -> Result<(), Failure> {
    let version = text(sent, "/metadata/resourceVersion");
    if !version.is_empty() && version != text(found, "/metadata/resourceVersion") {
        return Err(Failure::conflict(
            key,
            "the object has been modified; please apply your changes to the latest version and try again",
        ));
    }
    let uid = text(sent, "/metadata/uid");
    if !uid.is_empty() && uid != text(found, "/metadata/uid") {
        return Err(Failure::conflict(key, "Precondition failed: UID in precondition does not match"));
    }
    Ok(())
}

/// kubernetes `pkg/apis/core/validation/validation.go` and `pkg/apis/apps/validation`: a claim's spec but for its request, a volume's source and affinity, a set's templates never change.
pub(super) fn check_immutable(key: &Key, found: &Value, sent: &Value) -> Result<(), Failure> {
    let fields: &[&str] = match key.plural {
        "persistentvolumeclaims" => &["/spec/volumeName", "/spec/storageClassName", "/spec/accessModes"],
        "persistentvolumes" => &["/spec/csi", "/spec/nodeAffinity"],
        "statefulsets" => {
            &["/spec/volumeClaimTemplates", "/spec/serviceName", "/spec/podManagementPolicy", "/spec/selector"]
        }
        _ => &[],
    };
    for field in fields {
        let before = found.pointer(field);
        if before.is_some() && before != sent.pointer(field) {
            return Err(Failure::invalid(key, &format!("{field}: Forbidden: field is immutable after creation")));
        }
    }
    Ok(())
}

pub(super) fn check_volume(key: &Key, object: &Value) -> Result<(), Failure> {
    if text(object, "/spec/csi/volumeHandle").is_empty() {
        return Err(Failure::invalid(key, "spec.csi.volumeHandle: Required value"));
    }
    if quantity::bytes(text(object, "/spec/capacity/storage")).is_err() {
        return Err(Failure::invalid(key, "spec.capacity: Required value"));
    }
    Ok(())
}

/// RFC 7386.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in fields {
        if value.is_null() {
            if let Some(object) = target.as_object_mut() {
                object.remove(field);
            }
        } else {
            merge(&mut target[field], value);
        }
    }
}
