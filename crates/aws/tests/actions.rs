//! The table that `rehome iam` prints has what this crate calls, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use rehome_ports::ACTIONS;

/// The clients of this crate by the names of their fields, and what policies call their services.
const CLIENTS: [(&str, &str); 4] = [("ec2", "ec2"), ("auto_scaling", "autoscaling"), ("ssm", "ssm"), ("sts", "sts")];

/// `describe_volumes` is DescribeVolumes.
fn action(method: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    method.split('_').map(capital).collect()
}

/// Every `client.operation()` in the sources, however it is broken into lines.
fn called() -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("the sources") {
        let text: String = std::fs::read_to_string(file.expect("a file").path())
            .expect("text")
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        for (client, service) in CLIENTS {
            for (at, found) in text.match_indices(&format!("{client}.")) {
                let rest = &text[at + found.len()..];
                let method: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if !method.is_empty() && rest[method.len()..].starts_with("()") {
                    called.insert(format!("{service}:{}", action(&method)));
                }
            }
        }
    }
    called
}

#[test]
fn the_policy_has_every_action_that_is_called_and_no_other() {
    // Those of keys EC2 calls, in the caller's name.
    let actions = ACTIONS.iter().map(|(_, action)| (*action).to_owned());
    let listed: BTreeSet<String> = actions.filter(|action| !action.starts_with("kms:")).collect();
    assert_eq!(called(), listed);
}
