//! Filters, pages, tags, and describes that are late.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{
    MINUTE, attach, attachment, code, create, detach, done, gp3, immediate, instance, member_with_volume, refused,
    snapshots_of, stop, tags, timed, volume, volumes, zone,
};
use rehome_ec2_emulator::api::{
    Action, CreateVolume, DescribeById, DescribeInstanceTypes, DescribeSnapshots, DescribeTags, Filter, Page, Reply,
    TagsRequest,
};
use rehome_ec2_emulator::core::{Config, Consistency, Ec2, Timing};
use rehome_model::cloud::{AttachmentState, InstanceState};
use rehome_model::ids::VolumeId;

fn found(ec2: &mut Ec2, filters: &[(&str, &[&str])]) -> BTreeSet<VolumeId> {
    let filter = |(name, values): &(&str, &[&str])| Filter {
        name: (*name).to_owned(),
        values: values.iter().map(ToString::to_string).collect(),
    };
    let by = DescribeById { filters: filters.iter().map(filter).collect(), ..DescribeById::default() };
    volumes(ec2, by).into_iter().map(|volume| volume.id).collect()
}

#[test]
fn filters_are_joined_by_and_their_values_by_or_and_both_have_wildcards() {
    let mut ec2 = immediate();
    let (member, data) = member_with_volume(&mut ec2);
    let a =
        create(&mut ec2, CreateVolume { tag_specifications: common::tagged("volume", &[("run", "r-17")]), ..gp3("a") });
    let b = create(&mut ec2, CreateVolume { size: Some(20), ..gp3("b") });
    let set = |ids: &[&VolumeId]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>();
    for (filters, expected) in [
        (vec![("volume-id", &[data.as_str(), b.id.as_str()][..])], set(&[&data, &b.id])),
        (vec![("tag:run", &["r-*"][..])], set(&[&a.id])),
        (vec![("tag:run", &["r-?"][..])], set(&[])),
        (vec![("tag-key", &["run"][..])], set(&[&a.id])),
        (vec![("availability-zone", &["us-east-1b"][..])], set(&[&b.id])),
        (vec![("status", &["available"][..])], set(&[&a.id, &b.id])),
        (vec![("status", &["available"][..]), ("size", &["20"][..])], set(&[&b.id])),
        (vec![("attachment.instance-id", &[member.as_str()][..]), ("size", &["10"][..])], set(&[&data])),
        (vec![("attachment.status", &["attached"][..]), ("attachment.device", &["/dev/xvdf"][..])], set(&[&data])),
        (vec![("volume-id", &[][..])], set(&[])),
    ] {
        assert_eq!(found(&mut ec2, &filters), expected, "{filters:?}");
    }
    let unknown = Action::DescribeVolumes(DescribeById::filter("colour", "red"));
    assert_eq!(refused(&mut ec2, unknown), ("InvalidParameterValue".into(), "The filter 'colour' is invalid".into()));
}

#[test]
fn every_instance_type_is_one_of_ec2s() {
    let mut ec2 = immediate();
    let Reply::InstanceTypes(all) = done(&mut ec2, Action::DescribeInstanceTypes(DescribeInstanceTypes::default()))
    else {
        panic!("types")
    };
    let find = |name: &str| all.items.iter().find(|found| found.name == name);
    // Families do not come in all sizes.
    for no_such in ["c5.micro", "t3.24xlarge", "x1.large"] {
        assert_eq!(find(no_such), None);
    }
    for (name, architecture, vcpus, memory_mib) in [
        ("m5.large", "x86_64", 2, 8_192),
        ("m8g.medium", "arm64", 1, 4_096),
        ("t4g.micro", "arm64", 2, 1_024),
        ("c5.24xlarge", "x86_64", 96, 196_608),
    ] {
        let found = find(name).unwrap();
        assert_eq!((found.architecture.as_str(), found.vcpus, found.memory_mib), (architecture, vcpus, memory_mib));
    }
}

#[test]
fn instances_and_snapshots_have_filters_of_their_own() {
    let mut ec2 = immediate();
    let (member, data) = member_with_volume(&mut ec2);
    let other = ec2.member(1, "db-1");
    done(&mut ec2, stop(&other));
    let address = instance(&mut ec2, &member).private_ip.unwrap();
    for (name, value, expected) in [
        ("tag:Name", "db-0", &member),
        ("private-ip-address", address.as_str(), &member),
        ("instance-state-name", "stopped", &other),
        ("availability-zone", "us-east-1b", &other),
        ("block-device-mapping.volume-id", data.as_str(), &member),
    ] {
        let shown = common::instances(&mut ec2, DescribeById::filter(name, value));
        assert_eq!(shown.iter().map(|found| &found.id).collect::<Vec<_>>(), [expected], "{name}={value}");
    }
    common::capture(&mut ec2, snapshots_of(&member));
    for (name, value, expected) in
        [("volume-id", data.as_str(), 1), ("status", "completed", 1), ("status", "error", 0), ("volume-size", "10", 1)]
    {
        let by = DescribeSnapshots { filters: vec![Filter::new(name, value)], ..DescribeSnapshots::default() };
        assert_eq!(common::snapshots(&mut ec2, by).len(), expected, "{name}={value}");
    }
}

#[test]
fn pages_show_everything_once() {
    let mut ec2 = immediate();
    for _ in 0..13 {
        create(&mut ec2, gp3("a"));
    }
    let mut page = Page { max_results: Some(5), next_token: None };
    let mut seen = Vec::new();
    loop {
        let by = DescribeById { page: page.clone(), ..DescribeById::default() };
        let Reply::Volumes(shown) = done(&mut ec2, Action::DescribeVolumes(by)) else { panic!("volumes") };
        seen.extend(shown.items.into_iter().map(|volume| volume.id));
        // What is made meanwhile is shown or not, but nothing is shown twice or left out.
        create(&mut ec2, gp3("b"));
        match shown.next_token {
            Some(token) => page.next_token = Some(token),
            None => break,
        }
    }
    let old = volumes(&mut ec2, DescribeById::filter("availability-zone", "us-east-1a"));
    assert!(old.iter().all(|volume| seen.contains(&volume.id)));
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
}

#[test]
fn a_page_has_rules() {
    let mut ec2 = immediate();
    let made = create(&mut ec2, gp3("a")).id;
    let with = |ids: Vec<String>, max_results, token: Option<&str>| {
        let page = Page { max_results, next_token: token.map(str::to_owned) };
        Action::DescribeVolumes(DescribeById { ids, page, ..DescribeById::default() })
    };
    let (found, message) = refused(&mut ec2, with(Vec::new(), Some(4), None));
    assert_eq!(found, "InvalidParameterValue");
    assert_eq!(message, "Value ( 4 ) for parameter maxResults is invalid. Expecting a value greater than 5.");
    assert_eq!(code(&mut ec2, with(vec![made.to_string()], Some(5), None)), "InvalidParameterCombination");
    assert_eq!(code(&mut ec2, with(Vec::new(), Some(5), Some("nonsense"))), "InvalidNextToken");
    done(&mut ec2, with(Vec::new(), Some(0), None));
}

#[test]
fn tags_are_added_overwritten_deleted_and_described() {
    let mut ec2 = immediate();
    let (member, data) = member_with_volume(&mut ec2);
    let request = |pairs: &[(&str, Option<&str>)]| TagsRequest {
        resources: vec![member.to_string(), data.to_string()],
        tags: pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect(),
    };
    done(&mut ec2, Action::CreateTags(request(&[("run", Some("1")), ("step", Some("a"))])));
    done(&mut ec2, Action::CreateTags(request(&[("run", Some("2"))])));
    assert_eq!(volume(&mut ec2, &data).tags, tags(&[("run", "2"), ("step", "a")]));
    done(&mut ec2, Action::DeleteTags(request(&[("run", Some("1")), ("step", None)])));
    assert_eq!(volume(&mut ec2, &data).tags, tags(&[("run", "2")]), "a value that is not there deletes nothing");
    let described = |ec2: &mut Ec2, filters: &[(&str, &str)]| {
        let filters = filters.iter().map(|(name, value)| Filter::new(*name, *value)).collect();
        let by = DescribeTags { filters, page: Page::default() };
        let Reply::Tags(page) = done(ec2, Action::DescribeTags(by)) else { panic!("tags") };
        page.items.into_iter().map(|tag| (tag.resource_id, tag.key)).collect::<Vec<_>>()
    };
    assert_eq!(described(&mut ec2, &[("resource-type", "volume")]), [(data.to_string(), "run".to_owned())]);
    assert_eq!(described(&mut ec2, &[("resource-id", member.as_str()), ("key", "N*")]).len(), 1);
    done(&mut ec2, Action::DeleteTags(request(&[])));
    assert_eq!(described(&mut ec2, &[]), []);
}

#[test]
fn tags_have_limits() {
    let mut ec2 = immediate();
    let made = create(&mut ec2, gp3("a")).id;
    let request = |resource: &str, tags: BTreeMap<String, Option<String>>| {
        Action::CreateTags(TagsRequest { resources: vec![resource.to_owned()], tags })
    };
    let many = |from: usize, to: usize| (from..to).map(|n| (format!("k{n}"), Some(String::new()))).collect();
    done(&mut ec2, request(made.as_str(), many(0, 50)));
    assert_eq!(code(&mut ec2, request(made.as_str(), many(50, 51))), "TagLimitExceeded");
    let reserved = BTreeMap::from([("aws:mine".to_owned(), None)]);
    assert_eq!(code(&mut ec2, request(made.as_str(), reserved)), "InvalidParameterValue");
    assert_eq!(code(&mut ec2, request("nonsense", many(0, 1))), "InvalidID");
    assert_eq!(code(&mut ec2, request(common::NO_VOLUME, many(0, 1))), "InvalidVolume.NotFound");
    assert_eq!(code(&mut ec2, Action::CreateTags(TagsRequest::default())), "MissingParameter");
}

/// Describes up to `lag_ms` late.
fn late(lag_ms: u64) -> Ec2 {
    let consistency = Consistency { lag_ms, ..Consistency::default() };
    Ec2::new(Config { timing: Timing::default().exact(), consistency, ..Config::default() })
}

#[test]
fn what_was_just_made_is_not_found_for_a_while_and_then_it_is() {
    let mut ec2 = late(5_000);
    let member = ec2.member(0, "db-0");
    let made = create(&mut ec2, gp3("a")).id;
    let by_id = || Action::DescribeVolumes(DescribeById::ids([&made]));
    assert_eq!(code(&mut ec2, by_id()), "InvalidVolume.NotFound");
    assert_eq!(
        found(&mut ec2, &[("status", &["creating", "available"])]),
        BTreeSet::new(),
        "a negative look proves nothing"
    );
    assert_eq!(code(&mut ec2, attach(&made, &member, "/dev/xvdf")), "InvalidVolume.NotFound", "other calls too");
    ec2.pass(5_000);
    done(&mut ec2, by_id());
}

#[test]
fn instances_and_volumes_disagree_in_both_directions() {
    let mut volume_first = false;
    let mut instance_first = false;
    for seed in 0..20 {
        let mut ec2 = late(5_000);
        ec2.core.config.seed = seed;
        let (member, data) = member_with_volume(&mut ec2);
        done(&mut ec2, detach(&data));
        for _ in 0..100 {
            ec2.pass(100);
            let by_volume = attachment(&mut ec2, &data).is_some();
            let by_instance = instance(&mut ec2, &member).block_devices.iter().any(|device| device.volume == data);
            volume_first |= !by_volume && by_instance;
            instance_first |= by_volume && !by_instance;
        }
        assert_eq!(attachment(&mut ec2, &data), None, "in the end both agree");
    }
    assert!(volume_first && instance_first);
}

#[test]
fn an_older_state_is_shown_for_a_while() {
    let mut ec2 = late(5_000);
    let member = ec2.member(0, "db-0");
    done(&mut ec2, stop(&member));
    assert_eq!(instance(&mut ec2, &member).state, InstanceState::Running);
    ec2.pass(5_000);
    assert_eq!(instance(&mut ec2, &member).state, InstanceState::Stopping);
    ec2.pass(MINUTE);
    assert_eq!(instance(&mut ec2, &member).state, InstanceState::Stopped);
}

#[test]
fn strongly_consistent_describes_show_what_is() {
    let mut ec2 = timed();
    let (_, data) = member_with_volume(&mut ec2);
    done(&mut ec2, detach(&data));
    assert_eq!(attachment(&mut ec2, &data), Some(AttachmentState::Detaching));
    assert_eq!(volume(&mut ec2, &data).zone, zone("a"));
}
