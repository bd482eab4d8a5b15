//! For each check worlds in which it finds something.

use rehome_model::cloud::InstanceState;
use rehome_model::ids::InstanceId;
use rehome_model::labels;
use rehome_model::migration::{MemberSelector, Migration};
use rehome_sim::Scene;
use rehome_sim::kubernetes::Key;
use serde_json::json;

use crate::common::Stage;

/// How a world in which a check finds something differs from a healthy one.
pub struct Case {
    pub code: &'static str,
    pub scene: fn(&mut Scene),
    pub world: fn(&Stage),
    pub migration: fn(&mut Migration),
}

pub fn scene(code: &'static str, scene: fn(&mut Scene)) -> Case {
    Case { code, scene, world: |_| (), migration: |_| () }
}

pub fn world(code: &'static str, world: fn(&Stage)) -> Case {
    Case { code, scene: |_| (), world, migration: |_| () }
}

pub fn migration(code: &'static str, migration: fn(&mut Migration)) -> Case {
    Case { code, scene: |_| (), world: |_| (), migration }
}

/// An object of the cluster.
pub fn object<'a>(
    scene: &'a mut Scene,
    plural: &'static str,
    namespace: &str,
    name: &str,
) -> &'a mut serde_json::Value {
    scene.objects.entry(Key::new(plural, namespace, name)).or_insert_with(|| json!({"metadata": {}}))
}

pub fn claim_name() -> (String, String) {
    let claim = rehome_model::names::claim("data", "refdb", 0);
    (rehome_model::names::persistent_volume("refdb", &claim), claim)
}

/// The set's container.
pub fn container(scene: &mut Scene) -> &mut serde_json::Value {
    &mut scene.set()["spec"]["template"]["spec"]["containers"][0]
}

/// Changes what EC2 shows of the first member's instance.
pub fn change_instance(stage: &Stage, change: fn(&mut rehome_ec2_emulator::core::InstanceRecord)) {
    let (id, _) = first_member(stage);
    stage.world.ec2().with(|inner, _| change(inner.core.instances.get_mut(&id).expect("it is there")));
}

/// The first member's instance and its data volume.
pub fn first_member(stage: &Stage) -> (InstanceId, rehome_model::ids::VolumeId) {
    stage.world.ec2().with(|inner, _| {
        let named = |record: &rehome_ec2_emulator::core::InstanceRecord| {
            record.tags.get("Name").is_some_and(|name| name == "refdb-0")
        };
        let (id, record) = inner.core.instances.iter().find(|(_, record)| named(record)).expect("a first member");
        let data = record.block_devices.iter().find(|device| device.device == "/dev/xvdf").expect("its data");
        (id.clone(), data.volume.clone())
    })
}

/// The members' Auto Scaling group.
pub fn group(inner: &mut rehome_ec2_emulator::face::Inner) -> &mut rehome_ec2_emulator::core::AutoScalingGroup {
    inner.core.groups.get_mut("refdb").expect("the members are in it")
}

/// Gives a node the label of another zone that the members are in.
fn rotate_zone(node: &mut serde_json::Value) {
    let zone = &mut node["metadata"]["labels"]["topology.kubernetes.io/zone"];
    let next = match zone.as_str() {
        Some("us-east-1a") => "us-east-1b",
        Some("us-east-1b") => "us-east-1c",
        _ => "us-east-1a",
    };
    *zone = json!(next);
}

/// A node more in the first zone.
pub fn another_node(scene: &mut Scene, provider: &str) {
    *object(scene, "nodes", "", "another") = json!({
        "metadata": {"labels": {"topology.kubernetes.io/zone": "us-east-1a"}},
        "spec": {"providerID": provider},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn cases() -> Vec<Case> {
    vec![
        migration("RH0101", |m| {
            m.spec.source.members = MemberSelector::InstanceIds(vec![InstanceId::from("i-00000000000000bad")]);
        }),
        world("RH0102", |stage| {
            let (id, _) = first_member(stage);
            stage.world.ec2().with(|inner, _| {
                inner.core.instances.get_mut(&id).expect("it is there").state = InstanceState::Stopped;
            });
        }),
        scene("RH0103", |s| s.host.reachable = false),
        scene("RH0104", |s| s.host.answers = false),
        scene("RH0105", |s| s.identity = |_, identity| "same".clone_into(&mut identity.id)),
        world("RH0106", |stage| {
            let (id, _) = first_member(stage);
            stage.world.ec2().with(|inner, _| {
                inner.core.instances.get_mut(&id).expect("it is there").tags.remove("cluster");
            });
        }),
        Case { code: "RH0107", scene: |_| (), world: |stage| stage.world.kill_service(0), migration: |_| () },
        scene("RH0108", |s| s.identity = |index, identity| identity.cluster = format!("cluster-{index}")),
        scene("RH0109", |s| s.auto_scaling = true),
        scene("RH0110", |s| s.host.schema_versions = 2),
        Case {
            code: "RH0113",
            scene: |s| s.auto_scaling = true,
            world: |stage| stage.world.ec2().with(|inner, _| group(inner).min_size = 3),
            migration: |_| (),
        },
        Case {
            code: "RH0114",
            scene: |s| s.auto_scaling = true,
            world: |stage| {
                let (id, _) = first_member(stage);
                stage.world.ec2().with(|inner, _| group(inner).members.insert(id, "Pending:Wait".to_owned()));
            },
            migration: |_| (),
        },
        Case {
            code: "RH0121",
            scene: |s| s.auto_scaling = true,
            world: |stage| {
                stage.world.ec2().with(|inner, _| group(inner).suspended.remove("AZRebalance"));
            },
            migration: |_| (),
        },
        world("RH0122", |stage| change_instance(stage, |record| record.lifecycle = Some("spot".to_owned()))),
        world("RH0122", |stage| change_instance(stage, |record| record.instance_store_root = true)),
        scene("RH0118", |s| s.host.supervised = true),
        // A container, a session of `su -`, another unit whose name begins so; and a program that nobody knows.
        scene("RH0118", |s| s.host.control_group = Some("/system.slice/docker-0a1b.scope".to_owned())),
        scene("RH0118", |s| s.host.control_group = Some("/user.slice/user-997.slice/session-c1.scope".to_owned())),
        scene("RH0118", |s| s.host.control_group = Some("/system.slice/refdb.service-2".to_owned())),
        scene("RH0118", |s| s.host.control_group = None),
        scene("RH0120", |s| s.host.starts_once = true),
        scene("RH0123", |s| s.host.closed = true),
        world("RH0124", |stage| {
            stage.world.ec2().with(|inner, _| {
                for record in inner.core.instances.values_mut() {
                    record.tags.insert(labels::HELD_BY.to_owned(), "refdb-elsewhere".to_owned());
                }
            });
        }),
        scene("RH0119", |s| s.host.known_as = Some("54.1.2.3".to_owned())),
        Case {
            code: "RH0117",
            scene: |s| s.auto_scaling = true,
            world: |stage| stage.world.ec2().with(|inner, _| group(inner).target_group_arns.push("arn:db".to_owned())),
            migration: |_| (),
        },
        world("RH0116", |stage| rewrite_identity(stage, |_| b"another format".to_vec())),
        world("RH0115", |stage| rewrite_identity(stage, |text| text.replace("prod", "test").into_bytes())),
        scene("RH0611", |s| container(s)["volumeMounts"][0]["mountPath"] = json!("/data")),
        scene("RH0612", |s| {
            container(s)["command"] = json!(["sh", "-c", "refdb"]);
            container(s)["volumeMounts"][0]["subPath"] = json!("files");
        }),
        scene("RH0613", |s| container(s)["image"] = json!("refdb:1.0.13")),
        scene("RH0614", |s| {
            container(s)["ports"] = json!([{"name": "clients", "containerPort": 9042}]);
            container(s)["livenessProbe"] = json!({"tcpSocket": {"port": "clients"}});
        }),
        scene("RH0615", |s| {
            let env = container(s)["env"].as_array_mut().expect("variables");
            env.retain(|variable| variable["name"] != "REFDB_SEEDS");
        }),
        scene("RH0616", |s| s.host.passwords = "asked"),
        scene("RH0617", |s| {
            s.host.passwords = "asked";
            container(s)["command"] = json!(["sh", "-c", "refdb"]);
        }),
        scene("RH0617", |s| s.host.passwords = rehome_model::host::UNKNOWN),
        scene("RH0618", |s| {
            let env = container(s)["env"].as_array_mut().expect("variables");
            env.push(json!({"name": "REFDB_QUESTIONS", "value": "refused"}));
        }),
        scene("RH0619", |s| container(s)["image"] = json!("refdb:1.1.0")),
        scene("RH0619", |s| container(s)["image"] = json!("refdb:1.0.1")),
        scene("RH0619", |s| container(s)["image"] = json!("refdb")),
        migration("RH0201", |m| "/elsewhere".clone_into(&mut m.spec.source.volumes[0].mount_path)),
        scene("RH0202", |s| "lvm".clone_into(&mut s.host.kind)),
        scene("RH0202", |s| s.host.part = Some("/refdb".to_owned())),
        scene("RH0203", |s| s.host.instance_store = true),
        scene("RH0204", |s| "btrfs".clone_into(&mut s.fs_type)),
        world("RH0205", |stage| {
            let (_, volume) = first_member(stage);
            stage.world.ec2().with(|inner, _| {
                inner.core.volumes.get_mut(&volume).expect("it is there").multi_attach = true;
            });
        }),
        migration("RH0206", |m| {
            let mut second = m.spec.source.volumes[0].clone();
            second.role = "commitlog".into();
            m.spec.source.volumes.push(second);
        }),
        scene("RH0207", |s| "st1".clone_into(&mut s.volume.volume_type)),
        // The scene's volumes go with their instances, as EC2's own do by default when launched with them.
        scene("RH0208", |_| ()),
        scene("RH0209", |s| s.host.free_percent = 2),
        // Of two data directories the migration names one; the configuration names another than the migration; the commit
        // log is on the root volume; a keyspace has a volume of its own.
        scene("RH0212", |s| keeps(s, "data", Some("/d2"))),
        scene("RH0212", |s| {
            keeps(s, "data", Some("/mnt/new/data"));
            s.host.other_mounts = vec!["/mnt/new".to_owned()];
        }),
        scene("RH0212", |s| keeps(s, "commitlog", Some("/var/log/refdb"))),
        scene("RH0212", |s| s.host.other_mounts = vec!["/var/lib/refdb/data/orders".to_owned()]),
        Case { code: "RH0212", scene: |s| *s = Scene::with_commitlogs(3, 11), world: |_| (), migration: |_| () },
        scene("RH0213", |s| keeps(s, "hints", Some("/var/spool/refdb"))),
        scene("RH0213", |s| keeps(s, "hints", None)),
        scene("RH0214", |s| s.host.tells_directories = false),
        scene("RH0214", |s| keeps(s, "data", None)),
        scene("RH0214", |s| keeps(s, "commitlog", None)),
        scene("RH0215", |s| s.host.fstab = None),
        scene("RH0216", |s| s.host.fstab = Some("/dev/nvme1n1".to_owned())),
        scene("RH0216", |s| s.host.fstab = Some("/dev/xvdf".to_owned())),
        scene("RH0217", |s| encrypted(s, "arn:aws:kms:us-east-1:123456789012:key/own")),
        scene("RH0217", |s| encrypts_by_default(s, Some("arn:aws:kms:us-east-1:123456789012:key/default"))),
        world("RH0217", |stage| encrypt_root(stage, "arn:aws:kms:us-east-1:123456789012:key/root")),
        scene("RH0223", |s| {
            s.ec2.denied.insert("GetEbsEncryptionByDefault".to_owned());
        }),
        scene("RH0223", |s| {
            encrypts_by_default(s, None);
            s.ec2.denied.insert("GetEbsDefaultKmsKeyId".to_owned());
        }),
        scene("RH0218", |s| s.host.fstab = Some("/dev/xvdg".to_owned())),
        scene("RH0218", |s| s.host.mixed_owners = true),
        scene("RH0219", |s| s.host.other_mounts = vec!["/var/lib/refdb/hints".to_owned()]),
        scene("RH0219", |s| s.host.other_mounts = vec!["/var/lib/refdb/data/orders".to_owned()]),
        scene("RH0220", |s| s.host.mounted_also = Some("/data".to_owned())),
        // On itself.
        scene("RH0220", |s| s.host.other_mounts = vec!["/var/lib/refdb".to_owned()]),
        scene("RH0221", |s| s.host.ephemeral = Some("defaults,noatime".to_owned())),
        scene("RH0222", |s| s.host.holders = vec!["7 bash /var/lib/refdb/data".to_owned()]),
        world("RH0301", |stage| {
            stage.world.change_objects("nodes", |node| node["spec"]["unschedulable"] = json!(true));
        }),
        Case {
            code: "RH0307",
            scene: newer_xfs,
            world: |stage| on_linux(stage, "5.10.226-214.880.amzn2.x86_64"),
            migration: |_| (),
        },
        world("RH0307", |stage| on_linux(stage, "4.18.0-553.el8_10.x86_64")),
        scene("RH0302", |s| {
            s.objects.remove(&Key::new("csidrivers", "", "ebs.csi.aws.com"));
        }),
        world("RH0303", |stage| {
            stage
                .world
                .change_objects("csinodes", |node| node["spec"]["drivers"][0]["allocatable"]["count"] = json!(0));
        }),
        world("RH0304", |stage| stage.world.change_objects("nodes", |node| node["metadata"]["labels"] = json!({}))),
        // Another account's: the labels are the same.
        world("RH0305", |stage| {
            stage.world.change_objects("nodes", |node| node["spec"]["providerID"] = json!("aws:///us-east-1a/i-0f"));
        }),
        world("RH0305", |stage| stage.world.change_objects("nodes", rotate_zone)),
        scene("RH0306", |s| another_node(s, "aws:///us-east-1a/i-0f")),
        migration("RH0406", |m| "ebs.csi.eks.amazonaws.com".clone_into(&mut m.spec.target.csi_driver)),
        migration("RH0406", |m| {
            "ebs.csi.eks.amazonaws.com".clone_into(&mut m.spec.target.csi_driver);
            m.spec.tags.insert("eks:eks-cluster-name".to_owned(), String::new());
        }),
        scene("RH0401", |s| {
            let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
            object(s, "persistentvolumeclaims", "refdb", &claim_name().1)["spec"] = spec;
        }),
        scene("RH0402", |s| {
            let spec =
                json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-0"}, "capacity": {"storage": "1Gi"}});
            object(s, "persistentvolumes", "", &claim_name().0)["spec"] = spec;
        }),
        world("RH0403", |stage| {
            let (_, volume) = first_member(stage);
            let spec =
                json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": volume}, "capacity": {"storage": "1Gi"}});
            stage.world.add_object("persistentvolumes", "", "other", json!({"metadata": {}, "spec": spec}));
        }),
        migration("RH0501", |m| {
            let text = rehome_sim::migration_yaml().replace("- name: refdb", "- name: elsewhere");
            *m = serde_saphyr::from_str(&text).expect("valid");
        }),
        scene("RH0502", |s| s.set()["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] = json!("other")),
        scene("RH0503", |s| {
            s.set()["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = json!("1Ti");
        }),
        scene("RH0504", |s| {
            s.set()["spec"]["volumeClaimTemplates"][0]["spec"]["accessModes"] = json!(["ReadWriteMany"]);
        }),
        scene("RH0505", |s| s.set()["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"] = json!("Block")),
        scene("RH0506", |s| s.set()["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] = json!("nfs")),
        scene("RH0507", |s| {
            s.set()["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] = json!("Delete");
        }),
        scene("RH0508", |s| object(s, "services", "refdb", "refdb")["spec"]["clusterIP"] = json!("10.96.0.9")),
        scene("RH0509", |s| {
            object(s, "services", "refdb", "refdb")["spec"]["publishNotReadyAddresses"] = json!(false);
        }),
        scene("RH0510", |s| s.set()["spec"]["podManagementPolicy"] = json!("OrderedReady")),
        scene("RH0511", |s| s.set()["spec"]["template"]["spec"]["securityContext"]["fsGroup"] = json!(999)),
        scene("RH0512", |s| s.host.uid = 112),
        scene("RH0512", |s| (s.host.uid, s.host.top_uid) = (112, Some(999))),
        scene("RH0512", |s| (s.host.mixed_owners, s.host.top_uid) = (true, Some(0))),
        scene("RH0513", |s| s.set()["spec"]["template"]["spec"]["hostNetwork"] = json!(true)),
        scene("RH0514", |s| s.set()["metadata"]["managedFields"] = json!([{"manager": "argocd-controller"}])),
        scene("RH0515", |s| {
            object(s, "horizontalpodautoscalers", "refdb", "refdb")["spec"] =
                json!({"scaleTargetRef": {"kind": "StatefulSet", "name": "refdb"}});
        }),
        scene("RH0516", |s| s.set()["spec"]["replicas"] = json!(1)),
        scene("RH0517", |s| s.set()["spec"]["volumeClaimTemplates"][0]["spec"]["selector"] = json!({})),
        scene("RH0601", |s| s.set()["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = json!("other")),
        scene("RH0602", |s| s.set()["spec"]["template"]["spec"]["containers"][0]["env"][1]["value"] = json!("other")),
        scene("RH0603", |s| add_env(s, json!({"name": "REFDB_RACK", "value": "one"}))),
        scene("RH0604", |s| add_env(s, json!({"name": "REFDB_TOKENS", "value": "256"}))),
        scene("RH0605", |s| s.set()["spec"]["template"]["spec"]["containers"][0]["image"] = json!("refdb:0.9")),
        scene("RH0606", |s| {
            s.set()["spec"]["template"]["spec"]["containers"][0]["env"][3] = json!({"name": "X", "value": ""});
        }),
        scene("RH0606", |s| gate(s)["name"] = json!("settings-of-the-set")),
        scene("RH0606", |s| gate(s)["key"] = json!("REFDB_CLIENT")),
        scene("RH0606", |s| gate(s)["optional"] = json!(false)),
        scene("RH0607", |s| {
            s.set()["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["tcpSocket"]["port"] = json!(9042);
        }),
        scene("RH0608", |s| {
            s.set()["spec"]["template"]["spec"]["containers"][0]["env"][2]["value"] = json!("10.0.1.10");
        }),
        scene("RH0609", |s| s.set()["spec"]["template"]["spec"]["containers"] = json!([])),
        scene("RH0610", |s| s.set()["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([])),
        world("RH0112", |stage| rename(stage, "refdb-1", "ref db\ntouch /tmp/owned")),
        world("RH0112", |stage| rename(stage, "refdb-1", "refdb-0")),
        world("RH0701", |stage| stage.world.set_version("v1.22.3")),
        scene("RH0702", |s| object(s, "namespaces", "", "refdb")["status"]["phase"] = json!("Terminating")),
        world("RH0704", |stage| stage.world.deny("create persistentvolumes")),
        scene("RH0705", |s| {
            s.ec2.denied.insert("CreateSnapshots".to_owned());
        }),
        scene("RH0706", |s| {
            s.ec2.denied.insert("DeleteVolume".to_owned());
        }),
    ]
}

/// All members' volumes are encrypted with one key.
pub fn encrypted(scene: &mut Scene, key: &str) {
    (scene.volume.encrypted, scene.volume.kms_key_id) = (true, Some(key.to_owned()));
}

/// The account encrypts new volumes, with the key that AWS manages if no other is named.
pub fn encrypts_by_default(scene: &mut Scene, key: Option<&str>) {
    (scene.ec2.encrypts_by_default, scene.ec2.default_key) = (true, key.map(str::to_owned));
}

/// Shows the first member's root volume as encrypted.
pub fn encrypt_root(stage: &Stage, key: &str) {
    let (instance, data) = first_member(stage);
    stage.world.ec2().with(|inner, _| {
        let devices = &inner.core.instances[&instance].block_devices;
        let root = devices.iter().find(|device| device.volume != data).expect("a root volume").volume.clone();
        let spec = &mut inner.core.volumes.get_mut(&root).expect("it is there").spec;
        (spec.encrypted, spec.kms_key_id) = (true, Some(key.to_owned()));
    });
}

/// Writes the file by which the first member's disk says who it is; its process goes on as who it was.
pub fn rewrite_identity(stage: &Stage, change: fn(&str) -> Vec<u8>) {
    let (_, volume) = first_member(stage);
    stage.world.ec2().with(|inner, _| {
        let bytes = inner.disks.read(&volume, "identity.json").expect("an identity");
        inner.disks.write(&volume, "identity.json", change(&String::from_utf8_lossy(&bytes)));
    });
}

/// The hosts' file systems were made by newer tools.
pub fn newer_xfs(scene: &mut Scene) {
    scene.host.xfs_features.push("nrext64".to_owned());
}

/// The kernel of all nodes.
pub fn on_linux(stage: &Stage, kernel: &'static str) {
    stage.world.change_objects("nodes", |node| node["status"]["nodeInfo"]["kernelVersion"] = json!(kernel));
}

/// The hosts' service keeps something elsewhere.
pub fn keeps(scene: &mut Scene, purpose: &str, path: Option<&str>) {
    scene.host.directories.insert(purpose.to_owned(), path.map(str::to_owned));
}

/// Where the set's container takes the variable from that keeps it closed.
pub fn gate(scene: &mut Scene) -> &mut serde_json::Value {
    &mut scene.set()["spec"]["template"]["spec"]["containers"][0]["env"][3]["valueFrom"]["configMapKeyRef"]
}

/// Gives an instance another Name tag.
pub fn rename(stage: &Stage, from: &str, to: &str) {
    stage.world.ec2().with(|inner, _| {
        let tags = inner.core.instances.values_mut().filter_map(|record| record.tags.get_mut("Name"));
        tags.filter(|name| *name == from).for_each(|name| to.clone_into(name));
    });
}

pub fn add_env(scene: &mut Scene, variable: serde_json::Value) {
    let env = &mut scene.set()["spec"]["template"]["spec"]["containers"][0]["env"];
    env.as_array_mut().expect("a list").push(variable);
}
