//! The time until which a snapshot is kept, as a tag.

/// As the tag says it: RFC 3339, in seconds.
pub fn keep_until(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// What a tag says, in ms since 1970; none if it is no time. People may write it by hand.
pub fn kept_until_ms(text: &str) -> Option<u64> {
    let timestamp: jiff::Timestamp = text.trim().parse().ok()?;
    u64::try_from(timestamp.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_was_written_and_nonsense_is_no_time() {
        assert_eq!(keep_until(1_769_817_600_999), "2026-01-31T00:00:00Z");
        assert_eq!(kept_until_ms("2026-01-31T00:00:00Z"), Some(1_769_817_600_000));
        assert_eq!(kept_until_ms("2026-01-31T01:00:00+01:00"), Some(1_769_817_600_000));
        assert_eq!(kept_until_ms("for ever"), None);
        assert!(kept_until_ms(&keep_until(u64::MAX)).is_some());
    }
}
