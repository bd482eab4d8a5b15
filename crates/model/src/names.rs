//! The names rehome gives to what it creates. All are functions of the migration, never of chance, so that a second
//! attempt meets the first one's objects instead of making new ones.

use crate::ids::{MemberName, RoleName, RunId, StepId};

/// The longest client token that EC2 takes (CreateVolume, CopyVolumes).
pub const CLIENT_TOKEN_MAX_CHARS: usize = 64;

/// The claim the StatefulSet controller looks for: `<template>-<set>-<ordinal>`
/// (kubernetes `pkg/controller/statefulset/stateful_set_utils.go`, getPersistentVolumeClaimName).
pub fn claim(template: &str, set: &str, ordinal: u32) -> String {
    format!("{template}-{set}-{ordinal}")
}

/// The pod of an ordinal: `<set>-<ordinal>`.
pub fn pod(set: &str, ordinal: u32) -> String {
    format!("{set}-{ordinal}")
}

/// The PersistentVolume that a parked claim names. It depends on the slot and not on the run, so that a later run
/// finds the claims that an earlier one left parked.
pub fn persistent_volume(namespace: &str, claim: &str) -> String {
    let digest = blake3::hash(format!("{namespace}/{claim}").as_bytes()).to_hex();
    let mut readable: String = format!("rehome-{claim}");
    readable.truncate(52);
    format!("{}-{}", readable.trim_end_matches('-'), &digest[..10])
}

/// The longest label value that Kubernetes takes.
const LABEL_VALUE_MAX_CHARS: usize = 63;

/// Whether Kubernetes takes this as a label's value (apimachinery `pkg/util/validation`, IsValidLabelValue), and it is not
/// empty. Member names must be so: the PersistentVolume carries them, and refused there it is refused in the middle of the
/// cutover. What is so is also safe in a comment of a script.
pub fn is_label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = [text.bytes().next(), text.bytes().last()];
    text.len() <= LABEL_VALUE_MAX_CHARS
        && text.bytes().all(inner)
        && ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

/// Whether Kubernetes takes this as the name of a namespace or a container (RFC 1123 label: apimachinery
/// `pkg/util/validation`, IsDNS1123Label).
pub fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    is_label_value(text) && text.bytes().all(inner)
}

/// What every gate's name begins with.
pub const GATE_PREFIX: &str = "rehome-gate-";

/// The ConfigMap that holds the environment with which a set starts closed to clients.
pub fn gate(set: &str) -> String {
    format!("{GATE_PREFIX}{set}")
}

/// The header of the run record, and the Lease of its driver.
pub fn record(migration: &str) -> String {
    format!("rehome-run-{migration}")
}

/// A member's part of the run record.
pub fn member_record(migration: &str, member: &MemberName) -> String {
    let digest = blake3::hash(member.as_str().as_bytes()).to_hex();
    format!("rehome-run-{migration}-{}", &digest[..10])
}

/// The plan, compressed, beside the run record.
pub fn plan_record(migration: &str) -> String {
    format!("rehome-plan-{migration}")
}

/// A further part, counted from 1, of a plan that is too large for one object. `digest` is of the whole.
pub fn plan_part(migration: &str, digest: &str, number: usize) -> String {
    let digest: String = digest.chars().take(10).collect();
    format!("{}.{digest}-{number}", plan_record(migration))
}

/// The n-th run of a plan. When it began is part of it: if the record of a run is lost and its plan is applied again, that
/// is another run. Under the same name it would adopt the first one's final snapshots, though production has written since
/// (invariant I2).
pub fn run(migration: &str, plan_hash: &str, generation: u32, started_at_ms: u64) -> RunId {
    let digest = blake3::hash(format!("{migration}/{plan_hash}/{generation}/{started_at_ms}").as_bytes()).to_hex();
    RunId(format!("{migration}-{}", &digest[..8]))
}

/// The client token of one attempt of one step for one role: the same call again is the same volume.
pub fn client_token(run: &RunId, step: &StepId, role: &RoleName, attempt: u32) -> String {
    let digest = blake3::hash(format!("{run}/{step}/{role}/{attempt}").as_bytes()).to_hex();
    let mut token = format!("rehome-{digest}");
    token.truncate(CLIENT_TOKEN_MAX_CHARS);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_those_that_kubernetes_takes() {
        for good in ["a", "cassandra-0", "Prod_1.db", &"x".repeat(63)] {
            assert!(is_label_value(good), "{good}");
        }
        for bad in ["", "-a", "a.", "cassandra prod", "prod/1", "db:1", "zoë", "a\nb", &"x".repeat(64)] {
            assert!(!is_label_value(bad), "{bad}");
        }
    }

    #[test]
    fn a_claim_has_the_name_the_statefulset_controller_looks_for() {
        assert_eq!(claim("data", "cassandra", 2), "data-cassandra-2");
    }

    #[test]
    fn persistent_volume_names_are_valid_and_differ_by_namespace() {
        let long = "x".repeat(200);
        assert!(persistent_volume("a", &long).len() <= 63);
        assert_ne!(persistent_volume("a", "data-c-0"), persistent_volume("b", "data-c-0"));
    }

    #[test]
    fn a_new_attempt_has_a_new_token_and_the_same_attempt_the_same() {
        let (run, step, role) = (RunId::from("r"), StepId::from("s"), RoleName::from("data"));
        assert_eq!(client_token(&run, &step, &role, 1), client_token(&run, &step, &role, 1));
        assert_ne!(client_token(&run, &step, &role, 1), client_token(&run, &step, &role, 2));
        assert!(client_token(&run, &step, &role, 1).len() <= CLIENT_TOKEN_MAX_CHARS);
    }
}
