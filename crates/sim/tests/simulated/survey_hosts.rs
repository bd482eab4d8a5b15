//! How the survey looks into hosts that are hard to read: replies lost, files written meanwhile, members down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::common::Stage;
use rehome_engine::Command;
use rehome_lint::lint;
use rehome_model::finding::Finding;
use rehome_model::ids::InstanceId;
use rehome_model::record::Phase;
use rehome_model::survey::Survey;
use rehome_model::task::{HostAnswer, HostTask};
use rehome_ports::{HostScript, Hosts, ScriptError, ScriptOutput};
use rehome_sim::{Scene, checks};

/// Hosts of whose first scripts, so many on each, nobody learns how they ended, or which do not start them.
struct Forgetful {
    starts: bool,
    hosts: Arc<dyn Hosts>,
    times: u32,
    asked: Mutex<BTreeMap<InstanceId, u32>>,
}

#[async_trait::async_trait]
impl Hosts for Forgetful {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        let output = self.hosts.run(instance, script).await;
        let mut asked = self.asked.lock().expect("no test panics while it asks");
        let count = asked.entry(instance.clone()).or_default();
        *count += 1;
        if *count > self.times {
            return output;
        }
        let (target, task) = (instance.to_string(), script.task.name().to_owned());
        if !self.starts {
            return Err(ScriptError::Unreachable { target, reason: "ThrottlingException: Rate exceeded".to_owned() });
        }
        Err(ScriptError::EndUnknown { target, task, reason: "no reply came".to_owned() })
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_could_not_be_asked_is_asked_again_and_not_for_ever() {
    let stage = Stage::new(Scene::new(3, 5));
    let mut cases = Vec::new();
    for starts in [true, false] {
        cases.extend([(starts, 1, 3), (starts, 3, 3), (starts, 4, 0)]);
    }
    for (starts, times, seen) in cases {
        let hosts = Forgetful { hosts: stage.ports.hosts(), starts, times, asked: Mutex::default() };
        let (cloud, kube, now_ms) = (stage.ports.cloud(), stage.ports.kube(), stage.world.ec2().now());
        let ports = rehome_survey::Ports { cloud: cloud.as_ref(), hosts: &hosts, kube: &kube, now_ms };
        let survey = rehome_survey::survey(&ports, &stage.migration, stage.profile()).await.expect("a survey");
        assert_eq!(survey.members.iter().filter(|member| member.host.is_some()).count(), seen, "{times} lost replies");
        // Whoever answered was asked for its disk's identity too.
        let scripts = if seen == 0 { times } else { times + 2 };
        assert!(hosts.asked.lock().expect("as above").values().all(|asked| *asked == scripts));
    }
}

/// Hosts whose files are written anew while they are read, so many times on each.
struct Busy {
    hosts: Arc<dyn Hosts>,
    times: u32,
    read: Mutex<BTreeMap<InstanceId, u32>>,
}

#[async_trait::async_trait]
impl Hosts for Busy {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        let mut output = self.hosts.run(instance, script).await?;
        if matches!(script.task, HostTask::ReadIdentity { .. }) {
            let mut read = self.read.lock().expect("no test panics while it reads");
            let count = read.entry(instance.clone()).or_default();
            *count += 1;
            if *count <= self.times {
                let torn = HostAnswer::Part { text: "dG9ybg==".to_owned(), total_chars: 8 };
                output.stdout = serde_json::to_string(&torn).expect("an answer");
            }
        }
        Ok(output)
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_was_written_to_while_it_was_read_is_read_once_more_and_not_for_ever() {
    let stage = Stage::new(Scene::new(3, 5));
    for (times, errors) in [(1, 0), (2, 3)] {
        let hosts = Busy { hosts: stage.ports.hosts(), times, read: Mutex::default() };
        let (cloud, kube, now_ms) = (stage.ports.cloud(), stage.ports.kube(), stage.world.ec2().now());
        let ports = rehome_survey::Ports { cloud: cloud.as_ref(), hosts: &hosts, kube: &kube, now_ms };
        let survey = rehome_survey::survey(&ports, &stage.migration, stage.profile()).await.expect("a survey");
        let found = lint(&stage.migration, &survey, stage.profile());
        let told: Vec<&Finding> = found.iter().filter(|finding| finding.code.as_str() == "RH0116").collect();
        assert_eq!(told.len(), errors, "{told:?}");
        assert!(told.iter().all(|finding| finding.evidence[0].contains("identity.json")), "{told:?}");
        assert!(hosts.read.lock().expect("as above").values().all(|read| *read == 2));
    }
}

#[tokio::test(start_paused = true)]
async fn the_disk_of_a_member_that_does_not_answer_is_not_read() {
    let stage = Stage::new(Scene::new(3, 5));
    stage.world.kill_service(0);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let survey = stage.survey().await;
    assert_eq!(survey.members.iter().map(|member| member.disk.is_some()).collect::<Vec<_>>(), [false, true, true]);
}

/// Hosts whose views are too long for a survey's script, and for one part: they come in several. On each the first so many
/// are those of a member that restarts between two parts.
struct LongViews {
    hosts: Arc<dyn Hosts>,
    torn: u32,
    asked: Mutex<BTreeMap<InstanceId, u32>>,
}

impl LongViews {
    const PART_CHARS: usize = 300;

    fn of(stage: &Stage, torn: u32) -> Arc<Self> {
        Arc::new(Self { hosts: stage.ports.hosts(), torn, asked: Mutex::default() })
    }

    /// How many parts the host that was asked least was asked for.
    fn least(&self) -> u32 {
        *self.asked.lock().expect("no test panics while it asks").values().min().expect("somebody was asked")
    }
}

#[async_trait::async_trait]
impl Hosts for LongViews {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        let mut first = script.clone();
        let HostTask::View { part } = script.task else {
            let mut output = self.hosts.run(instance, script).await?;
            if script.task == HostTask::Survey
                && let Ok(HostAnswer::Report(mut report)) = serde_json::from_str(&output.stdout)
            {
                report.view = None;
                output.stdout = serde_json::to_string(&HostAnswer::Report(report)).expect("an answer");
            }
            return Ok(output);
        };
        first.task = HostTask::View { part: 0 };
        let mut output = self.hosts.run(instance, &first).await?;
        let mut asked = self.asked.lock().expect("no test panics while it asks");
        let count = asked.entry(instance.clone()).or_default();
        *count += 1;
        if let Ok(HostAnswer::Part { text, mut total_chars }) = serde_json::from_str(&output.stdout) {
            if part > 0 && *count <= 2 * self.torn {
                total_chars += 1;
            }
            let from = text.len().min(part as usize * Self::PART_CHARS);
            let text = text[from..text.len().min(from + Self::PART_CHARS)].to_owned();
            output.stdout = serde_json::to_string(&HostAnswer::Part { text, total_chars }).expect("an answer");
        }
        Ok(output)
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_too_long_for_a_survey_is_asked_for_in_parts_and_once_more_if_it_changed_meanwhile() {
    let mut stage = Stage::new(Scene::new(3, 5));
    let views = |survey: Survey| -> Vec<_> {
        let hosts = survey.members.into_iter().map(|member| member.host.expect("it was looked at"));
        hosts.map(|host| (host.view, host.view_error)).collect()
    };
    let whole = views(stage.survey().await);
    assert!(whole.iter().all(|(view, error)| view.is_some() && error.is_none()));
    for torn in [0, 1] {
        let long = LongViews::of(&stage, torn);
        stage.hosts = Some(Arc::clone(&long) as Arc<_>);
        assert_eq!(views(stage.survey().await), whole, "{torn} torn");
        assert!(long.least() > 2 * (torn + 1), "{torn} torn");
    }
    stage.hosts = Some(LongViews::of(&stage, 2));
    let told = views(stage.survey().await);
    assert!(
        told.iter().all(|(view, error)| view.is_none() && error.as_ref().is_some_and(|e| e.contains("fit together")))
    );
}

#[tokio::test(start_paused = true)]
async fn members_with_long_views_are_moved_and_taken_back() {
    let mut stage = Stage::new(Scene::new(3, 5));
    let long = LongViews::of(&stage, 1);
    stage.hosts = Some(Arc::clone(&long) as Arc<_>);
    let plan = stage.plan().await;
    let planned = long.least();
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let moved = long.least();
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert!(planned < moved && moved < long.least(), "{planned} {moved} {}", long.least());
    assert_eq!(checks::legacy_serving(&stage.world), 3);
}
