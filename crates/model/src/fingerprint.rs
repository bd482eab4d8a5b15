//! What stands for an object of many fields, of which any may have changed since.

use serde_json::Value;

/// Digits of a fingerprint: by chance no two templates that a person edits have the same.
const DIGITS: usize = 16;

/// `kubectl rollout restart` writes it into a template, which is the same all the same.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// A short hash of an object's JSON, whatever order its fields came in: serde_json keeps them sorted, and a test looks that it
/// does.
pub fn fingerprint(object: &Value) -> String {
    let digest = blake3::hash(lasting(object).to_string().as_bytes()).to_hex();
    digest.chars().take(DIGITS).collect()
}

/// Without what apiservers of two versions say differently of the same object: fields that are null or empty, of which one leaves
/// out what another writes (`creationTimestamp` since Kubernetes 1.34).
fn lasting(value: &Value) -> Value {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), lasting(value)));
            Value::Object(fields.filter(|(name, value)| name != RESTARTED && !is_nothing(value)).collect())
        }
        Value::Array(all) => Value::Array(all.iter().map(lasting).collect()),
        other => other.clone(),
    }
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
        let (old, new) = (r#"{"metadata": {"creationTimestamp": null}, "spec": {"c": []}, "n": 0}"#, r#"{"n": 0}"#);
        assert_eq!(of(old), of(new));
        assert_ne!(of(new), of("{}"));
        let restarted = r#"{"n": 0, "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01"}}}"#;
        assert_eq!(of(restarted), of(new));
    }
}
