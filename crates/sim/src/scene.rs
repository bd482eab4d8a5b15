//! Setting a scene: a healthy legacy cluster, and an empty set that waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use rehome_ec2_emulator::core::Config;
use rehome_ec2_emulator::disks::Content;
use rehome_ec2_emulator::face::Emulator;
use rehome_model::answer::MemberIdentity;
use rehome_model::cloud::{Tags, VolumeSpec};
use rehome_model::ids::{InstanceId, VolumeId};
use serde_json::{Value, json};

use crate::database::{IDENTITY, OWNER, PEERS, ReferenceDatabase};
use crate::kubernetes::{Cluster, Key};
use crate::world::{Host, HostShape, State, World};

/// The world's first moment: 2026-01-01T00:00:00Z, in ms since 1970.
pub const EPOCH_MS: u64 = 1_767_225_600_000;
/// Latency of an EC2 call.
pub(crate) const EC2_LATENCY_MS: u64 = 60;
/// Size of a data volume.
const DATA_GIB: u32 = 100;

/// Size of a commit log volume.
const LOG_GIB: u32 = 20;
/// Where a commit log is mounted.
pub(crate) const LOG_PATH: &str = "/var/lib/refdb-log";
/// Volumes that a node takes; the simulated attacher has 26 device names.
const NODE_VOLUMES: u32 = 20;
/// Between two writes of the client.
const WRITE_MS: u64 = 500;

/// What a scene is made of. Changes to it make the worlds in which checks find something.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Members.
    pub members: u32,
    /// Seed of ids and tokens.
    pub seed: u64,
    /// EC2's set-up.
    pub ec2: Config,
    /// Put the members into an Auto Scaling group.
    pub auto_scaling: bool,
    /// Give each member a second volume, for its commit log.
    pub commitlog: bool,
    /// Have two nodes in each zone, so that one can be lost.
    pub spare_nodes: bool,
    /// Between two writes of the client, in ms. A large cluster takes fewer: every member keeps every row.
    pub write_every_ms: u64,
    /// The members' data volumes.
    pub volume: VolumeSpec,
    /// Their file system.
    pub fs_type: String,
    /// What the hosts show.
    pub host: HostShape,
    /// Changes a member's identity, by its number.
    pub identity: fn(u32, &mut MemberIdentity),
    /// Objects of the cluster, by key; changed freely before the world begins.
    pub objects: BTreeMap<Key, Value>,
}

impl Scene {
    /// A healthy scene of members with a data and a commit log volume each.
    pub fn with_commitlogs(members: u32, seed: u64) -> Self {
        let mut scene = Self { commitlog: true, ..Self::new(members, seed) };
        let set = scene.set();
        let mut log = set["spec"]["volumeClaimTemplates"][0].clone();
        log["metadata"]["name"] = json!("commitlog");
        log["spec"]["resources"]["requests"]["storage"] = json!(format!("{LOG_GIB}Gi"));
        if let Some(templates) = set["spec"]["volumeClaimTemplates"].as_array_mut() {
            templates.push(log);
        }
        if let Some(mounts) = set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].as_array_mut() {
            mounts.push(json!({"name": "commitlog", "mountPath": LOG_PATH}));
        }
        scene
    }

    /// A healthy scene.
    pub fn new(members: u32, seed: u64) -> Self {
        let ec2 = Config { seed, ..Config::default() };
        let mut objects = BTreeMap::new();
        let mut add = |plural, namespace: &str, name: &str, object| {
            objects.insert(Key::new(plural, namespace, name), object);
        };
        add("namespaces", "", "refdb", json!({"metadata": {}, "status": {"phase": "Active"}}));
        add("csidrivers", "", "ebs.csi.aws.com", json!({"metadata": {}, "spec": {"attachRequired": true}}));
        let class = json!({
            "metadata": {}, "provisioner": "ebs.csi.aws.com", "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        });
        add("storageclasses", "", "gp3", class);
        let service = json!({"metadata": {}, "spec": {"clusterIP": "None", "publishNotReadyAddresses": true}});
        add("services", "refdb", "refdb", service);
        add("statefulsets", "refdb", "refdb", set(members));
        Self {
            members,
            seed,
            ec2,
            auto_scaling: false,
            commitlog: false,
            spare_nodes: false,
            write_every_ms: WRITE_MS.max(u64::from(members) * 10),
            volume: data_volume(),
            fs_type: "xfs".to_owned(),
            host: HostShape::default(),
            identity: |_, _| (),
            objects,
        }
    }

    /// The set, for changing it.
    pub fn set(&mut self) -> &mut Value {
        self.objects.entry(Key::new("statefulsets", "refdb", "refdb")).or_default()
    }

    /// Nodes of the cluster: one a zone, and more where their attachments would not suffice.
    fn nodes(&self) -> u32 {
        let zones = u32::try_from(self.ec2.zones.len()).unwrap_or(u32::MAX).max(1);
        let volumes = self.members * if self.commitlog { 2 } else { 1 };
        volumes.div_ceil(zones).div_ceil(NODE_VOLUMES).max(if self.spare_nodes { 2 } else { 1 }) * zones
    }

    /// A member's files.
    fn files(&self, index: u32, zone: &str, peers: &BTreeMap<String, String>) -> BTreeMap<String, Vec<u8>> {
        let attributes = BTreeMap::from([
            ("data_center".to_owned(), "us-east-1".to_owned()),
            ("rack".to_owned(), zone.to_owned()),
            ("tokens".to_owned(), format!("{}", i64::from(index) * 1_000_003)),
        ]);
        let mut identity = MemberIdentity {
            id: member_id(self.seed, index),
            cluster: "prod".to_owned(),
            version: Some("1.0".to_owned()),
            attributes,
        };
        (self.identity)(index, &mut identity);
        BTreeMap::from([
            (IDENTITY.to_owned(), serde_json::to_vec(&identity).unwrap_or_default()),
            (PEERS.to_owned(), serde_json::to_vec(peers).unwrap_or_default()),
            (OWNER.to_owned(), format!("{0}:{0}", self.host.uid).into_bytes()),
            // Old data that no client of this run wrote.
            ("data/old".to_owned(), vec![index as u8; 4096]),
        ])
    }

    /// Begins the world.
    pub fn begin(self) -> World {
        let ec2 = Emulator::new(self.ec2.clone(), EPOCH_MS, Duration::from_millis(EC2_LATENCY_MS));
        let mut hosts = BTreeMap::new();
        let mut database = ReferenceDatabase::new(self.members as usize, self.write_every_ms);
        let mut nodes = BTreeMap::new();
        let mut cluster = Cluster::new(EPOCH_MS);
        let zones = self.ec2.zones.clone();
        ec2.with(|inner, now| {
            let peers: BTreeMap<String, String> =
                (0..self.members).map(|index| (member_id(self.seed, index), address(index))).collect();
            for index in 0..self.members {
                let zone = &zones[index as usize % zones.len()];
                let tags = Tags::from([
                    ("Name".to_owned(), format!("refdb-{index}")),
                    ("cluster".to_owned(), "prod".to_owned()),
                ]);
                let id = inner.core.add_instance(&mut inner.disks, now, zone, &address(index), "m5.large", tags);
                let mut content = Content::with_files(&self.fs_type, self.files(index, zone.as_str(), &peers));
                content.uuid = Some(format!("{index:08x}-0000-4000-8000-000000000000"));
                let volume =
                    inner.core.add_volume(&mut inner.disks, now, &id, "/dev/xvdf", self.volume.clone(), content, true);
                let mut legacy = host(index, volume, self.host.clone());
                if self.commitlog {
                    let spec = VolumeSpec { size_gib: LOG_GIB, ..self.volume.clone() };
                    let mut content =
                        Content::with_files(&self.fs_type, self.files(index, zone.as_str(), &BTreeMap::new()));
                    content.uuid = Some(format!("{index:08x}-0000-4000-8000-00000000000c"));
                    let log = inner.core.add_volume(&mut inner.disks, now, &id, "/dev/xvdg", spec, content, true);
                    legacy.originals.push(log.clone());
                    legacy.file_systems.push((LOG_PATH.to_owned(), log, "/dev/nvme2n1".to_owned()));
                }
                hosts.insert(id.clone(), legacy);
                if self.auto_scaling {
                    let group = inner.core.groups.entry("refdb".to_owned()).or_default();
                    group.members.insert(id, "InService".to_owned());
                    // As a group over several zones must be, for its members to leave it.
                    group.suspended.insert("AZRebalance".to_owned());
                }
            }
            for (index, zone) in (0..self.nodes()).zip(zones.iter().cycle()) {
                let name = format!("node-{index}");
                let ip = format!("10.{}.9.{}", index / 200, index % 200 + 10);
                let id = inner.core.add_instance(&mut inner.disks, now, zone, &ip, "m5.large", Tags::new());
                nodes.insert(name, (id, zone.to_string()));
            }
        });
        let now = ec2.now();
        for (name, (id, zone)) in &nodes {
            // The scene's own keys are all different, so nothing of this can be refused.
            let _ = cluster.put_new(now, &Key::new("nodes", "", name), node(id, zone));
            let drivers = json!([{"name": "ebs.csi.aws.com", "nodeID": id, "allocatable": {"count": 26}}]);
            let csi_node = json!({"metadata": {}, "spec": {"drivers": drivers}});
            let _ = cluster.put_new(now, &Key::new("csinodes", "", name), csi_node);
        }
        for (key, object) in self.objects {
            let _ = cluster.put_new(now, &key, object);
        }
        // The legacy side has been up for a long time: its first start is in the past.
        ec2.with(|inner, now| {
            for (id, host) in &hosts {
                for (_, volume, _) in &host.file_systems {
                    inner.disks.mount(volume, id.as_str(), now);
                }
                // A scene whose service does not start is one in which the survey finds it down.
                let _ = host.start(&mut database, &mut inner.disks, now - 3_600_000, id);
            }
        });
        let nodes = nodes.into_iter().map(|(name, (id, _))| (name, id)).collect();
        let state = State {
            at: EPOCH_MS,
            hosts,
            cluster,
            database,
            nodes,
            ready: BTreeMap::new(),
            late: Vec::new(),
            agents_gone: Vec::new(),
            starting: BTreeMap::new(),
            pod_program: "refdb",
            exec_ms: 0,
            disks_full: Vec::new(),
            reboots: Vec::new(),
            apiserver_away: Vec::new(),
        };
        World::new(ec2, state)
    }
}

fn data_volume() -> VolumeSpec {
    VolumeSpec {
        volume_type: "gp3".to_owned(),
        size_gib: DATA_GIB,
        iops: Some(3000),
        throughput_mib_s: Some(125),
        encrypted: false,
        kms_key_id: None,
    }
}

pub(crate) fn address(index: u32) -> String {
    format!("10.0.{}.{}", index / 200 + 1, index % 200 + 10)
}

pub(crate) fn member_id(seed: u64, index: u32) -> String {
    let digest = blake3::hash(format!("member/{seed}/{index}").as_bytes()).to_hex();
    format!("{}-{}-4{}-8{}-{}", &digest[..8], &digest[8..12], &digest[12..15], &digest[15..18], &digest[18..30])
}

fn host(index: u32, volume: VolumeId, shape: HostShape) -> Host {
    Host {
        shape,
        address: address(index),
        file_systems: vec![("/var/lib/refdb".to_owned(), volume.clone(), "/dev/nvme1n1".to_owned())],
        originals: vec![volume],
        masked: false,
        held: false,
        up: true,
        hangs: false,
        taken_back: BTreeSet::new(),
        busy_until: 0,
    }
}

fn node(id: &InstanceId, zone: &str) -> Value {
    json!({
        "metadata": {"labels": {
            "topology.kubernetes.io/zone": zone, "node.kubernetes.io/instance-type": "m5.large",
        }},
        "spec": {"providerID": format!("aws:///{zone}/{id}")},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn set(members: u32) -> Value {
    let seeds: Vec<String> = (0..members.min(3)).map(|index| format!("refdb-{index}.refdb")).collect();
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {},
        "spec": {
            "serviceName": "refdb", "replicas": 0, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "refdb"}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "template": {
                "metadata": {"labels": {"app": "refdb"}},
                "spec": {
                    "securityContext": {"runAsUser": 999},
                    "containers": [{
                        "name": "refdb", "image": "refdb:1.0",
                        "env": [
                            {"name": "REFDB_CLUSTER", "value": "prod"},
                            {"name": "REFDB_DATA_CENTER", "value": "us-east-1"},
                            {"name": "REFDB_SEEDS", "value": seeds.join(",")},
                            {"name": "REFDB_CLIENTS", "valueFrom": {"configMapKeyRef": {
                                "name": "rehome-gate-refdb", "key": "REFDB_CLIENTS", "optional": true}}},
                        ],
                        "readinessProbe": {"tcpSocket": {"port": 7000}},
                        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/refdb"}],
                    }],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "storageClassName": "gp3",
                    "resources": {"requests": {"storage": format!("{DATA_GIB}Gi")}},
                },
            }],
        },
    })
}

/// The migration that moves the members of a scene with commit logs.
pub fn migration_yaml_with_commitlogs() -> String {
    let role = format!("      - role: commitlog\n        mountPath: {LOG_PATH}\n  target:\n");
    migration_yaml().replace("  target:\n", &role)
}

/// The migration that moves a scene's members, as a user would write it.
pub fn migration_yaml() -> String {
    let mut yaml = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        yaml,
        "apiVersion: {}
kind: Migration
metadata:
  name: refdb
spec:
  application:
    profile: reference
  source:
    region: us-east-1
    members:
      tags:
        cluster: prod
    volumes:
      - role: data
        mountPath: /var/lib/refdb
  target:
    namespace: refdb
    slots:
      statefulSets:
        - name: refdb",
        rehome_model::migration::API_VERSION
    );
    yaml
}
