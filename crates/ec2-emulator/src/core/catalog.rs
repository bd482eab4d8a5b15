//! Volume types and instance types, and what they allow.

use crate::api::InstanceType;

/// What a volume type allows (EBS user guide, "Amazon EBS volume types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeTypeLimits {
    /// `gp3`, ...
    pub name: &'static str,
    /// Least and most GiB.
    pub size_gib: (i64, i64),
    /// Least and most IOPS, and the most a GiB; none where they cannot be chosen.
    pub iops: Option<(i64, i64, i64)>,
    /// IOPS if none are asked for; none where they must be.
    pub default_iops: Option<i64>,
    /// Least and most MiB/s; none where it cannot be chosen.
    pub throughput: Option<(i64, i64)>,
    /// Whether it may be attached to several instances.
    pub multi_attach: bool,
    /// Whether only one snapshot may be pending.
    pub one_pending_snapshot: bool,
}

const PLAIN: VolumeTypeLimits = VolumeTypeLimits {
    name: "standard",
    size_gib: (1, 1_024),
    iops: None,
    default_iops: None,
    throughput: None,
    multi_attach: false,
    one_pending_snapshot: false,
};

const VOLUME_TYPES: [VolumeTypeLimits; 7] = [
    PLAIN,
    VolumeTypeLimits { name: "gp2", size_gib: (1, 16_384), ..PLAIN },
    VolumeTypeLimits {
        name: "gp3",
        size_gib: (1, 65_536),
        iops: Some((3_000, 80_000, 500)),
        default_iops: Some(3_000),
        throughput: Some((125, 2_000)),
        ..PLAIN
    },
    VolumeTypeLimits { name: "io1", size_gib: (4, 16_384), iops: Some((100, 64_000, 50)), multi_attach: true, ..PLAIN },
    VolumeTypeLimits {
        name: "io2",
        size_gib: (4, 65_536),
        iops: Some((100, 256_000, 1_000)),
        multi_attach: true,
        ..PLAIN
    },
    VolumeTypeLimits { name: "st1", size_gib: (125, 16_384), one_pending_snapshot: true, ..PLAIN },
    VolumeTypeLimits { name: "sc1", size_gib: (125, 16_384), one_pending_snapshot: true, ..PLAIN },
];

/// A volume type by name.
pub fn volume_type(name: &str) -> Option<&'static VolumeTypeLimits> {
    VOLUME_TYPES.iter().find(|known| known.name == name)
}

/// A family of instance types.
struct Family {
    name: &'static str,
    nitro: bool,
    /// GB of instance store of a `large`; larger sizes have more in proportion.
    store_gb: u64,
    sizes: &'static [&'static str],
}

const fn nitro(name: &'static str, sizes: &'static [&'static str]) -> Family {
    Family { name, nitro: true, store_gb: 0, sizes }
}

const fn xen(name: &'static str, sizes: &'static [&'static str]) -> Family {
    Family { name, nitro: false, store_gb: 0, sizes }
}

const BURSTABLE: &[&str] = &["micro", "small", "medium", "large", "xlarge", "2xlarge"];
const FIFTH: &[&str] = &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge"];
const GRAVITON: &[&str] =
    &["medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge"];
const TO_16: &[&str] = &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"];

/// Families, with those of their sizes whose vCPUs are in [`SIZES`]. Each is an InstanceType of EC2's service model.
const FAMILIES: [Family; 20] = [
    nitro("c5", &["large", "xlarge", "2xlarge", "4xlarge", "12xlarge", "24xlarge"]),
    nitro("c6i", FIFTH),
    nitro("c7i", FIFTH),
    Family { store_gb: 1_250, ..nitro("i3en", &["large", "xlarge", "2xlarge", "12xlarge", "24xlarge"]) },
    Family { store_gb: 468, ..nitro("i4i", FIFTH) },
    nitro("m5", FIFTH),
    Family { store_gb: 75, ..nitro("m5d", FIFTH) },
    nitro("m6i", FIFTH),
    nitro("m7i", FIFTH),
    nitro("m8g", GRAVITON),
    nitro("r5", FIFTH),
    nitro("r6i", FIFTH),
    nitro("r7i", FIFTH),
    nitro("t3", BURSTABLE),
    nitro("t4g", BURSTABLE),
    xen("c4", &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge"]),
    Family { store_gb: 475, ..xen("i3", TO_16) },
    xen("m4", &["large", "xlarge", "2xlarge", "4xlarge", "16xlarge"]),
    xen("r4", TO_16),
    xen("t2", BURSTABLE),
];
/// Sizes: name, vCPUs, GiB of memory where the family is a burstable one.
const SIZES: [(&str, u32, u64); 11] = [
    ("micro", 2, 1),
    ("small", 2, 2),
    ("medium", 2, 4),
    ("large", 2, 8),
    ("xlarge", 4, 16),
    ("2xlarge", 8, 32),
    ("4xlarge", 16, 64),
    ("8xlarge", 32, 128),
    ("12xlarge", 48, 192),
    ("16xlarge", 64, 256),
    ("24xlarge", 96, 384),
];

/// An instance type by name; none if the emulator does not know it.
///
/// Attachment limits: 28 shared with network interfaces and instance store on older Nitro families, 32 for EBS alone from
/// the seventh generation on, 39 on Xen (EC2 user guide, "Instance volume limits").
pub fn instance_type(name: &str) -> Option<InstanceType> {
    let (family, size) = name.split_once('.')?;
    let family = FAMILIES.iter().find(|known| known.name == family && known.sizes.contains(&size))?;
    let (_, vcpus, burstable_gib) = *SIZES.iter().find(|(known, _, _)| *known == size)?;
    let kind = family.name.as_bytes()[0];
    // Only burstable families have a `medium` with two.
    let vcpus = if size == "medium" && kind != b't' { 1 } else { vcpus };
    let memory_gib = match kind {
        b't' => burstable_gib,
        b'c' => u64::from(vcpus) * 2,
        b'r' | b'i' => u64::from(vcpus) * 8,
        _ => u64::from(vcpus) * 4,
    };
    let dedicated = family.name.contains(['7', '8']);
    Some(InstanceType {
        name: name.to_owned(),
        architecture: if family.name.ends_with('g') { "arm64" } else { "x86_64" }.to_owned(),
        vcpus,
        memory_mib: memory_gib * 1024,
        nitro: family.nitro,
        attachment_limit: match (family.nitro, dedicated) {
            (false, _) => 39,
            (true, false) => 28,
            (true, true) => 32,
        },
        attachment_limit_shared: family.nitro && !dedicated,
        maximum_network_interfaces: if vcpus >= 8 { 8 } else { 3 },
        instance_storage_gb: family.store_gb * u64::from(vcpus) / 2,
    })
}

/// All instance types the emulator knows, in the order of their names.
pub(crate) fn instance_types() -> Vec<InstanceType> {
    let of = |family: &'static Family| family.sizes.iter().map(move |size| format!("{}.{size}", family.name));
    let mut all: Vec<InstanceType> = FAMILIES.iter().flat_map(of).filter_map(|name| instance_type(&name)).collect();
    all.sort_by(|left, right| left.name.cmp(&right.name));
    all
}
