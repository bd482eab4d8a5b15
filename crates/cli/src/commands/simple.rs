//! Commands that only print.

use anyhow::Result;
use clap::CommandFactory;
use rehome_lint::checks;
use rehome_model::finding::Severity;

use crate::args::{Args, Init};
use crate::exit::{Exit, problem};
use crate::input;
use crate::output::{say, show};

/// `rehome explain`.
pub fn explain(code: Option<&str>) -> Result<Exit> {
    let Some(code) = code else {
        for check in checks() {
            say!("{}  {}", check.code, check.title)?;
        }
        return Ok(Exit::Ok);
    };
    let check = rehome_lint::explain(code)
        .ok_or_else(|| problem(Exit::Usage, format!("there is no check {code}"), "`rehome explain` lists all codes"))?;
    let severity = match check.severity {
        Severity::Error => "error: the plan is not made",
        Severity::Warning => "warning: the plan is made, look at it",
        Severity::Info => "information",
    };
    say!("{}: {} ({severity})\n\n{}\n\nWhat to do: {}", check.code, check.title, check.why, check.fix)?;
    Ok(Exit::Ok)
}

/// `rehome init`.
pub fn init(init: &Init) -> Result<Exit> {
    let (key, value) = init.tag.split_once('=').ok_or_else(|| {
        problem(Exit::Usage, format!("--tag {:?} is not KEY=VALUE", init.tag), "for example --tag cluster=prod")
    })?;
    let mut volumes = String::new();
    for volume in &init.volumes {
        let (role, path) = volume.split_once('=').ok_or_else(|| {
            problem(
                Exit::Usage,
                format!("--volume {volume:?} is not ROLE=PATH"),
                "for example --volume data=/var/lib/cassandra",
            )
        })?;
        volumes.push_str(&format!("      - role: {}\n        mountPath: {}\n", scalar(role), scalar(path)));
    }
    let text = format!(
        "# A migration for rehome. Look at it with `rehome check -f FILE` and `rehome plan -f FILE`: both change nothing.
apiVersion: {version}
kind: Migration
metadata:
  name: {name}
spec:
  application:
    profile: {profile}
  source:
    region: {region}
    # Which instances are the members: tags, instanceIds or autoScalingGroup.
    members:
      tags:
        {key}: {value}
    # The volumes that move, by role, found by where they are mounted.
    volumes:
{volumes}    # How to reach the hosts: ssm, or ssh with your own configuration.
    hosts: ssm
  target:
    namespace: {namespace}
    # Members land on the set's ordinals in the order of their names, unless `ordinals` says otherwise.
    slots:
      statefulSets:
        - name: {set}
  # Tags of every snapshot and volume that a run makes, besides its own.
  # tags:
  #   cost-centre: \"42\"
  #   # Without it the driver of EKS Auto Mode (ebs.csi.eks.amazonaws.com) attaches no volume.
  #   eks:eks-cluster-name: prod
  # What a run keeps to, if not the defaults; `rehome schema` has them all.
  # limits:
  #   # The share of the account's rates of EC2 calls that it may use, in percent.
  #   apiSharePercent: 80
",
        version = rehome_model::migration::API_VERSION,
        name = scalar(&init.name),
        profile = scalar(&init.profile),
        region = scalar(&init.region),
        key = scalar(key),
        value = scalar(value),
        namespace = scalar(&init.namespace),
        set = scalar(&init.set),
    );
    input::parse(&text)
        .and_then(|migration| input::check(&migration).map_err(|wrong| wrong.join("\n  ")))
        .map_err(|error| problem(Exit::Usage, error, "the values given do not make a valid migration"))?;
    show!("{text}")?;
    Ok(Exit::Ok)
}

/// A string as YAML: plain where it can be taken for nothing else, quoted otherwise. Plain, `prod #1` is `prod`, and `on` or
/// `1e3` is no string at all.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    if begins && text.chars().all(plain) && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    // A JSON string is a double-quoted scalar of YAML.
    serde_json::Value::from(text).to_string()
}

/// What the survey reads, beside what `PERMISSIONS` says: group, resources, and whether in the target namespace only.
const READ: [(&str, &str, bool); 4] = [
    ("", "\"services\", \"persistentvolumeclaims\", \"configmaps\"", true),
    ("autoscaling", "\"horizontalpodautoscalers\"", true),
    ("", "\"nodes\", \"namespaces\"", false),
    ("storage.k8s.io", "\"storageclasses\", \"csidrivers\", \"csinodes\"", false),
];

/// `rehome rbac`: two roles from the survey's own table.
pub fn rbac(namespace: &str) -> Result<Exit> {
    for (kind, namespaced) in [("Role", true), ("ClusterRole", false)] {
        say!("apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: rehome")?;
        if namespaced {
            say!("  namespace: {namespace}")?;
        }
        say!("rules:")?;
        let all = rehome_survey::PERMISSIONS.iter().chain(rehome_survey::GC_PERMISSIONS);
        for permission in all.filter(|found| found.namespaced == namespaced) {
            let resource = match permission.subresource {
                "" => permission.resource.to_owned(),
                sub => format!("{}/{sub}", permission.resource),
            };
            say!(
                "  - apiGroups: [\"{}\"]\n    resources: [\"{resource}\"]\n    verbs: [\"{}\"]",
                permission.group,
                permission.verb
            )?;
        }
        for (group, resources, _) in READ.iter().filter(|(_, _, of)| *of == namespaced) {
            say!("  - apiGroups: [\"{group}\"]\n    resources: [{resources}]\n    verbs: [\"get\", \"list\"]")?;
        }
        if namespaced {
            say!("---")?;
        }
    }
    Ok(Exit::Ok)
}

/// `rehome schema`.
pub fn schema() -> Result<Exit> {
    let schema = schemars::schema_for!(rehome_model::migration::Migration);
    say!("{}", serde_json::to_string_pretty(&schema)?)?;
    Ok(Exit::Ok)
}

/// `rehome completions`.
pub fn completions(shell: clap_complete::Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "rehome", &mut script);
    show!("{}", String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// `rehome man`.
pub fn man() -> Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command()).render(&mut page)?;
    show!("{}", String::from_utf8_lossy(&page))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use rehome_model::format::{DEMO, EVENTS, FINDINGS, GC, OBJECTS, PLAN, RUN, STATUS, VERIFY};
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_schema_tells_the_limits_that_the_profile_has() {
        let limits = input::profile("cassandra").expect("a profile").limits();
        let schema = serde_json::to_value(schemars::schema_for!(rehome_model::migration::Limits)).expect("JSON");
        for (property, seconds) in [("stopSeconds", limits.stop_s), ("memberUpSeconds", limits.member_up_s)] {
            let said = schema["properties"][property]["description"].as_str().expect("a description");
            assert!(said.ends_with(&format!("cassandra: {} min.", seconds / 60)), "{property}: {said}");
        }
    }

    #[test]
    fn the_pages_say_how_many_checks_and_which_codes_and_documents_there_are() {
        let readme = include_str!("../../../../README.md");
        assert!(readme.contains(&format!("{} checks", checks().count())), "README.md: {} checks", checks().count());
        let page = include_str!("../../../../docs/interface.md");
        let codes =
            [Exit::Ok, Exit::Failed, Exit::Usage, Exit::Findings, Exit::Unreachable, Exit::Stuck, Exit::Interrupted];
        for code in codes {
            let row = format!("\n| {} | ", code as u8);
            assert!(page.contains(&row), "{code:?}");
            let help = Args::command().render_help().to_string();
            assert!(help.contains(&format!("\n  {}  ", code as u8)), "{code:?}");
        }
        for (name, version) in [DEMO, EVENTS, FINDINGS, GC, OBJECTS, PLAN, RUN, STATUS, VERIFY] {
            assert!(page.contains(&format!("\n| `{name}` | {version} | ")), "{name} {version}");
        }
    }

    /// Whether a part of a schema has something at this path.
    fn has(schema: &Value, part: &Value, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        if let Some(of) = part["$ref"].as_str().and_then(|of| schema.pointer(of.trim_start_matches('#'))) {
            return has(schema, of, path);
        }
        let any = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| part[key].as_array()).flatten();
        let name = first.trim_end_matches("[]");
        let property = &part["properties"][name];
        let found = match property {
            Value::Null if part["additionalProperties"].is_object() => &part["additionalProperties"],
            // A list that a schema may give by reference has its items there.
            _ if first.ends_with("[]") => &property["items"],
            _ => property,
        };
        (!found.is_null() && has(schema, found, rest)) || any.into_iter().any(|part| has(schema, part, path))
    }

    #[test]
    fn what_checks_tell_to_change_is_in_the_migration_file() {
        let schema = serde_json::to_value(schemars::schema_for!(rehome_model::migration::Migration)).expect("JSON");
        const OF_A_SET: [&str; 3] = ["spec.serviceName", "spec.replicas", "spec.persistentVolumeClaimRetentionPolicy"];
        let mut seen = 0;
        for check in rehome_lint::checks() {
            let words = [check.why, check.fix]
                .into_iter()
                .flat_map(|text| text.split([' ', '`', '(', ')', ',', ';', ':', '=']));
            for path in words.map(|word| word.trim_end_matches('.')).filter(|word| word.starts_with("spec.")) {
                let parts: Vec<&str> = path.split('.').collect();
                if OF_A_SET.contains(&path) {
                    continue;
                }
                assert!(has(&schema, &schema, &parts), "{}: {path}", check.code);
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen}");
        for none in ["spec.target.slots[].claims", "spec.source.none"] {
            assert!(!has(&schema, &schema, &none.split('.').collect::<Vec<_>>()), "{none}");
        }
    }
}
