//! All checks, with what they mean. Codes are stable: they are never used again for something else.

use rehome_model::finding::Severity;

mod access;
mod application;
mod members;
mod names;
mod placement;
mod sets;
mod volumes;

/// A check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its code.
    pub code: &'static str,
    /// How bad a finding of it is. `Error`: data could be lost or the move would stand still half way.
    pub severity: Severity,
    /// What it looks for.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// The check of a code.
pub fn explain(code: &str) -> Option<&'static Check> {
    checks().find(|check| check.code.eq_ignore_ascii_case(code))
}

const fn check(
    code: &'static str,
    severity: Severity,
    title: &'static str,
    why: &'static str,
    fix: &'static str,
) -> Check {
    Check { code, severity, title, why, fix }
}

/// The checks of each topic; the topic is the first two digits of their codes.
const TOPICS: [&[Check]; 7] = [
    members::CHECKS,
    volumes::CHECKS,
    placement::CHECKS,
    names::CHECKS,
    sets::CHECKS,
    application::CHECKS,
    access::CHECKS,
];

/// All checks, by code.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    TOPICS.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::{TOPICS, checks};

    #[test]
    fn codes_are_in_order_and_none_stands_for_two_things() {
        let codes: Vec<&str> = checks().map(|check| check.code).collect();
        assert!(codes.is_sorted_by(|left, right| left < right), "{codes:?}");
    }

    #[test]
    fn every_topic_has_digits_of_its_own() {
        for (index, topic) in TOPICS.into_iter().enumerate() {
            let digits = format!("RH0{}", index + 1);
            assert!(topic.iter().all(|check| check.code.starts_with(&digits)), "{digits}");
        }
    }

    #[test]
    fn every_check_says_why_and_what_to_do() {
        for check in checks() {
            assert!(check.why.ends_with('.') && check.fix.ends_with('.'), "{}", check.code);
        }
    }
}
