//! Reading what the scripts printed: sections that begin with `@@ name`, each a tool's own output.

use std::collections::BTreeMap;

use rehome_model::answer::{MemberIdentity, MemberView, PeerView};
use rehome_model::host::{
    DataPath, FstabEntry, Holds, HostBlockDevice, HostProcess, HostReport, Mount, ServiceReport, StateDirectory,
};
use rehome_model::ids::VolumeId;
use serde_json::Value;

use super::archive;

/// The NVMe model of an instance store.
const INSTANCE_STORE: &str = "Instance Storage";
const BY_ID: &str = "nvme-Amazon_Elastic_Block_Store_vol";

fn sections(stdout: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in stdout.lines() {
        if let Some(name) = line.strip_prefix("@@ ") {
            current = name.trim();
            sections.entry(current).or_default();
        } else {
            sections.entry(current).or_default().push(line);
        }
    }
    sections
}

/// `Key   : value` lines.
fn field<'a>(lines: &[&'a str], key: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then_some(value.trim())
    })
}

/// A view, as pods print it and hosts pack it: nodetool info -T, status, describecluster; before Cassandra 4.0 also version.
pub(super) fn view(text: &str) -> Result<MemberView, String> {
    let sections = sections(text);
    let section = |name: &str| sections.get(name).cloned().unwrap_or_default();
    let info = section("info");
    let required =
        |key: &str| field(&info, key).map(str::to_owned).ok_or_else(|| format!("nodetool info has no {key}"));
    let id = required("ID")?;
    let cluster = section("describecluster");
    let partitioner = field(&cluster, "Partitioner").map(|p| p.rsplit('.').next().unwrap_or(p).to_owned());
    let tokens = tokens(&info, partitioner.as_deref())?;
    let members = status(&section("status"));
    let address = members.iter().find(|member| member.id == id).map(|member| member.address.clone());
    let mut attributes: BTreeMap<String, String> = [
        ("data_center".to_owned(), required("Data Center")?),
        ("rack".to_owned(), required("Rack")?),
        ("tokens".to_owned(), tokens),
    ]
    .into();
    attributes.extend(partitioner.map(|partitioner| ("partitioner".to_owned(), partitioner)));
    let mut settings = BTreeMap::new();
    if let Some(snitch) = field(&cluster, "Snitch") {
        settings.insert("snitch".to_owned(), snitch.to_owned());
    }
    let address = address.ok_or("nodetool status does not show the node itself")?;
    let version = section("version")
        .iter()
        .find_map(|line| line.strip_prefix("ReleaseVersion: "))
        .or_else(|| version_of(&address, &cluster));
    Ok(MemberView {
        identity: MemberIdentity {
            id,
            cluster: field(&cluster, "Name").ok_or("nodetool describecluster has no Name")?.to_owned(),
            version: version.map(str::to_owned),
            attributes,
        },
        address,
        clients_open: field(&info, "Native Transport active") == Some("true"),
        members: members.into(),
        schema_versions: schema_versions(&cluster),
        settings,
    })
}

/// The tokens in their order. Those of other partitioners than Murmur3Partitioner are no such numbers.
fn tokens(info: &[&str], partitioner: Option<&str>) -> Result<String, String> {
    let told = info.iter().filter_map(|line| line.split_once(':').filter(|(name, _)| name.trim() == "Token"));
    let mut tokens: Vec<i64> = Vec::new();
    for (_, token) in told {
        tokens.push(token.trim().parse().map_err(|_| {
            let partitioner = partitioner.unwrap_or("another partitioner");
            format!(
                "its tokens are those of {partitioner}, which cannot be moved yet: only Murmur3Partitioner's are read"
            )
        })?);
    }
    if tokens.is_empty() {
        return Err("nodetool info shows no tokens: the node has not joined".to_owned());
    }
    tokens.sort_unstable();
    let tokens: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    Ok(tokens.join(","))
}

/// `UN  10.0.0.1  1.2 MiB  16  100.0%  <host id>  rack`.
fn status(lines: &[&str]) -> Vec<PeerView> {
    let mut members = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((state, rest)) = words.split_first() else { continue };
        let is_state = state.len() == 2 && state.starts_with(['U', 'D', '?']) && state.ends_with(['N', 'L', 'J', 'M']);
        let id = rest.iter().find(|word| word.len() == 36 && word.matches('-').count() == 4);
        if let (true, Some(address), Some(id)) = (is_state, rest.first(), id) {
            members.push(PeerView {
                id: (*id).to_owned(),
                address: (*address).to_owned(),
                up: *state == "UN",
                state: (*state).to_owned(),
            });
        }
    }
    members.sort();
    members
}

/// Below `Schema versions:`, `<uuid>: [addresses]`; unreachable members are a state of their own, not a version.
fn schema_versions(lines: &[&str]) -> Vec<String> {
    let below = lines.iter().skip_while(|line| line.trim() != "Schema versions:").skip(1);
    below
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.trim().split_once(": [").map(|(version, _)| version.to_owned()))
        .filter(|version| version != "UNREACHABLE")
        .collect()
}

/// Below `Database versions:`, `<version>: [<address>:<port>, ...]`; a member may still run another version than its peers.
fn version_of<'a>(address: &str, lines: &[&'a str]) -> Option<&'a str> {
    let below = lines.iter().skip_while(|line| line.trim() != "Database versions:").skip(1);
    below.take_while(|line| !line.trim().is_empty()).find_map(|line| {
        let (version, members) = line.trim().split_once(": [")?;
        let mut hosts = members.strip_suffix(']')?.split(", ").filter_map(|member| Some(member.rsplit_once(':')?.0));
        hosts.any(|host| host.trim_matches(['[', ']']) == address).then_some(version)
    })
}

/// The survey's sections.
pub(super) fn report(stdout: &str) -> Result<HostReport, String> {
    let found = sections(stdout);
    let section = |name: &str| found.get(name).cloned().unwrap_or_default();
    let json = |name: &str| -> Result<Value, String> {
        let printed = section(name).join("\n");
        let text = archive::text(printed.trim()).map_err(|error| format!("{name}: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))
    };
    let service = section("service");
    let property = |key: &str| {
        service.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    let mounts = mounts(&json("mounts")?, &section("inside"));
    let view = match (found.get("view"), found.get("noview"), found.get("longview")) {
        (Some(packed), _, _) => {
            let text = archive::text(packed.concat().trim()).map_err(|error| format!("the view: {error}"));
            text.and_then(|text| view(&text)).map(Some)
        }
        (None, None, Some(_)) => Ok(None),
        (None, Some(said), _) => Err(said.join("; ")),
        (None, None, None) => Err("the survey's script said nothing of it".to_owned()),
    };
    Ok(HostReport {
        os: section("os").first().copied().unwrap_or_default().to_owned(),
        block_devices: devices(&json("lsblk")?, &section("links")),
        fstab: section("fstab").iter().filter_map(|line| fstab_entry(line)).collect(),
        directories: section("directories").iter().filter_map(|line| directory(line)).collect(),
        settings: section("settings").iter().filter_map(|line| setting(line)).collect(),
        xfs_features: section("xfs").iter().filter_map(|line| xfs_features(line)).collect(),
        holders: section("holders").iter().map(|line| (*line).to_owned()).collect(),
        starts_once: section("once").iter().map(|line| (*line).to_owned()).collect(),
        data_paths: section("paths").iter().filter_map(|line| data_path(line, &section("modes"), &mounts)).collect(),
        mounts,
        service: ServiceReport {
            unit: property("Id"),
            active: property("ActiveState"),
            enabled: property("UnitFileState"),
            restart: property("Restart"),
            processes: found.get("processes").map(|lines| lines.iter().filter_map(|line| process(line)).collect()),
        },
        view_error: view.as_ref().err().cloned(),
        view: view.ok().flatten(),
    })
}

/// `authenticator<TAB>org.apache.cassandra.auth.PasswordAuthenticator`: a class by its last name, which means the same.
fn setting(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('\t')?;
    let last = value.rsplit('.').next().unwrap_or(value);
    // YAML has many words for yes and no; a template may write Python's.
    let same = match last.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => "true",
        "false" | "no" | "off" => "false",
        _ => last,
    };
    Some((name.to_owned(), same.to_owned()))
}

/// `/var/lib/cassandra<TAB>crc bigtime nrext64`.
fn xfs_features(line: &str) -> Option<(String, Vec<String>)> {
    let (path, used) = line.split_once('\t')?;
    Some((path.to_owned(), used.split_whitespace().map(str::to_owned).collect()))
}

fn word(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().or_else(|| value[key].as_str()?.parse().ok()).unwrap_or(0)
}

/// All that findmnt tells in JSON, and of what else is mounted inside (`TARGET<TAB>FSTYPE<TAB>SOURCE`) that it is.
fn mounts(findmnt: &Value, inside: &[&str]) -> Vec<Mount> {
    let each = findmnt["filesystems"].as_array().cloned().unwrap_or_default();
    let read = |mount: &Value| {
        let source = word(mount, "source").unwrap_or_default();
        // A bind mount shows as /dev/x[/sub].
        let (device, part) = source.split_once('[').unwrap_or((&source, ""));
        Mount {
            source: device.to_owned(),
            part: (!part.is_empty()).then(|| part.trim_end_matches(']').to_owned()),
            target: word(mount, "target").unwrap_or_default(),
            fs_type: word(mount, "fstype").unwrap_or_default(),
            options: word(mount, "options").unwrap_or_default(),
            size_bytes: number(mount, "size"),
            available_bytes: number(mount, "avail"),
        }
    };
    let mut mounts: Vec<Mount> = each.iter().map(read).collect();
    for line in inside {
        let mut parts = line.splitn(3, '\t');
        let (Some(target), Some(fs_type), Some(source)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if mounts.iter().all(|mount| mount.target != target) {
            let (source, target, fs_type) = (source.to_owned(), target.to_owned(), fs_type.to_owned());
            let options = String::new();
            mounts.push(Mount { source, part: None, target, fs_type, options, size_bytes: 0, available_bytes: 0 });
        }
    }
    mounts
}

/// `7 /system.slice/cassandra.service`.
fn process(line: &str) -> Option<HostProcess> {
    let (pid, control_group) = line.split_once(' ')?;
    Some(HostProcess { pid: pid.parse().ok()?, control_group: control_group.to_owned() })
}

/// Devices with their EBS volumes: by the NVMe serial number (`vol0123...`), else by udev's link.
fn devices(lsblk: &Value, links: &[&str]) -> Vec<HostBlockDevice> {
    let mut all = Vec::new();
    flatten(&lsblk["blockdevices"], &mut all);
    let linked: BTreeMap<&str, VolumeId> = links
        .iter()
        .filter_map(|line| {
            let (link, device) = line.split_once(' ')?;
            let hex = link.rsplit_once(BY_ID)?.1;
            // Partitions and namespaces have links of their own: `vol0123...-part1`, `vol0123..._1`.
            let whole = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            whole.then_some(())?;
            Some((device, VolumeId(format!("vol-{hex}"))))
        })
        .collect();
    // A full path too.
    let parent = |device: &Value| word(device, "pkname").map(|path| path.trim_start_matches("/dev/").to_owned());
    let partitioned: Vec<String> = all.iter().filter_map(parent).collect();
    all.iter()
        .map(|device| {
            let path = word(device, "name").unwrap_or_default();
            let name = path.trim_start_matches("/dev/").to_owned();
            let serial = word(device, "serial").and_then(|serial| serial.strip_prefix("vol").map(str::to_owned));
            let volume = serial.map(|hex| VolumeId(format!("vol-{}", hex.trim_start_matches('-'))));
            let link = linked.get(path.as_str()).cloned();
            // udev links whole EBS volumes so; what the kernel calls the device (`loop` behind an emulated account)
            // does not matter then. LVM, RAID and partitions have no such link.
            let kind = if link.is_some() { Some("disk".to_owned()) } else { word(device, "type") };
            HostBlockDevice {
                volume: volume.or(link),
                kind: kind.unwrap_or_default(),
                parent: parent(device),
                size_bytes: number(device, "size"),
                fs_type: word(device, "fstype"),
                label: word(device, "label"),
                uuid: word(device, "uuid"),
                partitioned: word(device, "pttype").is_some() || partitioned.contains(&name),
                instance_store: word(device, "model").is_some_and(|model| model.contains(INSTANCE_STORE)),
                path,
            }
        })
        .collect()
}

fn flatten(devices: &Value, all: &mut Vec<Value>) {
    for device in devices.as_array().into_iter().flatten() {
        all.push(device.clone());
        flatten(&device["children"], all);
    }
}

/// `UUID="..." /mount/point defaults,nofail`; a mount point of `none` or `swap` is nobody's.
fn fstab_entry(line: &str) -> Option<FstabEntry> {
    let mut fields = line.split_whitespace();
    let (source, target) = (fields.next()?, fields.next()?);
    let options = fields.next().unwrap_or_default().to_owned();
    // `mount` finds a mount point with or without the last slash.
    let target = if target == "/" { target } else { target.trim_end_matches('/') };
    Some(FstabEntry { source: source.replace('"', ""), target: target.to_owned(), options })
}

/// `commitlog<TAB>/mount/point<TAB>/path`; what could not be found out is empty.
fn directory(line: &str) -> Option<StateDirectory> {
    let mut parts = line.splitn(3, '\t');
    let (purpose, mount_point, path) = (parts.next()?, parts.next()?, parts.next()?);
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let holds = match purpose {
        "data" | "commitlog" => Holds::Writes,
        // A hint is for a replica that was down, and what is in cdc_raw for whoever reads the log of changes.
        "hints" | "cdc_raw" => Holds::Deliveries,
        _ => Holds::Nothing,
    };
    Some(StateDirectory { purpose: purpose.to_owned(), holds, path: known(path), mount_point: known(mount_point) })
}

/// `997 998 /var/lib/cassandra`, and of a mount point `2770 /var/lib/cassandra` among the modes.
fn data_path(line: &str, modes: &[&str], mounts: &[Mount]) -> Option<DataPath> {
    let mut parts = line.splitn(3, ' ');
    let (uid, gid, path) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.to_owned());
    let below = |target: &str| path == target || path.starts_with(&format!("{}/", target.trim_end_matches('/')));
    let mount = mounts.iter().filter(|m| below(&m.target)).max_by_key(|m| m.target.len())?;
    let mode = modes.iter().find_map(|line| line.split_once(' ').filter(|(_, of)| *of == path));
    let mode = mode.and_then(|(mode, _)| u32::from_str_radix(mode, 8).ok());
    Some(DataPath { mount_point: mount.target.clone(), path, uid, gid, mode })
}
