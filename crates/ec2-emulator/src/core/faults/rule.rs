//! Which calls a fault happens to.

use serde::{Deserialize, Serialize};

use crate::api::{ACTIONS, Caller};
use crate::core::filter::matches;
use crate::core::timing::Millis;

use super::effect::Effect;

/// Which calls get which effect. This is also the form of files and of the admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// By which it is found again; `fault-1` and so on where none is given.
    #[serde(default)]
    pub name: String,
    /// Pattern of the action's name: `AttachVolume`, `Describe*`.
    #[serde(default = "any")]
    pub action: String,
    /// Pattern that an id in the request must match; not given, any call will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Pattern that the caller's access key id must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Which of the calls that match.
    #[serde(default)]
    pub calls: Calls,
    /// How often it happens at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// From when on, in ms since the rule was set.
    #[serde(default)]
    pub from_ms: u64,
    /// Until when, in ms since the rule was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// What happens to them.
    pub effect: Effect,
}

/// Which of the calls that match, counted from when the rule was set, within its time only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Calls {
    /// Each.
    #[default]
    All,
    /// One, counted from 1.
    Nth(u64),
    /// Every so manieth.
    Every(u64),
    /// By chance.
    Chance(Chance),
}

/// A probability, and what the draws are made from: the same seed hits the same calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// Of a hundred calls, so many.
    pub percent: u64,
    /// Seed.
    #[serde(default)]
    pub seed: u64,
}

fn any() -> String {
    "*".to_owned()
}

/// A rule, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The rule.
    pub rule: Rule,
    /// When it was set, in ms since 1970.
    pub set_at: Millis,
    /// Calls that matched it, within its time.
    pub seen: u64,
    /// Calls that it happened to.
    pub fired: u64,
    /// When it last happened.
    pub last_fired_at: Option<Millis>,
}

/// A call, as rules see it.
pub(crate) struct Subject<'a> {
    pub now: Millis,
    pub action: &'a str,
    pub caller: &'a Caller,
    pub resources: &'a [&'a str],
}

impl Rule {
    /// A rule for each call of an action.
    pub fn of(action: &str, effect: Effect) -> Self {
        Self {
            name: String::new(),
            action: action.to_owned(),
            resource: None,
            caller: None,
            calls: Calls::All,
            times: None,
            from_ms: 0,
            until_ms: None,
            effect,
        }
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        if !ACTIONS.iter().any(|action| matches(&self.action, action)) {
            return Err(format!("no action matches {:?}; known are: {}", self.action, ACTIONS.join(", ")));
        }
        let possible: Vec<&str> = ACTIONS.iter().copied().filter(|action| self.effect.is_for(action)).collect();
        if !possible.iter().any(|action| matches(&self.action, action)) {
            return Err(format!("the effect cannot happen to {}; it can to: {}", self.action, possible.join(", ")));
        }
        match &self.calls {
            Calls::Nth(0) | Calls::Every(0) => return Err("calls are counted from 1".to_owned()),
            Calls::Chance(chance) if chance.percent > 100 => {
                return Err(format!("percent is {}, and at most 100", chance.percent));
            }
            _ => {}
        }
        if self.until_ms.is_some_and(|until| until <= self.from_ms) {
            return Err("untilMs is not after fromMs".to_owned());
        }
        Ok(())
    }

    fn concerns(&self, subject: &Subject<'_>) -> bool {
        let listed = |pattern: &String| subject.resources.iter().any(|id| matches(pattern, id));
        matches(&self.action, subject.action)
            && self.effect.is_for(subject.action)
            && self.caller.as_ref().is_none_or(|pattern| matches(pattern, &subject.caller.name))
            && self.resource.as_ref().is_none_or(listed)
    }
}

impl Fault {
    /// Whether it can still happen.
    pub(super) fn is_pending(&self, now: Millis) -> bool {
        let over = self.rule.until_ms.is_some_and(|until| now >= self.set_at + until);
        let used = self.rule.times.is_some_and(|times| self.fired >= times);
        let passed = matches!(self.rule.calls, Calls::Nth(nth) if self.seen >= nth);
        !over && !used && !passed
    }

    /// Counts a call that it concerns; whether it is due.
    pub(super) fn count(&mut self, subject: &Subject<'_>) -> bool {
        if !self.is_pending(subject.now) || subject.now < self.set_at + self.rule.from_ms {
            return false;
        }
        if !self.rule.concerns(subject) {
            return false;
        }
        self.seen += 1;
        match &self.rule.calls {
            Calls::All => true,
            Calls::Nth(nth) => self.seen == *nth,
            Calls::Every(every) => self.seen.is_multiple_of(*every),
            Calls::Chance(chance) => draw(chance.seed, &self.rule.name, self.seen) < chance.percent,
        }
    }

    pub(super) fn fire(&mut self, now: Millis) -> Effect {
        self.fired += 1;
        self.last_fired_at = Some(now);
        self.rule.effect.clone()
    }
}

/// A number below 100 from seed, rule and count; the same each time.
fn draw(seed: u64, name: &str, count: u64) -> u64 {
    let digest = blake3::hash(format!("{seed}/{name}/{count}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(first) % 100
}
