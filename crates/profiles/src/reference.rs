//! The reference application: a replicated database that exists only in the simulated world.
//!
//! Its answers are the model's own values as JSON, so that simulations exercise rehome and not a text format.
//! Its identity on disk is the file `identity.json` on the data volume.

use std::collections::BTreeMap;

use rehome_model::answer::{MemberIdentity, MemberView};
use rehome_model::cluster::{ContainerReport, EnvValue, StatefulSetReport};
use rehome_model::task::{HostAnswer, HostTask, PodTask};

use crate::profile::{AnswerError, Gate, Profile, ProfileLimits, ScriptContext, SetConfiguration, image_tag};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Reference;

const NAME: &str = "reference";
/// Setting: the program that pods are asked with.
const POD_COMMAND: &str = "podCommand";

fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &[u8]) -> Result<T, AnswerError> {
    serde_json::from_slice(text).map_err(|error| AnswerError {
        profile: NAME,
        what: what.to_owned(),
        reason: error.to_string(),
    })
}

impl Profile for Reference {
    fn name(&self) -> &'static str {
        NAME
    }

    fn settings(&self) -> Vec<&'static str> {
        vec![POD_COMMAND]
    }

    fn host_script(&self, task: &HostTask, context: &ScriptContext<'_>) -> String {
        let step = context.step.map_or("survey", |step| step.as_str());
        let run = context.run.map_or("survey", |run| run.as_str());
        format!("refdb-host {} --step {step} --run {run}", task.name())
    }

    fn read_host_answer(&self, task: &HostTask, stdout: &str) -> Result<HostAnswer, AnswerError> {
        parse(task.name(), stdout.as_bytes())
    }

    fn pod_script(&self, task: &PodTask, settings: &BTreeMap<String, String>) -> String {
        format!("{} {}", settings.get(POD_COMMAND).map_or("refdb", String::as_str), task.name())
    }

    fn read_pod_view(&self, stdout: &str) -> Result<MemberView, AnswerError> {
        parse("view", stdout.as_bytes())
    }

    fn host_view(&self, packed: &[u8]) -> Result<MemberView, AnswerError> {
        parse("view", packed)
    }

    fn disk_identity(&self, archive: &[u8]) -> Result<MemberIdentity, AnswerError> {
        parse("identity.json", archive)
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn gate(&self) -> Gate {
        Gate { variable: "REFDB_CLIENTS", closed: "closed", open: "open" }
    }

    fn limits(&self) -> ProfileLimits {
        ProfileLimits { flush_s: 300, stop_s: 600, member_up_s: 900 }
    }

    fn needs_parallel_start(&self) -> bool {
        true
    }

    fn usual_settings(&self) -> &'static [(&'static str, &'static str)] {
        &[("passwords", "none")]
    }

    fn set_configuration(
        &self,
        set: &StatefulSetReport,
        container: &ContainerReport,
        _settings: &BTreeMap<String, String>,
    ) -> SetConfiguration {
        let known = |name: &str| container.env.get(name).and_then(EnvValue::known).map(str::to_owned);
        let mut configuration = SetConfiguration { container: container.name.clone(), ..SetConfiguration::default() };
        for (variable, attribute) in [
            ("REFDB_CLUSTER", "cluster"),
            ("REFDB_DATA_CENTER", "data_center"),
            ("REFDB_RACK", "rack"),
            ("REFDB_TOKENS", "token_count"),
        ] {
            if let Some(value) = known(variable) {
                configuration.attributes.insert(attribute.to_owned(), value);
            } else if container.env.contains_key(variable) {
                // What it is not told it takes from its data.
                configuration.unknown_attributes.push(attribute.to_owned());
            }
        }
        configuration.version = image_tag(&container.image);
        configuration.uid = container.run_as_user.or(set.run_as_user);
        configuration.takes_files_over_as = configuration.uid.is_none_or(|uid| uid == 0).then_some(999);
        configuration.readiness_needs_clients =
            container.readiness.as_deref().is_some_and(|probe| probe.starts_with("tcp:9042"));
        let closed_is_ended =
            |probe: &Option<String>| probe.as_deref().is_some_and(|probe| probe.starts_with("tcp:9042"));
        configuration.closed_is_ended_by = [("liveness", &container.liveness), ("startup", &container.startup)]
            .into_iter()
            .find_map(|(kind, probe)| closed_is_ended(probe).then_some(kind));
        configuration.directories.insert("data".to_owned(), "/var/lib/refdb/data".to_owned());
        let own_log = container.mounts.iter().any(|mount| mount.path == "/var/lib/refdb-log");
        let log = if own_log { "/var/lib/refdb-log" } else { "/var/lib/refdb/log" };
        configuration.directories.insert("commitlog".to_owned(), log.to_owned());
        configuration.directories.insert("hints".to_owned(), "/var/lib/refdb/hints".to_owned());
        configuration.directories_are_certain = !container.own_command;
        if !container.own_command {
            configuration.settings.insert("passwords".to_owned(), "none".to_owned());
        }
        configuration.is_its_own_seed = !container.env.contains_key("REFDB_SEEDS");
        configuration.question_refused = known("REFDB_QUESTIONS").map(|value| format!("REFDB_QUESTIONS is {value:?}"));
        configuration.opening_fault = (configuration.version.as_deref() == Some("1.0.13"))
            .then(|| "1.0.13 opens, and takes no writes".to_owned());
        configuration.addresses =
            known("REFDB_SEEDS").map(|seeds| seeds.split(',').map(str::to_owned).collect()).unwrap_or_default();
        configuration
    }
}
