//! Claims and volumes find each other (kubernetes `pkg/controller/volume/persistentvolume`).

use rehome_model::quantity;
use serde_json::{Value, json};

use super::cluster::{Cluster, Machines};
use super::objects::{Key, is_going, text};

impl Cluster {
    pub(crate) fn bind(&mut self, now: u64, machines: &mut dyn Machines) {
        self.show_volumes();
        let resync = now % self.timing.binder_resync_ms < self.timing.tick_ms;
        let unnamed = |claim: &Value| text(claim, "/spec/volumeName").is_empty();
        let looked_at = |(key, claim): &(&Key, &Value)| resync || unnamed(claim) || self.is_woken(key);
        let keys: Vec<Key> = self.of("persistentvolumeclaims").filter(looked_at).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let woken = !self.woken.is_empty() && self.woken.remove(&(key.namespace.clone(), key.name.clone()));
            if resync || woken {
                self.bind_claim(&key);
            }
            self.provision_blank(now, machines, &key);
        }
    }

    fn is_woken(&self, key: &Key) -> bool {
        self.woken.iter().any(|(namespace, name)| *namespace == key.namespace && *name == key.name)
    }

    /// A new volume becomes Available a moment after its creation; one that is for a claim by its uid Bound, if the claim
    /// names it; one whose claim is gone, or another, Released (`syncVolume`).
    fn show_volumes(&mut self) {
        let next = |volume: &Value| {
            let reserved_for = text(volume, "/spec/claimRef/uid");
            if reserved_for.is_empty() {
                return Some("Available");
            }
            let claim = Key::new(
                "persistentvolumeclaims",
                text(volume, "/spec/claimRef/namespace"),
                text(volume, "/spec/claimRef/name"),
            );
            match self.get(&claim).filter(|claim| text(claim, "/metadata/uid") == reserved_for) {
                Some(claim) if text(claim, "/spec/volumeName") == text(volume, "/metadata/name") => Some("Bound"),
                Some(_) => None,
                None => Some("Released"),
            }
        };
        let changes: Vec<(Key, &'static str)> = self
            .of("persistentvolumes")
            .filter_map(|(key, volume)| Some((key, volume, next(volume)?)))
            .filter(|(_, volume, next)| text(volume, "/status/phase") != *next)
            .map(|(key, _, next)| (key.clone(), next))
            .collect();
        for (key, next) in changes {
            self.set_status(&key, json!({"phase": next}));
        }
    }

    fn set_status(&mut self, key: &Key, status: Value) {
        if let Some(object) = self.objects.get_mut(key) {
            object["status"] = status;
        }
        // A status change wakes nobody: the real binder sees the claim again at its resync only.
        self.version += 1;
        let version = self.version;
        if let Some(object) = self.objects.get_mut(key) {
            object["metadata"]["resourceVersion"] = json!(version.to_string());
        }
    }

    fn bind_claim(&mut self, key: &Key) {
        let Some(claim) = self.get(key) else { return };
        if is_going(claim) {
            return;
        }
        let uid = text(claim, "/metadata/uid").to_owned();
        if text(claim, "/status/phase") == "Bound" {
            self.bind_again(key, &uid);
            return;
        }
        let named = text(claim, "/spec/volumeName").to_owned();
        let mode = claim["spec"]["accessModes"].clone();
        let volume_key =
            if named.is_empty() { self.reserved_volume(key) } else { Some(Key::new("persistentvolumes", "", &named)) };
        let Some(volume_key) = volume_key else { return };
        let Some(volume) = self.get(&volume_key) else { return };
        let own = text(volume, "/spec/claimRef/uid") == uid;
        let phase = text(volume, "/status/phase");
        if !(phase == "Available" || own && phase == "Bound") || is_going(volume) {
            return;
        }
        let reserved = text(volume, "/spec/claimRef/namespace") == key.namespace
            && text(volume, "/spec/claimRef/name") == key.name;
        let free = volume["spec"]["claimRef"].is_null();
        let fits = free && self.fits(key, &volume_key);
        if !(reserved || fits) {
            return;
        }
        let capacity = volume["spec"]["capacity"].clone();
        self.reserve(&volume_key, key, &uid);
        if let Some(claim) = self.objects.get_mut(key) {
            claim["spec"]["volumeName"] = json!(volume_key.name);
            claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("yes");
        }
        self.set_status(key, json!({"phase": "Bound", "capacity": capacity, "accessModes": mode}));
    }

    /// A volume that somebody took from its bound claim is given back to it (`syncBoundClaim`).
    fn bind_again(&mut self, claim: &Key, uid: &str) {
        let name = self.get(claim).map(|claim| text(claim, "/spec/volumeName").to_owned()).unwrap_or_default();
        let volume = Key::new("persistentvolumes", "", &name);
        if self.get(&volume).is_some_and(|volume| volume["spec"]["claimRef"].is_null() && !is_going(volume)) {
            self.reserve(&volume, claim, uid);
        }
    }

    fn reserve(&mut self, volume: &Key, claim: &Key, uid: &str) {
        if let Some(volume) = self.objects.get_mut(volume) {
            volume["spec"]["claimRef"] = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": claim.namespace, "name": claim.name, "uid": uid,
            });
        }
        self.set_status(volume, json!({"phase": "Bound"}));
    }

    /// Without claimRef class and size are compared; with both sides set they are not (`pv_controller.go`, `syncUnboundClaim`).
    fn fits(&self, claim: &Key, volume: &Key) -> bool {
        let (Some(claim), Some(volume)) = (self.get(claim), self.get(volume)) else { return false };
        let request = quantity::bytes(text(claim, "/spec/resources/requests/storage")).unwrap_or(u128::MAX);
        let capacity = quantity::bytes(text(volume, "/spec/capacity/storage")).unwrap_or(0);
        text(claim, "/spec/storageClassName") == text(volume, "/spec/storageClassName") && capacity >= request
    }

    fn reserved_volume(&self, claim: &Key) -> Option<Key> {
        let found = self.of("persistentvolumes").find(|(_, volume)| {
            text(volume, "/spec/claimRef/namespace") == claim.namespace
                && text(volume, "/spec/claimRef/name") == claim.name
        });
        found.map(|(key, _)| key.clone())
    }

    /// A claim that names no volume and whose pod waits for a node gets a blank one: what parking prevents.
    fn provision_blank(&mut self, now: u64, machines: &mut dyn Machines, key: &Key) {
        let Some(claim) = self.get(key) else { return };
        let class = Key::new("storageclasses", "", text(claim, "/spec/storageClassName"));
        let provisioned = self.get(&class).is_some_and(|class| !text(class, "/provisioner").is_empty());
        let unnamed = text(claim, "/spec/volumeName").is_empty() && text(claim, "/status/phase") != "Bound";
        if !unnamed || !provisioned || is_going(claim) || self.reserved_volume(key).is_some() {
            return;
        }
        let request = text(claim, "/spec/resources/requests/storage").to_owned();
        let wanted = self
            .of("pods")
            .any(|(pod, object)| pod.namespace == key.namespace && super::pods::claims(object).contains(&key.name));
        let Some(zone) = self.of("nodes").next().map(|(_, node)| super::pods::zone(node)) else { return };
        if !wanted {
            return;
        }
        let gib = quantity::bytes(&request).unwrap_or(0).div_ceil(quantity::GIB) as u32;
        let handle = machines.provision(now, &zone, gib, &key.name);
        let uid = self.get(key).map(|claim| text(claim, "/metadata/uid").to_owned()).unwrap_or_default();
        let volume_key = Key::new("persistentvolumes", "", &format!("pvc-{uid}"));
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {},
            "spec": {
                "capacity": {"storage": request}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Delete", "storageClassName": class.name,
                "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": handle, "fsType": "ext4"},
                "claimRef": {"namespace": key.namespace, "name": key.name},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}]}]}},
            },
        });
        // The name is the claim's uid: it cannot be taken.
        let _ = self.put_new(now, &volume_key, volume);
        self.woken.insert((key.namespace.clone(), key.name.clone()));
    }
}
