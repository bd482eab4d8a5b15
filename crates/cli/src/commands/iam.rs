//! `rehome iam`: what the caller must be allowed in the account.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use rehome_model::labels;
use rehome_model::migration::{HostAccess, MemberSelector, Source};
use rehome_ports::{ACTIONS, ActionOn};
use serde_json::{Value, json};

use crate::args::Partition;
use crate::exit::Exit;
use crate::input;
use crate::output::{esay, say};

/// How long a managed policy may be, white space aside (IAM user guide, "IAM and AWS STS quotas").
const POLICY_CHARS: usize = 6_144;
/// The tag by which Auto Scaling marks the members of a group.
const GROUP_TAG: &str = "aws:autoscaling:groupName";
/// Attributes of an instance that rehome changes none of, as ModifyInstanceAttribute names them: user data is a script that runs
/// as root. Those that it changes are not listed instead, since it is not said how `ec2:Attribute` names the one of block
/// devices (EC2 user guide, "Condition keys"); a name that does not fit would deny the fence.
const OTHER_ATTRIBUTES: [&str; 11] = [
    "instanceType",
    "kernel",
    "ramdisk",
    "instanceInitiatedShutdownBehavior",
    "userData",
    "sourceDestCheck",
    "groupSet",
    "ebsOptimized",
    "sriovNetSupport",
    "enaSupport",
    "enclaveOptions",
];

/// Prints the policy.
pub fn iam(file: Option<&Path>, partition: Partition) -> Result<Exit> {
    let migration = file.map(input::migration).transpose()?;
    let policy = policy(partition.name(), migration.as_ref().map(|migration| &migration.spec.source));
    if policy.to_string().len() > POLICY_CHARS {
        esay!(
            "This is longer than a managed policy may be ({POLICY_CHARS} characters): attach its statements as two, or name the \
             members by a tag."
        );
    }
    say!("{}", serde_json::to_string_pretty(&policy)?)?;
    Ok(Exit::Ok)
}

/// Statements for each thing that actions are done to, from the table that the AWS adapter is held to.
fn policy(partition: &str, source: Option<&Source>) -> Value {
    let mut by_thing: BTreeMap<ActionOn, Vec<&str>> = BTreeMap::new();
    for (on, action) in ACTIONS {
        by_thing.entry(*on).or_default().push(action);
    }
    let scope = Scope { partition, source };
    let statements: Vec<Value> =
        by_thing.iter().flat_map(|(on, actions)| scope.statements(*on, &json!(actions))).collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// What a policy is for.
struct Scope<'a> {
    partition: &'a str,
    /// All that there is, if none.
    source: Option<&'a Source>,
}

impl Scope<'_> {
    /// The statements by which these actions are allowed. The condition keys of each are those of the service authorization
    /// reference, and of the user guides of EC2 ("Grant permission to tag during creation"), Run Command ("Restricting access based
    /// on tags") and EBS ("Requirements for encryption").
    fn statements(&self, on: ActionOn, actions: &Value) -> Vec<Value> {
        let (volumes, snapshots) = (self.ec2("volume"), json!(format!("arn:{}:ec2:*::snapshot/*", self.partition)));
        let storage = json!([volumes, snapshots]);
        let everything = json!("*");
        let of_a_run = format!("aws:ResourceTag/{}", labels::MIGRATION);
        let says = |sid: &str, resources: &Value, condition: Value| {
            let mut statement = json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources});
            if condition != json!({}) {
                statement["Condition"] = condition;
            }
            statement
        };
        match on {
            ActionOn::Everything => vec![says("Look", &everything, json!({}))],
            ActionOn::Instances => vec![says("StopAndStart", &self.members(), self.tagged("aws:ResourceTag"))],
            ActionOn::Attributes => {
                let mut condition = self.tagged("aws:ResourceTag");
                condition["StringNotEqualsIgnoreCase"] = json!({"ec2:Attribute": OTHER_ATTRIBUTES});
                // DeleteOnTermination is of the instance, and of the volume at it.
                let of_volumes = json!({"StringNotEqualsIgnoreCase": condition["StringNotEqualsIgnoreCase"]});
                vec![says("Protect", &self.members(), condition), says("KeepVolumes", &json!([volumes]), of_volumes)]
            }
            ActionOn::Storage => {
                // Who captures, attaches or detaches must be allowed it of the instance as well as of the volume.
                vec![
                    says("Capture", &storage, json!({})),
                    says("CaptureMembers", &self.members(), self.tagged("aws:ResourceTag")),
                ]
            }
            ActionOn::Tags => {
                let creations = json!({"StringEquals": {"ec2:CreateAction": ["CreateSnapshots", "CreateVolume"]}});
                // Without a key in the request ForAllValues holds.
                let keys = |keys: &[&str]| json!({"ForAllValues:StringEquals": {"aws:TagKeys": keys}, "Null": {"aws:TagKeys": "false"}});
                let mut made = keys(&labels::LATER_ON_MADE);
                made["StringLike"] = json!({of_a_run: "*"});
                let mut held = self.tagged("aws:ResourceTag");
                for (operator, of) in keys(&labels::ON_INSTANCES).as_object().into_iter().flatten() {
                    held[operator] = of.clone();
                }
                vec![
                    says("TagMembers", &self.members(), held),
                    says("TagWhatIsMade", &storage, creations),
                    says("TagWhatARunMade", &storage, made),
                    says("TagOriginals", &json!([volumes]), keys(&labels::ON_ORIGINALS)),
                ]
            }
            ActionOn::Made => {
                vec![says("DeleteOnlyWhatARunMade", &storage, json!({"StringLike": {of_a_run: "*"}}))]
            }
            ActionOn::Groups => vec![says("ForMembersOfAutoScalingGroups", &everything, json!({}))],
            ActionOn::Scripts | ActionOn::Commands if self.is_by_ssh() => Vec::new(),
            ActionOn::Scripts => vec![says("ForHostsBySsm", &everything, json!({}))],
            ActionOn::Commands => {
                // AWS' own documents are in no account.
                let document = json!([format!("arn:{}:ssm:*::document/AWS-RunShellScript", self.partition)]);
                vec![
                    says("RunShellScripts", &document, json!({})),
                    says("AsRootOnMembers", &self.members(), self.tagged("ssm:resourceTag")),
                ]
            }
            ActionOn::Keys => vec![says("ForEncryptedVolumes", &self.keys(), through_ec2())],
            ActionOn::Grants => {
                let mut condition = through_ec2();
                condition["Bool"] = json!({"kms:GrantIsForAWSResource": "true"});
                vec![says("ForInstancesWithEncryptedVolumes", &self.keys(), condition)]
            }
        }
    }

    fn ec2(&self, kind: &str) -> Value {
        json!(format!("arn:{}:ec2:*:*:{kind}/*", self.partition))
    }

    fn keys(&self) -> Value {
        json!([format!("arn:{}:kms:*:*:key/*", self.partition)])
    }

    fn is_by_ssh(&self) -> bool {
        self.source.is_some_and(|source| matches!(source.hosts, HostAccess::Ssh(_)))
    }

    /// The members' instances, as far as their names tell.
    fn members(&self) -> Value {
        let Some(source) = self.source else { return json!([self.ec2("instance")]) };
        let of = |id: &str| json!(format!("arn:{}:ec2:{}:*:instance/{id}", self.partition, source.region));
        match &source.members {
            MemberSelector::InstanceIds(ids) => ids.iter().map(|id| of(id.as_str())).collect(),
            MemberSelector::Tags(_) | MemberSelector::AutoScalingGroup(_) => json!([of("*")]),
        }
    }

    /// And as far as their tags do, by a condition key that takes the tag's.
    fn tagged(&self, key: &str) -> Value {
        let tags: Vec<(&str, &str)> = match self.source.map(|source| &source.members) {
            Some(MemberSelector::Tags(tags)) => {
                tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str())).collect()
            }
            Some(MemberSelector::AutoScalingGroup(group)) => vec![(GROUP_TAG, group)],
            Some(MemberSelector::InstanceIds(_)) | None => return json!({}),
        };
        let all: serde_json::Map<String, Value> =
            tags.into_iter().map(|(tag, value)| (format!("{key}/{tag}"), json!(value))).collect();
        json!({"StringEquals": all})
    }
}

/// By way of EC2.
fn through_ec2() -> Value {
    json!({"StringLike": {"kms:ViaService": "ec2.*"}})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rehome_model::migration::SshAccess;

    use super::*;

    fn statements(policy: &Value) -> &Vec<Value> {
        policy["Statement"].as_array().expect("statements")
    }

    fn of<'a>(policy: &'a Value, sid: &str) -> &'a Value {
        statements(policy)
            .iter()
            .find(|statement| statement["Sid"] == sid)
            .unwrap_or_else(|| panic!("{sid}: {policy:#}"))
    }

    fn source(members: MemberSelector, hosts: HostAccess) -> Source {
        Source { region: "eu-west-1".to_owned(), members, volumes: Vec::new(), hosts }
    }

    #[test]
    fn every_action_is_allowed_and_deletions_only_with_a_runs_tag() {
        let policy = policy("aws", None);
        let actions = statements(&policy).iter().flat_map(|s| s["Action"].as_array().expect("actions"));
        let allowed: BTreeSet<&str> = actions.filter_map(Value::as_str).collect();
        assert_eq!(allowed, ACTIONS.iter().map(|(_, action)| *action).collect());
        for statement in statements(&policy) {
            let deletes = statement["Action"].to_string().contains(":Delete");
            let guarded = statement["Condition"]["StringLike"]["aws:ResourceTag/rehome.dev/migration"] == "*";
            assert!(guarded || !deletes, "{statement}");
        }
        assert!(policy.to_string().len() < POLICY_CHARS);
    }

    #[test]
    fn the_tag_that_lets_things_be_deleted_comes_with_their_creation_alone() {
        let policy = policy("aws", None);
        let tags: Vec<&Value> =
            statements(&policy).iter().filter(|s| s["Action"].to_string().contains("CreateTags")).collect();
        assert_eq!(tags.len(), 4);
        for statement in tags {
            let condition = &statement["Condition"];
            let keys = condition["ForAllValues:StringEquals"]["aws:TagKeys"].as_array();
            let named = keys.is_some_and(|keys| !keys.contains(&json!(labels::MIGRATION)))
                && condition["Null"]["aws:TagKeys"] == "false";
            assert!(named || condition["StringEquals"]["ec2:CreateAction"].is_array(), "{statement:#}");
        }
    }

    #[test]
    fn nobody_becomes_root_elsewhere_by_it() {
        let policy = policy("aws-cn", None);
        let documents: Vec<&Value> = statements(&policy)
            .iter()
            .filter(|s| s["Action"].to_string().contains("SendCommand"))
            .map(|s| &s["Resource"])
            .collect();
        let (script, instances) = ("arn:aws-cn:ssm:*::document/AWS-RunShellScript", "arn:aws-cn:ec2:*:*:instance/*");
        assert_eq!(documents, [&json!([script]), &json!([instances])]);
        let refused = &of(&policy, "Protect")["Condition"]["StringNotEqualsIgnoreCase"]["ec2:Attribute"];
        assert!(refused.as_array().is_some_and(|refused| refused.contains(&json!("userData"))), "{refused}");
        let grants = &of(&policy, "ForInstancesWithEncryptedVolumes")["Condition"];
        assert_eq!(grants["Bool"]["kms:GrantIsForAWSResource"], "true");
        assert!(!of(&policy, "ForEncryptedVolumes")["Action"].to_string().contains("CreateGrant"));
    }

    #[test]
    fn of_a_file_only_the_members_are_allowed() {
        let ids = source(MemberSelector::InstanceIds(vec!["i-1".into(), "i-2".into()]), HostAccess::Ssm);
        let by_ids = policy("aws", Some(&ids));
        for sid in ["StopAndStart", "Protect", "CaptureMembers", "TagMembers", "AsRootOnMembers"] {
            let members = ["arn:aws:ec2:eu-west-1:*:instance/i-1", "arn:aws:ec2:eu-west-1:*:instance/i-2"];
            assert_eq!(of(&by_ids, sid)["Resource"], json!(members), "{sid}");
        }
        let tags = BTreeMap::from([("app".to_owned(), "db".to_owned()), ("env".to_owned(), "prod".to_owned())]);
        let tagged = source(MemberSelector::Tags(tags), HostAccess::Ssm);
        let by_tags = policy("aws", Some(&tagged));
        for (sid, key) in [("StopAndStart", "aws:Res"), ("Protect", "aws:Res"), ("AsRootOnMembers", "ssm:res")] {
            let wanted = json!({format!("{key}ourceTag/app"): "db", format!("{key}ourceTag/env"): "prod"});
            assert_eq!(of(&by_tags, sid)["Condition"]["StringEquals"], wanted, "{sid}");
            assert_eq!(of(&by_tags, sid)["Resource"], json!(["arn:aws:ec2:eu-west-1:*:instance/*"]), "{sid}");
        }
        let group = source(MemberSelector::AutoScalingGroup("db".to_owned()), HostAccess::Ssm);
        let wanted = json!({"ssm:resourceTag/aws:autoscaling:groupName": "db"});
        assert_eq!(of(&policy("aws", Some(&group)), "AsRootOnMembers")["Condition"]["StringEquals"], wanted);
    }

    #[test]
    fn who_reaches_hosts_by_ssh_needs_nothing_of_run_command() {
        let ids = source(MemberSelector::InstanceIds(vec!["i-1".into()]), HostAccess::Ssh(SshAccess::default()));
        assert!(!policy("aws", Some(&ids)).to_string().contains("ssm:"));
    }
}
