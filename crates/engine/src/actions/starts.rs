//! Containers that do not start: why, and which of them never will.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::plan::{PodTarget, Purpose};
use serde_json::Value;
use tokio::time::Instant;

use crate::context::StepContext;
use crate::error::StepError;
use crate::kubernetes::{text, uid};
use crate::limits::{MESSAGE_CHARS, MISCONFIGURED, RESTARTS, RESTARTS_TOGETHER, UNPULLABLE};

/// Reasons of a container that waits for somebody who mends the set (kubernetes `pkg/kubelet/images`, `kuberuntime`).
const WRONG: [&str; 2] = ["InvalidImageName", "CreateContainerConfigError"];
/// Those of one whose image is not to be had. A registry may be away for a moment.
const NO_IMAGE: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// What was seen of containers that do not start, since a step waits for them.
pub(super) struct Starts {
    /// Whether anything is made of it: production is down and comes back by itself, and no client has written.
    heeds: bool,
    /// The pod as it was seen first with these reasons, and when.
    since: BTreeMap<String, (String, &'static [&'static str; 2], Instant)>,
    answered: BTreeSet<String>,
    /// How often each container was started anew when all of them had been started at all; none before that.
    together: Option<BTreeMap<String, u64>>,
}

impl Starts {
    pub(super) fn new(context: &StepContext) -> Self {
        let heeds = context.plan().purpose == Purpose::Apply && !context.undo;
        Self { heeds, since: BTreeMap::new(), answered: BTreeSet::new(), together: None }
    }

    /// A pod whose member has answered has started, whatever comes after.
    pub(super) fn answers(&mut self, pod: &str) {
        self.answered.insert(pod.to_owned());
    }

    /// Ends the step if one of the pods will never start. The deadline of the step is for pods that may.
    pub(super) fn look(&mut self, targets: &[PodTarget], pods: &BTreeMap<String, Value>) -> Result<(), StepError> {
        if !self.heeds {
            return Ok(());
        }
        let started = targets.iter().map(|target| Some((target.pod.clone(), started(pods.get(&target.pod)?, target)?)));
        if self.together.is_none() {
            self.together = started.collect();
        }
        for (target, pod) in targets.iter().filter_map(|target| Some((target, pods.get(&target.pod)?))) {
            self.see_waiting(target, pod)?;
            self.see_restarts(target, pod)?;
        }
        Ok(())
    }

    fn see_waiting(&mut self, target: &PodTarget, pod: &Value) -> Result<(), StepError> {
        let mut all = statuses(pod, "initContainerStatuses").chain(of_container(pod, &target.container));
        let Some((status, reasons, limit)) = all.find_map(|status| {
            let reason = text(status, "/state/waiting/reason");
            let kinds = [(&WRONG, MISCONFIGURED), (&NO_IMAGE, UNPULLABLE)];
            let of = kinds.into_iter().find(|(reasons, _)| reasons.contains(&reason));
            of.map(|(reasons, limit)| (status, reasons, limit))
        }) else {
            self.since.remove(&target.pod);
            return Ok(());
        };
        // A pod that was deleted and made anew begins anew.
        let first = (uid(pod).to_owned(), reasons, Instant::now());
        let since = self.since.entry(target.pod.clone()).or_insert_with(|| first.clone());
        if (&since.0, since.1) != (&first.0, first.1) {
            *since = first;
        }
        let waited = since.2.elapsed();
        if waited < limit {
            return Ok(());
        }
        let why =
            format!("{} for {} s: {}", waits(status), waited.as_secs(), short(text(status, "/state/waiting/message")));
        Err(never(target, &why))
    }

    /// One that runs at the moment may be about to answer, and one whose peers have not been started yet may end for want of
    /// them: EBS can take ten minutes for one attachment. Restarts are counted since the pod was made: none was before its
    /// volumes were released.
    fn see_restarts(&self, target: &PodTarget, pod: &Value) -> Result<(), StepError> {
        let Some(status) = of_container(pod, &target.container) else { return Ok(()) };
        let count = status["restartCount"].as_u64().unwrap_or(0);
        let Some(together) = &self.together else { return Ok(()) };
        let alone = together.get(&target.pod).copied().unwrap_or(0);
        let ended = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
        let Some(ended) = ended.into_iter().find(|ended| ended.is_object()) else { return Ok(()) };
        let code = ended["exitCode"].as_i64().unwrap_or(0);
        let runs = status["state"]["running"].is_object();
        let enough = count >= RESTARTS.max(alone + RESTARTS_TOGETHER);
        if !enough || code == 0 || runs || self.answered.contains(&target.pod) {
            return Ok(());
        }
        let (name, reason, said) = (&target.container, text(ended, "/reason"), short(text(ended, "/message")));
        let why =
            format!("container {name} was started {count} times anew and ends with exit code {code}, {reason}: {said}");
        Err(never(target, &why))
    }
}

fn never(target: &PodTarget, why: &str) -> StepError {
    StepError::failed("NeverStarts", format!("pod {}: {why}", target.pod))
}

fn short(message: &str) -> String {
    let message = message.trim();
    if message.is_empty() { "no message".to_owned() } else { message.chars().take(MESSAGE_CHARS).collect() }
}

/// How often a pod's container was started anew; none if it never was at all.
fn started(pod: &Value, target: &PodTarget) -> Option<u64> {
    let status = of_container(pod, &target.container)?;
    let count = status["restartCount"].as_u64().unwrap_or(0);
    let begun = count > 0 || status["state"]["running"].is_object() || status["state"]["terminated"].is_object();
    begun.then_some(count)
}

fn statuses<'a>(pod: &'a Value, which: &str) -> impl Iterator<Item = &'a Value> {
    pod["status"][which].as_array().into_iter().flatten()
}

fn of_container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    statuses(pod, "containerStatuses").find(|status| status["name"] == name)
}

fn waits(status: &Value) -> String {
    format!("container {} is waiting: {}", text(status, "/name"), text(status, "/state/waiting/reason"))
}

/// Why a container does not run; none if it does.
pub(super) fn not_running(pod: &Value, container: &str) -> Option<String> {
    let status = of_container(pod, container);
    if status.is_some_and(|status| status["state"]["running"].is_object()) {
        return None;
    }
    // While init containers run, the others wait and say no more than that.
    if let Some(reason) = statuses(pod, "initContainerStatuses").find_map(init_fails) {
        return Some(reason);
    }
    for state in ["waiting", "terminated"] {
        if let Some(reason) = status.and_then(|status| status["state"][state]["reason"].as_str()) {
            return Some(format!("container {container} is {state}: {reason}"));
        }
    }
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let unscheduled = conditions.into_iter().find(|c| c["type"] == "PodScheduled" && c["status"] == "False");
    Some(unscheduled.map_or_else(
        || format!("it is {}", text(pod, "/status/phase")),
        |condition| text(condition, "/message").to_owned(),
    ))
}

/// What an init container waits for, or how it has failed. The next one in line waits with `PodInitializing`.
fn init_fails(status: &Value) -> Option<String> {
    let name = text(status, "/name");
    let reason = status.pointer("/state/waiting/reason").and_then(Value::as_str);
    if reason.is_some_and(|reason| reason != "PodInitializing") {
        return Some(format!("init {}", waits(status)));
    }
    let code = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64).filter(|code| *code != 0)?;
    Some(format!("init container {name} ended with exit code {code}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_ends_for_want_of_a_peer_which_was_never_started_is_waited_for() {
        let target = |pod: &str| PodTarget {
            member: pod.into(),
            pod: pod.to_owned(),
            container: "db".to_owned(),
            claims: Vec::new(),
            identity: rehome_model::answer::MemberIdentity::default(),
        };
        let targets = [target("db-0"), target("db-1")];
        let crashed = |count: u64| {
            let ended = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "no peer answers"}});
            let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
            let status = json!({"name": "db", "restartCount": count, "state": waits, "lastState": ended});
            json!({"metadata": {"uid": "1"}, "status": {"containerStatuses": [status]}})
        };
        let waiting = json!({"name": "db", "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}});
        let running = json!({"name": "db", "restartCount": 0, "state": {"running": {}}});
        let peer = |status: &Value| json!({"metadata": {"uid": "2"}, "status": {"containerStatuses": [status]}});
        let mut starts = Starts { heeds: true, since: BTreeMap::new(), answered: BTreeSet::new(), together: None };
        let mut look = |count: u64, status: &Value| {
            let pods = BTreeMap::from([("db-0".to_owned(), crashed(count)), ("db-1".to_owned(), peer(status))]);
            starts.look(&targets, &pods)
        };
        assert_eq!(look(5, &waiting).map_err(|error| error.code), Ok(()));
        assert_eq!(look(9, &waiting).map_err(|error| error.code), Ok(()));
        // Now it is there, and the other is given time to meet it.
        assert_eq!(look(9, &running).map_err(|error| error.code), Ok(()));
        assert_eq!(look(10, &running).map_err(|error| error.code), Ok(()));
        let never = look(11, &running).expect_err("it had its time").message;
        assert!(never.contains("no peer answers"), "{never}");
    }

    #[test]
    fn an_init_container_that_fails_is_what_a_pod_waits_for() {
        let with = |init: Value| {
            let main = json!({"name": "db", "state": {"waiting": {"reason": "PodInitializing"}}});
            json!({"status": {"phase": "Pending", "initContainerStatuses": [init], "containerStatuses": [main]}})
        };
        let said = |init| not_running(&with(init), "db").expect("a reason");
        let waits = json!({"name": "sysctl", "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
        assert_eq!(said(waits), "init container sysctl is waiting: CrashLoopBackOff");
        let ended =
            |code: i64| json!({"name": "sysctl", "state": {"terminated": {"exitCode": code, "reason": "Error"}}});
        assert_eq!(said(ended(3)), "init container sysctl ended with exit code 3");
        assert_eq!(said(ended(0)), "container db is waiting: PodInitializing");
    }
}
