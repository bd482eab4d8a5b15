//! Volumes are made, shown, cloned and deleted.

mod common;

use common::{
    HOUR, MINUTE, NO_SNAPSHOT, NO_VOLUME, SECOND, code, completed, create, done, gp3, immediate, member_with_volume,
    refused, snapshot_of, tagged, timed, volume, volumes, zone,
};
use rehome_ec2_emulator::api::{
    Action, CopyVolumes, CreateVolume, DescribeById, InitializationType, Reply, VolumeStatus,
};
use rehome_ec2_emulator::core::Ec2;
use rehome_ec2_emulator::disks::Content;
use rehome_model::cloud::VolumeState;
use rehome_model::ids::{SnapshotId, VolumeId, Zone};

/// What is wrong with a request.
type Change = fn(&mut CreateVolume);

fn asked(change: impl FnOnce(&mut CreateVolume)) -> Action {
    let mut request = gp3("a");
    change(&mut request);
    Action::CreateVolume(request)
}

fn status(ec2: &mut Ec2, id: &VolumeId) -> VolumeStatus {
    match done(ec2, Action::DescribeVolumeStatus(DescribeById::ids([id]))) {
        Reply::VolumeStatuses(mut page) => page.items.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_volume_is_creating_for_a_second_and_a_half() {
    let mut ec2 = timed();
    let made = create(&mut ec2, gp3("a"));
    assert_eq!(made.state, VolumeState::Creating);
    ec2.pass(1_499);
    assert_eq!(volume(&mut ec2, &made.id).state, VolumeState::Creating);
    ec2.pass(1);
    assert_eq!(volume(&mut ec2, &made.id).state, VolumeState::Available);
}

#[test]
fn an_account_that_encrypts_by_default_encrypts_what_nobody_asked_it_to_and_keeps_the_key_of_what_is_encrypted() {
    let mut ec2 = immediate();
    let spec = |ec2: &mut Ec2, action: Action| match done(ec2, action) {
        Reply::Volume(made) => (made.spec.encrypted, made.spec.kms_key_id),
        other => panic!("{other:?}"),
    };
    let (_, plain) = member_with_volume(&mut ec2);
    let snapshot = completed(&mut ec2, &plain);
    assert_eq!(done(&mut ec2, Action::GetEbsEncryptionByDefault), Reply::EncryptionByDefault(false));
    assert_eq!(done(&mut ec2, Action::GetEbsDefaultKmsKeyId), Reply::DefaultKey("alias/aws/ebs".to_owned()));
    ec2.core.config.encrypts_by_default = true;
    ec2.core.config.default_key = Some("key/default".to_owned());
    assert_eq!(done(&mut ec2, Action::GetEbsEncryptionByDefault), Reply::EncryptionByDefault(true));
    assert_eq!(done(&mut ec2, Action::GetEbsDefaultKmsKeyId), Reply::DefaultKey("key/default".to_owned()));
    let key = |name: &str| (true, Some(name.to_owned()));
    assert_eq!(spec(&mut ec2, asked(|_| ())), key("key/default"));
    assert_eq!(spec(&mut ec2, asked(|request| request.snapshot_id = Some(snapshot))), key("key/default"));
    let own = CreateVolume { encrypted: Some(true), kms_key_id: Some("key/own".to_owned()), ..gp3("a") };
    let made = create(&mut ec2, own);
    let of_own = completed(&mut ec2, &made.id);
    assert_eq!(spec(&mut ec2, asked(|request| request.snapshot_id = Some(of_own))), key("key/own"));
}

#[test]
fn ids_are_ec2s_and_come_from_the_seed() {
    let made = |seed| {
        let mut ec2 = immediate();
        ec2.core.config.seed = seed;
        create(&mut ec2, gp3("a")).id.to_string()
    };
    let id = made(7);
    assert_eq!(id, made(7));
    assert_ne!(id, made(8));
    assert_eq!(id.len(), "vol-".len() + 17);
}

#[test]
fn without_a_type_it_is_gp2_and_without_rates_it_has_its_types_own() {
    let mut ec2 = immediate();
    let plain = create(&mut ec2, CreateVolume { volume_type: None, size: Some(100), ..gp3("a") });
    assert_eq!((plain.spec.volume_type.as_str(), plain.spec.iops), ("gp2", Some(300)));
    let gp3 = create(&mut ec2, gp3("a"));
    assert_eq!((gp3.spec.iops, gp3.spec.throughput_mib_s), (Some(3000), Some(125)));
}

#[test]
fn each_types_limits_are_ec2s() {
    let mut ec2 = immediate();
    let cases: [(&str, Change, &str, &str); 14] = [
        ("unknown type", |v| v.volume_type = Some("gp9".into()), "UnknownVolumeType", "gp9"),
        ("no size", |v| v.size = None, "MissingParameter", "size/snapshot"),
        ("too small", |v| v.size = Some(0), "InvalidParameterValue", "too small for volume type gp3; minimum is 1GiB"),
        ("too large", |v| v.size = Some(65_537), "InvalidParameterValue", "maximum is 65536GiB"),
        ("too fast", |v| v.iops = Some(80_001), "InvalidParameterValue", "iops of 80001 is too high; maximum is 80000"),
        ("too slow", |v| v.iops = Some(2_999), "InvalidParameterValue", "too low; minimum is 3000"),
        (
            "too fast for its size",
            |v| v.iops = Some(5_001),
            "InvalidParameterValue",
            "Iops to volume size ratio of 500.1",
        ),
        ("iops of gp2", |v| (v.volume_type, v.iops) = (None, Some(3000)), "InvalidParameterCombination", "iops"),
        ("io2 without iops", |v| v.volume_type = Some("io2".into()), "MissingParameter", "iops"),
        (
            "throughput of gp2",
            |v| (v.volume_type, v.throughput) = (None, Some(125)),
            "InvalidParameterCombination",
            "Throughput",
        ),
        ("too much throughput", |v| v.throughput = Some(2_001), "InvalidParameterValue", "too high; maximum is 2000"),
        (
            "throughput without iops",
            |v| v.throughput = Some(751),
            "InvalidParameterValue",
            "maximum is 0.250000 MiBps per iops",
        ),
        ("Multi-Attach of gp3", |v| v.multi_attach_enabled = true, "InvalidParameterCombination", "MultiAttachEnabled"),
        ("small st1", |v| v.volume_type = Some("st1".into()), "InvalidParameterValue", "minimum is 125GiB"),
    ];
    for (what, change, code, words) in cases {
        let (found, message) = refused(&mut ec2, asked(change));
        assert_eq!(found, code, "{what}: {message}");
        assert!(message.contains(words), "{what}: {message}");
    }
}

#[test]
fn the_csi_driver_learns_the_largest_iops_from_a_dry_run() {
    let mut ec2 = immediate();
    let error = ec2.dry_run(&asked(|v| v.iops = Some(2_147_483_647))).unwrap_err();
    assert_eq!(error.code, "InvalidParameterValue");
    assert_eq!(error.message, "Volume iops of 2147483647 is too high; maximum is 80000.");
}

#[test]
fn a_zone_is_named_once_and_must_exist() {
    let mut ec2 = immediate();
    assert_eq!(code(&mut ec2, asked(|v| v.availability_zone = None)), "MissingParameter");
    let unknown = asked(|v| v.availability_zone = Some(zone("z")));
    assert_eq!(
        refused(&mut ec2, unknown),
        ("InvalidZone.NotFound".into(), "The zone 'us-east-1z' does not exist.".into())
    );
    let both = asked(|v| v.availability_zone_id = Some("use1-az1".into()));
    assert_eq!(code(&mut ec2, both), "InvalidParameterCombination");
    let by_id = CreateVolume { availability_zone: None, availability_zone_id: Some("use1-az2".into()), ..gp3("a") };
    assert_eq!(create(&mut ec2, by_id).zone, zone("b"));
}

#[test]
fn a_volume_is_made_only_from_a_completed_snapshot_that_fits() {
    let mut ec2 = timed();
    let (_, source) = member_with_volume(&mut ec2);
    let Reply::Snapshot(pending) = done(&mut ec2, snapshot_of(&source)) else { panic!("a snapshot") };
    let from = |id: &SnapshotId, size| {
        let id = id.clone();
        asked(move |v| (v.snapshot_id, v.size) = (Some(id), size))
    };
    assert_eq!(
        refused(&mut ec2, from(&pending.id, Some(10))),
        ("IncorrectState".into(), format!("Snapshot '{}' is not 'completed'.", pending.id))
    );
    ec2.pass(MINUTE);
    assert_eq!(code(&mut ec2, from(&pending.id, Some(9))), "InvalidParameterValue");
    let missing = SnapshotId::from(NO_SNAPSHOT);
    assert_eq!(
        refused(&mut ec2, from(&missing, Some(9))),
        ("InvalidSnapshot.NotFound".into(), format!("The snapshot '{NO_SNAPSHOT}' does not exist."))
    );
    let Reply::Volume(made) = done(&mut ec2, from(&pending.id, None)) else { panic!("a volume") };
    assert_eq!(made.spec.size_gib, 10, "the size is the snapshot's");
    let hash = |ec2: &Ec2, id| ec2.disks.volume(id).unwrap().content.hash();
    assert_eq!(hash(&ec2, &made.id), hash(&ec2, &source));
}

#[test]
fn encryption_is_inherited_and_cannot_be_taken_off() {
    let mut ec2 = immediate();
    let secret = asked(|v| (v.encrypted, v.kms_key_id) = (Some(true), Some("key/one".into())));
    let Reply::Volume(source) = done(&mut ec2, secret) else { panic!("a volume") };
    let snapshot = completed(&mut ec2, &source.id);
    let made = create(&mut ec2, CreateVolume { snapshot_id: Some(snapshot.clone()), ..gp3("b") });
    assert_eq!((made.spec.encrypted, made.spec.kms_key_id.as_deref()), (true, Some("key/one")));
    let plain = asked(move |v| (v.snapshot_id, v.encrypted) = (Some(snapshot), Some(false)));
    assert_eq!(code(&mut ec2, plain), "InvalidParameterValue");
    assert_eq!(code(&mut ec2, asked(|v| v.kms_key_id = Some("k".into()))), "InvalidParameterDependency");
}

#[test]
fn a_key_that_cannot_be_used_is_found_out_later() {
    let mut ec2 = timed();
    ec2.core.config.bad_keys.insert("key/bad".into());
    let bad = || asked(|v| (v.encrypted, v.kms_key_id) = (Some(true), Some("key/bad".into())));
    let Reply::Volume(made) = done(&mut ec2, bad()) else { panic!("accepted") };
    ec2.pass(MINUTE);
    assert_eq!(volume(&mut ec2, &made.id).state, VolumeState::Error);

    ec2.core.config.limits.failed_volumes_vanish = true;
    let Reply::Volume(gone) = done(&mut ec2, bad()) else { panic!("accepted") };
    ec2.pass(MINUTE);
    assert_eq!(code(&mut ec2, Action::DescribeVolumes(DescribeById::ids([&gone.id]))), "InvalidVolume.NotFound");
}

#[test]
fn a_volume_from_a_snapshot_fills_by_itself_or_at_the_rate_that_was_bought() {
    const GIB: u64 = 1 << 30;
    let mut ec2 = timed();
    let (_, source) = member_with_volume(&mut ec2);
    ec2.disks.fill(&source, Content::default().with_ballast(3 * GIB));
    let snapshot = completed(&mut ec2, &source);
    let slow = create(&mut ec2, CreateVolume { snapshot_id: Some(snapshot.clone()), ..gp3("a") });
    let bought =
        CreateVolume { snapshot_id: Some(snapshot.clone()), volume_initialization_rate: Some(300), ..gp3("a") };
    let fast = create(&mut ec2, bought.clone());
    ec2.pass(5 * SECOND);
    let found = status(&mut ec2, &fast.id);
    assert!(found.details.contains(&("initialization-state".to_owned(), "initializing".to_owned())), "{found:?}");
    let initialization = found.initialization.unwrap();
    assert_eq!((initialization.kind, initialization.progress), (InitializationType::ProvisionedRate, 48));
    assert_eq!(initialization.estimated_seconds, Some(6));
    let initialization = status(&mut ec2, &slow.id).initialization.unwrap();
    assert_eq!((initialization.kind, initialization.estimated_seconds), (InitializationType::Default, None));
    assert!(initialization.progress < 48);
    ec2.pass(HOUR);
    assert_eq!(status(&mut ec2, &slow.id).initialization.unwrap().progress, 100);

    let too_fast = CreateVolume { volume_initialization_rate: Some(301), ..bought.clone() };
    assert_eq!(code(&mut ec2, Action::CreateVolume(too_fast)), "InvalidParameterValue");
    ec2.core.config.limits.initialization_rate = 299;
    assert_eq!(code(&mut ec2, Action::CreateVolume(bought)), "VolumeInitializationRateLimitExceeded");
    let blank = asked(|v| v.volume_initialization_rate = Some(100));
    assert_eq!(code(&mut ec2, blank), "InvalidParameterCombination");
}

#[test]
fn the_status_of_a_volume_is_late() {
    let mut ec2 = timed();
    let (_, source) = member_with_volume(&mut ec2);
    let snapshot = completed(&mut ec2, &source);
    ec2.core.config.consistency.volume_status_lag_ms = 5 * MINUTE;
    let made = create(&mut ec2, CreateVolume { snapshot_id: Some(snapshot), ..gp3("a") });
    ec2.pass(4 * MINUTE);
    assert_eq!(status(&mut ec2, &made.id).initialization.unwrap().progress, 0);
    ec2.pass(2 * MINUTE);
    assert_eq!(status(&mut ec2, &made.id).initialization.unwrap().progress, 100);
}

#[test]
fn a_copy_is_made_in_its_sources_zone_with_what_is_on_the_device_then() {
    let mut ec2 = timed();
    let (member, source) = member_with_volume(&mut ec2);
    ec2.disks.mount(&source, member.as_str(), ec2.now);
    ec2.disks.write(&source, "synced", b"1".to_vec());
    ec2.disks.sync(&source);
    ec2.disks.write(&source, "in memory", b"2".to_vec());
    let copy = Action::CopyVolumes(CopyVolumes { volume_type: Some("gp3".into()), ..CopyVolumes::of(source.clone()) });
    let Reply::CopiedVolumes(made) = done(&mut ec2, copy.clone()) else { panic!("a copy") };
    assert_eq!((made.len(), &made[0].zone, made[0].source_volume.as_ref()), (1, &zone("a"), Some(&source)));
    assert_eq!(
        refused(&mut ec2, copy.clone()).0,
        "ConcurrentCopyVolumeLimitExceeded",
        "one at a time while the first is creating"
    );
    ec2.pass(2 * SECOND);
    let kept = ec2.disks.volume(&made[0].id).unwrap().content.files.clone();
    assert!(kept.contains_key("synced") && !kept.contains_key("in memory"));
    assert_eq!(status(&mut ec2, &made[0].id).initialization.unwrap().kind, InitializationType::VolumeCopy);
    let small = CopyVolumes { size: Some(9), ..CopyVolumes::of(source.clone()) };
    assert_eq!(code(&mut ec2, Action::CopyVolumes(small)), "InvalidParameterValue");
    let Reply::CopiedVolumes(plain) = done(&mut ec2, Action::CopyVolumes(CopyVolumes::of(source.clone()))) else {
        panic!("a copy")
    };
    assert_eq!(plain[0].spec.volume_type, "gp2", "whatever the source is");
    ec2.pass(2 * SECOND);
    let encrypted =
        CopyVolumes { encrypted: true, kms_key_id: Some("key-1".into()), ..CopyVolumes::of(source.clone()) };
    let Reply::CopiedVolumes(made) = done(&mut ec2, Action::CopyVolumes(encrypted)) else { panic!("a copy") };
    assert_eq!((made[0].spec.encrypted, made[0].spec.kms_key_id.as_deref()), (true, Some("key-1")));
    let key_alone = CopyVolumes { kms_key_id: Some("key-1".into()), ..CopyVolumes::of(source) };
    assert_eq!(code(&mut ec2, Action::CopyVolumes(key_alone)), "InvalidParameterDependency");
    ec2.core.config.limits.copy_unencrypted = false;
    assert_eq!(code(&mut ec2, copy), "UnsupportedOperation");
}

#[test]
fn an_attached_volume_is_not_deleted_and_a_deleted_one_is_shown_for_a_while() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    assert_eq!(
        refused(&mut ec2, Action::DeleteVolume(data.clone())),
        ("VolumeInUse".into(), format!("Volume {data} is currently attached to {member}"))
    );
    let made = create(&mut ec2, gp3("a"));
    assert_eq!(code(&mut ec2, Action::DeleteVolume(made.id.clone())), "IncorrectState", "it is creating");
    ec2.pass(2 * SECOND);
    done(&mut ec2, Action::DeleteVolume(made.id.clone()));
    assert_eq!(volume(&mut ec2, &made.id).state, VolumeState::Deleting);
    assert!(ec2.disks.volume(&made.id).is_none());
    assert_eq!(code(&mut ec2, Action::DeleteVolume(made.id.clone())), "InvalidVolume.NotFound");
    ec2.pass(2 * SECOND);
    assert_eq!(volumes(&mut ec2, DescribeById::filter("volume-id", made.id.as_str())), Vec::new());
}

#[test]
fn not_found_names_what_is_missing_and_malformed_is_something_else() {
    let mut ec2 = immediate();
    let other = "vol-0123456789abcdef1";
    assert_eq!(
        refused(&mut ec2, Action::DescribeVolumes(DescribeById::ids([NO_VOLUME, other]))),
        ("InvalidVolume.NotFound".into(), format!("The volumes '{NO_VOLUME}, {other}' do not exist."))
    );
    assert_eq!(
        refused(&mut ec2, Action::DescribeVolumes(DescribeById::ids(["vol-nonsense"]))),
        ("InvalidVolumeID.Malformed".into(), "Invalid id: \"vol-nonsense\"".into())
    );
}

#[test]
fn tags_are_set_with_the_creation_for_the_type_that_is_created() {
    let mut ec2 = immediate();
    let made = create(&mut ec2, CreateVolume { tag_specifications: tagged("volume", &[("run", "1")]), ..gp3("a") });
    assert_eq!(made.tags.get("run").map(String::as_str), Some("1"));
    let wrong = asked(|v| v.tag_specifications = tagged("snapshot", &[("run", "1")]));
    assert_eq!(
        refused(&mut ec2, wrong),
        ("InvalidParameterValue".into(), "'snapshot' is not a valid taggable resource type for this operation.".into())
    );
}

#[test]
fn the_accounts_room_is_limited_by_number_and_by_size_of_a_type() {
    let mut ec2 = immediate();
    ec2.core.config.limits.volumes = 2;
    create(&mut ec2, gp3("a"));
    let second = create(&mut ec2, gp3("a"));
    assert_eq!(code(&mut ec2, asked(|_| ())), "VolumeLimitExceeded");
    done(&mut ec2, Action::DeleteVolume(second.id));
    ec2.core.config.limits.storage_gib_per_type = 19;
    let (code, message) = refused(&mut ec2, asked(|_| ()));
    assert_eq!(code, "VolumeLimitExceeded");
    assert!(message.contains("gp3 storage limit of 19 GiB"), "{message}");
    done(&mut ec2, asked(|v| v.volume_type = Some("gp2".into())));
}

#[test]
fn zones_and_the_region_are_described() {
    let mut ec2 = immediate();
    let Reply::AvailabilityZones(zones) = done(&mut ec2, Action::DescribeAvailabilityZones(DescribeById::default()))
    else {
        panic!("zones")
    };
    let named: Vec<(Zone, String)> = zones.into_iter().map(|found| (found.name, found.id)).collect();
    assert_eq!(named[0], (zone("a"), "use1-az1".to_owned()));
    assert_eq!(named.len(), 3);
    let unknown = Action::DescribeAvailabilityZones(DescribeById::ids(["us-east-1z"]));
    assert_eq!(code(&mut ec2, unknown), "InvalidParameterValue");
    let Reply::Regions(regions) = done(&mut ec2, Action::DescribeRegions(DescribeById::default())) else {
        panic!("regions")
    };
    assert_eq!(regions[0].endpoint, "ec2.us-east-1.amazonaws.com");
}
