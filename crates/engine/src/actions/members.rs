//! Asking the members themselves, in pods and on hosts.

use std::collections::{BTreeMap, BTreeSet};

use rehome_model::answer::{MemberIdentity, MemberView, PeerView};
use rehome_model::ids::{InstanceId, MemberName};
use rehome_model::plan::{PodTarget, Purpose, ReturnedMember};
use rehome_model::task::PodTask;

use super::starts::Starts;
use super::{gate, hosts, replicas};
use crate::context::{Outputs, StepContext};
use crate::error::{StepError, StepErrorKind};
use crate::kubernetes::paths;
use crate::limits::{CLOSE, NOT_ANSWERING};

/// Lets clients in, or shuts them out, pod by pod.
pub(super) async fn switch(context: &StepContext, pods: &[PodTarget], open: bool) -> Result<Outputs, StepError> {
    context.may_act()?;
    let all = pods.iter().map(async |pod| {
        match context.pod(pod, if open { PodTask::Open } else { PodTask::Close }).await {
            // A pod that is gone lets nobody in: a rollback does not wait for it to come back. Its set may be scaled down.
            Err(error) if !open && error.kind == StepErrorKind::Again => {
                let path = paths::pod(&context.plan().namespace, &pod.pod);
                if context.kube().get(&path).await?.is_none() {
                    return Ok(());
                }
                // One that cannot be asked any more, since it does not start or its node is dead, must not keep production
                // from coming back: its set is scaled down next, and these writes are given up by name.
                if context.undo && context.elapsed() >= CLOSE {
                    context.note(format!("pod {} was not closed before its set is scaled down: {error}", pod.pod));
                    return Ok(());
                }
                Err(error)
            }
            // Nor one that may not be asked, or whose node refuses.
            Err(error) if !open && context.undo && error.kind == StepErrorKind::Failed => {
                context.note(format!("pod {} was not closed before its set is scaled down: {error}", pod.pod));
                Ok(())
            }
            other => other.map(|_| ()),
        }
    });
    // Each to its end: one that cannot be asked must not keep the others closed.
    let done: Result<Vec<()>, StepError> = futures::future::join_all(all).await.into_iter().collect();
    done.map(|_| Outputs::new())
}

/// Every pod is who it must be, sees all members up at pods' addresses, agrees on one schema, and is open or closed.
pub(super) async fn in_pods(
    context: &StepContext,
    pods: &[PodTarget],
    legacy_addresses: &[String],
    open: bool,
) -> Result<Outputs, StepError> {
    let ids = pods.iter().map(|pod| pod.identity.id.as_str()).collect();
    let whole = Whole { ids, grown: context.plan().purpose == Purpose::Finalize, legacy_addresses, open };
    // Whom to ask before all others: the one that was not there at the last look.
    let mut first = None;
    // Once clients were let in, nothing is taken back by itself, and a failure ends no downtime.
    let mut starts = (!open).then(|| Starts::new(context));
    let views = context
        .wait(async || {
            let look = look_in_pods(context, pods, &whole, &mut first, starts.as_mut()).await?;
            let Some(starts) = starts.as_mut().filter(|_| look.is_ok() || context.elapsed() >= NOT_ANSWERING) else {
                return Ok(look);
            };
            let found = match replicas::pods_of_plan(context).await? {
                Ok(found) => found,
                Err(reason) => return Ok(Err(reason)),
            };
            if look.is_err() {
                starts.look(context, pods, &found).await?;
            }
            Ok(look)
        })
        .await?;
    let outputs = pods.iter().zip(views).map(|(pod, view)| (format!("address/{}", pod.member), view.address));
    Ok(outputs.collect())
}

/// One look. Answers the views, or what is not so.
async fn look_in_pods<'a>(
    context: &StepContext,
    pods: &'a [PodTarget],
    whole: &Whole<'_>,
    first: &mut Option<&'a PodTarget>,
    starts: Option<&mut Starts>,
) -> Result<Result<Vec<MemberView>, String>, StepError> {
    if let Some(pod) = *first
        && let Err(error) = context.pod(pod, PodTask::View).await
        && error.kind == StepErrorKind::Again
    {
        return Ok(Err(error.message));
    }
    let all = pods.iter().map(async |pod| {
        let output = context.pod(pod, PodTask::View).await?;
        context
            .profile()
            .read_pod_view(&output.stdout)
            .map_err(|error| StepError::again("Answer", format!("pod {}: {error}", pod.pod)))
    });
    let answers = futures::future::join_all(all).await;
    if let Some(starts) = starts {
        let answered = pods.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        answered.for_each(|(pod, _)| starts.answers(&pod.pod));
    }
    if !whole.open && context.plan().purpose == Purpose::Apply {
        let early = pods.iter().zip(&answers).filter(|(_, view)| view.as_ref().is_ok_and(|view| view.clients_open));
        let mut said = None;
        for (pod, _) in early {
            said = Some(shut(context, pod).await?);
        }
        if let Some(said) = said {
            return Ok(Err(said));
        }
    }
    let mut views = Vec::new();
    for (pod, view) in pods.iter().zip(answers) {
        match view {
            Ok(view) => views.push(view),
            // A member that still starts cannot answer: that is what is waited for.
            Err(error) if error.kind == StepErrorKind::Again => {
                *first = Some(pod);
                return Ok(Err(error.message));
            }
            Err(error) => return Err(error),
        }
        let view = &views[views.len() - 1];
        check_identity(&format!("pod {}", pod.pod), &pod.identity, view)?;
        if let Some(reason) = whole.lacks(&format!("pod {}", pod.pod), view) {
            return Ok(Err(reason));
        }
    }
    Ok(Ok(views))
}

/// A pod let clients in before it was verified, or may have: its gate does not hold. It is closed, and what was written counts.
/// Answers what happened.
pub(super) async fn shut(context: &StepContext, pod: &PodTarget) -> Result<String, StepError> {
    let said = format!("pod {} let clients in before it was verified, or may have: its gate does not hold", pod.pod);
    gate::count_as_opened(context, &said).await?;
    context.may_act()?;
    context.pod(pod, PodTask::Close).await?;
    context.note(format!("pod {} is closed", pod.pod));
    Ok(said)
}

/// On every legacy host all members are up and open to clients.
pub(super) async fn on_hosts(
    context: &StepContext,
    members: &BTreeMap<MemberName, (InstanceId, MemberIdentity)>,
) -> Result<Outputs, StepError> {
    at_addresses(context, members, &BTreeMap::new()).await
}

/// Of a run that is taken back and has begun no step of its cutover: no act of it has touched a member, so each serves as it did
/// before, and what it lacks is not this run's to wait for or to mend. It is told of, after one look.
pub(super) async fn untouched(
    context: &StepContext,
    members: &BTreeMap<MemberName, (InstanceId, MemberIdentity)>,
) -> Result<Outputs, StepError> {
    let lacks = match look_at_hosts(context, members, &BTreeMap::new()).await {
        Ok(Ok(())) => return Ok(Outputs::new()),
        Ok(Err(reason)) => reason,
        Err(error) if error.kind == StepErrorKind::Interrupted => return Err(error),
        Err(error) => error.message,
    };
    context.note(format!("the legacy cluster is not whole, and this run has changed nothing of it: {lacks}"));
    Ok(Outputs::new())
}

/// The same of members that came back: each sees every one at its legacy address again.
pub(super) async fn returned(
    context: &StepContext,
    returned: &BTreeMap<MemberName, ReturnedMember>,
) -> Result<Outputs, StepError> {
    let members = returned.iter().map(|(name, of)| (name.clone(), (of.instance.clone(), of.identity.clone())));
    let addresses = returned.values().filter_map(|of| Some((of.identity.id.as_str(), of.address.as_deref()?)));
    at_addresses(context, &members.collect(), &addresses.collect()).await
}

async fn at_addresses(
    context: &StepContext,
    members: &BTreeMap<MemberName, (InstanceId, MemberIdentity)>,
    addresses: &BTreeMap<&str, &str>,
) -> Result<Outputs, StepError> {
    context.wait(async || look_at_hosts(context, members, addresses).await).await?;
    Ok(Outputs::new())
}

/// One look. Answers what is not so.
async fn look_at_hosts(
    context: &StepContext,
    members: &BTreeMap<MemberName, (InstanceId, MemberIdentity)>,
    addresses: &BTreeMap<&str, &str>,
) -> Result<Result<(), String>, StepError> {
    let ids = members.values().map(|(_, identity)| identity.id.as_str()).collect();
    let whole = Whole { ids, grown: false, legacy_addresses: &[], open: true };
    let all = members.values().map(|(instance, _)| hosts::view(context, instance));
    for ((name, (_, identity)), answer) in members.iter().zip(futures::future::join_all(all).await) {
        let view = match answer {
            Ok(view) => view,
            Err(error) if error.kind == StepErrorKind::Again => return Ok(Err(error.message)),
            Err(error) => return Err(error),
        };
        let who = format!("member {name}");
        check_identity(&who, identity, &view)?;
        if let Some(reason) = whole.lacks(&who, &view) {
            return Ok(Err(reason));
        }
        let moved = |peer: &&PeerView| addresses.get(peer.id.as_str()).is_some_and(|at| *at != peer.address);
        if let Some(peer) = view.members.iter().find(moved) {
            return Ok(Err(format!("{who} still sees member {} at {}", peer.id, peer.address)));
        }
    }
    Ok(Ok(()))
}

fn check_identity(who: &str, expected: &MemberIdentity, view: &MemberView) -> Result<(), StepError> {
    let differences = expected.differences(&view.identity);
    if differences.is_empty() {
        return Ok(());
    }
    Err(StepError::failed("WrongIdentity", format!("{who} is not the expected member: {}", differences.join("; "))))
}

/// What a whole cluster looks like from each of its members.
struct Whole<'a> {
    /// Ids of the plan's members.
    ids: BTreeSet<&'a str>,
    /// Whether there may be others too: added long after the opening.
    grown: bool,
    /// Where no member may be any more.
    legacy_addresses: &'a [String],
    /// Whether clients are let in.
    open: bool,
}

impl Whole<'_> {
    /// Why a view is not that of a whole cluster; none if it is.
    fn lacks(&self, who: &str, view: &MemberView) -> Option<String> {
        let seen: BTreeSet<&str> = view.members.iter().map(|member| member.id.as_str()).collect();
        let named = |ids: Vec<&str>| ids.join(", ");
        let missing: Vec<&str> = self.ids.difference(&seen).copied().collect();
        if !missing.is_empty() {
            let (of, all) = (self.ids.len() - missing.len(), self.ids.len());
            return Some(format!("{who} sees {of} of {all} members, and not {}", named(missing)));
        }
        let others: Vec<&str> = seen.difference(&self.ids).copied().collect();
        if !self.grown && !others.is_empty() {
            return Some(format!("{who} sees members that are not of the plan: {}", named(others)));
        }
        for member in view.members.iter() {
            if !member.up {
                return Some(format!("{who} sees {} ({}) as {}", member.address, member.id, member.state));
            }
            if self.legacy_addresses.contains(&member.address) {
                return Some(format!("{who} still sees a member at the legacy address {}", member.address));
            }
        }
        if view.schema_versions.len() > 1 {
            return Some(format!("{who} sees {} schema versions", view.schema_versions.len()));
        }
        let open = self.open;
        (view.clients_open != open)
            .then(|| format!("{who} is {} to clients", if open { "not open" } else { "not closed" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(members: &[(&str, &str, bool)]) -> MemberView {
        let peer = |(id, address, up): &(&str, &str, bool)| PeerView {
            id: (*id).to_owned(),
            address: (*address).to_owned(),
            up: *up,
            state: if *up { "UN" } else { "DN" }.to_owned(),
        };
        MemberView { members: members.iter().map(peer).collect(), clients_open: true, ..MemberView::default() }
    }

    #[test]
    fn who_is_missing_and_who_is_a_stranger_is_named() {
        let legacy = ["10.0.1.9".to_owned()];
        let whole = |grown| Whole { ids: BTreeSet::from(["a", "b"]), grown, legacy_addresses: &legacy, open: true };
        let (a, b) = (("a", "10.0.0.1", true), ("b", "10.0.0.2", true));
        assert_eq!(whole(false).lacks("pod 0", &view(&[a, b])), None);
        let lacks = |grown, members: &[_]| whole(grown).lacks("pod 0", &view(members)).expect("a reason");
        assert_eq!(lacks(false, &[a]), "pod 0 sees 1 of 2 members, and not b");
        assert_eq!(lacks(true, &[a, ("c", "10.0.0.3", true)]), "pod 0 sees 1 of 2 members, and not b");
        let added = [a, b, ("c", "10.0.0.3", true)];
        assert_eq!(lacks(false, &added), "pod 0 sees members that are not of the plan: c");
        assert_eq!(whole(true).lacks("pod 0", &view(&added)), None);
        assert_eq!(lacks(true, &[a, b, ("c", "10.0.0.3", false)]), "pod 0 sees 10.0.0.3 (c) as DN");
        assert_eq!(
            lacks(true, &[a, ("b", "10.0.1.9", true)]),
            "pod 0 still sees a member at the legacy address 10.0.1.9"
        );
    }
}
