//! Which step goes first: those whose predecessors are done, the longest way to the end before the others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rehome_model::ids::{MemberName, StepId};
use rehome_model::plan::{Action, Plan};

use crate::schedule::Work;

/// Steps that wait for others, and those that are ready.
pub(crate) struct Order {
    work: Vec<Option<Work>>,
    ranks: Vec<u64>,
    index: BTreeMap<StepId, usize>,
    /// How many predecessors each has that are not done.
    missing: Vec<usize>,
    successors: Vec<Vec<usize>>,
    ready: BTreeSet<(Reverse<u64>, usize)>,
}

impl Order {
    /// The order of `work`, where `done` are done already.
    pub(crate) fn new(plan: &Plan, work: Vec<Work>, done: &BTreeSet<StepId>) -> Self {
        let index: BTreeMap<StepId, usize> =
            work.iter().enumerate().map(|(at, item)| (item.step.id.clone(), at)).collect();
        let mut successors = vec![Vec::new(); work.len()];
        let mut missing = vec![0; work.len()];
        for (at, item) in work.iter().enumerate() {
            for before in item.after.iter().filter(|before| !done.contains(*before)) {
                missing[at] += 1;
                // What is neither done nor to be done is waited for in vain, and told of at the end.
                if let Some(before) = index.get(before) {
                    successors[*before].push(at);
                }
            }
        }
        let sizes: BTreeMap<&MemberName, u64> = plan.members.iter().map(|m| (&m.name, largest_gib(m))).collect();
        let mut ranks = vec![0_u64; work.len()];
        // A plan's steps stand after those they depend on: from the end, each successor's rank is known.
        for (at, item) in work.iter().enumerate().rev() {
            let onwards = successors[at].iter().map(|next| ranks[*next]).max().unwrap_or(0);
            let own = match (&item.action, &item.step.member) {
                (Some(Action::AwaitSnapshots { .. }), Some(member)) => sizes.get(member).copied().unwrap_or(0),
                _ => 0,
            };
            ranks[at] = onwards + own;
        }
        let ready = (0..work.len()).filter(|at| missing[*at] == 0).map(|at| (Reverse(ranks[at]), at)).collect();
        Self { work: work.into_iter().map(Some).collect(), ranks, index, missing, successors, ready }
    }

    /// The most urgent of those that are ready, with its rank.
    pub(crate) fn next(&mut self) -> Option<(Work, u64)> {
        let (_, at) = self.ready.pop_first()?;
        self.work[at].take().map(|work| (work, self.ranks[at]))
    }

    /// A step is done: others may be ready now.
    pub(crate) fn done(&mut self, step: &StepId) {
        let Some(at) = self.index.get(step) else { return };
        for next in std::mem::take(&mut self.successors[*at]) {
            self.missing[next] -= 1;
            if self.missing[next] == 0 {
                self.ready.insert((Reverse(self.ranks[next]), next));
            }
        }
    }

    /// Steps that never became ready.
    pub(crate) fn left(&self) -> Vec<StepId> {
        self.work.iter().flatten().map(|work| work.step.id.clone()).collect()
    }
}

/// A snapshot takes as long as there is to copy: at most what the largest volume holds.
fn largest_gib(member: &rehome_model::plan::MemberPlan) -> u64 {
    member.volumes.iter().map(|volume| u64::from(volume.spec.size_gib)).max().unwrap_or(0)
}
