//! What others do beside `gc`, and before it: tags that travel, volumes attached meanwhile, names used twice.

use crate::common::Stage;
use crate::leftovers::{by_file, by_name, cluster_gone, delete, forget_record, whys, world_of};
use rehome_engine::{Collector, GcOutcome, Kube, Removal};
use rehome_model::cloud::{Tags, Volume};
use rehome_model::collection::{Collection, Thing, Verdict};
use rehome_model::ids::{InstanceId, VolumeId};
use rehome_model::labels;
use rehome_model::record::Phase;
use rehome_ports::{Cloud, CreateSnapshots, CreateVolume, ResourceId, SnapshotFilter, VolumeFilter};
use rehome_sim::{Scene, checks};
use serde_json::json;

const NOTHING: Vec<String> = Vec::new();

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn minutes(n: u64) {
    tokio::time::sleep(std::time::Duration::from_secs(60 * n)).await;
}

/// A run that ended when its volumes were made and none was released, and whose record is lost.
async fn with_orphaned_volumes(seed: u64) -> (Stage, Vec<Volume>) {
    let stage = Stage::new(Scene::new(2, seed));
    let mut plan = stage.plan().await;
    let after = ["release-volume", "scale-set", "pods-run", "verify", "unclose-set", "open", "sweep"];
    plan.steps.retain(|step| !after.iter().any(|prefix| step.id.as_str().starts_with(prefix)));
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    minutes(1).await;
    forget_record(&stage).await;
    let volumes = ours(&stage).await;
    assert_eq!(volumes.len(), 2);
    (stage, volumes)
}

async fn ours(stage: &Stage) -> Vec<Volume> {
    let filter = VolumeFilter::Tags(tags(&[(labels::MIGRATION, "refdb")]));
    stage.world.ec2().describe_volumes(&filter).await.expect("described")
}

/// The legacy members' instances, in the order of their names.
fn members(stage: &Stage) -> Vec<InstanceId> {
    stage.world.ec2().with(|inner, _| {
        let name = |tags: &Tags| tags.get("Name").filter(|name| name.starts_with("refdb-")).cloned();
        let mut all: Vec<(String, InstanceId)> =
            inner.core.instances.iter().filter_map(|(id, record)| Some((name(&record.tags)?, id.clone()))).collect();
        all.sort();
        all.into_iter().map(|(_, id)| id).collect()
    })
}

async fn look(collector: &Collector) -> Collection {
    collector.look().await.expect("looked")
}

fn of_volume(shown: &Collection, id: &VolumeId) -> (Verdict, String) {
    let is = |thing: &Thing| matches!(thing, Thing::Volume { id: found } if found == id);
    let found = shown.found.iter().find(|found| is(&found.thing)).expect("listed");
    (found.verdict, found.why.clone())
}

fn nothing_of_the_cloud(shown: &Collection) {
    let cloud = |thing: &Thing| matches!(thing, Thing::Volume { .. } | Thing::Snapshot { .. });
    assert_eq!(shown.orphaned().filter(|found| cloud(&found.thing)).count(), 0, "{shown:?}");
}

/// Why a volume was left in place.
fn left(removed: &[Removal], id: &VolumeId) -> String {
    let is = |thing: &Thing| matches!(thing, Thing::Volume { id: found } if found == id);
    match removed.iter().find(|removal| is(&removal.thing)).map(|removal| &removal.outcome) {
        Some(GcOutcome::Left(why)) => why.clone(),
        other => panic!("{id} was not left: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_attached_tagged_anew_or_given_to_a_claim_meanwhile_stays() {
    let (stage, volumes) = with_orphaned_volumes(81).await;
    let (first, second) = (volumes[0].id.clone(), volumes[1].id.clone());
    let collector = by_file(&stage);
    let shown = look(&collector).await;
    assert_eq!(of_volume(&shown, &first).0, Verdict::Orphaned);
    // The list was shown; before it is confirmed, somebody attaches one volume to look into it ...
    let node = stage.world.ec2().with(|inner, _| {
        let mut nodes = inner.core.instances.iter().filter(|(_, record)| record.private_ip.starts_with("10.0.9."));
        let zone = inner.core.volumes[&first].zone.clone();
        nodes.find(|(_, record)| record.zone == zone).map(|(id, _)| id.clone()).expect("a node")
    });
    stage.world.ec2().attach_volume(&first, &node, "/dev/xvdz").await.expect("attached");
    // ... and puts a PersistentVolume of their own on the other.
    let spec = json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": second}, "capacity": {"storage": "100Gi"}});
    stage.world.add_object("persistentvolumes", "", "by-hand", json!({"metadata": {}, "spec": spec}));
    minutes(1).await;
    let removed = delete(&collector, &shown).await;
    assert!(left(&removed, &first).contains(&format!("attached to {node}")));
    assert!(left(&removed, &second).contains("by-hand"));
    let made_from = |volume: &Volume| volume.snapshot.clone().expect("from a snapshot");
    let filter = SnapshotFilter::Ids(volumes.iter().map(made_from).collect());
    let kept = stage.world.ec2().describe_snapshots(&filter).await.expect("described");
    assert_eq!(kept.len(), 2, "the snapshots that these were made from stay with them");
    assert_eq!(ours(&stage).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_volume_whose_tags_are_taken_over_meanwhile_stays() {
    let (stage, volumes) = with_orphaned_volumes(82).await;
    let collector = by_file(&stage);
    let shown = look(&collector).await;
    for (index, pair) in [(labels::MIGRATION, "mine-now"), (labels::RUN, "")].into_iter().enumerate() {
        let id = volumes[index].id.clone();
        stage.world.ec2().tag(&ResourceId::Volume(id), &tags(&[pair])).await.expect("tagged");
    }
    stage.world.ec2().with(|inner, _| {
        // A tag that was removed altogether.
        inner.core.volumes.get_mut(&volumes[1].id).expect("there").tags.remove(labels::STEP);
    });
    minutes(1).await;
    let removed = delete(&collector, &shown).await;
    for volume in &volumes {
        assert!(left(&removed, &volume.id).contains("rehome did not make it"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stranger_made_with_similar_tags_is_shown_and_never_deleted() {
    let (stage, volumes) = with_orphaned_volumes(83).await;
    let ec2 = stage.world.ec2();
    let all = volumes[0].tags.clone();
    let members = members(&stage);
    // A snapshot of a legacy volume that somebody tagged with the migration's name, and a volume made from it.
    let mut request = CreateSnapshots {
        instance: members[0].clone(),
        exclude: Vec::new(),
        include_root: false,
        description: "by hand".to_owned(),
        tags: tags(&[(labels::MIGRATION, "refdb"), (labels::MEMBER, "refdb-0")]),
    };
    let by_hand = ec2.create_snapshots(&request).await.expect("taken").remove(0);
    minutes(2).await;
    // One that a backup tool took of a volume, copying the volume's tags: these are all ours, but for the step's kind.
    request.tags.clone_from(&all);
    let backup = ec2.create_snapshots(&request).await.expect("taken").remove(0);
    minutes(30).await;
    let volume = |snapshot, tags, token: &str| CreateVolume {
        snapshot,
        zone: volumes[0].zone.clone(),
        spec: volumes[0].spec.clone(),
        tags,
        token: token.to_owned(),
    };
    let partly = ec2.create_volume(&volume(by_hand.id.clone(), request.tags.clone(), "a")).await.expect("made");
    let mut other_name = all.clone();
    other_name.insert(labels::MIGRATION.to_owned(), "refdb2".to_owned());
    let other = ec2.create_volume(&volume(by_hand.id.clone(), other_name, "b")).await.expect("made");
    // A volume restored from that backup, with all tags copied once more.
    let restored = ec2.create_volume(&volume(backup.id.clone(), all, "c")).await.expect("made");
    minutes(2).await;
    stage.control.disarm();
    let shown = look(&by_file(&stage)).await;
    for id in [&partly.id, &restored.id] {
        assert_eq!(of_volume(&shown, id).0, Verdict::Kept, "{shown:?}");
    }
    assert!(!format!("{shown:?}").contains(other.id.as_str()), "another migration's is not even listed");
    let removed = delete(&by_file(&stage), &shown).await;
    assert!(removed.iter().all(|removal| removal.outcome == GcOutcome::Deleted), "{removed:?}");
    let filter = VolumeFilter::Ids(vec![partly.id, other.id, restored.id]);
    assert_eq!(ec2.describe_volumes(&filter).await.expect("described").len(), 3);
    let filter = SnapshotFilter::Ids(vec![by_hand.id, backup.id]);
    assert_eq!(ec2.describe_snapshots(&filter).await.expect("described").len(), 2);
    assert_eq!(ours(&stage).await.iter().filter(|volume| volumes.iter().any(|v| v.id == volume.id)).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_legacy_volume_that_somebody_gave_our_tags_stays() {
    let (stage, volumes) = with_orphaned_volumes(84).await;
    let instance = members(&stage).remove(0);
    let legacy = stage.world.ec2().with(|inner, _| {
        let devices = &inner.core.instances[&instance].block_devices;
        devices.iter().find(|device| device.device == "/dev/xvdf").expect("the data volume").volume.clone()
    });
    stage.world.ec2().tag(&ResourceId::Volume(legacy.clone()), &volumes[0].tags).await.expect("tagged");
    // Detached as well: nothing but what is known of the members holds it.
    stage.world.ec2().detach_volume(&legacy, &instance).await.expect("detached");
    minutes(2).await;
    for collector in [by_file(&stage), by_name(&stage), cluster_gone(by_file(&stage)), cluster_gone(by_name(&stage))] {
        let (verdict, why) = of_volume(&look(&collector).await, &legacy);
        assert_eq!(verdict, Verdict::InUse);
        assert!(why.contains("a legacy volume"), "{why}");
    }
    let shown = look(&by_file(&stage)).await;
    delete(&by_file(&stage), &shown).await;
    assert!(ours(&stage).await.iter().any(|volume| volume.id == legacy));
}

#[tokio::test(start_paused = true)]
async fn without_record_and_file_nothing_in_the_cloud_is_orphaned() {
    let (stage, _) = with_orphaned_volumes(85).await;
    let shown = look(&by_name(&stage)).await;
    let whys = whys(&shown, "volume ");
    assert!(whys.iter().all(|why| why.contains("only the migration file (-f)")), "{whys:?}");
    nothing_of_the_cloud(&shown);
}

#[tokio::test(start_paused = true)]
async fn another_clusters_migration_of_the_same_name_is_left_alone() {
    // Two worlds cannot share an account here: instead the file names members that are not those of the run.
    let (stage, _) = with_orphaned_volumes(86).await;
    let mut collector = by_file(&stage);
    let node = stage.world.ec2().with(|inner, _| {
        let is_node = |record: &&rehome_ec2_emulator::core::InstanceRecord| record.private_ip.starts_with("10.0.9.");
        inner.core.instances.iter().find(|(_, record)| is_node(record)).map(|(id, _)| id.clone()).expect("a node")
    });
    collector.scope.members =
        Some(rehome_model::migration::MemberSelector::InstanceIds(vec![node, "i-0123456789abcdef0".into()]));
    let shown = look(&collector).await;
    assert!(whys(&shown, "volume ").iter().all(|why| why.contains("another cluster's")), "{shown:?}");
    nothing_of_the_cloud(&shown);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_whose_original_is_gone_may_be_the_last_copy_and_stays() {
    let (stage, _) = with_orphaned_volumes(87).await;
    stage.world.ec2().with(|inner, _| {
        let data = inner.core.snapshots.values().map(|record| record.volume.clone()).collect::<Vec<_>>();
        for id in data {
            inner.core.volumes.remove(&id);
        }
    });
    for collector in [by_file(&stage), cluster_gone(by_name(&stage))] {
        let shown = look(&collector).await;
        assert!(whys(&shown, "volume ").iter().all(|why| why.contains("the last copy")), "{shown:?}");
        nothing_of_the_cloud(&shown);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_whose_claim_was_deleted_keeps_the_volume_that_its_pod_wrote_to() {
    let stage = Stage::new(Scene::new(2, 88));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    stage.scale(0).await;
    minutes(1).await;
    let kube = Kube::new(stage.ports.kube());
    let path = "/api/v1/namespaces/refdb/persistentvolumeclaims/data-refdb-1";
    let claim = kube.get(path).await.expect("answered").expect("the claim");
    kube.delete(path, claim["metadata"]["uid"].as_str().expect("a uid")).await.expect("deleted");
    minutes(1).await;
    // With the record of the run and without it.
    let seen = async || {
        let shown = look(&by_file(&stage)).await;
        let whys = whys(&shown, "PersistentVolume ");
        assert!(whys.iter().any(|why| why.contains("may hold what a pod wrote")), "{whys:?}");
        shown
    };
    seen().await;
    forget_record(&stage).await;
    let before = world_of(&stage).await;
    let shown = seen().await;
    delete(&by_file(&stage), &shown).await;
    let after = world_of(&stage).await;
    assert_eq!((after.adopted, after.needed), (before.adopted, before.needed));
    assert_eq!(checks::violations(&stage.world), NOTHING);
}

/// A set that is down, whose volumes are detached, and a cluster that knows nothing of the migration: another one, or one
/// that was built anew.
async fn in_another_cluster(seed: u64) -> Stage {
    let stage = Stage::new(Scene::new(2, seed));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    stage.scale(0).await;
    minutes(1).await;
    let kube = Kube::new(stage.ports.kube());
    for (at, what) in
        [("/api/v1/namespaces/refdb/persistentvolumeclaims", "data-"), ("/api/v1/persistentvolumes", "rehome-")]
    {
        for object in crate::leftovers::objects(&stage, at).await {
            let name = object["metadata"]["name"].as_str().expect("a name");
            assert!(name.starts_with(what), "{name}");
            kube.delete(&format!("{at}/{name}"), object["metadata"]["uid"].as_str().expect("a uid"))
                .await
                .expect("deleted");
        }
    }
    minutes(1).await;
    forget_record(&stage).await;
    stage
}

#[tokio::test(start_paused = true)]
async fn what_pods_wrote_stays_where_the_cluster_that_is_asked_does_not_know_of_it() {
    let stage = in_another_cluster(89).await;
    for collector in [by_file(&stage), by_name(&stage)] {
        let shown = look(&collector).await;
        assert!(!shown.recorded);
        // Base snapshots at most: nothing was made from them, and the originals are there.
        assert!(shown.orphaned().all(|found| !matches!(found.thing, Thing::Volume { .. })), "{shown:?}");
        delete(&collector, &shown).await;
    }
    let shown = look(&by_file(&stage)).await;
    let told = whys(&shown, "volume ");
    assert!(
        told.iter().all(|why| why.contains("all that a pod ever wrote") && why.contains("--cluster-gone")),
        "{told:?}"
    );
    assert_eq!(ours(&stage).await.len(), 2);
    // Whoever says that the cluster is gone finds it all.
    let shown = look(&cluster_gone(by_file(&stage))).await;
    assert_eq!(shown.orphaned().count(), 4, "two volumes and what they were made from: {shown:?}");
}

#[tokio::test(start_paused = true)]
async fn parked_claims_that_may_go_take_with_them_what_they_tell_of() {
    let (stage, _) = with_orphaned_volumes(90).await;
    let mut collector = by_file(&stage);
    collector.scope.parked_claims = true;
    let shown = look(&collector).await;
    let removed = delete(&collector, &shown).await;
    assert!(removed.iter().all(|removal| removal.outcome == GcOutcome::Deleted), "{removed:?}");
    assert_eq!(ours(&stage).await, Vec::new());
    assert_eq!(look(&collector).await.orphaned().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restored_volume_whose_backup_is_gone_is_not_taken_for_one_made_twice() {
    let stage = Stage::new(Scene::new(2, 91));
    let plan = stage.plan().await;
    assert_eq!(stage.apply(&plan).await.outcome().phase, Phase::Completed);
    let adopted = ours(&stage).await.remove(0);
    // A backup tool captured the volume that the pod writes to, and restored it with all tags; the backup is deleted.
    let ec2 = stage.world.ec2();
    let request = CreateVolume {
        snapshot: adopted.snapshot.clone().expect("from a snapshot"),
        zone: adopted.zone.clone(),
        spec: adopted.spec.clone(),
        tags: adopted.tags.clone(),
        token: "restored".to_owned(),
    };
    let restored = ec2.create_volume(&request).await.expect("made").id;
    ec2.with(|inner, _| {
        inner.core.volumes.get_mut(&restored).expect("there").snapshot = Some("snap-0123456789abcdef0".into());
    });
    minutes(2).await;
    let (verdict, why) = of_volume(&look(&by_file(&stage)).await, &restored);
    assert_eq!(verdict, Verdict::Kept, "{why}");
    assert!(why.contains("the snapshot it was made from is gone"), "{why}");
    // With the snapshot of the run it is one.
    ec2.with(|inner, _| inner.core.volumes.get_mut(&restored).expect("there").snapshot.clone_from(&adopted.snapshot));
    minutes(1).await;
    let (verdict, why) = of_volume(&look(&by_file(&stage)).await, &restored);
    assert_eq!(verdict, Verdict::Orphaned, "{why}");
    assert!(why.contains("made it twice"), "{why}");
}
