//! What stands for an object of many fields, of which any may have changed since.

use serde_json::Value;

/// Digits of a fingerprint: by chance no two templates that a person edits have the same.
const DIGITS: usize = 16;

/// A short hash of an object's JSON, whatever order its fields came in: serde_json keeps them sorted, and a test looks that it
/// does.
pub(crate) fn fingerprint(object: &Value) -> String {
    let digest = blake3::hash(object.to_string().as_bytes()).to_hex();
    digest.chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_no_order_and_lists_have_one() {
        let of = |text: &str| fingerprint(&serde_json::from_str(text).unwrap_or_default());
        assert_eq!(of(r#"{"a": {"x": 1, "y": 2}, "b": [1, 2]}"#), of(r#"{"b": [1, 2], "a": {"y": 2, "x": 1}}"#));
        assert_ne!(of(r#"{"b": [1, 2]}"#), of(r#"{"b": [2, 1]}"#));
        assert_eq!(of("{}").len(), DIGITS);
    }
}
