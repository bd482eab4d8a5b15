//! Pages of describes.

use crate::api::{ApiError, Page, Paged};

/// What an action allows as MaxResults, and whether it takes it beside explicit ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub minimum: u32,
    pub maximum: u32,
    /// The ids' parameter, for the error's message; none if ids and pages go together.
    pub ids: Option<&'static str>,
}

/// Describes of instances, volumes, snapshots: 5 to 1000, never beside ids.
pub(crate) const fn ec2(ids: &'static str) -> Rules {
    Rules { minimum: 5, maximum: 1000, ids: Some(ids) }
}

/// Auto Scaling: 1 to 100.
pub(crate) const AUTO_SCALING: Rules = Rules { minimum: 1, maximum: 100, ids: None };

/// Cuts a page out of items in the order of their keys.
pub(crate) fn cut<T>(items: Vec<(String, T)>, page: &Page, by_ids: bool, rules: Rules) -> Result<Paged<T>, ApiError> {
    if let Some(wanted) = page.max_results {
        if let Some(parameter) = rules.ids.filter(|_| by_ids) {
            return Err(ApiError::combination(format!(
                "The parameter {parameter} cannot be used with the parameter maxResults"
            )));
        }
        // 0 means no limit (EBS CSI driver: must be 0 or at least 5).
        if wanted != 0 && wanted < rules.minimum {
            return Err(ApiError::parameter(format!(
                "Value ( {wanted} ) for parameter maxResults is invalid. Expecting a value greater than {}.",
                rules.minimum
            )));
        }
    }
    let after = page.next_token.as_deref().map(decode).transpose()?;
    let mut left = items.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).peekable();
    let limit = match page.max_results {
        Some(0) | None => u32::MAX,
        Some(wanted) => wanted.min(rules.maximum),
    };
    let mut found = Vec::new();
    let mut last = String::new();
    while found.len() < limit as usize
        && let Some((key, item)) = left.next()
    {
        last = key;
        found.push(item);
    }
    let next_token = left.peek().is_some().then(|| encode(&last));
    Ok(Paged { items: found, next_token })
}

/// A token is the last key shown, opaque, with a check.
fn encode(key: &str) -> String {
    use std::fmt::Write as _;
    let mut token = blake3::hash(key.as_bytes()).to_hex()[..8].to_owned();
    for byte in key.bytes() {
        // Writing to a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn decode(token: &str) -> Result<String, ApiError> {
    let invalid = || ApiError::new("InvalidNextToken", "The specified NextToken is not valid.");
    let digits = token.get(8..).filter(|digits| digits.len() % 2 == 0 && digits.is_ascii()).ok_or_else(invalid)?;
    let bytes: Result<Vec<u8>, _> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16)).collect();
    let key = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    if encode(&key) == token { Ok(key) } else { Err(invalid()) }
}
