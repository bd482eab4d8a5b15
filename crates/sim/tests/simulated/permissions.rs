//! What the survey asks of the caller's permissions in the cloud, and what it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::common::Stage;
use crate::finalize::choice;
use rehome_ec2_emulator::core::{Effect, Rule};
use rehome_engine::Command;
use rehome_lint::lint;
use rehome_model::cloud::{InstanceState, Tags, Volume};
use rehome_model::finding::Severity;
use rehome_model::ids::InstanceId;
use rehome_model::labels;
use rehome_model::record::Phase;
use rehome_ports::{HostScript, Hosts, ScriptError, ScriptOutput};
use rehome_sim::{Call, Gate, Port, Ruling, Scene, SimPorts, World};

/// Dry runs so far, by action.
fn dry_runs(stage: &Stage) -> BTreeMap<String, u64> {
    stage.world.ec2().with(|inner, _| inner.core.dry_runs.clone())
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_guards_what_does_not_move_and_what_no_run_made_blocks_no_plan() {
    let stage = Stage::new(Scene::new(3, 11));
    stage.world.ec2().with(|inner, now| {
        let root = |device: &&rehome_model::cloud::InstanceBlockDevice| device.device != "/dev/xvdf";
        let roots = inner.core.instances.values().flat_map(|record| record.block_devices.iter().filter(root));
        let mut rules: Vec<Rule> = roots
            .map(|device| Rule {
                action: "*Volume".to_owned(),
                resource: Some(device.volume.to_string()),
                ..Rule::of("DetachVolume", Effect::Deny)
            })
            .collect();
        assert!(!rules.is_empty());
        rules.push(Rule { resource: Some("vol-*".to_owned()), ..Rule::of("DeleteVolume", Effect::Deny) });
        rules.push(Rule::of("DeleteSnapshot", Effect::Deny));
        inner.core.faults.set(now, rules).expect("valid rules");
    });
    let survey = stage.survey().await;
    let found = lint(&stage.migration, &survey, stage.profile());
    let errors: Vec<_> = found.iter().filter(|finding| finding.severity != Severity::Info).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let told: Vec<&str> =
        found.iter().filter(|finding| finding.code.as_str() == "RH0706").map(|f| f.subject.as_str()).collect();
    assert_eq!(told, ["permission ec2:DeleteSnapshot", "permission ec2:DeleteVolume"]);
}

#[tokio::test(start_paused = true)]
async fn reads_that_only_a_run_makes_are_asked_about() {
    for action in ["DescribeSnapshots", "DescribeInstanceAttribute"] {
        let mut scene = Scene::new(3, 11);
        scene.ec2.denied.insert(action.to_owned());
        let stage = Stage::new(scene);
        let survey = stage.survey().await;
        let found = lint(&stage.migration, &survey, stage.profile());
        let subject = format!("permission ec2:{action}");
        assert!(found.iter().any(|f| f.code.as_str() == "RH0705" && f.subject == subject), "{found:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_members_take_as_many_dry_runs_as_few() {
    let mut counts = Vec::new();
    for members in [3, 9] {
        let stage = Stage::new(Scene::new(members, 11));
        stage.survey().await;
        counts.push(dry_runs(&stage));
    }
    assert_eq!(counts[0], counts[1]);
    // Each action once, but each attribute that a run changes by itself, and the tags of instances and volumes.
    let expected = |action: &str| match action {
        "ModifyInstanceAttribute" => 3,
        "CreateTags" => 2,
        _ => 1,
    };
    assert!(counts[0].iter().all(|(action, count)| *count == expected(action)), "{counts:?}");
}

fn keys<'a>(tags: impl Iterator<Item = &'a Tags>) -> BTreeSet<&'a str> {
    tags.flat_map(|tags| tags.keys().map(String::as_str)).collect()
}

/// A policy may demand a tag, or allow no other.
#[tokio::test(start_paused = true)]
async fn permissions_are_asked_about_with_the_tags_that_a_run_gives() {
    let mut stage = Stage::new(Scene::new(3, 11));
    let (key, value) = ("eks:eks-cluster-name", "prod");
    stage.migration.spec.tags.insert(key.to_owned(), value.to_owned());
    let survey = stage.survey().await;
    let volumes: Vec<Volume> = survey.volumes.values().cloned().collect();
    let intended = rehome_survey::intended(&stage.migration, &survey.members, &volumes).expect("something is intended");
    let plan = stage.plan().await;
    stage.apply(&plan).await.outcome();
    let (made, taken): (Vec<Tags>, Vec<Tags>) = stage.world.ec2().with(|inner, _| {
        let made = inner.core.volumes.values().map(|volume| volume.tags.clone());
        let ours = |tags: &Tags| tags.contains_key(rehome_model::labels::MIGRATION);
        (
            made.filter(ours).collect(),
            inner.core.snapshots.values().map(|snapshot| snapshot.tags.clone()).filter(ours).collect(),
        )
    });
    assert!(!made.is_empty() && !taken.is_empty());
    assert_eq!(keys(std::iter::once(&intended.volume_tags)), keys(made.iter()));
    assert_eq!(keys(std::iter::once(&intended.capture.tags)), keys(taken.iter()));
    let migration = |tags: &Tags| tags.get(rehome_model::labels::MIGRATION).cloned();
    assert_eq!(migration(&intended.volume_tags), migration(&made[0]));
    // The user's own are on all of it.
    let has = |tags: &Tags| tags.get(key).map(String::as_str) == Some(value);
    assert!([&intended.volume_tags, &intended.capture.tags].into_iter().chain(&made).chain(&taken).all(has));
}

/// Hosts that note whom they were asked for.
struct Noting {
    hosts: std::sync::Arc<dyn Hosts>,
    asked: Mutex<Vec<InstanceId>>,
}

#[async_trait::async_trait]
impl Hosts for Noting {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        self.asked.lock().expect("no test panics while it asks").push(instance.clone());
        self.hosts.run(instance, script).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_comparison_with_a_plans_facts_makes_no_dry_run_and_asks_no_stopped_host() {
    let stage = Stage::new(Scene::new(3, 11));
    let stopped = stage.world.ec2().with(|inner, _| {
        let member = |record: &rehome_ec2_emulator::core::InstanceRecord| record.tags.contains_key("cluster");
        let (id, record) = inner.core.instances.iter_mut().find(|(_, record)| member(record)).expect("a member");
        record.state = InstanceState::Stopped;
        id.clone()
    });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let hosts = Noting { hosts: stage.ports.hosts(), asked: Mutex::default() };
    let (cloud, kube, now_ms) = (stage.ports.cloud(), stage.ports.kube(), stage.world.ec2().now());
    let ports = rehome_survey::Ports { cloud: cloud.as_ref(), hosts: &hosts, kube: &kube, now_ms };
    let members = stage.world.ec2().with(|inner, _| {
        let all = inner.core.instances.iter().filter(|(_, record)| record.tags.contains_key("cluster"));
        all.map(|(id, _)| id.clone()).collect::<Vec<_>>()
    });
    let survey = rehome_survey::survey_of_facts(&ports, &stage.migration, stage.profile(), Some(&members))
        .await
        .expect("a survey of facts");
    assert_eq!(dry_runs(&stage), BTreeMap::new());
    let asked = hosts.asked.lock().expect("as above");
    assert_eq!((asked.len(), asked.contains(&stopped)), (2, false));
    let unseen: Vec<_> = survey.members.iter().filter_map(|member| member.host_error.as_deref()).collect();
    assert_eq!(unseen, ["the instance is stopped"]);
}

/// Notes which tags are given to what was there before: to what a run made, and to all else.
struct Tagging {
    world: World,
    known: Mutex<BTreeMap<String, Tags>>,
    made: Mutex<BTreeSet<String>>,
    others: Mutex<BTreeSet<String>>,
}

impl Tagging {
    fn tags(&self) -> BTreeMap<String, Tags> {
        self.world.ec2().with(|inner, _| {
            let volumes = inner.core.volumes.iter().map(|(id, volume)| (id.to_string(), volume.tags.clone()));
            let snapshots = inner.core.snapshots.iter().map(|(id, snapshot)| (id.to_string(), snapshot.tags.clone()));
            volumes.chain(snapshots).collect()
        })
    }

    fn noted(keys: &Mutex<BTreeSet<String>>) -> BTreeSet<String> {
        keys.lock().expect("no test panics while it notes").clone()
    }
}

impl Gate for Tagging {
    fn before(&self, _: &Call<'_>) -> (u64, Ruling) {
        (0, Ruling::Go)
    }

    fn after(&self, _: u64, call: &Call<'_>) -> Ruling {
        if call.port == Port::Cloud && call.mutates {
            let mut known = self.known.lock().expect("no test panics while it notes");
            for (id, now) in self.tags() {
                // What is new has those that came with it.
                let had = known.insert(id, now.clone()).unwrap_or_else(|| now.clone());
                let by = if had.contains_key(labels::MIGRATION) { &self.made } else { &self.others };
                let new = now.into_iter().filter(|(key, value)| had.get(key) != Some(value));
                by.lock().expect("no test panics while it notes").extend(new.map(|(key, _)| key));
            }
        }
        Ruling::Go
    }
}

/// `rehome iam` allows these keys and no others, for the tag that a deletion needs must not come to what no run made.
#[tokio::test(start_paused = true)]
async fn what_was_there_before_gets_the_tags_that_the_policy_allows_and_no_others() {
    let (mut made, mut others) = (BTreeSet::new(), BTreeSet::new());
    for keeps_writes in [true, false] {
        let mut stage = Stage::new(Scene::with_commitlogs(2, 41));
        stage.migration = serde_saphyr::from_str(&rehome_sim::migration_yaml_with_commitlogs()).expect("valid");
        let plan = stage.plan().await;
        let tagging = std::sync::Arc::new(Tagging {
            world: stage.world.clone(),
            known: Mutex::default(),
            made: Mutex::default(),
            others: Mutex::default(),
        });
        stage.ports = SimPorts::behind(&stage.world, std::sync::Arc::clone(&tagging) as _);
        assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
        let (then, end) = if keeps_writes {
            (Command::RollbackKeepWrites, Phase::Returned)
        } else {
            (Command::Finalize(choice(&stage, false)), Phase::Finalized)
        };
        assert_eq!(stage.drive(then).await.outcome().phase, end);
        made.extend(Tagging::noted(&tagging.made));
        others.extend(Tagging::noted(&tagging.others));
    }
    assert_eq!(made, labels::LATER_ON_MADE.map(str::to_owned).into());
    assert_eq!(others, labels::ON_ORIGINALS.map(str::to_owned).into());
}
