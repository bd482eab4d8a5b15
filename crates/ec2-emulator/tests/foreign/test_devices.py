"""Attached volumes as block devices of this host."""

import os
import pathlib
import subprocess
import tempfile
import unittest

from emulator import Emulator, Story

LOOP = pathlib.Path("/dev/loop-control")
BY_ID = pathlib.Path("/dev/disk/by-id")


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


@unittest.skipUnless(os.geteuid() == 0 and LOOP.exists(), "needs root and loop devices")
class Devices(Story):
    @classmethod
    def setUpClass(cls):
        # Ids of its own: links are named by them, and are the whole machine's.
        cls.emulator = Emulator("--devices", f"--seed={os.getpid()}")
        cls.addClassCleanup(cls.emulator.close)

    def state(self, volume):
        return [each["State"] for each in self.described(volume)["Attachments"]]

    def test_a_mounted_volume_is_busy_until_it_is_unmounted(self):
        instance, volume = self.instance(), self.volume()
        # The instance's own root is a device, too: it goes with the instance.
        self.addCleanup(self.wait, "instance_terminated", InstanceIds=[instance])
        self.addCleanup(self.ec2.terminate_instances, InstanceIds=[instance])
        self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/xvdf")
        self.wait("volume_in_use", VolumeIds=[volume])
        device = BY_ID / f"nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"
        run("mkfs.ext4", "-q", device)
        with tempfile.TemporaryDirectory(prefix="rehome-foreign-") as mounted:
            run("mount", device, mounted)
            try:
                self.ec2.detach_volume(VolumeId=volume)
                self.until(lambda: self.state(volume) == ["busy"])
                self.assertEqual(self.described(volume)["State"], "in-use")
                self.refused("VolumeInUse", self.ec2.delete_volume, VolumeId=volume)
                # An instance's own list has no such state.
                found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
                self.assertEqual(found["BlockDeviceMappings"][1]["Ebs"]["Status"], "detaching")
            finally:
                run("umount", mounted)
        self.until(lambda: self.state(volume) == [])
        self.assertFalse(device.is_symlink())
        self.ec2.delete_volume(VolumeId=volume)


if __name__ == "__main__":
    unittest.main()
