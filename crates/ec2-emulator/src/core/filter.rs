//! Filters, as EC2's describes have them.

use rehome_model::cloud::Tags;

use crate::api::{ApiError, Filter};

/// What an object shows to a filter: the values of a field, or none if it has no such field.
pub(crate) trait Filtered {
    fn tags(&self) -> &Tags;
    fn field(&self, name: &str) -> Option<Vec<String>>;
}

/// Whether all filters match. Unknown filters are refused.
pub(crate) fn passes(object: &impl Filtered, filters: &[Filter]) -> Result<bool, ApiError> {
    let mut all = true;
    for filter in filters {
        all &= any_matches(&filter.values, &values(object, &filter.name)?);
    }
    Ok(all)
}

fn values(object: &impl Filtered, name: &str) -> Result<Vec<String>, ApiError> {
    if let Some(key) = name.strip_prefix("tag:") {
        return Ok(object.tags().get(key).cloned().into_iter().collect());
    }
    if name == "tag-key" {
        return Ok(object.tags().keys().cloned().collect());
    }
    if name == "tag-value" {
        return Ok(object.tags().values().cloned().collect());
    }
    object.field(name).ok_or_else(|| ApiError::parameter(format!("The filter '{name}' is invalid")))
}

/// Whether any of the patterns matches any of the values.
pub(crate) fn any_matches(patterns: &[String], values: &[String]) -> bool {
    patterns.iter().any(|pattern| values.iter().any(|text| matches(pattern, text)))
}

/// EC2's patterns: `*` any text, `?` any one character, `\` takes the next one as it is.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    // A describe may come with a thousand plain ids.
    if !pattern.contains(['*', '?', '\\']) {
        return pattern == text;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut from) = (0, 0);
    // Where the last star was, and how far the text had come then: the only place to go back to.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        let escaped = pattern.get(at) == Some(&'\\') && at + 1 < pattern.len();
        let wanted = pattern.get(if escaped { at + 1 } else { at });
        if !escaped && wanted == Some(&'*') {
            star = Some((at, from));
            at += 1;
        } else if wanted.is_some_and(|wanted| (!escaped && *wanted == '?') || *wanted == text[from]) {
            at += if escaped { 2 } else { 1 };
            from += 1;
        } else if let Some((star_at, star_from)) = star {
            at = star_at + 1;
            from = star_from + 1;
            star = Some((star_at, star_from + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|left| *left == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_ec2s_do() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "abcd", true),
            ("*d", "abcd", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("\\?x", "?x", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_is_matched_in_reasonable_time() {
        let pattern = "a*".repeat(40) + "b";
        assert!(!matches(&pattern, &"a".repeat(2_000)));
    }
}
