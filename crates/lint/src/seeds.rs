//! Whom a pod asks for its cluster when it starts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rehome_model::names;
use rehome_profiles::SetConfiguration;

use crate::context::{Context, at_most};

pub(crate) fn check(context: &mut Context<'_>, subject: &str, configuration: &SetConfiguration) {
    let seeds = configuration.addresses.iter().map(|address| without_port(address.trim()));
    let (literal, named): (Vec<&str>, Vec<&str>) = seeds.partition(|seed| seed.parse::<IpAddr>().is_ok());
    let told = |seeds: Vec<&str>| at_most(seeds.into_iter().map(|seed| format!("seed {seed}")).collect());
    if !literal.is_empty() {
        let message = "its configuration names literal addresses".to_owned();
        context.report("RH0608", subject.to_owned(), message, told(literal));
    }
    let known = Known::of(context);
    let strangers: Vec<&str> = named.into_iter().filter(|seed| !known.has(seed)).collect();
    if !strangers.is_empty() {
        let message = "its configuration names seeds that are no pods of the plan".to_owned();
        context.report("RH0622", subject.to_owned(), message, told(strangers));
    }
}

/// `10.0.0.1:7000`, `[fd00::1]:7000` and `cassandra-0.cassandra:7000` without the port.
fn without_port(seed: &str) -> &str {
    if let Some(rest) = seed.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match seed.split_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => seed,
    }
}

/// The names of the target namespace by which members are found.
struct Known {
    namespace: String,
    /// Pods that members land in, each with the service of its set.
    pods: BTreeSet<(String, String)>,
    services: BTreeSet<String>,
}

impl Known {
    fn of(context: &Context<'_>) -> Self {
        let sets = context.sets().into_iter();
        let pods = sets.flat_map(|(slots, set)| {
            let landing = context.landing(slots, set).into_iter();
            landing.map(|(ordinal, _)| (names::pod(&set.name, ordinal), set.service_name.clone()))
        });
        let services = context.survey.cluster.services.iter().map(|service| service.name.clone());
        Self { namespace: context.namespace().to_owned(), pods: pods.collect(), services: services.collect() }
    }

    /// `<pod>.<service>` or `<service>`, each as it is, with the namespace, or in full.
    fn has(&self, seed: &str) -> bool {
        let seed = seed.trim_end_matches('.').to_ascii_lowercase();
        let labels: Vec<&str> = seed.split('.').collect();
        let is_here = |rest: &[&str]| match rest {
            [] => true,
            [namespace] | [namespace, "svc", ..] => *namespace == self.namespace,
            _ => false,
        };
        match labels.as_slice() {
            [pod, service, rest @ ..]
                if is_here(rest) && self.pods.contains(&((*pod).to_owned(), (*service).to_owned())) =>
            {
                true
            }
            [service, rest @ ..] => is_here(rest) && self.services.contains(*service),
            [] => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_known_by_any_name_that_dns_has_for_it() {
        let known = Known {
            namespace: "db".to_owned(),
            pods: [("cassandra-0".to_owned(), "cassandra".to_owned())].into(),
            services: ["cassandra".to_owned(), "seeds".to_owned()].into(),
        };
        for seed in ["cassandra-0.cassandra", "cassandra-0.cassandra.db", "seeds", "seeds.db", "Seeds.db.svc"] {
            assert!(known.has(seed) && known.has(&format!("{seed}.")), "{seed}");
        }
        assert!(known.has("cassandra-0.cassandra.db.svc.cluster.local") && known.has("seeds.db.svc.cluster.local."));
        for seed in [
            "cassandra-1.cassandra",
            "cassandra-0.seeds",
            "cassandra-0",
            "cassandra-0.cassandra.other",
            "cassandra-0.cassandra.db.pod",
            "seeds.other.svc.cluster.local",
            "seed.example.com",
            "",
        ] {
            assert!(!known.has(seed), "{seed}");
        }
    }

    #[test]
    fn a_port_is_no_part_of_the_name() {
        let bare = ["10.0.0.1", "fd00::1", "cassandra-0.cassandra"];
        assert_eq!(["10.0.0.1:7000", "[fd00::1]:7000", "cassandra-0.cassandra:7000"].map(without_port), bare);
        assert_eq!(bare.map(without_port), bare);
    }
}
