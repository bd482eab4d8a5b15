//! Faults on request: small, explicit, by action and call.

use serde::{Deserialize, Serialize};

use crate::api::ApiError;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It fails and has no effect.
    Fail(ApiError),
    /// It has its effect; the reply is this error.
    LoseReply(ApiError),
    /// What it began takes so many ms longer: an attachment that hangs in `attaching`, a snapshot that sticks at 99 %.
    Slow(u64),
    /// It is accepted; the volume or snapshot it made fails later.
    FailLater,
}

impl Effect {
    /// A 503 without effect.
    pub fn unavailable() -> Self {
        Self::Fail(Self::no_reply())
    }

    /// A 503 after the effect.
    pub fn lost_reply() -> Self {
        Self::LoseReply(Self::no_reply())
    }

    fn no_reply() -> ApiError {
        ApiError::with_status(503, "Unavailable", "The service is unavailable. Please try again shortly.")
    }
}

/// When what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The action's name; `*` is any action.
    pub action: String,
    /// Which call of it, from 1, counted since the rule was added.
    pub nth: u64,
    /// What happens then.
    pub effect: Effect,
    seen: u64,
}

/// The faults to come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    /// Lets `effect` happen at the `nth` call of `action` from now, counted from 1. Once.
    pub fn at(&mut self, action: &str, nth: u64, effect: Effect) {
        self.rules.push(Rule { action: action.to_owned(), nth, effect, seen: 0 });
    }

    /// Faults that did not happen yet.
    pub fn pending(&self) -> &[Rule] {
        &self.rules
    }

    /// No more faults.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// Counts a call; what is to happen to it.
    pub(crate) fn take(&mut self, action: &str) -> Option<Effect> {
        let mut due = None;
        for (index, rule) in self.rules.iter_mut().enumerate() {
            if rule.action == "*" || rule.action == action {
                rule.seen += 1;
                if rule.seen == rule.nth && due.is_none() {
                    due = Some(index);
                }
            }
        }
        due.map(|index| self.rules.remove(index).effect)
    }
}
