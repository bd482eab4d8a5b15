//! The cluster's nodes are EC2 instances too.

use std::collections::BTreeMap;

use rehome_ec2_emulator::api::{Action, AttachVolume, CreateVolume, DetachVolume, Reply, TagSpecification};
use rehome_ec2_emulator::face::Emulator;
use rehome_model::cloud::{AttachmentState, Tags};
use rehome_model::ids::{InstanceId, VolumeId, Zone};

use crate::database::{OWNER, ReferenceDatabase, Side};
use crate::kubernetes::Machines;

/// Whose a volume's files are once a pod has had it.
const POD_OWNER: &[u8] = b"10999:10999";
/// From start to ready: the internode port answers before the member has joined.
const LISTENS_MS: u64 = 8_000;

pub(crate) struct Nodes<'a> {
    pub ec2: &'a Emulator,
    pub database: &'a mut ReferenceDatabase,
    pub instances: &'a BTreeMap<String, InstanceId>,
    pub ready: &'a mut BTreeMap<String, u64>,
}

impl Nodes<'_> {
    fn instance(&self, node: &str) -> InstanceId {
        self.instances.get(node).cloned().unwrap_or_else(|| InstanceId::from(node))
    }

    fn call(&self, now: u64, action: &Action) -> Result<Reply, String> {
        self.ec2.with_at(now, |inner, now| inner.call(now, action).map_err(|error| error.message))
    }

    fn attachment(&self, now: u64, volume: &VolumeId) -> Option<(InstanceId, AttachmentState)> {
        self.ec2.with_at(now, |inner, _| {
            let record = inner.core.volumes.get(volume)?;
            record.attachments.first().map(|attachment| (attachment.instance.clone(), attachment.state))
        })
    }
}

impl Machines for Nodes<'_> {
    fn provision(&mut self, now: u64, zone: &str, size_gib: u32, claim: &str) -> String {
        let tags = Tags::from([("provisioned-for".to_owned(), claim.to_owned())]);
        let request = CreateVolume {
            availability_zone: Some(Zone::from(zone)),
            size: Some(i64::from(size_gib)),
            volume_type: Some("gp3".to_owned()),
            tag_specifications: vec![TagSpecification::new("volume", tags)],
            client_token: Some(format!("provision-{claim}")),
            ..CreateVolume::default()
        };
        match self.call(now, &Action::CreateVolume(request)) {
            Ok(Reply::Volume(made)) => made.id.to_string(),
            _ => String::new(),
        }
    }

    fn attach(&mut self, now: u64, handle: &str, node: &str) -> Result<bool, String> {
        let (volume, instance) = (VolumeId::from(handle), self.instance(node));
        match self.attachment(now, &volume) {
            Some((held_by, state)) if held_by == instance => return Ok(state == AttachmentState::Attached),
            Some((held_by, _)) => return Err(format!("{handle} is attached to {held_by}")),
            None => {}
        }
        let used: Vec<String> = self.ec2.with_at(now, |inner, _| {
            let devices = inner.core.instances.get(&instance).map(|record| record.block_devices.clone());
            devices.unwrap_or_default().into_iter().map(|device| device.device).collect()
        });
        let device = ('a'..='z')
            .map(|letter| format!("/dev/xvda{letter}"))
            .find(|device| !used.contains(device))
            .ok_or_else(|| format!("no device name is free on {node}"))?;
        let request = AttachVolume { volume_id: volume, instance_id: instance.clone(), device };
        let answer = self.ec2.with_at(now, |inner, now| inner.call(now, &Action::AttachVolume(request)));
        // As aws-ebs-csi-driver words it (pkg/cloud/cloud.go, AttachDisk).
        answer.map(|_| false).map_err(|error| {
            let (code, message) = (error.code, error.message);
            format!(
                "rpc error: code = Internal desc = Could not attach volume \"{handle}\" to node \"{instance}\": operation error \
                 EC2: AttachVolume, api error {code}: {message}"
            )
        })
    }

    fn detach(&mut self, now: u64, handle: &str, node: &str) -> bool {
        let (volume, instance) = (VolumeId::from(handle), self.instance(node));
        match self.attachment(now, &volume) {
            Some((held_by, AttachmentState::Attached)) if held_by == instance => {
                let request = DetachVolume { instance_id: Some(instance), ..DetachVolume::of(volume) };
                self.call(now, &Action::DetachVolume(request)).is_err()
            }
            Some((held_by, _)) => held_by != instance,
            None => true,
        }
    }

    fn detach_unattached(&mut self, now: u64, handle: &str, node: &str) -> Result<(), String> {
        let (volume, instance) = (VolumeId::from(handle), self.instance(node));
        if self.attachment(now, &volume).is_some() {
            return Ok(());
        }
        // aws-ebs-csi-driver (pkg/cloud/cloud.go, DetachDisk) calls EC2 all the same. That it is not attached is a success; what the
        // caller may not do EC2 says first.
        let request = DetachVolume { instance_id: Some(instance.clone()), ..DetachVolume::of(volume) };
        match self.ec2.with_at(now, |inner, now| inner.call(now, &Action::DetachVolume(request))) {
            Err(error) if error.code == "UnauthorizedOperation" => Err(format!(
                "rpc error: code = Internal desc = Could not detach volume \"{handle}\" from node \"{instance}\": could not detach \
                 volume \"{handle}\" from node \"{instance}\": operation error EC2: DetachVolume, api error {}: {}",
                error.code, error.message
            )),
            _ => Ok(()),
        }
    }

    fn mount(&mut self, now: u64, handle: &str, node: &str, fs_type: &str) -> Result<(), String> {
        let (volume, instance) = (VolumeId::from(handle), self.instance(node));
        self.ec2.with_at(now, |inner, _| {
            let disk = inner.disks.volume(&volume).ok_or("the device is gone")?;
            match disk.content.fs_type.clone() {
                None if disk.content.partitioned => return Err("unknown data, probably partitions".to_owned()),
                None => inner.disks.format(&volume, fs_type),
                Some(found) if found != fs_type => return Err(format!("it is {found}, not {fs_type}")),
                Some(_) => {}
            }
            inner.disks.mount(&volume, instance.as_str(), now);
            // The kubelet's fsGroup and the image's entrypoint give the files to the pod's ids.
            inner.disks.write(&volume, OWNER, POD_OWNER.to_vec());
            Ok(())
        })
    }

    fn unmount(&mut self, now: u64, handle: &str, node: &str) {
        let (volume, instance) = (VolumeId::from(handle), self.instance(node));
        self.ec2.with_at(now, |inner, _| inner.disks.unmount(&volume, instance.as_str()));
    }

    fn start(&mut self, now: u64, pod: &str, ip: &str, env: &BTreeMap<String, String>, volumes: &[String]) {
        let volumes: Vec<VolumeId> = volumes.iter().map(|handle| VolumeId::from(handle.as_str())).collect();
        let open = env.get("REFDB_CLIENTS").is_none_or(|clients| clients != "closed");
        let started = self
            .ec2
            .with_at(now, |inner, _| self.database.start(now, &mut inner.disks, pod, Side::Pods, &volumes, ip, open));
        if started.is_ok() {
            self.ready.insert(pod.to_owned(), now + LISTENS_MS);
        }
    }

    fn stop(&mut self, now: u64, pod: &str) {
        self.ready.remove(pod);
        self.ec2.with_at(now, |inner, _| self.database.end_in_pod(&mut inner.disks, pod));
    }

    fn ready_at(&self, pod: &str) -> Option<u64> {
        self.ready.get(pod).copied()
    }
}
