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
    if words.split_whitespace().any(has_password) {
        return Err(
            "has a password, which plan and run record would keep for all to read: write it into a file where \
                    nodetool runs, and give `-pwf FILE`; those of key stores belong into nodetool-ssl.properties there"
                .to_owned(),
        );
    }
    Ok(())
}

/// Whether a word is, begins or announces a password. NodeTool's options are `-pw` and `--password`, and those of a file `-pwf`
/// and `--password-file` (https://cassandra.apache.org/doc/latest/cassandra/managing/tools/nodetool/nodetool.html); forms that it
/// does not take show the password all the same. Java takes others as properties (`-Djavax.net.ssl.trustStorePassword=`), and
/// `env` as variables.
fn has_password(word: &str) -> bool {
    let word = word.to_lowercase();
    let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
    if name.starts_with("-pw") {
        return name != "-pwf" && !name.starts_with("-pwf/");
    }
    let named = ["password", "passwd", "passphrase"].iter().any(|said| name.contains(said));
    named && !name.ends_with("file") && (value.is_some() || name.starts_with("--"))
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
    fn no_form_of_a_password_is_taken_and_every_form_of_a_file_is() {
        for words in [
            "-pw secret",
            "-pw=secret",
            "-pwsecret",
            "-pwfsecret",
            "--password secret",
            "--password=secret",
            "--password-secret",
            "-Djavax.net.ssl.trustStorePassword=secret",
            "-J-Djavax.net.ssl.keyStorePassword=secret",
            "-Dkey.PASSWD=secret",
        ] {
            let refused = check(&format!("nodetool -p 7299 {words}"));
            assert!(refused.is_err_and(|why| why.contains("has a password") && !why.contains("secret")), "{words}");
        }
        assert!(check("env NODETOOL_PASSWORD=secret nodetool").is_err());
        for words in [
            "-u cassandra -pwf /etc/cassandra/jmx",
            "-pwf=/etc/cassandra/jmx",
            "-pwf/etc/cassandra/jmx",
            "--password-file /etc/cassandra/jmx",
            "--password-file=/etc/cassandra/jmx",
            "-p 7299 --ssl",
            "-Dcom.sun.jndi.passwordFile=/etc/cassandra/jmx",
        ] {
            assert_eq!(check(&format!("/opt/password-tools/nodetool {words}")), Ok(()), "{words}");
        }
    }

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
