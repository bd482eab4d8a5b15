//! Faults on request: by action, caller, resource, call and time.

mod effect;
mod rule;

use serde::{Deserialize, Serialize};

pub use effect::Effect;
pub(crate) use rule::Subject;
pub use rule::{Calls, Chance, Fault, Rule};

use super::timing::Millis;

/// Rules that are kept: beyond, something sets them in a loop.
const RULES_MAX: usize = 1_000;

/// All faults, those that happened too. The first rule in order that is due has the call; the others count it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    rules: Vec<Fault>,
    /// How many were ever set: names are made from it.
    ever_set: u64,
    /// When the newest call came that was looked at.
    now: Millis,
}

impl Faults {
    /// Lets `effect` happen at the `nth` call of `action` from now, counted from 1. Once.
    pub fn at(&mut self, action: &str, nth: u64, effect: Effect) {
        self.push(Rule { calls: Calls::Nth(nth), ..Rule::of(action, effect) }, self.now);
    }

    /// Sets rules, all or none. Names are unique: one that is known is set anew, in its place.
    pub fn set(&mut self, now: Millis, rules: Vec<Rule>) -> Result<(), Vec<String>> {
        let mut wrong: Vec<String> = rules.iter().enumerate().filter_map(|(index, rule)| about(index, rule)).collect();
        for (index, rule) in rules.iter().enumerate() {
            if !rule.name.is_empty() && rules[..index].iter().any(|other| other.name == rule.name) {
                wrong.push(format!("faults[{index}] ({}): the name is there twice", rule.name));
            }
        }
        if self.rules.len() + rules.len() > RULES_MAX {
            wrong.push(format!("there would be more than {RULES_MAX} faults"));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        for rule in rules {
            match self.rules.iter_mut().find(|fault| fault.rule.name == rule.name) {
                Some(known) => *known = Fault { rule, set_at: now, seen: 0, fired: 0, last_fired_at: None },
                None => self.push(rule, now),
            }
        }
        Ok(())
    }

    /// Sets rules again that may have been set before: those that are the same go on, with what they counted.
    pub fn resume(&mut self, now: Millis, rules: Vec<Rule>) -> Result<(), Vec<String>> {
        let new = |rule: &Rule| !self.rules.iter().any(|fault| fault.rule == *rule);
        let rules = rules.into_iter().filter(new).collect();
        self.set(now, rules)
    }

    fn push(&mut self, mut rule: Rule, now: Millis) {
        self.ever_set += 1;
        while rule.name.is_empty() || self.rules.iter().any(|fault| fault.rule.name == rule.name) {
            rule.name = format!("fault-{}", self.ever_set);
            self.ever_set += u64::from(self.rules.iter().any(|fault| fault.rule.name == rule.name));
        }
        self.rules.push(Fault { rule, set_at: now, seen: 0, fired: 0, last_fired_at: None });
    }

    /// All of them, with what became of them.
    pub fn all(&self) -> &[Fault] {
        &self.rules
    }

    /// Faults that can still happen.
    pub fn pending(&self) -> Vec<&Rule> {
        self.rules.iter().filter(|fault| fault.is_pending(self.now)).map(|fault| &fault.rule).collect()
    }

    /// No more faults.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// Forgets one by its name; false if there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.rules.len();
        self.rules.retain(|fault| fault.rule.name != name);
        self.rules.len() < before
    }

    /// How far back describes may have to look.
    pub(crate) fn longest_stale_ms(&self) -> u64 {
        let stale = |fault: &Fault| match fault.rule.effect {
            Effect::StaleMs(ms) => Some(ms),
            _ => None,
        };
        self.rules.iter().filter_map(stale).max().unwrap_or(0)
    }

    /// Counts a call; what is to happen to it.
    pub(crate) fn take(&mut self, subject: &Subject<'_>) -> Option<Effect> {
        self.now = subject.now;
        let mut due = None;
        for (index, fault) in self.rules.iter_mut().enumerate() {
            if fault.count(subject) && due.is_none() {
                due = Some(index);
            }
        }
        due.map(|index| self.rules[index].fire(subject.now))
    }
}

fn about(index: usize, rule: &Rule) -> Option<String> {
    let name = if rule.name.is_empty() { String::new() } else { format!(" ({})", rule.name) };
    rule.check().err().map(|wrong| format!("faults[{index}]{name}: {wrong}"))
}
