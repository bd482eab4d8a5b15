//! How nodetool is called where JMX asks for a password, speaks TLS or listens elsewhere, or nodetool is not in PATH.

use std::collections::BTreeMap;

use super::profile::quote;

/// Setting: the words with which a legacy host calls it.
pub(super) const ON_HOSTS: &str = "nodetool";
/// Setting: the words with which a pod calls it.
pub(super) const IN_PODS: &str = "podNodetool";

/// A shell function of its name, so that all scripts call it as the setting says; nothing if nothing is set.
pub(super) fn function(setting: Option<&String>) -> String {
    let words: Vec<String> = setting.into_iter().flat_map(|words| words.split_whitespace()).map(quote).collect();
    let Some(program) = words.first() else { return String::new() };
    // `command`: the program, and not this function again.
    format!("NODETOOL={program}\nnodetool() {{ command {} \"$@\"; }}\n", words.join(" "))
}

/// Why these cannot be the words.
pub(super) fn check(words: &str) -> Result<(), String> {
    if words.trim().is_empty() {
        return Err("is empty: write the program and its options, such as `nodetool -p 7299`".to_owned());
    }
    // (NodeTool's options: https://cassandra.apache.org/doc/latest/cassandra/managing/tools/nodetool/nodetool.html)
    let password = |word: &str| word == "-pw" || word == "--password" || word.starts_with("--password=");
    if words.split_whitespace().any(password) {
        return Err(
            "has a password, which plan and run record would keep for all to read: write it into a file where \
                    nodetool runs, and give `-pwf FILE`"
                .to_owned(),
        );
    }
    Ok(())
}

/// What keeps pods from answering a nodetool that is called as usual: their `LOCAL_JMX`, which cassandra-env.sh reads.
pub(super) fn refused(local_jmx: Option<&str>, settings: &BTreeMap<String, String>) -> Option<String> {
    let value = local_jmx.filter(|value| *value != "yes" && !settings.contains_key(IN_PODS))?;
    Some(format!("LOCAL_JMX is {value:?}: JMX asks nodetool for a user and a password"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_whose_jmx_asks_for_a_password_refuse_a_nodetool_that_has_none() {
        let none = BTreeMap::new();
        let with = BTreeMap::from([(IN_PODS.to_owned(), "nodetool -u x -pwf y".to_owned())]);
        assert!(refused(Some("no"), &none).is_some_and(|why| why.contains("LOCAL_JMX is \"no\"")));
        // Those of the hosts do not help.
        assert!(refused(Some("no"), &BTreeMap::from([(ON_HOSTS.to_owned(), "x".to_owned())])).is_some());
        assert_eq!(refused(Some("no"), &with), None);
        assert_eq!(refused(Some("yes"), &none), None);
        assert_eq!(refused(None, &none), None);
    }
}
