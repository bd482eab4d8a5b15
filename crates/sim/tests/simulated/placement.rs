//! Which nodes count for a zone: worlds with dedicated nodes, surveyed and linted.

use std::cell::RefCell;

use crate::common::Stage;
use rehome_lint::lint;
use rehome_model::finding::Finding;
use rehome_sim::Scene;
use serde_json::{Value, json};

/// What is found of the nodes when each has the taints and these labels beside its own, and the set's pod template
/// the fields of `pod`.
async fn told(code: &str, taints: &Value, labels: &[(&'static str, &'static str)], pod: &Value) -> Vec<Finding> {
    let mut scene = Scene::new(3, 11);
    for (field, value) in pod.as_object().expect("fields of a pod") {
        scene.set()["spec"]["template"]["spec"][field] = value.clone();
    }
    let stage = Stage::new(scene);
    stage.world.change_objects("nodes", |node| {
        node["spec"]["taints"] = taints.clone();
        for (key, value) in labels {
            node["metadata"]["labels"][key] = json!(value);
        }
    });
    let survey = stage.survey().await;
    let found = lint(&stage.migration, &survey, stage.profile());
    found.into_iter().filter(|finding| finding.code.as_str() == code).collect()
}

async fn usable(taints: Value, labels: &[(&'static str, &'static str)], pod: Value) -> bool {
    told("RH0301", &taints, labels, &pod).await.is_empty()
}

fn dedicated(effect: &str) -> Value {
    json!([{"key": "dedicated", "value": "web", "effect": effect}])
}

fn tolerating(toleration: &Value) -> Value {
    json!({"tolerations": [toleration]})
}

#[tokio::test(start_paused = true)]
async fn a_zone_of_dedicated_nodes_has_no_usable_node_and_the_taint_is_named() {
    for effect in ["NoSchedule", "NoExecute"] {
        let found = told("RH0301", &dedicated(effect), &[], &json!({})).await;
        assert!(!found.is_empty(), "{effect}");
        for finding in &found {
            let words = format!("do not tolerate the taint dedicated=web:{effect}");
            assert!(finding.evidence.iter().all(|line| line.contains(&words)), "{finding:?}");
            assert!(!finding.evidence.is_empty());
        }
    }
    assert!(usable(dedicated("PreferNoSchedule"), &[], json!({})).await, "it only advises");
}

#[tokio::test(start_paused = true)]
async fn tolerations_mean_what_they_mean_to_the_scheduler() {
    let cases = [
        (json!({"key": "dedicated", "operator": "Equal", "value": "web", "effect": "NoSchedule"}), true),
        // Without an operator it is Equal, without an effect all of them.
        (json!({"key": "dedicated", "value": "web"}), true),
        (json!({"key": "dedicated", "operator": "Exists"}), true),
        (json!({"operator": "Exists"}), true),
        (json!({"operator": "Exists", "effect": "NoSchedule"}), true),
        (json!({"key": "dedicated", "value": "db"}), false),
        (json!({"key": "other", "operator": "Exists"}), false),
        (json!({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}), false),
    ];
    for (toleration, counts) in cases {
        let pod = tolerating(&toleration);
        assert_eq!(usable(dedicated("NoSchedule"), &[], pod).await, counts, "{toleration}");
    }
    let two = json!([
        {"key": "dedicated", "value": "web", "effect": "NoSchedule"},
        {"key": "spot", "effect": "NoSchedule"},
    ]);
    assert!(!usable(two, &[], tolerating(&json!({"key": "dedicated", "operator": "Exists"}))).await, "each of them");
}

#[tokio::test(start_paused = true)]
async fn nodes_count_that_the_templates_selector_and_affinity_allow() {
    let none = || json!([]);
    let selector = || json!({"nodeSelector": {"pool": "db"}});
    assert!(usable(none(), &[("pool", "db")], selector()).await);
    assert!(!usable(none(), &[("pool", "web")], selector()).await);
    assert!(!usable(none(), &[], selector()).await);
    let affinity = |terms: Value| {
        let required = json!({"nodeSelectorTerms": terms});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}})
    };
    let asks = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "size", "operator": operator, "values": values}]});
    let cases = [
        (asks("In", &["8", "16"]), true),
        (asks("In", &["16"]), false),
        (asks("NotIn", &["16"]), true),
        (asks("NotIn", &["8"]), false),
        (asks("Exists", &[]), true),
        (asks("DoesNotExist", &[]), false),
        (asks("Gt", &["7"]), true),
        (asks("Gt", &["8"]), false),
        (asks("Lt", &["9"]), true),
        (asks("Lt", &["8"]), false),
        (json!({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["other"]}]}), true),
        (json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["other"]}]}), false),
        // A term that asks nothing holds for no node.
        (json!({}), false),
    ];
    for (term, counts) in cases {
        assert_eq!(usable(none(), &[("size", "8")], affinity(json!([term.clone()]))).await, counts, "{term}");
    }
    let either = affinity(json!([asks("In", &["16"]), asks("In", &["8"])]));
    assert!(usable(none(), &[("size", "8")], either).await, "one term is enough");
}

#[tokio::test(start_paused = true)]
async fn room_on_nodes_where_the_pods_cannot_go_is_no_room() {
    let stage = Stage::new(Scene::new(3, 11));
    stage.world.change_objects("csinodes", |node| node["spec"]["drivers"][0]["allocatable"]["count"] = json!(0));
    let nodes = RefCell::new(Vec::new());
    stage.world.change_objects("nodes", |node| nodes.borrow_mut().push(node.clone()));
    for mut node in nodes.into_inner() {
        let name = format!("{}-web", node["metadata"]["name"].as_str().expect("a name"));
        node["metadata"] = json!({"labels": node["metadata"]["labels"]});
        node["spec"]["taints"] = dedicated("NoSchedule");
        stage.world.add_object("nodes", "", &name, node);
        let drivers = json!([{"name": "ebs.csi.aws.com", "nodeID": name, "allocatable": {"count": 9}}]);
        stage.world.add_object("csinodes", "", &name, json!({"metadata": {}, "spec": {"drivers": drivers}}));
    }
    let survey = stage.survey().await;
    let found = lint(&stage.migration, &survey, stage.profile());
    let told: Vec<&Finding> = found.iter().filter(|finding| finding.code.as_str() == "RH0303").collect();
    assert!(!told.is_empty(), "{found:#?}");
    for finding in told {
        assert!(finding.evidence.iter().any(|line| line.contains("dedicated=web:NoSchedule")), "{finding:?}");
    }
}
