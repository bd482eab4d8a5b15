//! Volumes that the kubelet does not mount: it tries again, and tells of it in events (kubernetes `pkg/kubelet/volumemanager`).

use serde_json::json;

use super::ailments::Ailment;
use super::cluster::{Cluster, Machines, PodRun};
use super::objects::{Key, text, time};

/// The kubelet's first and last pause before it mounts again, in ms (`pkg/util/goroutinemap/exponentialbackoff`).
const PAUSES_MS: [u64; 2] = [500, 122_000];

impl Cluster {
    /// Mounts a volume of a pod, or tells why not.
    pub(super) fn mount(
        &mut self,
        now: u64,
        machines: &mut dyn Machines,
        key: &Key,
        (handle, node, fs_type): (&str, &str, &str),
        run: &mut PodRun,
    ) -> bool {
        if now < run.mount_at {
            return false;
        }
        let ailing = self.ailing.iter().find(|ailing| ailing.pod == key.name && now < ailing.until);
        let mounted = match ailing.map(|ailing| ailing.ailment) {
            Some(Ailment::Unmounted(output)) => Err(output.to_owned()),
            _ => machines.mount(now, handle, node, fs_type),
        };
        let Err(why) = mounted else { return true };
        let pause_ms = (PAUSES_MS[0] << run.mount_tries.min(8)).min(PAUSES_MS[1]);
        run.mount_tries += 1;
        run.mount_at = now + pause_ms;
        self.warn_of_mount(now, key, (handle, node, fs_type), &why);
        false
    }

    /// One event for all that say the same, with the number of times.
    fn warn_of_mount(&mut self, now: u64, key: &Key, (handle, node, fs_type): (&str, &str, &str), why: &str) {
        let Some(pod) = self.get(key) else { return };
        let uid = text(pod, "/metadata/uid").to_owned();
        let path = format!("/var/lib/kubelet/plugins/kubernetes.io/csi/ebs.csi.aws.com/{handle}/globalmount");
        let message = format!(
            "MountVolume.MountDevice failed for volume \"{handle}\" : rpc error: code = Internal desc = could not format \
             \"/dev/nvme1n1\" and mount it at \"{path}\": mount failed: exit status 32\nMounting command: mount\nMounting \
             arguments: -t {fs_type} -o defaults /dev/nvme1n1 {path}\nOutput: mount: {path}: {why}\n"
        );
        let hash = blake3::hash(format!("{uid} {message}").as_bytes()).to_hex();
        let event = Key::new("events", &key.namespace, &format!("{}.{}", key.name, &hash[..16]));
        if let Some(found) = self.objects.get_mut(&event) {
            found["count"] = json!(found["count"].as_u64().unwrap_or(0) + 1);
            found["lastTimestamp"] = json!(time(now / 1_000 * 1_000));
            let _ = self.changed(&event);
            return;
        }
        let object = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {},
            "involvedObject": {"kind": "Pod", "namespace": key.namespace, "name": key.name, "uid": uid},
            "reason": "FailedMount", "type": "Warning", "message": message, "count": 1,
            "firstTimestamp": time(now / 1_000 * 1_000), "lastTimestamp": time(now / 1_000 * 1_000),
            "source": {"component": "kubelet", "host": node},
        });
        let _ = self.put_new(now, &event, object);
    }
}
