//! For each check of what the set mounts and wants worlds in which it finds something, and worlds just beside them.

use rehome_model::ids::VolumeId;
use rehome_model::migration::{Migration, Slots};
use rehome_sim::Scene;
use serde_json::{Value, json};

use crate::common::Stage;
use crate::lint_cases::{Case, add_env, container, first_member, keeps, object, scene, world};

pub fn cases() -> Vec<Case> {
    vec![
        // Memory, or a template of the set's own, over the commit log on the adopted volume; over a directory around it; and
        // where a command may say otherwise.
        scene("RH0611", |s| mounts(s, &json!({"name": "cache", "mountPath": "/var/lib/refdb/log"}))),
        scene("RH0611", |s| adds_template(s, "log", "/var/lib/refdb/log")),
        scene("RH0611", |s| {
            keeps(s, "commitlog", Some("/var/lib/refdb/a/log"));
            mounts(s, &json!({"name": "cache", "mountPath": "/var/lib/refdb/a/"}));
        }),
        scene("RH0611", |s| {
            container(s)["command"] = json!(["sh", "-c", "refdb"]);
            mounts(s, &json!({"name": "cache", "mountPath": "/var/lib/refdb/log"}));
        }),
        scene("RH0612", |s| mounts(s, &json!({"name": "cache", "mountPath": "/var/lib/refdb/data/orders"}))),
        scene("RH0518", |s| adds_template(s, "log", "/var/lib/refdb/log")),
        scene("RH0518", |s| adds_template(s, "logs", "/var/log/refdb")),
        // Only the container that makes backups mounts it.
        scene("RH0610", |s| {
            add_sidecar(s);
            container(s)["volumeMounts"] = json!([]);
        }),
        scene("RH0404", |s| leaves_claim(s, "data-refdb-3")),
        scene("RH0404", |s| leaves_claim(s, "data-refdb-4294967295")),
        scene("RH0404", |s| {
            adds_template(s, "log", "/var/lib/refdb/log");
            leaves_claim(s, "log-refdb-7");
        }),
        // The kubelet's policy looks at the group of the volume's root, and at its mode.
        scene("RH0511", |s| groups(s, 1000, Some(0o2770))),
        scene("RH0511", |s| groups(s, 999, Some(0o755))),
        scene("RH0511", |s| groups(s, 999, Some(0o770))),
        scene("RH0511", |s| groups(s, 999, Some(0o2750))),
        scene("RH0520", |s| {
            runs_as(s, &json!({}));
            (s.host.uid, s.host.top_uid) = (997, Some(999));
        }),
        scene("RH0520", |s| {
            runs_as(s, &json!({"runAsUser": 0}));
            s.host.uid = 997;
        }),
        world("RH0405", |stage| tags_volumes(stage, |_| true, &[("backup", "daily")])),
        scene("RH0519", |s| s.set()["spec"]["replicas"] = json!(4)),
        scene("RH0620", |s| keeps(s, "hints", Some("/var/lib/refdb/spool"))),
        scene("RH0608", |s| seeds(s, "refdb-0.refdb,10.0.1.10:7000")),
        // Somebody's own name; a pod that no member lands in; a service of another namespace.
        scene("RH0622", |s| seeds(s, "refdb-0.refdb, db.example.com")),
        scene("RH0622", |s| seeds(s, "refdb-3.refdb")),
        scene("RH0622", |s| seeds(s, "refdb.other.svc.cluster.local")),
        scene("RH0621", |s| takes_from_pod(s, "REFDB_RACK")),
        scene("RH0620", |s| mounts(s, &json!({"name": "cache", "mountPath": "/var/lib/refdb/hints"}))),
    ]
}

pub fn borders() -> Vec<Case> {
    vec![
        // A volume for the commit log inside the one for the data, on both sides.
        Case { code: "RH0611", scene: own_log, world: |_| (), migration: with_own_log },
        Case { code: "RH0612", scene: own_log, world: |_| (), migration: with_own_log },
        Case { code: "RH0518", scene: own_log, world: |_| (), migration: with_own_log },
        // Beside it.
        scene("RH0611", |s| mounts(s, &json!({"name": "cache", "mountPath": "/var/lib/refdb/logs"}))),
        scene("RH0612", |s| mounts(s, &json!({"name": "cache", "mountPath": "/var/lib/refdb/data2"}))),
        // Hidden in one place and seen in the right one.
        scene("RH0611", |s| {
            mounts(s, &json!({"name": "data", "mountPath": "/var/lib/refdb/log", "subPath": "log"}));
        }),
        // Blank, and none of the application's.
        scene("RH0518", |s| {
            adds_template(s, "backups", "/backups");
            add_sidecar(s);
            container(s)["volumeMounts"].as_array_mut().expect("mounts").pop();
        }),
        scene("RH0610", add_sidecar),
        // A member lands on it; it is another set's, and no ordinal's.
        scene("RH0404", |s| leaves_claim(s, "data-refdb-2")),
        scene("RH0404", |s| {
            for name in ["data-refdb-b-3", "data-refdb-3-old", "data-refdb-", "other-refdb-3", "data-refdb-+3"] {
                leaves_claim(s, name);
            }
        }),
        scene("RH0519", |s| s.set()["spec"]["replicas"] = json!(3)),
        scene("RH0511", |s| groups(s, 999, Some(0o2770))),
        scene("RH0511", |s| groups(s, 999, Some(0o3775))),
        // A survey of before does not tell the mode.
        scene("RH0511", |s| groups(s, 999, None)),
        // The files are its user's already, whosever the mount point is; and one that is not root changes no owner.
        scene("RH0520", |s| {
            runs_as(s, &json!({}));
            s.host.top_uid = Some(0);
        }),
        scene("RH0520", |s| s.host.uid = 997),
        // What is known is compared.
        scene("RH0621", |s| add_env(s, json!({"name": "REFDB_RACK", "value": "us-east-1a"}))),
        scene("RH0608", |s| seeds(s, "refdb-0.refdb:7000")),
        scene("RH0622", |s| seeds(s, "refdb-2.refdb.refdb.svc.cluster.local:7000, refdb-0.refdb.refdb, refdb")),
        scene("RH0622", |s| seeds(s, "10.0.1.10")),
        // What a run gives, what AWS gives, what the migration gives, and what one of them has alone.
        world("RH0405", |stage| {
            let given = [("Name", "refdb"), ("rehome.dev/run", "old"), ("aws:cloudformation:stack-name", "db")];
            tags_volumes(stage, |_| true, &given);
        }),
        Case {
            code: "RH0405",
            scene: |_| (),
            world: |stage| tags_volumes(stage, |_| true, &[("backup", "daily")]),
            migration: |m| drop(m.spec.tags.insert("backup".to_owned(), "weekly".to_owned())),
        },
        world("RH0405", |stage| {
            let (_, first) = first_member(stage);
            tags_volumes(stage, |_| true, &[("backup", "daily")]);
            tags_volumes(stage, |id| *id == first, &[("backup", "weekly")]);
        }),
        // It does not move at all.
        scene("RH0620", |s| keeps(s, "hints", Some("/var/spool/refdb"))),
        scene("RH0620", |s| mounts(s, &json!({"name": "cache", "mountPath": "/var/lib/refdb/log"}))),
    ]
}

/// A claim that somebody left behind.
pub fn leaves_claim(scene: &mut Scene, name: &str) {
    let claim = object(scene, "persistentvolumeclaims", "refdb", name);
    claim["spec"] = json!({
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "pvc-1"
    });
}

/// The set has an fsGroup, and spares volumes whose root is as it wants it.
pub fn groups(scene: &mut Scene, group: u32, mode: Option<u32>) {
    scene.host.top_mode = mode;
    let context = &mut scene.set()["spec"]["template"]["spec"]["securityContext"];
    context["fsGroup"] = json!(group);
    context["fsGroupChangePolicy"] = json!("OnRootMismatch");
}

/// As whom the set runs its pods.
fn runs_as(scene: &mut Scene, context: &Value) {
    scene.set()["spec"]["template"]["spec"]["securityContext"] = context.clone();
}

/// The pods have a variable from where nobody can look before there are any.
pub fn takes_from_pod(scene: &mut Scene, variable: &str) {
    add_env(scene, json!({"name": variable, "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['zone']"}}}));
}

/// Gives legacy volumes tags.
pub fn tags_volumes(stage: &Stage, which: impl Fn(&VolumeId) -> bool, tags: &[(&str, &str)]) {
    stage.world.ec2().with(|inner, _| {
        let volumes = inner.core.volumes.iter_mut().filter(|(id, _)| which(id));
        for (_, volume) in volumes {
            volume.tags.extend(tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        }
    });
}

fn seeds(scene: &mut Scene, names: &str) {
    container(scene)["env"][2]["value"] = json!(names);
}

/// Gives the set's container one more mount.
fn mounts(scene: &mut Scene, mount: &Value) {
    container(scene)["volumeMounts"].as_array_mut().expect("mounts").push(mount.clone());
}

/// Gives the set one more claim template, and its container the mount.
fn adds_template(scene: &mut Scene, name: &str, path: &str) {
    let templates = scene.set()["spec"]["volumeClaimTemplates"].as_array_mut().expect("templates");
    let mut template = templates[0].clone();
    template["metadata"]["name"] = json!(name);
    templates.push(template);
    mounts(scene, &json!({"name": name, "mountPath": path}));
}

/// A second container that mounts all that the first one does.
fn add_sidecar(scene: &mut Scene) {
    let containers = scene.set()["spec"]["template"]["spec"]["containers"].as_array_mut().expect("containers");
    let mut sidecar = containers[0].clone();
    sidecar["name"] = json!("backup");
    containers.push(sidecar);
}

/// Where the hosts mount a volume for the commit log inside the one for the data, and so does the set.
fn own_log(scene: &mut Scene) {
    scene.host.other_mounts = vec!["/var/lib/refdb/log".to_owned()];
    adds_template(scene, "commitlog", "/var/lib/refdb/log");
}

fn with_own_log(migration: &mut Migration) {
    let mut second = migration.spec.source.volumes[0].clone();
    second.role = "log".into();
    "/var/lib/refdb/log".clone_into(&mut second.mount_path);
    migration.spec.source.volumes.push(second);
    let Slots::StatefulSets(sets) = &mut migration.spec.target.slots else { panic!("no sets") };
    sets[0].claims.insert("log".into(), "commitlog".to_owned());
}
