//! A plan that follows a recorded one: its steps stand beside the run's own in one record, and are not themselves undone.

use rehome_model::format::{self, Format};
use rehome_model::ids::StepId;
use rehome_model::plan::{Action, Estimate, MemberPlan, Plan, Purpose, Step, Undo};

/// The steps of such a plan, as far as they are known.
pub(crate) struct Sequel {
    steps: Vec<Step>,
    /// Why none of them is undone.
    no_undo: &'static str,
}

impl Sequel {
    /// One without steps.
    pub(crate) fn new(no_undo: &'static str) -> Self {
        Self { steps: Vec::new(), no_undo }
    }

    /// Adds a step.
    pub(crate) fn add(
        &mut self,
        id: StepId,
        member: Option<&MemberPlan>,
        (title, why): (String, &str),
        after: &[StepId],
        (action, deadline_s): (Action, u32),
    ) -> StepId {
        self.steps.push(Step {
            id: id.clone(),
            title,
            why: why.to_owned(),
            member: member.map(|member| member.name.clone()),
            group: None,
            after: after.to_vec(),
            action,
            undo: Undo::Nothing(self.no_undo.to_owned()),
            deadline_s,
        });
        id
    }

    /// The plan of them, after `before`: its facts and findings were of another day.
    pub(crate) fn plan(self, before: &Plan, purpose: Purpose) -> Plan {
        Plan {
            format: Format::current(format::PLAN),
            purpose,
            steps: self.steps,
            groups: Vec::new(),
            facts: Vec::new(),
            findings: Vec::new(),
            estimate: Estimate::default(),
            ..before.clone()
        }
    }
}
