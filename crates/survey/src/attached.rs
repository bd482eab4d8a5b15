//! Which EBS volume is behind a device of a Xen machine.
//!
//! NVMe devices (Nitro) say it themselves, in their serial number. A Xen device says nothing: only the name that was given
//! at the attach leads to it, and the kernel may have changed `sdf` to `xvdf`, or (old Red Hat kernels) to `xvdj`. So the
//! names of a host are believed only all together: when every attached volume is found under its name, with its size.

use std::collections::BTreeMap;

use rehome_model::cloud::{Instance, Volume};
use rehome_model::host::{HostBlockDevice, HostReport};
use rehome_model::ids::VolumeId;

/// Fills in the volumes of a host whose devices do not say them; changes nothing where one name does not fit.
pub(crate) fn name_volumes(host: &mut HostReport, instance: &Instance, volumes: &[Volume]) {
    if host.block_devices.iter().any(|device| device.volume.is_some()) {
        return;
    }
    let mut named: BTreeMap<usize, VolumeId> = BTreeMap::new();
    for attached in &instance.block_devices {
        let size = volumes.iter().find(|volume| volume.id == attached.volume).map(|volume| volume.spec.size_gib);
        let fits = |device: &HostBlockDevice| {
            device.parent.is_none()
                && device.path == kernel_name(&attached.device, &host.block_devices)
                && size.is_some_and(|gib| u64::from(gib) << 30 == device.size_bytes)
        };
        let Some(index) = host.block_devices.iter().position(fits) else { return };
        named.insert(index, attached.volume.clone());
    }
    if named.len() == instance.block_devices.len() {
        for (index, volume) in named {
            host.block_devices[index].volume = Some(volume);
        }
    }
}

/// What the kernel calls a device that was attached under a name: `/dev/sdf` is `/dev/xvdf`, `/dev/sda1` the disk
/// `/dev/xvda` unless the host has a disk of that very name.
fn kernel_name(attached: &str, devices: &[HostBlockDevice]) -> String {
    let name = attached.strip_prefix("/dev/").unwrap_or(attached);
    let name = name.strip_prefix("sd").map_or_else(|| name.to_owned(), |rest| format!("xvd{rest}"));
    let path = format!("/dev/{name}");
    let whole = |path: &str| devices.iter().any(|device| device.path == path && device.parent.is_none());
    if whole(&path) { path } else { path.trim_end_matches(|digit: char| digit.is_ascii_digit()).to_owned() }
}

#[cfg(test)]
mod tests {
    use rehome_model::cloud::InstanceBlockDevice;
    use serde_json::json;

    use super::*;

    fn device(path: &str, parent: Option<&str>, gib: u64) -> HostBlockDevice {
        serde_json::from_value(json!({
            "path": path, "volume": null, "kind": if parent.is_some() { "part" } else { "disk" }, "parent": parent,
            "size_bytes": gib << 30, "fs_type": null, "label": null, "uuid": null, "partitioned": false,
            "instance_store": false
        }))
        .unwrap()
    }

    fn seen(devices: Vec<HostBlockDevice>, attached: &[(&str, &str, u32)]) -> Vec<Option<String>> {
        let mut host: HostReport = serde_json::from_value(json!({
            "os": "", "block_devices": [], "mounts": [], "data_paths": [], "view": null, "view_error": null,
            "service": {"unit": "", "active": "", "enabled": "", "restart": ""}
        }))
        .unwrap();
        host.block_devices = devices;
        let mut instance: Instance = serde_json::from_value(json!({
            "id": "i-1", "state": "running", "zone": "us-east-1a", "instance_type": "m4.large", "private_ip": null,
            "tags": {}, "root_device": "/dev/sda1", "block_devices": [], "auto_scaling": null
        }))
        .unwrap();
        let mut volumes = Vec::new();
        for (name, id, gib) in attached {
            instance.block_devices.push(InstanceBlockDevice {
                device: (*name).to_owned(),
                volume: VolumeId((*id).to_owned()),
                delete_on_termination: false,
            });
            let volume: Volume = serde_json::from_value(json!({
                "id": id, "state": "in-use", "zone": "us-east-1a", "snapshot": null, "attachments": [], "tags": {},
                "created_at_ms": 0, "multi_attach": false,
                "spec": {"volume_type": "gp3", "size_gib": gib, "iops": null, "throughput_mib_s": null, "encrypted": false,
                         "kms_key_id": null}
            }))
            .unwrap();
            volumes.push(volume);
        }
        name_volumes(&mut host, &instance, &volumes);
        host.block_devices.iter().map(|device| device.volume.as_ref().map(ToString::to_string)).collect()
    }

    const ATTACHED: [(&str, &str, u32); 2] = [("/dev/sda1", "vol-root", 8), ("/dev/sdf", "vol-data", 100)];

    #[test]
    fn names_given_at_the_attach_lead_to_xen_devices() {
        let disks = || {
            vec![device("/dev/xvda", None, 8), device("/dev/xvda1", Some("xvda"), 7), device("/dev/xvdf", None, 100)]
        };
        let all = vec![Some("vol-root".to_owned()), None, Some("vol-data".to_owned())];
        assert_eq!(seen(disks(), &ATTACHED), all);
        assert_eq!(seen(disks(), &[("xvda", "vol-root", 8), ("xvdf", "vol-data", 100)]), all);
        // An old image, whose root is a disk with a digit; an instance store is nobody's volume.
        let old = vec![device("/dev/xvda1", None, 8), device("/dev/xvdb", None, 32), device("/dev/xvdf", None, 100)];
        assert_eq!(seen(old, &ATTACHED), vec![Some("vol-root".to_owned()), None, Some("vol-data".to_owned())]);
    }

    #[test]
    fn one_name_that_does_not_fit_makes_all_of_them_unknown() {
        // Old Red Hat kernels shift by four letters: here the name of one volume would lead to the other.
        let shifted =
            vec![device("/dev/xvde", None, 8), device("/dev/xvdf", None, 100), device("/dev/xvdj", None, 100)];
        let attached = [("/dev/sda1", "vol-root", 8), ("/dev/sdb", "vol-data", 100), ("/dev/sdf", "vol-log", 100)];
        assert_eq!(seen(shifted, &attached), vec![None, None, None]);
        let grown = vec![device("/dev/xvda", None, 8), device("/dev/xvdf", None, 101)];
        assert_eq!(seen(grown, &ATTACHED), vec![None, None]);
    }
}
