//! Bad input on the real binary: exit code, message, next step. None of it reaches a cloud or cluster.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::process::Command;

/// Exit code for wrong command lines and files.
const USAGE: i32 = 2;
/// Exit code for a cloud or cluster out of reach.
const UNREACHABLE: i32 = 4;

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs rehome where no kubeconfig and no credentials are.
fn rehome(arguments: &[&str]) -> Ended {
    rehome_with(arguments, &[])
}

/// The same with these settings of the environment besides.
fn rehome_with(arguments: &[&str], settings: &[(&str, &str)]) -> Ended {
    let nowhere = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rehome"))
        .args(arguments)
        .env_clear()
        .env("HOME", nowhere.path())
        .env("KUBECONFIG", nowhere.path().join("none"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("move.yaml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn good() -> String {
    let arguments = [
        "init",
        "--name",
        "cassandra",
        "--region",
        "us-east-1",
        "--tag",
        "cluster=prod",
        "--namespace",
        "c",
        "--set",
        "c",
    ];
    let ended = rehome(&arguments);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout
}

/// `rehome plan` on a file is refused with this exit code, and says all of these.
fn refused(text: &str, code: i32, says: &[&str]) {
    let (_folder, path) = file(text);
    let ended = rehome(&["plan", "-f", path.to_str().unwrap()]);
    assert_eq!(ended.code, code, "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "nothing is data here");
    for words in says {
        assert!(ended.stderr.contains(words), "{words:?} is not in:\n{}", ended.stderr);
    }
}

#[test]
fn an_empty_file_is_refused() {
    refused("", USAGE, &["the file is empty", "apiVersion", "nothing was changed"]);
}

#[test]
fn what_is_no_yaml_is_refused_with_its_place() {
    refused("kind: [Migration\n", USAGE, &["move.yaml", "line", "nothing was changed"]);
}

#[test]
fn an_unknown_field_is_named_with_the_known_ones() {
    let text = good().replace("mountPath:", "mountpath:");
    refused(&text, USAGE, &["mountpath", "mountPath", "nothing was changed"]);
}

#[test]
fn a_wrong_type_is_refused_with_its_line() {
    let text = good().replace("namespace: c", "namespace: [c]");
    refused(&text, USAGE, &["line", "nothing was changed"]);
}

#[test]
fn an_unknown_profile_is_named_with_the_known_ones() {
    // The second is the simulated world's: its commands are on no host.
    for unknown in ["casandra", "reference"] {
        let text = good().replace("profile: cassandra", &format!("profile: {unknown}"));
        let said = format!("{unknown:?} is not known; known are: cassandra\n");
        refused(&text, USAGE, &[&said, "nothing was changed"]);
    }
}

#[test]
fn two_members_on_one_slot_and_all_else_wrong_are_told_at_once() {
    let text =
        good().replace("- name: c\n", "- name: c\n          ordinals: {a: 0, b: 0}\n").replace("/var/lib", "var/lib");
    let text = text.replace("role: data", "role: the data");
    let told = ["a and b are both given ordinal 0 of c", "is not absolute", "\"the data\" is no label value"];
    refused(&text, USAGE, &told);
    refused(&text, USAGE, &["nothing was changed"]);
}

#[test]
fn a_limit_says_what_it_takes() {
    let limits = |limits: &str| format!("{}  limits:\n    {limits}\n", good());
    let seconds = "is not a number of seconds: a whole number from 10 to 604800";
    refused(&limits("podsSeconds: 0"), USAGE, &["line", &format!("0 {seconds}")]);
    refused(&limits("podsSeconds: 30m"), USAGE, &["line", &format!("\"30m\" {seconds}")]);
    refused(&limits("apiSharePercent: 500"), USAGE, &["500 is not a share in percent: a whole number from 1 to 100"]);
    // Good ones get as far as the cluster.
    refused(&limits("podsSeconds: 10"), if cfg!(feature = "aws") { UNREACHABLE } else { USAGE }, &["hint: "]);
}

#[test]
fn what_is_no_name_in_kubernetes_or_no_mount_point_is_told_with_its_place() {
    let with = |old: &str, new: &str| {
        let text = good();
        assert!(text.contains(old), "{text}");
        text.replace(old, new)
    };
    let label = "is no DNS label";
    refused(&with("namespace: c", "namespace: a b"), USAGE, &["spec.target.namespace \"a b\"", label]);
    refused(&with("- name: c\n", "- name: s/t\n"), USAGE, &["slots.statefulSets[0].name \"s/t\"", label]);
    let more = "- name: c\n          container: C\n          claims: {data: 'x y'}\n";
    refused(&with("- name: c\n", more), USAGE, &["[0].container \"C\"", "[0].claims.data \"x y\""]);
    let path = "mountPath: /var/lib/cassandra";
    for (wrong, why) in
        [("/a b", "white space"), ("/a/", "no slash too much"), ("/a//b", "no slash"), ("/a/..", "no '..'")]
    {
        refused(&with(path, &format!("mountPath: {wrong}")), USAGE, &["spec.source.volumes[0].mountPath", why]);
    }
    let twice = format!("{path}\n      - role: log\n        {path}");
    refused(&with(path, &twice), USAGE, &["spec.source.volumes[1].mountPath", "is there twice"]);
    let claims = "claims: {pattern: 'x-{ordinal}', storageClass: gp3}";
    refused(&with("statefulSets:\n        - name: c", claims), USAGE, &["slots.claims is not built yet"]);
    for arguments in
        [&["status", "a&b", "-n", "c"][..], &["status", "a", "-n", "c d"], &["rbac", "--namespace", "a\nkind: X"]]
    {
        let ended = rehome(arguments);
        assert!(ended.code == USAGE && ended.stderr.contains("no DNS label"), "{}", ended.stderr);
    }
}

#[test]
fn a_folder_is_not_answered_with_how_to_begin_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let ended = rehome(&["plan", "-f", folder.path().to_str().unwrap()]);
    assert!(ended.code == USAGE && ended.stderr.contains("-f names a migration file"), "{}", ended.stderr);
}

#[test]
fn another_api_version_is_refused() {
    refused(&good().replace("v1alpha1", "v9"), USAGE, &["rehome.dev/v9", "rehome.dev/v1alpha1"]);
}

#[test]
fn a_file_that_is_not_there_is_said_with_the_way_to_get_one() {
    let ended = rehome(&["plan", "-f", "/nowhere/move.yaml"]);
    assert_eq!(ended.code, USAGE);
    assert!(ended.stderr.contains("rehome init"), "{}", ended.stderr);
}

#[cfg(feature = "aws")]
#[test]
fn without_a_kubeconfig_nothing_is_tried() {
    refused(&good(), UNREACHABLE, &["no usable kubeconfig", "hint: set KUBECONFIG", "Nothing was changed"]);
}

#[test]
fn without_a_kubeconfig_there_is_no_status() {
    let ended = rehome(&["status", "cassandra", "-n", "c"]);
    assert_eq!(ended.code, UNREACHABLE);
    assert!(ended.stderr.contains("hint:"), "{}", ended.stderr);
}

/// "Not so" and "cannot be asked" are two answers: whoever scripts rehome must be able to tell them apart.
#[cfg(feature = "aws")]
#[test]
fn a_cluster_that_does_not_answer_has_an_exit_code_of_its_own_in_every_command_that_reads_the_record() {
    let (_folder, migration) = file(&good());
    let (_other, kubeconfig) = file(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: \"https://127.0.0.1:1\"}}]\n\
         users: [{name: u, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n",
    );
    let file = migration.to_str().unwrap();
    for command in [
        &["status", "cassandra", "-n", "c"][..],
        &["verify", "-f", file],
        &["apply", "-f", file, "--yes"],
        &["rollback", "-f", file, "--discard-writes", "--yes"],
        &["rollback", "-f", file, "--keep-writes", "--yes"],
        &["finalize", "-f", file, "--yes"],
    ] {
        let settings = [
            ("KUBECONFIG", kubeconfig.to_str().unwrap()),
            ("AWS_ACCESS_KEY_ID", "none"),
            ("AWS_SECRET_ACCESS_KEY", "none"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ];
        let ended = rehome_with(command, &settings);
        assert_eq!(ended.code, UNREACHABLE, "{command:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("127.0.0.1:1") || ended.stderr.contains("refused"), "{}", ended.stderr);
        assert!(ended.stderr.contains("Nothing was changed"), "{command:?}: {}", ended.stderr);
    }
}

fn apply_plan(plan: &str) -> Ended {
    let (_folder, migration) = file(&good());
    let (_other, path) = file(plan);
    rehome(&["apply", "-f", migration.to_str().unwrap(), "--plan", path.to_str().unwrap(), "--yes"])
}

#[test]
fn a_plan_of_a_newer_version_is_refused_by_name() {
    let ended = apply_plan(r#"{"hash": "", "plan": {"format": {"name": "rehome.plan", "version": 99}}}"#);
    assert_eq!(ended.code, USAGE);
    assert!(ended.stderr.contains("rehome.plan format 99 was written by a newer rehome"), "{}", ended.stderr);
}

#[test]
fn what_is_no_plan_file_is_refused() {
    let ended = apply_plan("not json");
    assert_eq!(ended.code, USAGE);
    assert!(ended.stderr.contains("rehome plan --out"), "{}", ended.stderr);
}

#[test]
fn an_edited_plan_is_refused() {
    // A whole plan, as small as one can be, whose digest is of another.
    let plan = r#"{"hash": "0000", "plan": {
        "format": {"name": "rehome.plan", "version": 1}, "migration": "cassandra", "profile": "cassandra",
        "settings": {}, "purpose": "apply", "strategy": "snapshot", "cutover": "stop", "account": "1",
        "region": "us-east-1", "namespace": "c", "members": [], "steps": [], "groups": [], "facts": [],
        "findings": [], "estimate": {"total_s": [0, 0], "downtime_s": [0, 0], "monthly_cost_cents": 0, "assumptions": []}}}"#;
    let ended = apply_plan(plan);
    assert_eq!(ended.code, USAGE);
    assert!(ended.stderr.contains("was edited after it was made"), "{}", ended.stderr);
}

#[test]
fn rollback_wants_to_hear_that_writes_are_given_up() {
    let (_folder, path) = file(&good());
    let ended = rehome(&["rollback", "-f", path.to_str().unwrap()]);
    assert_eq!(ended.code, USAGE);
    assert!(ended.stderr.contains("--discard-writes|--keep-writes"), "{}", ended.stderr);
    let ended = rehome(&["rollback", "-f", path.to_str().unwrap(), "--discard-writes", "--keep-writes"]);
    assert_eq!(ended.code, USAGE);
    assert!(ended.stderr.contains("cannot be used with"), "{}", ended.stderr);
}

#[test]
fn a_rollback_that_keeps_writes_looks_at_the_cluster_first() {
    let (_folder, path) = file(&good());
    let ended = rehome(&["rollback", "-f", path.to_str().unwrap(), "--keep-writes", "--yes"]);
    assert_eq!(ended.code, if cfg!(feature = "aws") { UNREACHABLE } else { USAGE }, "{}", ended.stderr);
    let help = rehome(&["rollback", "--help"]).stdout;
    assert!(help.contains("--keep-writes") && help.contains("rehome.dev/replaced-by"), "{help}");
}

/// Programs read JSON, and nobody confirms what was not shown. What changes nothing needs no answer.
#[test]
fn what_is_to_be_confirmed_with_json_needs_its_answer_beforehand() {
    let (_folder, path) = file(&good());
    let file = path.to_str().unwrap();
    for (arguments, refused) in [
        (&["apply", "-f", file][..], true),
        (&["rollback", "-f", file, "--discard-writes"], true),
        (&["rollback", "-f", file, "--keep-writes"], true),
        (&["finalize", "-f", file], true),
        (&["gc", "-f", file, "--delete"], true),
        (&["finalize", "-f", file, "--dry-run"], false),
        (&["gc", "-f", file], false),
        (&["gc", "-f", file, "--delete", "--yes"], false),
    ] {
        let ended = rehome(&[arguments, &["-o", "json"]].concat());
        let unseen = ended.stderr.contains("not shown with -o json") && ended.stderr.contains("Nothing was changed");
        assert_eq!(unseen, refused, "{arguments:?}: {}", ended.stderr);
        assert!(!refused || ended.code == USAGE, "{arguments:?}: {}", ended.code);
    }
}

#[test]
fn an_unknown_code_is_said_with_the_way_to_the_known_ones() {
    let ended = rehome(&["explain", "RH9999"]);
    assert_eq!(ended.code, USAGE);
    assert!(ended.stderr.contains("`rehome explain` lists all codes"), "{}", ended.stderr);
    assert!(rehome(&["explain", "rh0301"]).stdout.starts_with("RH0301: zone without a usable node"));
}

#[test]
fn the_demo_ends_well_as_json_too_and_survives_its_own_death() {
    let ended = rehome(&["demo", "--output", "json", "--members", "2", "--kill-at", "25"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["format"]["name"], "rehome.demo");
    assert_eq!((&document["value"]["adopted"], &document["value"]["killed"]), (&2.into(), &1.into()));
}

#[test]
fn the_schema_in_the_repository_is_the_programs_own() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/migration.schema.json");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let schema = rehome(&["schema"]).stdout;
    assert_eq!(kept, schema, "write it anew: cargo run -p rehome -- schema > docs/migration.schema.json");
}

#[test]
fn standard_output_that_takes_no_more_is_an_error_and_a_reader_that_is_gone_is_none() {
    let to = |stdout: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rehome"));
        command.arg("schema").stdout(stdout).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = to(full.into()).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("standard output takes no more: No space left on device") && !said.contains("panicked"),
        "{said}"
    );
    let mut gone = to(std::process::Stdio::piped());
    drop(gone.stdout.take());
    let ended = gone.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn what_is_said_of_a_text_does_nothing_to_a_terminal() {
    let ended = rehome(&["explain", "RH\u{9b}2K\u{202e}\r0001"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (USAGE, ""));
    assert!(ended.stderr.contains("there is no check RH\u{fffd}2K\u{fffd}\u{fffd}0001"), "{:?}", ended.stderr);
}

#[test]
fn a_policy_is_for_a_partition_that_there_is() {
    let ended = rehome(&["iam", "--partition", "aws-cn"]);
    assert!(ended.code == 0 && ended.stdout.contains("arn:aws-cn:ec2:"), "{}", ended.stdout);
    let ended = rehome(&["iam", "--partition", "aws-moon"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (USAGE, ""));
    assert!(ended.stderr.contains("aws-us-gov"), "{}", ended.stderr);
}

#[test]
fn gc_and_finalize_say_what_they_need_before_they_reach_anything() {
    for (arguments, says) in [
        (vec!["gc"], "<NAME>"),
        (vec!["gc", "cassandra", "--region", "us-east-1"], "--namespace"),
        (vec!["gc", "cassandra", "-n", "c"], "--region"),
        (vec!["gc", "-f", "x.yaml", "--cluster-gone", "--parked-claims"], "--parked-claims"),
        (vec!["gc", "cassandra", "-f", "x.yaml"], "--file"),
        (vec!["gc", "Not_A_Name", "-n", "c", "--region", "us-east-1"], "no DNS label"),
        (vec!["finalize"], "--file"),
        (vec!["finalize", "-f", "x.yaml", "--keep-days=-1"], "--keep-days"),
        (vec!["finalize", "-f", "/nowhere/x.yaml"], "cannot be read"),
    ] {
        let ended = rehome(&arguments);
        assert_eq!(ended.code, USAGE, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "nothing is data here");
    }
    let (_folder, path) = file(&good());
    let ended = rehome(&["gc", "-f", path.to_str().unwrap()]);
    assert_eq!(ended.code, UNREACHABLE, "{}", ended.stderr);
}

#[cfg(feature = "emulate")]
#[test]
fn faults_that_mean_nothing_are_refused_before_anything_is_served() {
    for (faults, says) in [
        ("", vec!["there is nothing in it"]),
        ("faults:\n- {action: AttachVolume, efect: deny}\n", vec!["efect", "effect", "line 2"]),
        ("faults:\n- {effect: explode}\n", vec!["explode", "noReply", "line 2"]),
        (
            "faults:\n- {action: AttachVolumes, effect: deny}\n- {action: StopInstances, effect: failLater}\n",
            vec!["faults[0]", "AttachVolume,", "faults[1]", "CreateSnapshots"],
        ),
    ] {
        let (folder, path) = file(faults);
        let state = folder.path().join("state");
        let arguments = ["emulate", "ec2", "--port", "0", "--state", state.to_str().unwrap(), "--faults"];
        let ended = rehome(&[&arguments[..], &[path.to_str().unwrap()]].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (USAGE, ""), "{}", ended.stderr);
        for words in says.iter().chain(&["move.yaml: ", "hint: ", "docs/emulator.md"]) {
            assert!(ended.stderr.contains(words), "{words:?} is not in:\n{}", ended.stderr);
        }
        assert!(!state.join("account.json").exists(), "an account was begun");
    }
}

#[test]
fn standard_error_that_takes_no_more_does_not_change_the_exit_code() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rehome"));
    let status = command.args(["explain", "NOPE"]).stderr(full).stdout(std::process::Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
