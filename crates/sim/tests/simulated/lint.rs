//! Every check is triggered by a world: emulator and simulated cluster, surveyed, linted. Never by a hand-made survey.

use std::collections::BTreeSet;

use crate::common::Stage;
use crate::lint_cases::{
    Case, add_env, another_node, cases, change_instance, claim_name, container, encrypt_root, encrypted,
    encrypts_by_default, first_member, keeps, migration, newer_xfs, object, on_linux, rename, scene, world,
};
use crate::lint_cases_set;
use rehome_lint::{checks, lint};
use rehome_model::cloud::InstanceState;
use rehome_model::finding::{Finding, Severity};
use rehome_model::migration::{MemberSelector, Slots};
use rehome_sim::Scene;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_member_whose_name_is_no_label_is_called_by_its_instance_id() {
    let stage = Stage::new(Scene::new(3, 11));
    rename(&stage, "refdb-1", "ref db");
    let survey = stage.survey().await;
    let names: Vec<(&str, &str)> = survey.members.iter().map(|m| (m.name.as_str(), m.instance.id.as_str())).collect();
    let by_id = names.iter().filter(|(name, id)| name == id).count();
    assert_eq!((names.len(), by_id), (3, 1), "{names:?}");
}

async fn findings(case: &Case) -> Vec<Finding> {
    let mut scene = Scene::new(3, 11);
    (case.scene)(&mut scene);
    let mut stage = Stage::new(scene);
    (case.world)(&stage);
    (case.migration)(&mut stage.migration);
    // Long enough for whatever was changed to show: a stopped process, a pod that is not placed.
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let survey = stage.survey().await;
    lint(&stage.migration, &survey, stage.profile())
}

#[tokio::test(start_paused = true)]
async fn every_check_is_triggered_by_a_world_and_says_what_it_saw() {
    let mut triggered = BTreeSet::new();
    let small = scene("RH0207", |s| {
        "gp2".clone_into(&mut s.volume.volume_type);
        s.volume.size_gib = 33;
    });
    for case in cases().into_iter().chain(lint_cases_set::cases()).chain([small]) {
        let found = findings(&case).await;
        let codes: Vec<&str> = found.iter().map(|finding| finding.code.as_str()).collect();
        assert!(codes.contains(&case.code), "{} is not among {codes:?}", case.code);
        triggered.insert(case.code);
    }
    let all: BTreeSet<&str> = checks().map(|check| check.code).collect();
    assert_eq!(triggered, all, "checks that no world triggers");
}

#[tokio::test(start_paused = true)]
async fn a_healthy_world_has_no_errors_and_no_warnings() {
    let found = findings(&scene("none", |_| ())).await;
    let bad: Vec<&Finding> = found.iter().filter(|finding| finding.severity != Severity::Info).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Worlds on the good side of a check's border, or beside what it looks for.
fn borders() -> Vec<Case> {
    vec![
        // As much room as is needed, and no more.
        world("RH0303", |stage| {
            stage
                .world
                .change_objects("csinodes", |node| node["spec"]["drivers"][0]["allocatable"]["count"] = json!(1));
        }),
        // What is no EC2 instance says nothing of its account.
        scene("RH0306", |s| another_node(s, "lab://node-9")),
        Case { code: "RH0307", scene: newer_xfs, world: |stage| on_linux(stage, "5.19.0-1029-aws"), migration: |_| () },
        // What nobody tells.
        world("RH0307", |stage| on_linux(stage, "")),
        Case {
            code: "RH0307",
            scene: |s| s.host.xfs_features = vec!["crc".to_owned(), "of-tomorrow".to_owned()],
            world: |stage| on_linux(stage, "4.18.0-553.el8_10.x86_64"),
            migration: |_| (),
        },
        scene("RH0306", |s| another_node(s, "aws:///us-east-1a/0123456789-abc/fargate-ip-10-0-1-2.ec2.internal")),
        world("RH0305", |stage| {
            stage.world.change_objects("nodes", |node| node["spec"]["providerID"] = json!("lab:///us-east-1a/i-0f"));
        }),
        // One that takes no pods counts for nothing.
        scene("RH0306", |s| {
            another_node(s, "aws:///us-east-1a/i-0f");
            object(s, "nodes", "", "another")["spec"]["unschedulable"] = json!(true);
        }),
        migration("RH0406", |m| {
            "ebs.csi.eks.amazonaws.com".clone_into(&mut m.spec.target.csi_driver);
            m.spec.tags.insert("eks:eks-cluster-name".to_owned(), "prod".to_owned());
        }),
        scene("RH0209", |s| s.host.free_percent = 5),
        world("RH0701", |stage| stage.world.set_version("v1.27.0")),
        // The root volumes still go with their instances.
        world("RH0208", |stage| {
            stage.world.ec2().with(|inner, _| {
                let devices = inner.core.instances.values_mut().flat_map(|record| &mut record.block_devices);
                for device in devices.filter(|device| device.device == "/dev/xvdf") {
                    device.delete_on_termination = false;
                }
            });
        }),
        scene("RH0207", |s| {
            "gp2".clone_into(&mut s.volume.volume_type);
            s.volume.size_gib = 34;
        }),
        // Both directories on volumes that move; a mount beside them; what is made anew may stay behind.
        Case {
            code: "RH0212",
            scene: |s| *s = Scene::with_commitlogs(3, 11),
            world: |_| (),
            migration: |m| {
                *m = serde_saphyr::from_str(&rehome_sim::migration_yaml_with_commitlogs()).expect("valid");
            },
        },
        // One volume, mounted twice, each time where the pods look.
        scene("RH0611", |s| {
            container(s)["volumeMounts"] = json!([
                {"name": "data", "mountPath": "/var/lib/refdb/data", "subPath": "data"},
                {"name": "data", "mountPath": "/var/lib/refdb/log", "subPath": "log"},
            ]);
        }),
        scene("RH0612", |s| container(s)["command"] = json!(["sh", "-c", "refdb"])),
        scene("RH0614", |s| container(s)["livenessProbe"] = json!({"tcpSocket": {"port": 7000}})),
        scene("RH0119", |s| s.host.known_as = Some("100.64.3.2".to_owned())),
        scene("RH0616", |s| s.host.passwords = rehome_model::host::UNKNOWN),
        world("RH0122", |stage| change_instance(stage, |record| record.lifecycle = Some("scheduled".to_owned()))),
        scene("RH0617", |s| container(s)["command"] = json!(["sh", "-c", "refdb"])),
        scene("RH0212", |s| s.host.other_mounts = vec!["/var/lib/refdb/data-of-others".to_owned()]),
        scene("RH0212", |s| keeps(s, "caches", Some("/d2"))),
        // Beside the mount point and not in it; another volume that moves, mounted inside.
        scene("RH0219", |s| s.host.other_mounts = vec!["/var/lib/refdb2".to_owned(), "/var/lib".to_owned()]),
        Case {
            code: "RH0219",
            scene: |s| s.host.other_mounts = vec!["/var/lib/refdb/logs".to_owned()],
            world: |_| (),
            migration: |m| {
                let mut second = m.spec.source.volumes[0].clone();
                second.role = "logs".into();
                "/var/lib/refdb/logs".clone_into(&mut second.mount_path);
                m.spec.source.volumes.push(second);
            },
        },
        // Root's own mount point, with files of the pods' uid in it.
        scene("RH0512", |s| s.host.top_uid = Some(0)),
        // One that does not answer is told of by itself.
        scene("RH0123", |s| (s.host.closed, s.host.answers) = (true, false)),
        // A part of the unit's control group, and the unit in another hierarchy's place.
        scene("RH0221", |s| s.host.ephemeral = Some("defaults,nofail".to_owned())),
        scene("RH0221", |s| s.host.ephemeral = Some("noauto".to_owned())),
        scene("RH0221", |s| s.host.ephemeral = Some("defaults,x-systemd.automount".to_owned())),
        scene("RH0118", |s| s.host.control_group = Some("/a/system.slice/refdb.service/b".to_owned())),
        scene("RH0214", |s| keeps(s, "caches", None)),
        scene("RH0214", |s| keeps(s, "hints", None)),
        scene("RH0216", |s| s.host.fstab = Some("LABEL=refdb".to_owned())),
        scene("RH0218", |s| s.host.fstab = Some("LABEL=refdb".to_owned())),
        // The new volume is attached there, too.
        scene("RH0218", |s| s.host.fstab = Some("/dev/xvdf".to_owned())),
        // An error of its own.
        scene("RH0218", |s| s.host.fstab = None),
        scene("RH0619", |s| container(s)["image"] = json!("registry:5000/refdb:1.0-bookworm@sha256:0123")),
        scene("RH0619", |s| container(s)["image"] = json!("refdb:0.9")),
        // The key that AWS manages, where it is named so.
        scene("RH0217", |s| encrypted(s, "arn:aws:kms:us-east-1:123456789012:alias/aws/ebs")),
        scene("RH0217", |s| encrypts_by_default(s, None)),
        // What is encrypted keeps its key.
        scene("RH0223", |s| {
            encrypted(s, "arn:aws:kms:us-east-1:123456789012:key/own");
            s.ec2.denied.insert("GetEbsEncryptionByDefault".to_owned());
        }),
        scene("RH0223", |s| encrypts_by_default(s, Some("arn:aws:kms:us-east-1:123456789012:key/default"))),
        // A name given at the attach is the kernel's own on a Xen machine.
        Case {
            code: "RH0216",
            scene: |s| s.host.fstab = Some("/dev/xvdf".to_owned()),
            world: |stage| {
                stage.world.ec2().with(|inner, _| {
                    let all = inner.core.instances.values_mut();
                    all.for_each(|record| "m4.large".clone_into(&mut record.instance_type));
                });
            },
            migration: |_| (),
        },
        // A volume of somebody else's, of another name.
        scene("RH0402", |s| object(s, "persistentvolumes", "", "other")["spec"]["capacity"]["storage"] = json!("1Gi")),
        scene("RH0403", |s| {
            let csi = json!({"driver": "ebs.csi.aws.com", "volumeHandle": "vol-0"});
            object(s, "persistentvolumes", "", "other")["spec"] = json!({"csi": csi, "capacity": {"storage": "1Gi"}});
        }),
        // A rack for each zone: only the pods know theirs.
        scene("RH0603", |s| {
            add_env(s, json!({"name": "ZONE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['zone']"}}}));
            add_env(s, json!({"name": "REFDB_RACK", "value": "$(ZONE)"}));
        }),
        // The container that is named is not the first one.
        Case {
            code: "RH0601",
            scene: |s| {
                let containers = &mut s.set()["spec"]["template"]["spec"]["containers"];
                let mut sidecar = containers[0].clone();
                sidecar["name"] = json!("sidecar");
                sidecar["env"][0]["value"] = json!("other");
                containers.as_array_mut().expect("a list").insert(0, sidecar);
            },
            world: |_| (),
            migration: |m| {
                if let Slots::StatefulSets(sets) = &mut m.spec.target.slots {
                    sets[0].container = Some("refdb".to_owned());
                }
            },
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn a_check_finds_nothing_on_the_good_side_of_its_border() {
    for case in borders().into_iter().chain(lint_cases_set::borders()) {
        let found = findings(&case).await;
        let told: Vec<&Finding> = found.iter().filter(|finding| finding.code.as_str() == case.code).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}

/// The only finding of a code.
async fn the_finding(case: &Case) -> Finding {
    let found = findings(case).await;
    let mut told = found.into_iter().filter(|finding| finding.code.as_str() == case.code);
    let first = told.next().expect("it is found");
    assert_eq!(told.next(), None, "{first:?}");
    first
}

#[tokio::test(start_paused = true)]
async fn a_zone_without_nodes_is_told_from_those_with_nodes() {
    let cordoned = |node: &mut serde_json::Value| {
        if node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "us-east-1b" {
            node["spec"]["unschedulable"] = json!(true);
        }
    };
    let stage = Stage::new(Scene::new(3, 11));
    stage.world.change_objects("nodes", cordoned);
    let survey = stage.survey().await;
    let found = lint(&stage.migration, &survey, stage.profile());
    let zones: Vec<&str> =
        found.iter().filter(|finding| finding.code.as_str() == "RH0301").map(|f| f.subject.as_str()).collect();
    assert_eq!(zones, ["zone us-east-1b"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_no_volume_can_be_attached_to_is_told_of_with_its_instance_and_whose_it_is_not() {
    let found = the_finding(&scene("RH0306", |s| another_node(s, "aws:///us-east-1a/i-0f"))).await;
    assert_eq!((found.subject.as_str(), found.severity), ("zone us-east-1a", Severity::Warning));
    assert_eq!(found.evidence, ["another: i-0f is no instance of account 123456789012 in us-east-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_is_too_old_is_told_with_what_it_does_not_know() {
    let case = Case {
        code: "RH0307",
        scene: newer_xfs,
        world: |stage| on_linux(stage, "5.10.226-214.880.amzn2.x86_64"),
        migration: |_| (),
    };
    let all = findings(&case).await;
    let found: Vec<&Finding> = all.iter().filter(|finding| finding.code.as_str() == "RH0307").collect();
    assert_eq!((found.len(), found[0].subject.as_str()), (3, "zone us-east-1a"));
    assert!(found[0].message.starts_with("its nodes may not be able to mount"), "{}", found[0].message);
    // Known from 5.10 on is `bigtime`, and what 5.10 does not know is told alone.
    let seen = [
        "XFS of refdb-0/data uses nrext64, which Linux knows from 5.19 on".to_owned(),
        "node node-0 has kernel 5.10.226-214.880.amzn2.x86_64".to_owned(),
    ];
    assert_eq!(found[0].evidence, seen);
}

#[tokio::test(start_paused = true)]
async fn who_owns_the_files_counts_and_the_mount_point_where_they_have_several_owners() {
    let found = the_finding(&scene("RH0512", |s| (s.host.uid, s.host.top_uid) = (112, Some(999)))).await;
    assert_eq!(found.evidence[0], "refdb-0: the files in /var/lib/refdb are owned by uid 112");
    let several = scene("RH0512", |s| (s.host.mixed_owners, s.host.top_uid) = (true, Some(0)));
    assert_eq!(the_finding(&several).await.evidence[0], "refdb-0: /var/lib/refdb is owned by uid 0");
}

#[tokio::test(start_paused = true)]
async fn keys_that_the_caller_needs_are_told_with_what_they_are_needed_for() {
    let default = scene("RH0217", |s| encrypts_by_default(s, Some("arn:aws:kms:us-east-1:123456789012:key/default")));
    let found = the_finding(&default).await;
    assert!(found.subject.ends_with("key/default") && found.message.contains("EC2 encrypts new volumes"), "{found:#?}");
    let told = |line: &&String| line.ends_with(" is not encrypted, and its new volume will be");
    assert_eq!(found.evidence.iter().filter(told).count(), 3, "{found:#?}");
    // What is encrypted already stays under its own key.
    let own = scene("RH0217", |s| {
        encrypted(s, "arn:aws:kms:us-east-1:123456789012:key/own");
        encrypts_by_default(s, Some("arn:aws:kms:us-east-1:123456789012:key/default"));
    });
    assert!(the_finding(&own).await.subject.ends_with("key/own"));
    let root = world("RH0217", |stage| encrypt_root(stage, "arn:aws:kms:us-east-1:123456789012:key/root"));
    let found = the_finding(&root).await;
    assert!(found.message.contains("on every way back the instances are started with it"), "{found:#?}");
    assert!(found.evidence[0].starts_with("member refdb-0: vol-"), "{found:#?}");
}

/// What the first finding of a code saw.
async fn evidence(case: &Case) -> Vec<String> {
    findings(case).await.into_iter().find(|finding| finding.code.as_str() == case.code).expect("it is found").evidence
}

#[tokio::test(start_paused = true)]
async fn what_would_stay_behind_is_told_with_its_mount_and_a_line_for_fstab_with_the_uuid() {
    let beside = evidence(&scene("RH0212", |s| keeps(s, "commitlog", Some("/var/log/refdb")))).await;
    assert_eq!(beside, ["commitlog: /var/log/refdb is on /"]);
    let keyspace = scene("RH0212", |s| s.host.other_mounts = vec!["/var/lib/refdb/data/orders".to_owned()]);
    assert_eq!(evidence(&keyspace).await, ["data: /var/lib/refdb/data/orders is mounted inside /var/lib/refdb/data"]);
    let absent = evidence(&scene("RH0215", |s| s.host.fstab = None)).await;
    let line = "to add: UUID=00000000-0000-4000-8000-000000000000 /var/lib/refdb xfs defaults,nofail 0 2";
    assert_eq!(absent, [line]);
}

#[tokio::test(start_paused = true)]
async fn a_class_of_another_driver_is_told_with_its_driver() {
    let case = scene("RH0506", |s| object(s, "storageclasses", "", "gp3")["provisioner"] = json!("efs.csi.aws.com"));
    assert!(the_finding(&case).await.evidence[0].contains("efs.csi.aws.com"));
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_ours_on_another_volume_and_one_of_others_on_ours_are_in_the_way() {
    fn claim(scene: &mut Scene, ours: bool, volume: &str) {
        let claim = object(scene, "persistentvolumeclaims", "refdb", &claim_name().1);
        let accepted = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        claim["spec"] = accepted;
        claim["spec"]["volumeName"] = json!(volume);
        if ours {
            claim["metadata"]["labels"] = json!({rehome_model::labels::MIGRATION: "refdb"});
        }
    }
    let in_the_way =
        [scene("RH0401", |s| claim(s, true, "pvc-of-somebody")), scene("RH0401", |s| claim(s, false, &claim_name().0))];
    for case in &in_the_way {
        the_finding(case).await;
    }
    let parked = scene("RH0401", |s| claim(s, true, &claim_name().0));
    assert!(findings(&parked).await.iter().all(|finding| finding.code.as_str() != "RH0401"));
}

#[tokio::test(start_paused = true)]
async fn claims_that_this_migration_parked_before_are_not_in_the_way() {
    let stage = Stage::new(Scene::new(3, 12));
    let plan = stage.plan().await;
    stage.world.let_service_hang(0);
    let outcome = stage.apply(&plan).await.outcome();
    assert_eq!(outcome.phase, rehome_model::record::Phase::RolledBack);
    let survey = stage.survey().await;
    let errors: Vec<Finding> = lint(&stage.migration, &survey, stage.profile())
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_terminated_is_not_said_to_need_a_start() {
    let mut stage = Stage::new(Scene::new(3, 12));
    let (gone, _) = first_member(&stage);
    let ids = stage.world.ec2().with(|inner, _| {
        inner.core.instances.get_mut(&gone).expect("it is there").state = InstanceState::Terminated;
        let named = |record: &rehome_ec2_emulator::core::InstanceRecord| record.tags.contains_key("cluster");
        let members = inner.core.instances.iter().filter(|(_, record)| named(record));
        members.map(|(id, _)| id.clone()).collect()
    });
    stage.migration.spec.source.members = MemberSelector::InstanceIds(ids);
    let survey = stage.survey().await;
    let found = lint(&stage.migration, &survey, stage.profile());
    let told = found.iter().find(|finding| finding.code.as_str() == "RH0102").expect("it is found");
    assert!(told.message.contains("terminated"), "{told:?}");
}

/// A set for each rack, as operators make them: each says its own members' rack.
fn a_set_of_its_own(scene: &mut Scene, rack: &str) {
    let mut second = scene.set().clone();
    second["spec"]["serviceName"] = json!("refdb-b");
    let env = second["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().expect("variables");
    env.push(json!({"name": "REFDB_RACK", "value": rack}));
    *object(scene, "statefulsets", "refdb", "refdb-b") = second;
}

fn on_two_sets(migration: &mut rehome_model::migration::Migration) {
    let Slots::StatefulSets(sets) = &mut migration.spec.target.slots else { panic!("no sets") };
    let mut second = sets[0].clone();
    sets[0].ordinals = [("refdb-0".to_owned(), 0), ("refdb-2".to_owned(), 1)].into();
    "refdb-b".clone_into(&mut second.name);
    second.ordinals = [("refdb-1".to_owned(), 0)].into();
    sets.push(second);
}

#[tokio::test(start_paused = true)]
async fn a_set_is_compared_with_the_members_that_land_in_it() {
    let racks = async |scene: fn(&mut Scene)| -> Vec<Finding> {
        let found = findings(&Case { code: "RH0603", scene, world: |_| (), migration: on_two_sets }).await;
        found.into_iter().filter(|finding| finding.code.as_str() == "RH0603").collect()
    };
    assert_eq!(racks(|s| a_set_of_its_own(s, "us-east-1b")).await, Vec::new());
    let wrong = racks(|s| a_set_of_its_own(s, "us-east-1c")).await;
    assert_eq!(wrong.len(), 1);
    assert_eq!(
        (wrong[0].subject.as_str(), wrong[0].evidence.as_slice()),
        ("statefulset refdb/refdb-b", ["refdb-1 has \"us-east-1b\"".to_owned()].as_slice())
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_is_told_of_once_with_all_whose_volumes_it_encrypts() {
    let key = "arn:aws:kms:us-east-1:123456789012:key/own";
    let found = findings(&scene("RH0217", |s| encrypted(s, "arn:aws:kms:us-east-1:123456789012:key/own"))).await;
    let told: Vec<&Finding> = found.iter().filter(|finding| finding.code.as_str() == "RH0217").collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!((told[0].subject.as_str(), told[0].severity), (format!("key {key}").as_str(), Severity::Warning));
    for member in ["refdb-0", "refdb-1", "refdb-2"] {
        assert!(told[0].evidence.iter().any(|line| line.contains(member)), "{told:#?}");
    }
}
