//! What an image brings along where the set says nothing: of the official one it is known.

use rehome_model::cluster::ContainerReport;

use crate::profile::SetConfiguration;

/// Where the official image keeps what (docker-library/cassandra: `/var/lib/cassandra`, below it the names of Cassandra itself).
const DIRECTORIES: [(&str, &str); 4] = [
    ("data", "/var/lib/cassandra/data"),
    ("commitlog", "/var/lib/cassandra/commitlog"),
    ("hints", "/var/lib/cassandra/hints"),
    ("cdc_raw", "/var/lib/cassandra/cdc_raw"),
];
/// What the configuration of a new installation says, the official image's too, of who may come in, what is encrypted, when a
/// write is on disk, and whether a log of changes is kept for others. The image has no variable for any of it.
pub(super) const SETTINGS: [(&str, &str); 8] = [
    ("authenticator", "AllowAllAuthenticator"),
    ("authorizer", "AllowAllAuthorizer"),
    ("network_authorizer", "AllowAllNetworkAuthorizer"),
    ("role_manager", "CassandraRoleManager"),
    ("commitlog_sync", "periodic"),
    ("cdc_enabled", "false"),
    ("server_encryption_options.internode_encryption", "none"),
    ("client_encryption_options.enabled", "false"),
];
/// Its own user, whom it gives what it finds in /var/lib/cassandra when it is started as root (docker-entrypoint.sh: `find ...
/// \! -user cassandra -exec chown cassandra`).
const USER: u32 = 999;
/// Where it has its configuration. Whatever is mounted there takes its place.
const CONFIGURATION: [&str; 2] = ["/etc/cassandra", "/opt/cassandra/conf"];

/// What is not said, as the official image has it. Of one that is only named like it that is likely, of another nobody can tell.
pub(super) fn defaults(container: &ContainerReport, configuration: &mut SetConfiguration) {
    let inside = |path: &str| CONFIGURATION.iter().any(|at| path == *at || path.starts_with(&format!("{at}/")));
    let configured = container.mounts.iter().any(|mount| inside(mount.path.trim_end_matches('/')));
    let image = Image::of(&container.image);
    if image == Image::Other || configured {
        return;
    }
    for (purpose, path) in DIRECTORIES {
        configuration.directories.insert(purpose.to_owned(), path.to_owned());
    }
    // A command of the set's own may set variables and change files before it starts the server, and so may an image that was
    // built from the official one.
    configuration.directories_are_certain = image == Image::Official && !container.own_command;
    if !configuration.directories_are_certain || !container.env_from.is_empty() {
        return;
    }
    for (name, value) in SETTINGS {
        configuration.settings.insert(name.to_owned(), value.to_owned());
    }
    configuration.is_its_own_seed = !container.env.contains_key("CASSANDRA_SEEDS");
    let said = |variable: &str| container.env.contains_key(variable);
    let mut attribute = |said: bool, name: &str, value: &str| {
        if !said {
            configuration.attributes.insert(name.to_owned(), value.to_owned());
        }
    };
    attribute(said("CASSANDRA_CLUSTER_NAME"), "cluster", "Test Cluster");
    attribute(said("CASSANDRA_NUM_TOKENS"), "token_count", "16");
    // SimpleSnitch knows one data center and one rack, whatever CASSANDRA_DC and CASSANDRA_RACK say.
    let snitch = container.env.get("CASSANDRA_ENDPOINT_SNITCH");
    let another = snitch.is_some_and(|snitch| snitch.known() != Some("SimpleSnitch"));
    attribute(another, "data_center", "datacenter1");
    attribute(another, "rack", "rack1");
}

/// What Cassandra compares with its data at the start, and neither the set nor the image says.
pub(super) fn unknown_attributes(configuration: &SetConfiguration) -> Vec<String> {
    let compared = ["cluster", "data_center", "rack", "token_count"];
    let unknown = compared.into_iter().filter(|name| !configuration.attributes.contains_key(*name));
    unknown.map(str::to_owned).collect()
}

/// Whom the image gives all files before it starts: what is built from the official one has its entrypoint, as a rule, and a
/// command of the set's own goes through it.
pub(super) fn takes_files_over_as(image: &str, uid: Option<u32>) -> Option<u32> {
    let is_root = uid.is_none_or(|uid| uid == 0);
    (is_root && Image::of(image) != Image::Other).then_some(USER)
}

/// Whose image it is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Image {
    /// The official one, of Docker Hub or a mirror of its library.
    Official,
    /// One that is named like it: built from it, as a rule, and maybe configured.
    Alike,
    Other,
}

impl Image {
    fn of(image: &str) -> Self {
        let name = image.split('@').next().unwrap_or_default();
        let (place, last) = name.rsplit_once('/').unwrap_or(("library", name));
        match last.split(':').next() {
            Some("cassandra") if place == "library" || place.ends_with("/library") => Self::Official,
            Some("cassandra") if !place.contains("bitnami") => Self::Alike,
            _ => Self::Other,
        }
    }
}

/// Whether a probe passes only once clients are let in.
pub(super) fn needs_clients(probe: Option<&str>) -> bool {
    let asks = ["9042", "cqlsh", "statusbinary", "Native Transport"];
    probe.is_some_and(|probe| asks.iter().any(|words| probe.contains(words)))
}

/// CASSANDRA-18935: a member that was started without its native transport and opened later is never known to be ready for
/// clients, and no counter can be written through it. Mended in 4.0.12 and 4.1.4.
pub(super) fn opening_fault(version: &str) -> Option<String> {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let broken = match (numbers.next()?, numbers.next()?, numbers.next()?) {
        (4, 0, patch) => patch < 12,
        (4, 1, patch) => patch < 4,
        _ => false,
    };
    broken.then(|| {
        format!(
            "{version} is not seen to be open by other members, so that no counter can be written (CASSANDRA-18935)"
        )
    })
}

#[cfg(test)]
mod tests {
    use rehome_model::cluster::{EnvValue, VolumeMount};

    use super::*;

    #[test]
    fn the_official_image_is_told_from_those_that_are_named_like_it() {
        let all_are = |whose, images: &[&str]| images.iter().all(|image| Image::of(image) == whose);
        assert!(all_are(
            Image::Official,
            &[
                "cassandra",
                "cassandra:4.1.4",
                "docker.io/library/cassandra:5.0",
                "r.example:5000/hub/library/cassandra@sha256:0"
            ]
        ));
        assert!(all_are(Image::Alike, &["acme/cassandra:4.1.4", "r.example:5000/cassandra", "mylibrary/cassandra"]));
        assert!(all_are(
            Image::Other,
            &[
                "bitnami/cassandra:4.1",
                "docker.io/bitnami/cassandra:5",
                "k8ssandra/cass-management-api:4.1",
                "acme/db:1"
            ]
        ));
    }

    fn configured(change: impl Fn(&mut ContainerReport)) -> SetConfiguration {
        let mut container = ContainerReport { image: "cassandra:5.0".to_owned(), ..ContainerReport::default() };
        change(&mut container);
        let mut configuration = SetConfiguration::default();
        defaults(&container, &mut configuration);
        configuration
    }

    #[test]
    fn what_the_set_does_not_say_is_as_the_official_image_has_it() {
        let bare = configured(|_| ());
        assert!(bare.is_its_own_seed && bare.directories_are_certain);
        assert_eq!(bare.settings["authenticator"], "AllowAllAuthenticator");
        assert_eq!(bare.directories["commitlog"], "/var/lib/cassandra/commitlog");
        assert_eq!(bare.directories["hints"], "/var/lib/cassandra/hints");
        let attribute = |name: &str| bare.attributes.get(name).map(String::as_str);
        assert_eq!(
            ["cluster", "token_count", "data_center", "rack"].map(attribute),
            [Some("Test Cluster"), Some("16"), Some("datacenter1"), Some("rack1")]
        );
        let said = configured(|container| {
            for name in
                ["CASSANDRA_CLUSTER_NAME", "CASSANDRA_NUM_TOKENS", "CASSANDRA_ENDPOINT_SNITCH", "CASSANDRA_SEEDS"]
            {
                container.env.insert(name.to_owned(), EnvValue::Other("a secret".to_owned()));
            }
        });
        assert!(said.attributes.is_empty() && !said.is_its_own_seed && said.directories_are_certain);
        let simple = configured(|container| {
            let snitch = EnvValue::Literal("SimpleSnitch".to_owned());
            container.env.insert("CASSANDRA_ENDPOINT_SNITCH".to_owned(), snitch);
        });
        assert_eq!(simple.attributes["data_center"], "datacenter1");
        let all = ["cluster", "data_center", "rack", "token_count"];
        assert_eq!(
            (unknown_attributes(&bare), unknown_attributes(&said)),
            (Vec::new(), all.map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn nothing_is_taken_for_certain_where_something_else_may_decide() {
        let wrapped = configured(|container| container.own_command = true);
        assert!(
            wrapped.attributes.is_empty()
                && wrapped.settings.is_empty()
                && !wrapped.is_its_own_seed
                && !wrapped.directories_are_certain
        );
        assert!(wrapped.directories.contains_key("data"), "but it is likely");
        let alike = configured(|container| "acme/cassandra:5.0".clone_into(&mut container.image));
        assert_eq!(alike, wrapped, "an image that was built from it may be configured");
        let from = configured(|container| container.env_from.push("settings".to_owned()));
        assert!(from.attributes.is_empty() && !from.is_its_own_seed && from.directories_are_certain);
        let mounted = configured(|container| {
            let (volume, path) = ("config".to_owned(), "/etc/cassandra/cassandra.yaml".to_owned());
            container.mounts.push(VolumeMount { volume, path, sub_path: Some("cassandra.yaml".to_owned()) });
        });
        assert_eq!(mounted, SetConfiguration::default());
        assert_eq!(configured(|container| "acme/db:7".clone_into(&mut container.image)), SetConfiguration::default());
    }

    #[test]
    fn the_official_image_takes_all_files_over_if_it_is_started_as_root() {
        for (image, uid) in [("cassandra:5.0", None), ("acme/cassandra:5.0.9", Some(0))] {
            assert_eq!(takes_files_over_as(image, uid), Some(USER), "{image}");
        }
        for (image, uid) in [("cassandra:5.0", Some(997)), ("bitnami/cassandra:5.0", None), ("acme/db:1", Some(0))] {
            assert_eq!(takes_files_over_as(image, uid), None, "{image}");
        }
    }

    #[test]
    fn the_versions_whose_opening_is_not_seen_are_known() {
        let broken = |version| opening_fault(version).is_some();
        assert!(["4.0.0", "4.0.11", "4.1.0", "4.1.3", "4.1.3-jdk11"].into_iter().all(broken));
        // A tag without a last number means the newest.
        assert!(!["4.0.12", "4.0", "4.1", "4.1.4", "5.0.0", "latest", "3.11.17"].into_iter().any(broken));
    }

    #[test]
    fn probes_that_ask_as_clients_do_are_told_from_those_that_do_not() {
        let ask = ["tcp:9042", "exec:cqlsh -e 'select 1'", "exec:nodetool info | grep 'Native Transport active: true'"];
        assert!(ask.iter().all(|probe| needs_clients(Some(probe))));
        assert!(
            !needs_clients(Some("tcp:7000")) && !needs_clients(Some("exec:nodetool status")) && !needs_clients(None)
        );
    }
}
