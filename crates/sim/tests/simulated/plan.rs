//! What a plan says of where members land and on what, from worlds.

use std::collections::BTreeMap;

use crate::common::{End, Stage};
use rehome_engine::{Command, EngineError};
use rehome_model::finding::Severity;
use rehome_model::migration::{ClaimPattern, Limits, SetSlots, Slots};
use rehome_model::on_host::Owner;
use rehome_model::plan::Plan;
use rehome_model::record::{Phase, StepState};
use rehome_planner::PlanError;
use rehome_sim::kubernetes::Key;
use rehome_sim::{Kill, Scene, checks};
use serde_json::json;

/// The plan for these slots, and the names of the members' instances.
async fn placed(slots: impl Fn(&[String]) -> Slots) -> Result<Vec<(String, u32)>, PlanError> {
    let mut stage = Stage::new(Scene::new(3, 40));
    let survey = stage.survey().await;
    let instances: Vec<String> = survey.members.iter().map(|member| member.instance.id.to_string()).collect();
    stage.migration.spec.target.slots = slots(&instances);
    let plan = rehome_planner::plan(&stage.migration, &survey, stage.profile(), Vec::new())?;
    Ok(plan.members.iter().map(|member| (member.name.to_string(), member.slot.ordinal)).collect())
}

fn set(name: &str, ordinals: &[(&str, u32)]) -> SetSlots {
    let ordinals = ordinals.iter().map(|(member, ordinal)| ((*member).to_owned(), *ordinal)).collect();
    SetSlots { name: name.to_owned(), claims: BTreeMap::new(), ordinals, container: None }
}

fn one(ordinals: &[(&str, u32)]) -> Slots {
    Slots::StatefulSets(vec![set("refdb", ordinals)])
}

#[tokio::test(start_paused = true)]
async fn members_land_where_the_migration_says_by_name_or_instance_and_the_others_on_what_is_left() {
    let places = |found: &[(&str, u32)]| -> Vec<(String, u32)> {
        found.iter().map(|(member, ordinal)| ((*member).to_owned(), *ordinal)).collect()
    };
    assert_eq!(placed(|_| one(&[])).await, Ok(places(&[("refdb-0", 0), ("refdb-1", 1), ("refdb-2", 2)])));
    let by_name = placed(|_| one(&[("refdb-0", 2)])).await;
    assert_eq!(by_name, Ok(places(&[("refdb-1", 0), ("refdb-2", 1), ("refdb-0", 2)])));
    let by_instance = placed(|instances| one(&[(&instances[1], 0)])).await;
    assert_eq!(by_instance, Ok(places(&[("refdb-1", 0), ("refdb-0", 1), ("refdb-2", 2)])));
}

#[tokio::test(start_paused = true)]
async fn members_on_several_sets_are_in_the_order_of_the_sets_as_the_migration_has_them() {
    let stage = Stage::new(Scene::new(4, 40));
    let survey = stage.survey().await;
    let sets = vec![set("z", &[("refdb-3", 0), ("refdb-0", 1)]), set("a", &[("refdb-2", 0), ("refdb-1", 1)])];
    let placed = rehome_planner::place(&Slots::StatefulSets(sets), &survey).expect("placed");
    let placed: Vec<(&str, &str, u32)> =
        placed.iter().map(|on| (on.member.as_str(), on.set.as_str(), on.ordinal)).collect();
    assert_eq!(placed, [("refdb-3", "z", 0), ("refdb-0", "z", 1), ("refdb-2", "a", 0), ("refdb-1", "a", 1)]);
}

#[tokio::test(start_paused = true)]
async fn slots_that_do_not_fit_the_members_are_refused_with_the_names() {
    let twice = placed(|_| one(&[("refdb-0", 1), ("refdb-2", 1)])).await.expect_err("refused");
    assert_eq!(twice.to_string(), "members refdb-0 and refdb-2 are both given ordinal 1 of refdb");
    let unknown = placed(|_| one(&[("refdb-7", 1)])).await.expect_err("refused").to_string();
    assert!(unknown.contains("refdb-7, which is no member (members: refdb-0, refdb-1, refdb-2)"), "{unknown}");
    let two_sets = |_: &[String]| Slots::StatefulSets(vec![set("refdb", &[("refdb-0", 0)]), set("other", &[])]);
    let no_slot = placed(two_sets).await.expect_err("refused");
    assert!(matches!(&no_slot, PlanError::NoSlot(member) if member.as_str() == "refdb-1"), "{no_slot}");
    let pattern =
        ClaimPattern { pattern: "{role}-{ordinal}".to_owned(), storage_class: "gp3".to_owned(), first_ordinal: 0 };
    assert_eq!(placed(|_| Slots::Claims(pattern.clone())).await, Err(PlanError::ClaimPattern));
}

#[tokio::test(start_paused = true)]
async fn ordinals_with_a_gap_or_below_the_first_and_a_member_in_two_sets_are_refused() {
    let refused = async |first: u32, slots: Slots| {
        let mut scene = Scene::new(3, 40);
        scene.set()["spec"]["ordinals"] = json!({"start": first});
        let mut stage = Stage::new(scene);
        stage.migration.spec.target.slots = slots;
        let survey = stage.survey().await;
        rehome_planner::plan(&stage.migration, &survey, stage.profile(), Vec::new())
            .err()
            .map(|error| error.to_string())
    };
    let all = |from: u32| one(&[("refdb-0", from), ("refdb-1", from + 1), ("refdb-2", from + 2)]);
    assert_eq!(refused(1, all(1)).await, None);
    assert_eq!(refused(1, one(&[])).await, None);
    let above = refused(0, all(1)).await.expect("pod 0 would be blank");
    assert!(above.starts_with("members land on ordinals 1, 2, 3 of refdb, whose pods begin at 0"), "{above}");
    let below = refused(2, all(1)).await.expect("no pod has ordinal 1");
    assert!(below.starts_with("members land on ordinals 1, 2, 3 of refdb, whose pods begin at 2"), "{below}");
    let gap = refused(0, one(&[("refdb-1", 3)])).await.expect("pod 2 would be blank");
    assert!(gap.starts_with("members land on ordinals 0, 1, 3 of refdb"), "{gap}");
    let last = refused(0, one(&[("refdb-1", u32::MAX)])).await.expect("far away");
    assert!(last.contains("4294967295"), "{last}");
    let both = Slots::StatefulSets(vec![set("refdb", &[("refdb-0", 0), ("refdb-1", 1)]), set("b", &[("refdb-1", 0)])]);
    assert_eq!(
        refused(0, both).await.as_deref(),
        Some("member refdb-1 is given ordinal 1 of refdb and ordinal 0 of b")
    );
}

async fn plan_of(change: impl Fn(&mut Scene)) -> Plan {
    let mut scene = Scene::new(2, 41);
    change(&mut scene);
    Stage::new(scene).plan().await
}

#[tokio::test(start_paused = true)]
async fn a_claim_has_the_labels_and_the_class_that_the_sets_controller_would_give_it() {
    let plan = plan_of(|scene| {
        let set = scene.set();
        set["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"] = json!({"tier": "data"});
        let spec = set["spec"]["volumeClaimTemplates"][0]["spec"].as_object_mut().expect("a spec");
        spec.remove("storageClassName");
        let other = json!({"metadata": {}, "provisioner": "ebs.csi.aws.com"});
        // Before the default one in any list, and not it.
        scene.objects.insert(Key::new("storageclasses", "", "aaa"), other);
        let class = scene.objects.get_mut(&Key::new("storageclasses", "", "gp3")).expect("the scene's class");
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] = json!("true");
    })
    .await;
    for member in &plan.members {
        let claim = &member.volumes[0].claim;
        assert_eq!(claim.storage_class, "gp3");
        let labels = serde_json::to_value(&claim.labels).expect("labels");
        assert_eq!((&labels["tier"], &labels["app"]), (&json!("data"), &json!("refdb")), "{labels}");
    }
    let named = plan_of(|scene| {
        scene.set()["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] = json!("io2");
    })
    .await;
    assert_eq!(named.members[0].volumes[0].claim.storage_class, "io2");
}

#[tokio::test(start_paused = true)]
async fn the_way_back_knows_whose_files_lie_below_the_mount_point_and_its_line_in_fstab() {
    let own = |uid: u32| Owner { uid, gid: uid };
    let on_host = |plan: &Plan| plan.members[0].volumes[0].on_host.clone().expect("seen");
    let usual = on_host(&plan_of(|scene| scene.host.fstab = Some("/dev/xvdf".to_owned())).await);
    assert_eq!(usual.fstab.as_deref(), Some("/dev/xvdf"));
    assert_eq!((usual.top, usual.files), (own(999), Some(own(999))));
    let mixed = on_host(
        &plan_of(|scene| {
            scene.host.mixed_owners = true;
            scene.host.fstab = None;
        })
        .await,
    );
    assert_eq!((mixed.fstab, mixed.top, mixed.files), (None, own(999), None), "several owners: nobody's");
}

#[tokio::test(start_paused = true)]
async fn an_error_among_the_findings_is_no_plan_and_the_others_stand_in_it() {
    let mut scene = Scene::new(3, 42);
    scene.host.uid = 112;
    let stage = Stage::new(scene);
    let survey = stage.survey().await;
    let found = rehome_lint::lint(&stage.migration, &survey, stage.profile());
    let (errors, others): (Vec<_>, Vec<_>) = found.iter().cloned().partition(|f| f.severity == Severity::Error);
    assert!(!errors.is_empty() && !others.is_empty(), "{found:?}");
    let refused = rehome_planner::plan(&stage.migration, &survey, stage.profile(), found);
    assert_eq!(refused.expect_err("refused"), PlanError::Findings(errors));
    let plan = rehome_planner::plan(&stage.migration, &survey, stage.profile(), others.clone()).expect("a plan");
    assert_eq!(plan.findings, others);
}

#[tokio::test(start_paused = true)]
async fn what_is_rendered_is_what_the_run_creates() {
    let mut stage = Stage::new(Scene::with_commitlogs(2, 41));
    let yaml = rehome_sim::migration_yaml_with_commitlogs();
    stage.migration = serde_saphyr::from_str(&yaml).expect("the migration is valid");
    let plan = stage.plan().await;
    let rendered = rehome_planner::manifests::all(&plan, &"run".into());
    let of_kind = |kind: &str| {
        let of = rendered.iter().filter(|object| object["kind"] == kind);
        of.map(|object| object["metadata"]["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let volumes = || plan.members.iter().flat_map(|member| member.volumes.iter());
    assert_eq!(rendered.len(), 2 * volumes().count() + 1);
    assert_eq!(of_kind("PersistentVolumeClaim"), volumes().map(|v| v.claim.name.clone()).collect::<Vec<_>>());
    assert_eq!(of_kind("PersistentVolume"), volumes().map(|v| v.claim.volume_name.clone()).collect::<Vec<_>>());
    assert_eq!(of_kind("ConfigMap"), ["rehome-gate-refdb"]);
    let handles: Vec<&serde_json::Value> = rendered
        .iter()
        .map(|object| &object["spec"]["csi"]["volumeHandle"])
        .filter(|handle| !handle.is_null())
        .collect();
    assert!(handles.iter().all(|handle| **handle == "(known after apply)"), "{handles:?}");
}

#[tokio::test(start_paused = true)]
async fn each_limit_of_the_migration_is_its_steps_deadline() {
    let deadlines = async |limits: Limits| {
        let mut stage = Stage::new(Scene::new(2, 40));
        stage.migration.spec.limits = limits;
        let plan = stage.plan().await;
        let of = |step: &str| plan.step(&step.into()).unwrap_or_else(|| panic!("no step {step}")).deadline_s;
        [
            "await-base-snapshot:refdb-1",
            "await-final-snapshot:refdb-1",
            "stop-service:refdb-1",
            "pods-run",
            "verify-closed",
        ]
        .map(of)
    };
    let seconds = |seconds: u32| serde_json::from_value(json!(seconds)).expect("a limit");
    let given = Limits {
        base_snapshot_seconds: seconds(1_001),
        final_snapshot_seconds: seconds(1_002),
        stop_seconds: seconds(1_003),
        pods_seconds: seconds(1_004),
        member_up_seconds: seconds(1_005),
        api_share_percent: None,
    };
    assert_eq!(deadlines(given).await, [1_001, 1_002, 1_003, 1_004, 1_005]);
    let [base, last, _, pods, _] = deadlines(Limits::default()).await;
    assert_eq!((base, last, pods), (24 * 3_600, 2 * 3_600, 30 * 60));
}

#[tokio::test(start_paused = true)]
async fn the_downtime_of_many_members_has_the_lines_at_ec2_in_it() {
    let downtime = async |members| Stage::new(Scene::new(members, 62)).plan().await.estimate;
    let (few, many) = (downtime(3).await, downtime(140).await);
    // 60 beyond the burst of two of the calls, 100 beyond that of the third, at 4 a second.
    assert_eq!((many.downtime_s.0 - few.downtime_s.0, many.downtime_s.1 - few.downtime_s.1), (25, 15 + 15 + 25));
    let assumed = |estimate: &rehome_model::plan::Estimate| {
        estimate.assumptions.iter().any(|line| line.contains("140 CreateSnapshots"))
    };
    assert!(assumed(&many) && !assumed(&few));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_to_stop_before_its_cutover_has_stopped_nobody_and_goes_on_when_told() {
    let stage = Stage::new(Scene::new(3, 61));
    let plan = Box::new(stage.plan().await);
    for _ in 0..2 {
        let outcome = stage.drive(Command::Prepare(plan.clone())).await.outcome();
        assert_eq!((outcome.phase, outcome.interrupted, outcome.failure), (Phase::Preparing, false, None));
        let done = outcome.record.steps;
        assert!(done.values().all(|step| step.state == StepState::Done));
        for wanted in [
            "park-claim:refdb-2:data",
            "protect-instance:refdb-2",
            "await-base-snapshot:refdb-2",
            "base-snapshots-completed",
        ] {
            assert!(done.contains_key(&wanted.into()), "{wanted}");
        }
        assert!(!done.keys().any(|id| id.as_str().starts_with("flush") || id.as_str() == "legacy-whole"), "{done:?}");
        assert_eq!(checks::legacy_serving(&stage.world), 3);
        tokio::time::sleep(std::time::Duration::from_secs(8 * 3_600)).await;
    }
    stage.control.arm(40, Kill::After);
    assert!(matches!(stage.drive(Command::Apply(plan.clone())).await, End::Killed));
    stage.control.disarm();
    tokio::time::sleep(rehome_engine::LEASE).await;
    let refused = stage.drive(Command::Prepare(plan.clone())).await;
    assert!(matches!(refused, End::Refused(EngineError::CutoverBegun { .. })), "it was not refused");
    let end = stage.drive(Command::Apply(plan)).await;
    assert_eq!(end.outcome().phase, Phase::Completed);
    assert_eq!(checks::lost_writes(&stage.world), Vec::<String>::new());

    let stage = Stage::new(Scene::new(3, 61));
    let plan = Box::new(stage.plan().await);
    assert_eq!(stage.drive(Command::Prepare(plan)).await.outcome().phase, Phase::Preparing);
    assert_eq!(stage.drive(Command::RollbackDiscardWrites).await.outcome().phase, Phase::RolledBack);
    assert_eq!(checks::legacy_serving(&stage.world), 3);
}
