"""Snapshots as boto3 sees them."""

import unittest

from emulator import ZONE, Story


class Snapshots(Story):
    def test_a_snapshot_is_made_copied_and_deleted(self):
        volume = self.volume()
        made = self.ec2.create_snapshot(VolumeId=volume, Description="base", TagSpecifications=[
            {"ResourceType": "snapshot", "Tags": [{"Key": "run", "Value": "r1"}]}])
        snapshot = made["SnapshotId"]
        self.assertEqual((made["State"], made["VolumeSize"], made["Description"]), ("pending", 1, "base"))
        self.wait("snapshot_completed", SnapshotIds=[snapshot])
        found = self.ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "volume-id", "Values": [volume]}])
        self.assertEqual([each["Progress"] for each in found["Snapshots"]], ["100%"])
        copy = self.ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=snapshot, Encrypted=True)["SnapshotId"]
        self.wait("snapshot_completed", SnapshotIds=[copy])
        copied = self.ec2.describe_snapshots(SnapshotIds=[copy])["Snapshots"][0]
        self.assertEqual((copied["VolumeId"], copied["Encrypted"]), ("vol-ffffffff", True))
        self.ec2.delete_snapshot(SnapshotId=snapshot)
        self.refused("InvalidSnapshot.NotFound", self.ec2.describe_snapshots, SnapshotIds=[snapshot])

    def test_all_volumes_of_an_instance_at_once(self):
        devices = [{"DeviceName": "/dev/xvdf", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}},
                   {"DeviceName": "/dev/xvdg", "Ebs": {"VolumeSize": 2, "VolumeType": "gp3"}}]
        instance = self.instance(BlockDeviceMappings=devices, Placement={"AvailabilityZone": ZONE}, TagSpecifications=[
            {"ResourceType": "volume", "Tags": [{"Key": "set", "Value": "db"}]}])
        made = self.ec2.create_snapshots(
            InstanceSpecification={"InstanceId": instance, "ExcludeBootVolume": True}, CopyTagsFromSource="volume")
        self.assertEqual(sorted(each["VolumeSize"] for each in made["Snapshots"]), [1, 2])
        self.assertEqual({each["State"] for each in made["Snapshots"]}, {"pending"})
        self.assertEqual({each["Tags"][0]["Value"] for each in made["Snapshots"]}, {"db"})
        self.wait("snapshot_completed", SnapshotIds=[each["SnapshotId"] for each in made["Snapshots"]])
        one = made["Snapshots"][0]["VolumeId"]
        fewer = self.ec2.create_snapshots(InstanceSpecification={
            "InstanceId": instance, "ExcludeBootVolume": True, "ExcludeDataVolumeIds": [one]})["Snapshots"]
        self.assertEqual(len(fewer), 1)

    def test_pages(self):
        volumes = [self.volume() for _ in range(7)]
        made = {self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for volume in volumes}
        pages = list(self.ec2.get_paginator("describe_snapshots").paginate(
            Filters=[{"Name": "volume-id", "Values": volumes}], PaginationConfig={"PageSize": 5}))
        self.assertEqual([len(page["Snapshots"]) for page in pages], [5, 2])
        self.assertEqual({each["SnapshotId"] for page in pages for each in page["Snapshots"]}, made)


class SlowSnapshots(Story):
    """With EC2's delays, so that there is something to be too early for."""

    OPTIONS = {"time_scale": 1}

    def test_a_pending_snapshot_makes_no_volume_and_a_volume_has_a_rate_of_snapshots(self):
        volume = self.volume()
        snapshot = self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        message = f"Snapshot '{snapshot}' is not 'completed'."
        self.assertEqual(self.refused("IncorrectState", self.ec2.create_volume, AvailabilityZone=ZONE,
                                      SnapshotId=snapshot), message)
        self.assertEqual(self.refused("IncorrectState", self.ec2.copy_snapshot, SourceRegion="us-east-1",
                                      SourceSnapshotId=snapshot), message)
        self.refused("SnapshotCreationPerVolumeRateExceeded", self.ec2.create_snapshot, VolumeId=volume)
        self.assertEqual(self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"], "pending")

    def test_a_volume_has_a_limit_of_pending_snapshots(self):
        with self.emulator.account() as account:
            account["config"]["timing"]["snapshot_interval_ms"] = 0
        self.ec2 = self.emulator.client("ec2")
        volume = self.volume()
        for _ in range(5):
            self.ec2.create_snapshot(VolumeId=volume)
        self.refused("ConcurrentSnapshotLimitExceeded", self.ec2.create_snapshot, VolumeId=volume)


if __name__ == "__main__":
    unittest.main()
