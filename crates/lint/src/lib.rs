//! Checks of a survey: findings with stable codes, evidence and a fix.

/// stub
pub fn lint() {}
