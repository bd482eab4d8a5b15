//! Values that mean something else than they look like, on the real binary: each is refused, or kept as it was given.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rehome_model::migration::{MemberSelector, Migration};
use rehome_model::plan::Plan;

const USAGE: i32 = 2;

fn rehome(arguments: &[&str]) -> Output {
    let nowhere = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_rehome"))
        .args(arguments)
        .env_clear()
        .env("HOME", nowhere.path())
        .env("KUBECONFIG", nowhere.path().join("none"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn init(tag: &str) -> Output {
    let named =
        ["init", "--name", "cassandra", "--region", "us-east-1", "--namespace", "c", "--set", "c", "--tag", tag];
    rehome(&named)
}

fn good() -> String {
    String::from_utf8(init("cluster=prod").stdout).unwrap()
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("move.yaml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn refused(text: &str, says: &[&str]) {
    let (_folder, path) = file(text);
    let ended = rehome(&["check", "-f", path.to_str().unwrap()]);
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(USAGE), "{said}");
    for words in says {
        assert!(said.contains(words), "{words:?} is not in:\n{said}");
    }
}

#[test]
fn a_selector_that_selects_everything_or_nothing_is_refused() {
    let tags = "tags:\n        cluster: prod";
    assert!(good().contains(tags), "{}", good());
    for (members, says) in [
        ("tags: {}", "spec.source.members.tags is empty, so every instance of the region would be a member"),
        ("tags: {\"\": prod}", "spec.source.members.tags has an empty key"),
        ("instanceIds: []", "spec.source.members.instanceIds is empty"),
        ("instanceIds: [i-1, \"\"]", "spec.source.members.instanceIds has an empty id"),
        ("autoScalingGroup: \"\"", "spec.source.members.autoScalingGroup is empty"),
    ] {
        refused(&good().replace(tags, members), &[says, "nothing was changed"]);
    }
}

#[test]
fn tags_that_ec2_or_a_run_would_refuse_are_refused() {
    let with = |tags: &str| good() + &format!("  tags: {tags}\n");
    for (tags, says) in [
        ("{\"\": x}", r#"spec.tags[""]: EC2's keys have 1 to 128 characters"#),
        ("{aws:region: x}", r#"spec.tags["aws:region"]: only AWS gives tags"#),
        ("{rehome.dev/run: x}", r#"spec.tags["rehome.dev/run"]: a run gives this tag itself"#),
        ("{Name: x}", r#"spec.tags["Name"]: a run gives this tag itself"#),
    ] {
        refused(&with(tags), &[says, "nothing was changed"]);
    }
    refused(&with(&format!("{{owner: {}}}", "x".repeat(257))), &["values have at most 256 characters"]);
    let many: Vec<String> = (0..36).map(|n| format!("k{n}: v")).collect();
    refused(&with(&format!("{{{}}}", many.join(", "))), &["spec.tags has 36 entries", "of which a run leaves 35"]);
}

#[test]
fn a_setting_that_the_profile_does_not_know_is_refused_with_the_known_ones() {
    let with = "profile: cassandra\n    settings: {unti: dse.service}";
    let says = [
        "spec.application.settings.unti is no setting of profile cassandra",
        "known are: unit, configFile, dataDirectory, nodetool, podNodetool",
    ];
    refused(&good().replace("profile: cassandra", with), &says);
}

#[test]
fn a_setting_that_would_put_a_password_into_the_record_is_refused_without_printing_it() {
    let with = "profile: cassandra\n    settings: {podNodetool: nodetool -u rehome -pw s3cret}";
    let says = ["spec.application.settings.podNodetool has a password", "give `-pwf FILE`", "nothing was changed"];
    refused(&good().replace("profile: cassandra", with), &says);
}

#[test]
fn init_writes_every_value_as_it_was_given() {
    for value in ["prod", "prod #1", "a: b", "true", "1e3", "", "* {x}", "- y", "it's \"so\"", "!tag", "ünïcode"] {
        let ended = init(&format!("cluster={value}"));
        assert!(ended.status.success(), "{value:?}: {}", stderr(&ended));
        let text = String::from_utf8(ended.stdout).unwrap();
        let migration: Migration = serde_saphyr::from_str(&text).unwrap();
        let MemberSelector::Tags(tags) = migration.spec.source.members else { panic!("{text}") };
        assert_eq!(tags.get("cluster").map(String::as_str), Some(value), "{text}");
    }
    let ended = init("=prod");
    assert_eq!(ended.status.code(), Some(USAGE), "an empty key: {}", stderr(&ended));
}

fn plan() -> Plan {
    serde_json::from_value(serde_json::json!({
        "format": {"name": "rehome.plan", "version": 1}, "migration": "other", "profile": "cassandra", "settings": {},
        "purpose": "apply", "strategy": "snapshot", "cutover": "stop", "account": "1", "region": "us-east-1",
        "namespace": "elsewhere", "members": [], "steps": [], "groups": [], "facts": [], "findings": [],
        "estimate": {"total_s": [0, 0], "downtime_s": [0, 0], "monthly_cost_cents": 0, "assumptions": []},
    }))
    .unwrap()
}

#[test]
fn a_plan_of_another_migration_is_refused_with_both_named() {
    let text = serde_json::json!({"hash": plan().hash(), "plan": plan()}).to_string();
    let ((_folder, migration), (_other, plan)) = (file(&good()), file(&text));
    let (migration, plan): (&Path, &Path) = (&migration, &plan);
    let ended = rehome(&["apply", "-f", migration.to_str().unwrap(), "--plan", plan.to_str().unwrap(), "--yes"]);
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(USAGE), "{said}");
    for words in ["migration \"other\" in the plan, \"cassandra\"", "namespace \"elsewhere\"", "Nothing was changed"] {
        assert!(said.contains(words), "{words:?} is not in:\n{said}");
    }
    assert!(!said.contains("region"), "the region is the same: {said}");
}

#[test]
fn rbac_reads_what_is_in_the_namespace_in_the_namespace_only() {
    let text = String::from_utf8(rehome(&["rbac", "--namespace", "c"]).stdout).unwrap();
    let (role, cluster) = text.split_once("---").unwrap();
    assert!(role.contains("kind: Role") && cluster.contains("kind: ClusterRole"), "{text}");
    for resource in ["configmaps", "services", "persistentvolumeclaims", "horizontalpodautoscalers"] {
        assert!(role.contains(&format!("\"{resource}\"")), "{resource} is not in:\n{role}");
        assert!(!cluster.contains(&format!("\"{resource}\"")), "{resource} of all namespaces is in:\n{cluster}");
    }
    for resource in ["nodes", "namespaces", "storageclasses", "csinodes", "volumeattachments", "persistentvolumes"] {
        assert!(cluster.contains(&format!("\"{resource}\"")), "{resource} is not in:\n{cluster}");
    }
}

#[test]
fn a_policy_for_a_file_is_for_its_members() {
    let (_folder, path) = file(&good());
    let ended = rehome(&["iam", "-f", path.to_str().unwrap()]);
    let policy = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!((ended.status.code(), stderr(&ended).as_str()), (Some(0), ""));
    assert!(policy.contains(r#""ssm:resourceTag/cluster": "prod""#), "{policy}");
    assert!(policy.contains("arn:aws:ec2:us-east-1:*:instance/*") && !policy.contains("ec2:*:*:instance"), "{policy}");
    let ids: Vec<String> = (0..60).map(|n| format!("i-{n:017x}")).collect();
    let (_folder, path) =
        file(&good().replace("tags:\n        cluster: prod", &format!("instanceIds: [{}]", ids.join(", "))));
    let ended = rehome(&["iam", "-f", path.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("longer than a managed policy"), "{}", stderr(&ended));
}
