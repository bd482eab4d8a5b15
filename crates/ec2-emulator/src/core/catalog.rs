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

/// Families on Nitro: name, GB of instance store of a `large`.
const NITRO: [(&str, u64); 15] = [
    ("c5", 0),
    ("c6i", 0),
    ("c7i", 0),
    ("i3en", 1_250),
    ("i4i", 468),
    ("m5", 0),
    ("m5d", 75),
    ("m6i", 0),
    ("m7i", 0),
    ("m8g", 0),
    ("r5", 0),
    ("r6i", 0),
    ("r7i", 0),
    ("t3", 0),
    ("t4g", 0),
];
/// Families on Xen.
const XEN: [(&str, u64); 6] = [("c4", 0), ("i3", 475), ("m4", 0), ("r4", 0), ("t2", 0), ("x1", 120)];
/// Sizes: name, vCPUs.
const SIZES: [(&str, u32); 11] = [
    ("micro", 2),
    ("small", 2),
    ("medium", 2),
    ("large", 2),
    ("xlarge", 4),
    ("2xlarge", 8),
    ("4xlarge", 16),
    ("8xlarge", 32),
    ("12xlarge", 48),
    ("16xlarge", 64),
    ("24xlarge", 96),
];

/// An instance type by name; none if the emulator does not know it.
///
/// Attachment limits: 28 shared with network interfaces and instance store on older Nitro families, 32 for EBS alone from
/// the seventh generation on, 39 on Xen (EC2 user guide, "Instance volume limits").
pub fn instance_type(name: &str) -> Option<InstanceType> {
    let (family, size) = name.split_once('.')?;
    let vcpus = SIZES.iter().find(|(known, _)| *known == size)?.1;
    let find = |families: &[(&str, u64)]| families.iter().find(|(known, _)| *known == family).map(|(_, store)| *store);
    let nitro = find(&NITRO);
    let store = nitro.or_else(|| find(&XEN))?;
    let dedicated = family.contains(['7', '8']);
    let per_vcpu = match family.as_bytes()[0] {
        b'c' => 2,
        b'r' | b'i' | b'x' => 8,
        _ => 4,
    };
    Some(InstanceType {
        name: name.to_owned(),
        vcpus,
        memory_mib: u64::from(vcpus) * per_vcpu * 1024,
        nitro: nitro.is_some(),
        attachment_limit: match (nitro.is_some(), dedicated) {
            (false, _) => 39,
            (true, false) => 28,
            (true, true) => 32,
        },
        attachment_limit_shared: nitro.is_some() && !dedicated,
        maximum_network_interfaces: if vcpus >= 8 { 8 } else { 3 },
        instance_storage_gb: store * u64::from(vcpus) / 2,
    })
}

/// All instance types the emulator knows, in the order of their names.
pub(crate) fn instance_types() -> Vec<InstanceType> {
    let families = NITRO.iter().chain(&XEN).map(|(family, _)| *family);
    let mut all: Vec<InstanceType> = families
        .flat_map(|family| SIZES.iter().filter_map(move |(size, _)| instance_type(&format!("{family}.{size}"))))
        .collect();
    all.sort_by(|left, right| left.name.cmp(&right.name));
    all
}
