//! What the attacher tells of volumes and nodes (kubernetes-csi/external-attacher): the survey and the engine read it.

use serde_json::json;

use super::cluster::Cluster;
use super::objects::{Key, text, time};

/// The driver of every volume here.
const DRIVER: &str = "ebs.csi.aws.com";

/// The VolumeAttachment of a volume and a node: its name is a hash of both.
fn key(handle: &str, node: &str) -> Key {
    let hash = blake3::hash(format!("{handle} {DRIVER} {node}").as_bytes()).to_hex();
    Key::new("volumeattachments", "", &format!("csi-{hash}"))
}

impl Cluster {
    /// Shows how far the attachment of a volume is, or why it fails. No controller here acts on it: nobody is woken.
    pub(super) fn show_attachment(&mut self, now: u64, handle: &str, node: &str, attached: Result<bool, &str>) {
        let key = key(handle, node);
        if !self.objects.contains_key(&key) {
            let volume =
                self.of("persistentvolumes").find(|(_, volume)| text(volume, "/spec/csi/volumeHandle") == handle);
            let Some(volume) = volume.map(|(volume, _)| volume.name.clone()) else { return };
            let uid = format!("00000000-0000-4000-9000-{}", &key.name[4..16]);
            let object = json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
                "metadata": {"name": key.name, "uid": uid, "creationTimestamp": time(now)},
                "spec": {"attacher": DRIVER, "nodeName": node, "source": {"persistentVolumeName": volume}},
                "status": {"attached": false},
            });
            self.objects.insert(key.clone(), object);
        }
        let Some(object) = self.objects.get_mut(&key) else { return };
        match attached {
            Ok(attached) => object["status"] = json!({"attached": attached}),
            Err(message) if text(object, "/status/attachError/message") == message => {}
            Err(message) => {
                object["status"] = json!({"attached": false, "attachError": {"message": message, "time": time(now)}});
            }
        }
    }

    /// The attacher's finalizer: while a VolumeAttachment names a PersistentVolume that stays (external-attacher,
    /// `SyncNewOrUpdatedPersistentVolume`).
    pub(super) fn is_held_by_an_attachment(&self, volume: &str) -> bool {
        self.of("volumeattachments").any(|(_, found)| text(found, "/spec/source/persistentVolumeName") == volume)
    }

    /// Whether the last try to attach it there ended with an error.
    pub(super) fn has_failed_to_attach(&self, handle: &str, node: &str) -> bool {
        let found = self.objects.get(&key(handle, node));
        found.is_some_and(|found| {
            !text(found, "/status/attachError/message").is_empty()
                || !text(found, "/status/detachError/message").is_empty()
        })
    }

    /// Shows why it is not detached.
    pub(super) fn show_detach_error(&mut self, now: u64, handle: &str, node: &str, message: &str) {
        if let Some(object) = self.objects.get_mut(&key(handle, node))
            && text(object, "/status/detachError/message") != message
        {
            object["status"] = json!({"attached": false, "detachError": {"message": message, "time": time(now)}});
        }
    }

    /// The volume is detached from the node.
    pub(super) fn forget_attachment(&mut self, handle: &str, node: &str) {
        self.objects.remove(&key(handle, node));
    }
}
