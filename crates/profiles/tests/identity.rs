//! The identity on the disk, as a real Cassandra 5.0.9 wrote it, and how the script brings it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use base64::Engine as _;
use common::{HOST_ID, cassandra, fixture, run};
use rehome_model::task::{HostAnswer, HostTask};
use rehome_profiles::ScriptContext;
use rehome_profiles::cassandra::{IdentityError, identity};

const TOKENS: &str = "-9011212673304524488,-8916600247986494926,-6157841438141011610,-4949588584730912443,\
-4939305456090907378,-4472836648704705585,-4447172164412882562,-3268109062090465086,-2350134002969960157,\
341623464317144718,1702081326490081746,3772222194110001717,5411817973248913164,5412758846498109545,\
5881850445501613061,6449435441948258734";

/// The files of an archive, by path.
fn files(archive: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = fixture(archive);
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
    let entries = tar.entries().unwrap().map(Result::unwrap).filter(|entry| entry.header().entry_type().is_file());
    entries
        .map(|mut entry| {
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (path, bytes)
        })
        .collect()
}

#[test]
fn the_disk_and_the_live_node_tell_the_same_identity() {
    let on_disk = cassandra().disk_identity(&fixture("drained.tar.gz")).unwrap();
    let view = cassandra().read_pod_view(&String::from_utf8(fixture("view.txt")).unwrap()).unwrap();
    assert_eq!(on_disk.id, HOST_ID);
    assert_eq!(on_disk.attributes["tokens"], TOKENS);
    assert_eq!(on_disk.attributes["partitioner"], "Murmur3Partitioner");
    assert_eq!(view.identity.differences(&on_disk), Vec::<String>::new());
    assert_eq!(view.identity.version.as_deref(), Some("5.0.9"));
    assert_eq!(on_disk.version.as_deref(), Some("5.0.9"));
}

#[test]
fn a_member_that_moved_keeps_its_identity_at_another_address() {
    let before = identity(&files("drained.tar.gz")).unwrap();
    let after = identity(&files("moved.tar.gz")).unwrap();
    assert_eq!(before.broadcast_address.as_deref(), Some("10.78.1.10"));
    assert_eq!(after.broadcast_address.as_deref(), Some("10.78.2.10"));
    assert_eq!((before.host_id, before.tokens), (after.host_id, after.tokens));
    let peers: Vec<&str> = after.peers.iter().map(|peer| peer.address.as_str()).collect();
    assert_eq!(peers, ["10.78.1.11", "10.78.1.12"]);
}

#[test]
fn of_several_sstables_the_newest_cell_wins() {
    let mut both = files("drained.tar.gz");
    both.extend(files("moved.tar.gz"));
    let locals = both.keys().filter(|path| path.contains("local-") && path.ends_with("-Data.db")).count();
    assert_eq!(locals, 2, "the two archives have different generations");
    let merged = identity(&both).unwrap();
    assert_eq!(merged.broadcast_address.as_deref(), Some("10.78.2.10"));
    assert_eq!(merged.tokens.len(), 16);
}

/// A value of a case's `expected.json`, as text.
fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn the_disk_says_what_the_live_node_said_in_every_state_of_its_files() {
    let cases = ["ring", "drained", "moved", "peer-left", "peer-other-port", "peer-deleted", "uncompressed"];
    for case in cases {
        let expected: serde_json::Value =
            serde_json::from_slice(&fixture(&format!("cases/{case}/expected.json"))).unwrap();
        let local = &expected["local"];
        let found = identity(&files(&format!("cases/{case}/archive.tar.gz"))).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert_eq!(found.host_id, text(&local["host_id"]), "{case}");
        assert_eq!(found.broadcast_address, local["broadcast_address"].as_str().map(str::to_owned), "{case}");
        let mut tokens: Vec<i64> =
            local["tokens"].as_array().unwrap().iter().map(|t| text(t).parse().unwrap()).collect();
        tokens.sort_unstable();
        let mut on_disk = found.tokens;
        on_disk.sort_unstable();
        assert_eq!(on_disk, tokens, "{case}");
        let mut peers: Vec<(String, String)> = expected["peers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|peer| (text(&peer["peer"]), text(&peer["host_id"])))
            .collect();
        peers.sort();
        let mut saved: Vec<(String, String)> =
            found.peers.into_iter().map(|peer| (peer.address, peer.host_id.unwrap_or_default())).collect();
        saved.sort();
        assert_eq!(saved, peers, "{case}");
    }
}

#[test]
fn an_empty_directory_is_no_member() {
    assert_eq!(identity(&BTreeMap::new()), Err(IdentityError::NotCassandra));
}

#[test]
fn another_sstable_format_is_named_and_refused() {
    let renamed =
        files("drained.tar.gz").into_iter().map(|(path, bytes)| (path.replace("/nb-", "/oa-"), bytes)).collect();
    let error = identity(&renamed).unwrap_err().to_string();
    assert!(error.contains("format oa") && error.contains("sstabledump"), "{error}");
    let renamed =
        files("drained.tar.gz").into_iter().map(|(path, bytes)| (path.replace("/nb-", "/me-"), bytes)).collect();
    let error = identity(&renamed).unwrap_err().to_string();
    assert!(error.contains("format me") && error.contains("nodetool upgradesstables system local peers_v2"), "{error}");
}

#[test]
fn a_missing_component_is_named() {
    let mut files = files("drained.tar.gz");
    files.retain(|path, _| !path.ends_with("Statistics.db"));
    let error = identity(&files).unwrap_err().to_string();
    assert!(error.contains("Statistics.db is missing"), "{error}");
}

proptest::proptest! {
    #[test]
    fn damaged_files_give_errors_and_never_a_panic(file in 0_usize..100, at in 0_usize..10_000, value: u8, cut: bool) {
        let mut files = files("drained.tar.gz");
        let count = files.len();
        if let Some(bytes) = files.values_mut().nth(file % count).filter(|bytes| !bytes.is_empty()) {
            let at = at % bytes.len();
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] = value;
            }
        }
        // Any answer will do, but one must come.
        let _ = identity(&files);
    }

    #[test]
    fn random_bytes_are_no_archive(bytes: Vec<u8>) {
        proptest::prop_assert!(cassandra().disk_identity(&bytes).is_err());
    }
}

/// A data directory as it was on the node.
fn data_directory() -> (tempfile::TempDir, BTreeMap<String, String>) {
    let root = tempfile::tempdir().unwrap();
    let data: PathBuf = root.path().join("data");
    tar::Archive::new(flate2::read::GzDecoder::new(fixture("drained.tar.gz").as_slice())).unpack(&data).unwrap();
    let config = root.path().join("cassandra.yaml");
    std::fs::write(&config, format!("cluster_name: prod\ndata_file_directories:\n  - {}\n", data.display())).unwrap();
    let settings = BTreeMap::from([("configFile".to_owned(), config.display().to_string())]);
    (root, settings)
}

fn read_identity(settings: &BTreeMap<String, String>, part: u32) -> (i32, String, String) {
    let context = ScriptContext { run: None, step: None, settings, mount_paths: &[] };
    run(&cassandra().host_script(&HostTask::ReadIdentity { part }, &context))
}

#[test]
fn the_script_brings_the_identity_in_parts_that_fit_together() {
    let (_root, settings) = data_directory();
    let mut encoded = String::new();
    for part in 0.. {
        let (code, stdout, stderr) = read_identity(&settings, part);
        assert_eq!(code, 0, "{stderr}");
        let task = HostTask::ReadIdentity { part };
        let answer = cassandra().read_host_answer(&task, &stdout).unwrap();
        let HostAnswer::Part { text, total_chars } = answer else { panic!("{answer:?}") };
        assert!(!text.is_empty());
        encoded.push_str(&text);
        if encoded.len() >= total_chars {
            break;
        }
    }
    let archive = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    assert_eq!(cassandra().disk_identity(&archive).unwrap().id, HOST_ID);
}

#[test]
fn snapshots_and_backups_of_the_identity_are_not_brought_along() {
    let (root, settings) = data_directory();
    let (_, alone, _) = read_identity(&settings, 0);
    let system = root.path().join("data/system");
    for table in std::fs::read_dir(&system).unwrap().map(|table| table.unwrap().path()) {
        // A snapshot's name may be that of a table.
        for folder in ["snapshots/local-1", "backups"] {
            let folder = table.join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("nb-99-big-Data.db"), vec![7; 100_000]).unwrap();
        }
    }
    let (code, stdout, stderr) = read_identity(&settings, 0);
    assert_eq!(code, 0, "{stderr}");
    // The folders have another time of change now.
    let size =
        |stdout: &str| serde_json::from_str::<serde_json::Value>(stdout).unwrap()["total_chars"].as_u64().unwrap();
    assert!(size(&stdout).abs_diff(size(&alone)) < 200, "{} {}", size(&stdout), size(&alone));
}

#[test]
fn a_blank_data_directory_is_an_error_of_the_script() {
    let root = tempfile::tempdir().unwrap();
    let settings = BTreeMap::from([
        ("configFile".to_owned(), "/nonexistent".to_owned()),
        ("dataDirectory".to_owned(), root.path().display().to_string()),
    ]);
    let (code, _, stderr) = read_identity(&settings, 0);
    assert_eq!(code, 1);
    assert!(stderr.contains("no system.local"), "{stderr}");
}
