//! File systems of the legacy hosts, and the kernels of the nodes that are to mount them.

use std::collections::BTreeMap;

use rehome_model::cluster::NodeReport;
use rehome_model::ids::Zone;

use crate::context::Context;

/// What a feature of XFS asks of a kernel: the first one that mounts such a file system for writing (Linux `fs/xfs/libxfs/xfs_format.h`,
/// `XFS_SB_FEAT_INCOMPAT_ALL` and `XFS_SB_FEAT_RO_COMPAT_ALL`, as of each release; kernelnewbies.org). Names are those of xfs_info.
const XFS_SINCE: [(&str, (u32, u32)); 10] = [
    ("sparse", (4, 2)),
    ("rmapbt", (4, 8)),
    ("reflink", (4, 9)),
    ("bigtime", (5, 10)),
    ("inobtcount", (5, 10)),
    ("nrext64", (5, 19)),
    ("exchange", (6, 10)),
    ("parent", (6, 10)),
    ("metadir", (6, 13)),
    ("zoned", (6, 15)),
];

/// Reports the nodes of a zone that may not mount what its members bring along.
pub(crate) fn check(context: &mut Context<'_>, zone: &Zone, usable: &[&NodeReport]) {
    let mut used: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for member in context.survey.members.iter().filter(|member| member.instance.zone == *zone) {
        for source in &context.migration.spec.source.volumes {
            let of_mount = member.host.as_ref().and_then(|host| host.xfs_features.get(&source.mount_path));
            for feature in of_mount.into_iter().flatten() {
                used.entry(feature.as_str()).or_default().push(format!("{}/{}", member.name, source.role));
            }
        }
    }
    let known = XFS_SINCE.into_iter().filter_map(|(feature, since)| Some((feature, since, used.get(feature)?)));
    let Some((_, newest, _)) = known.clone().max_by_key(|(_, since, _)| *since) else { return };
    let older = |node: &&&NodeReport| version(&node.kernel).is_some_and(|version| version < newest);
    let nodes: Vec<String> =
        usable.iter().filter(older).map(|node| format!("node {} has kernel {}", node.name, node.kernel)).collect();
    if nodes.is_empty() {
        return;
    }
    let all = nodes.len() == usable.len();
    let message = format!(
        "{} nodes may not be able to mount the file systems that come to this zone",
        if all { "its".to_owned() } else { format!("{} of {}", nodes.len(), usable.len()) }
    );
    let oldest = usable.iter().filter_map(|node| version(&node.kernel)).min();
    let features = known.filter(|(_, since, _)| oldest.is_some_and(|oldest| oldest < *since));
    let mut seen: Vec<String> = features
        .map(|(feature, (major, minor), of)| {
            let more = if of.len() > 1 { format!(" and {} more", of.len() - 1) } else { String::new() };
            format!("XFS of {}{more} uses {feature}, which Linux knows from {major}.{minor} on", of[0])
        })
        .collect();
    seen.extend(nodes);
    context.report("RH0307", format!("zone {zone}"), message, seen);
}

/// `5.10.226-214.880.amzn2.x86_64` is 5.10.
fn version(kernel: &str) -> Option<(u32, u32)> {
    let mut parts = kernel.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_read_as_distributions_write_it() {
        let cases = [
            ("5.10.226-214.880.amzn2.x86_64", Some((5, 10))),
            ("6.1.0-18-cloud-amd64", Some((6, 1))),
            ("4.18.0-553.el8_10.x86_64", Some((4, 18))),
            ("6.8", Some((6, 8))),
            ("6-rc1", None),
            ("", None),
        ];
        for (kernel, expected) in cases {
            assert_eq!(version(kernel), expected, "{kernel}");
        }
    }
}
