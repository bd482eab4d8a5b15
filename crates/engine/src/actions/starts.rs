//! Containers that do not start: why, and which of them never will.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::plan::{PodTarget, Purpose};
use rehome_model::task::PodTask;
use serde_json::Value;
use tokio::time::Instant;

use crate::context::StepContext;
use crate::error::StepError;
use crate::kubernetes::{text, uid};
use crate::limits::{MESSAGE_CHARS, MISCONFIGURED, ONE_MORE_TRY, RESTARTS, UNPULLABLE};

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
    /// Since when all that a pod may end for want of have answered, while one ends again and again.
    met: Option<Instant>,
}

impl Starts {
    pub(super) fn new(context: &StepContext) -> Self {
        let heeds = context.plan().purpose == Purpose::Apply && !context.undo;
        Self { heeds, since: BTreeMap::new(), answered: BTreeSet::new(), met: None }
    }

    /// A pod whose member has answered has started, whatever comes after.
    pub(super) fn answers(&mut self, pod: &str) {
        self.answered.insert(pod.to_owned());
    }

    /// Ends the step if one of the pods will never start. The deadline of the step is for pods that may.
    pub(super) async fn look(
        &mut self,
        context: &StepContext,
        targets: &[PodTarget],
        pods: &BTreeMap<String, Value>,
    ) -> Result<(), StepError> {
        if !self.heeds {
            return Ok(());
        }
        for (target, pod) in targets.iter().filter_map(|target| Some((target, pods.get(&target.pod)?))) {
            self.see_waiting(target, pod)?;
        }
        let Some((never, others)) = self.ends_again(targets, pods) else {
            self.met = None;
            return Ok(());
        };
        // One that runs at the moment may be about to answer.
        let Some(never) = never else { return Ok(()) };
        let answers = others.into_iter().map(|other| context.pod(other, PodTask::View));
        let all_answer = futures::future::join_all(answers).await.iter().all(Result::is_ok);
        self.give_up(all_answer, never)
    }

    /// A pod ends for want of a peer that is still on its way, or answers late: EBS can take ten minutes for one attachment, and
    /// a member longer for its files. Once all others answer, it is given the time of one more try.
    fn give_up(&mut self, others_answer: bool, never: StepError) -> Result<(), StepError> {
        self.met = if others_answer { self.met.or_else(|| Some(Instant::now())) } else { None };
        if self.met.is_some_and(|met| met.elapsed() >= ONE_MORE_TRY) { Err(never) } else { Ok(()) }
    }

    /// Whether containers end again and again: the error of one of them that does not run now, if any, and all others but those of
    /// the same kind.
    fn ends_again<'a>(
        &self,
        targets: &'a [PodTarget],
        pods: &BTreeMap<String, Value>,
    ) -> Option<(Option<StepError>, Vec<&'a PodTarget>)> {
        let why = |target: &PodTarget| {
            let status = of_container(pods.get(&target.pod)?, &target.container)?;
            let why = ends(target, status).filter(|_| !self.answered.contains(&target.pod))?;
            Some((why, status["state"]["running"].is_object()))
        };
        let (these, others): (Vec<&PodTarget>, Vec<&PodTarget>) =
            targets.iter().partition(|target| why(target).is_some());
        let stands = |target: &&PodTarget| why(target).filter(|(_, runs)| !runs).map(|(why, _)| never(target, &why));
        (!these.is_empty()).then(|| (these.iter().find_map(stands), others))
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
}

/// How a container has ended that was started anew too often. Restarts are counted since the pod was made: none was before its
/// volumes were released.
fn ends(target: &PodTarget, status: &Value) -> Option<String> {
    let count = status["restartCount"].as_u64().unwrap_or(0);
    let ended = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
    let ended = ended.into_iter().find(|ended| ended.is_object())?;
    let code = ended["exitCode"].as_i64().unwrap_or(0);
    let (name, reason, said) = (&target.container, text(ended, "/reason"), short(text(ended, "/message")));
    (count >= RESTARTS && code != 0).then(|| {
        format!("container {name} was started {count} times anew and ends with exit code {code}, {reason}: {said}")
    })
}

pub(super) fn never(target: &PodTarget, why: &str) -> StepError {
    StepError::failed("NeverStarts", format!("pod {}: {why}", target.pod))
}

pub(super) fn short(message: &str) -> String {
    let message = message.trim();
    if message.is_empty() { "no message".to_owned() } else { message.chars().take(MESSAGE_CHARS).collect() }
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

/// The pods that have a node and do not run there, as they are seen.
pub(super) fn waiting<'a>(
    targets: &'a [PodTarget],
    pods: &'a BTreeMap<String, Value>,
) -> Vec<(&'a PodTarget, &'a Value)> {
    let all = targets.iter().filter_map(|target| Some((target, pods.get(&target.pod)?)));
    all.filter(|(target, pod)| !text(pod, "/spec/nodeName").is_empty() && not_running(pod, &target.container).is_some())
        .collect()
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
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_ends_for_want_of_others_is_given_time_once_they_answer() {
        let target = |pod: &str| PodTarget {
            member: pod.into(),
            pod: pod.to_owned(),
            container: "db".to_owned(),
            claims: Vec::new(),
            identity: rehome_model::answer::MemberIdentity::default(),
        };
        let targets = [target("db-0"), target("db-1"), target("db-2")];
        let crashed = |count: u64, state: Value| {
            let ended = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "no peer answers"}});
            let status = json!({"name": "db", "restartCount": count, "state": state, "lastState": ended});
            json!({"status": {"containerStatuses": [status]}})
        };
        let waits = || json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let mut starts = Starts { heeds: true, since: BTreeMap::new(), answered: BTreeSet::new(), met: None };
        // One waits to be started again, one of the same kind runs at the moment; the third is what they may lack.
        let of = |first: Value| {
            BTreeMap::from([("db-0".to_owned(), first), ("db-1".to_owned(), crashed(9, json!({"running": {}})))])
        };
        let found = |starts: &Starts, first: Value| {
            let (never, others) = starts.ends_again(&targets, &of(first))?;
            Some((never?.message, others.iter().map(|other| other.pod.clone()).collect::<Vec<_>>()))
        };
        assert_eq!(found(&starts, crashed(RESTARTS - 1, waits())), None);
        assert_eq!(found(&starts, crashed(RESTARTS, json!({"running": {}}))), None);
        let (why, others) = found(&starts, crashed(RESTARTS, waits())).expect("it ends again and again");
        assert!(why.starts_with("pod db-0: container db was started 3 times anew") && why.contains("no peer answers"));
        assert_eq!(others, ["db-2"]);
        let never = || StepError::failed("NeverStarts", "");
        let mut after = async |others_answer: bool, pause: Duration| {
            tokio::time::sleep(pause).await;
            starts.give_up(others_answer, never()).is_err()
        };
        assert!(!after(false, ONE_MORE_TRY * 2).await);
        assert!(!after(true, ONE_MORE_TRY).await);
        assert!(!after(false, ONE_MORE_TRY).await);
        assert!(!after(true, ONE_MORE_TRY).await);
        assert!(after(true, ONE_MORE_TRY).await);
        starts.answers("db-0");
        assert_eq!(found(&starts, crashed(RESTARTS, waits())), None);
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
