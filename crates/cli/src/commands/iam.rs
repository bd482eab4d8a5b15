//! `rehome iam`: what the caller must be allowed in the account.

use std::collections::BTreeMap;

use anyhow::Result;
use rehome_model::labels;
use rehome_ports::{ACTIONS, ActionOn};
use serde_json::{Value, json};

use crate::args::Partition;
use crate::exit::Exit;
use crate::output::say;

/// Prints the policy.
pub fn iam(partition: Partition) -> Result<Exit> {
    say!("{}", serde_json::to_string_pretty(&policy(partition.name()))?)?;
    Ok(Exit::Ok)
}

/// A statement for each thing that actions are done to, from the table that the AWS adapter is held to.
fn policy(partition: &str) -> Value {
    let mut by_thing: BTreeMap<ActionOn, Vec<&str>> = BTreeMap::new();
    for (on, action) in ACTIONS {
        by_thing.entry(*on).or_default().push(action);
    }
    let statements: Vec<Value> = by_thing.iter().map(|(on, actions)| statement(partition, *on, actions)).collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn statement(partition: &str, on: ActionOn, actions: &[&str]) -> Value {
    let ec2 = |kind: &str| json!(format!("arn:{partition}:ec2:*:*:{kind}/*"));
    let (sid, resources, condition) = match on {
        ActionOn::Everything => ("Look", vec![json!("*")], None),
        ActionOn::Instances => ("StopAndStart", vec![ec2("instance")], None),
        ActionOn::Storage => {
            ("Capture", vec![ec2("instance"), ec2("volume"), json!(format!("arn:{partition}:ec2:*::snapshot/*"))], None)
        }
        ActionOn::Made => {
            let tag = format!("aws:ResourceTag/{}", labels::MIGRATION);
            let made = vec![ec2("volume"), json!(format!("arn:{partition}:ec2:*::snapshot/*"))];
            ("DeleteOnlyWhatARunMade", made, Some(json!({"StringLike": {tag: "*"}})))
        }
        ActionOn::Groups => ("ForMembersOfAutoScalingGroups", vec![json!("*")], None),
        ActionOn::Scripts => ("ForHostsBySsm", vec![json!("*")], None),
        ActionOn::Keys => {
            let key = vec![json!(format!("arn:{partition}:kms:*:*:key/*"))];
            ("ForEncryptedVolumes", key, Some(json!({"StringLike": {"kms:ViaService": "ec2.*"}})))
        }
    };
    let mut statement = json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources});
    if let Some(condition) = condition {
        statement["Condition"] = condition;
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_allowed_once_and_deletions_only_with_a_runs_tag() {
        let policy = policy("aws");
        let statements = policy["Statement"].as_array().expect("statements");
        let allowed: Vec<&str> = statements
            .iter()
            .flat_map(|s| s["Action"].as_array().expect("actions"))
            .filter_map(Value::as_str)
            .collect();
        let mut listed: Vec<&str> = ACTIONS.iter().map(|(_, action)| *action).collect();
        assert_eq!(allowed.len(), listed.len());
        listed.retain(|action| !allowed.contains(action));
        assert!(listed.is_empty(), "{listed:?}");
        for statement in statements {
            let deletes = statement["Action"].to_string().contains(":Delete");
            let guarded = statement["Condition"]["StringLike"]["aws:ResourceTag/rehome.dev/migration"] == "*";
            assert_eq!(deletes, guarded, "{statement}");
        }
    }
}
