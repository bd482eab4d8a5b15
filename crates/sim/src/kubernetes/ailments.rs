//! Containers that do not start (kubernetes `pkg/kubelet/kuberuntime`, `pkg/kubelet/images`).

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects::{Key, text};

/// The kubelet's pauses before it starts a container anew, in ms; the last one goes on.
const BACKOFF_MS: [u64; 6] = [10_000, 20_000, 40_000, 80_000, 160_000, 300_000];

/// What keeps a pod's container from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// It waits for this reason.
    Waits(&'static str),
    /// It ends so many ms after each start.
    Crashes(u64),
    /// Its volumes are not mounted: what mount(8) says.
    Unmounted(&'static str),
}

/// An ailment of a pod, and until when it lasts.
#[derive(Clone, Debug)]
pub(crate) struct Ailing {
    pub pod: String,
    pub ailment: Ailment,
    pub until: u64,
}

impl Cluster {
    /// Shows what keeps the container of a pod from starting since a time; false if nothing does.
    pub(crate) fn show_ailing(&mut self, now: u64, since: u64, key: &Key) -> bool {
        let found = self.ailing.iter().find(|ailing| ailing.pod == key.name && now < ailing.until);
        let Some(ailment) = found.map(|ailing| ailing.ailment) else { return false };
        let Some(object) = self.objects.get_mut(key) else { return true };
        let name = text(object, "/spec/containers/0/name").to_owned();
        let (phase, status) = match ailment {
            Ailment::Waits(reason) => {
                let state = json!({"waiting": {"reason": reason, "message": "nobody has it"}});
                ("Pending", json!({"name": name, "ready": false, "restartCount": 0, "state": state}))
            }
            Ailment::Unmounted(_) => return false,
            Ailment::Crashes(runs_ms) => ("Running", crashing(&name, runs_ms, now.saturating_sub(since))),
        };
        let status = json!({"phase": phase, "containerStatuses": [status]});
        if object["status"] != status {
            object["status"] = status;
            let _ = self.changed(key);
        }
        true
    }
}

/// A container that ends so long after each start, a while after its first one.
fn crashing(name: &str, runs_ms: u64, mut passed: u64) -> Value {
    let mut restarts = 0;
    let last = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "no such option: heap"}});
    loop {
        let pause = BACKOFF_MS[BACKOFF_MS.len().min(restarts + 1) - 1];
        let runs = passed < runs_ms;
        if runs || passed < runs_ms + pause {
            let waits =
                json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}});
            let state = if runs { json!({"running": {}}) } else { waits };
            let mut status = json!({"name": name, "ready": false, "restartCount": restarts, "state": state});
            if restarts > 0 || !runs {
                status["lastState"] = last;
            }
            return status;
        }
        passed -= runs_ms + pause;
        restarts += 1;
    }
}
