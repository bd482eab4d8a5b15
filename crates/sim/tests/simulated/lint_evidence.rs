//! What findings tell of the set: lines that a person works through, also where there are a thousand members.

use crate::common::Stage;
use crate::lint_cases::{Case, scene, world};
use crate::lint_cases_set::{groups, leaves_claim, tags_volumes, takes_from_pod};
use rehome_lint::lint;
use rehome_model::migration::Slots;
use rehome_sim::Scene;
use serde_json::json;

/// The lines of the only finding of a code, in a world of so many members.
async fn evidence_of(members: u32, case: &Case) -> Vec<String> {
    let mut scene = Scene::new(members, 11);
    (case.scene)(&mut scene);
    let mut stage = Stage::new(scene);
    (case.world)(&stage);
    (case.migration)(&mut stage.migration);
    let survey = stage.survey().await;
    let found = lint(&stage.migration, &survey, stage.profile());
    let mut told = found.into_iter().filter(|finding| finding.code.as_str() == case.code);
    let first = told.next().expect("it is found");
    assert_eq!(told.next(), None, "{first:?}");
    first.evidence
}

#[tokio::test(start_paused = true)]
async fn claims_beyond_the_members_are_told_and_what_bound_ones_mean_for_the_way_back() {
    let refused = "after the opening `rollback --keep-writes` is refused while one of them is bound";
    let waits = evidence_of(3, &scene("RH0404", |s| leaves_claim(s, "data-refdb-3"))).await;
    assert_eq!(waits, ["claim data-refdb-3 is Pending on pvc-1"]);
    let bound = Case {
        code: "RH0404",
        scene: |s| leaves_claim(s, "data-refdb-3"),
        world: |stage| {
            stage.world.change_objects("persistentvolumeclaims", |claim| claim["status"]["phase"] = json!("Bound"));
        },
        migration: |_| (),
    };
    let bound = evidence_of(3, &bound).await;
    assert_eq!(bound, ["claim data-refdb-3 is Bound on pvc-1", refused]);
    let many = scene("RH0404", |s| (3..30).for_each(|n| leaves_claim(s, &format!("data-refdb-{n}"))));
    let many = evidence_of(3, &many).await;
    assert_eq!((many.len(), many.last().map(String::as_str)), (21, Some("and 7 more")));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_every_file_would_get_is_told_with_what_spares_them() {
    let commands = "on the members: chmod g+rwxs /var/lib/refdb";
    let own = "the files' own group is 999: fsGroup: 999";
    let other = evidence_of(2, &scene("RH0511", |s| groups(s, 1000, Some(0o2770)))).await;
    let of = |member: &str| format!("{member}: /var/lib/refdb is of group 999, and fsGroup is 1000");
    assert_eq!(other, [of("refdb-0"), of("refdb-1"), commands.to_owned(), own.to_owned()]);
    let closed = evidence_of(1, &scene("RH0511", |s| groups(s, 999, Some(0o755)))).await;
    assert_eq!(closed[0], "refdb-0: /var/lib/refdb has mode 0755, and fsGroup wants 2770");
    assert_eq!(closed[1..], [commands]);
    assert_eq!(evidence_of(40, &scene("RH0511", |s| groups(s, 1000, None))).await.len(), 23);
}

#[tokio::test(start_paused = true)]
async fn what_each_pod_must_say_is_told_by_value_with_the_ordinals_and_once_where_all_are_alike() {
    let racks = |a: &str, b: &str, c: &str| {
        let line = |rack: &str, pods: &str| format!("rack must be {rack:?} in pods {pods}");
        [line("us-east-1a", a), line("us-east-1b", b), line("us-east-1c", c)]
    };
    let rack = scene("RH0621", |s| takes_from_pod(s, "REFDB_RACK"));
    assert_eq!(evidence_of(5, &rack).await, racks("0, 3", "1, 4", "2"));
    let many = evidence_of(60, &rack).await;
    assert!(many.len() == 3 && many[2].ends_with(", 35 and 8 more"), "{many:?}");
    // The last member lands on the first ordinal, which is 1.
    let placed = Case {
        code: "RH0621",
        scene: |s| {
            takes_from_pod(s, "REFDB_RACK");
            s.set()["spec"]["ordinals"] = json!({"start": 1});
        },
        world: |_| (),
        migration: |m| {
            let Slots::StatefulSets(sets) = &mut m.spec.target.slots else { panic!("no sets") };
            sets[0].ordinals = [("refdb-2".to_owned(), 1)].into();
        },
    };
    assert_eq!(evidence_of(3, &placed).await, racks("2", "3", "1"));
    let alike = evidence_of(
        3,
        &scene("RH0621", |s| {
            takes_from_pod(s, "REFDB_TOKENS");
            takes_from_pod(s, "REFDB_RACK");
        }),
    )
    .await;
    assert_eq!(alike[3], "token count must be \"1\" in every pod");
}

#[tokio::test(start_paused = true)]
async fn tags_that_stay_behind_are_told_as_the_migration_takes_them() {
    let tagged = world("RH0405", |stage| {
        tags_volumes(stage, |_| true, &[("backup", "daily"), ("Name", "refdb"), ("cost: who", "\"us\"")]);
    });
    let lines = evidence_of(3, &tagged).await;
    assert_eq!(lines, ["spec:", "  tags:", "    \"backup\": \"daily\"", "    \"cost: who\": \"\\\"us\\\"\""]);
    let spec: std::collections::BTreeMap<String, std::collections::BTreeMap<String, rehome_model::cloud::Tags>> =
        serde_saphyr::from_str(&lines.join("\n")).expect("YAML");
    assert_eq!(spec["spec"]["tags"]["cost: who"], "\"us\"");
}
