"""Volumes as boto3 sees them: their life, and what EC2 refuses."""

import unittest

from emulator import ZONE, Story


class Volumes(Story):
    def test_a_volume_is_made_attached_detached_and_deleted(self):
        instance, volume = self.instance(), self.volume(Size=8, Iops=4000, Throughput=200, Encrypted=True)
        attached = self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/xvdf")
        self.assertEqual((attached["VolumeId"], attached["State"]), (volume, "attaching"))
        self.wait("volume_in_use", VolumeIds=[volume])
        found = self.described(volume)
        self.assertEqual((found["Iops"], found["Throughput"], found["Encrypted"]), (4000, 200, True))
        self.assertEqual(found["Attachments"][0]["State"], "attached")
        self.assertFalse(found["Attachments"][0]["DeleteOnTermination"])
        detached = self.ec2.detach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/xvdf")
        self.assertEqual(detached["State"], "detaching")
        self.wait("volume_available", VolumeIds=[volume])
        self.ec2.delete_volume(VolumeId=volume)
        self.wait("volume_deleted", VolumeIds=[volume])
        self.refused("InvalidVolume.NotFound", self.ec2.describe_volumes, VolumeIds=[volume])

    def test_pages_and_filters(self):
        tags = [{"ResourceType": "volume", "Tags": [{"Key": "set", "Value": "paged"}]}]
        made = {self.volume(wait=None, TagSpecifications=tags) for _ in range(12)}
        pages = list(self.ec2.get_paginator("describe_volumes").paginate(
            Filters=[{"Name": "tag:set", "Values": ["pag*"]}], PaginationConfig={"PageSize": 5}))
        self.assertEqual([len(page["Volumes"]) for page in pages], [5, 5, 2])
        self.assertEqual({found["VolumeId"] for page in pages for found in page["Volumes"]}, made)
        message = self.refused("InvalidParameterCombination", self.ec2.describe_volumes,
                               VolumeIds=[made.pop()], MaxResults=5)
        self.assertIn("maxResults", message)
        self.refused("InvalidParameterValue", self.ec2.describe_volumes, MaxResults=4)
        self.refused("InvalidNextToken", self.ec2.describe_volumes, NextToken="none of yours")
        self.refused("InvalidParameterValue", self.ec2.describe_volumes, Filters=[{"Name": "colour", "Values": ["red"]}])

    def test_a_token_makes_one_volume_whatever_comes_again(self):
        request = {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3", "ClientToken": "one-volume"}
        first = self.ec2.create_volume(**request)["VolumeId"]
        self.assertEqual(self.ec2.create_volume(**request)["VolumeId"], first)
        self.refused("IdempotentParameterMismatch", self.ec2.create_volume, **request | {"Size": 2})
        self.wait("volume_available", VolumeIds=[first])
        self.ec2.delete_volume(VolumeId=first)
        # Burned for half a day: what it made is gone.
        self.refused("IdempotentParameterMismatch", self.ec2.create_volume, **request)

    def test_a_token_whose_volume_failed_later_is_burned(self):
        request = {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3", "Encrypted": True,
                   "KmsKeyId": "bad-key", "ClientToken": "bad-key"}
        with self.emulator.account() as account:
            account["config"]["bad_keys"] = ["bad-key"]
        ec2 = self.emulator.client("ec2")
        failed = ec2.create_volume(**request)["VolumeId"]
        found = self.until(lambda: [each for each in ec2.describe_volumes(VolumeIds=[failed])["Volumes"]
                                    if each["State"] != "creating"])
        self.assertEqual(found[0]["State"], "error")
        self.refused("IdempotentParameterMismatch", ec2.create_volume, **request)

    def test_a_volume_grows_and_says_so(self):
        volume = self.volume()
        changed = self.ec2.modify_volume(VolumeId=volume, Size=10, Iops=5000, Throughput=300)["VolumeModification"]
        self.assertEqual((changed["OriginalSize"], changed["TargetSize"]), (1, 10))
        found = self.until(lambda: [each for each in self.ec2.describe_volumes_modifications(
            VolumeIds=[volume])["VolumesModifications"] if each["ModificationState"] == "completed"])
        self.assertEqual((found[0]["Progress"], found[0]["TargetIops"]), (100, 5000))
        self.assertEqual(self.described(volume)["Size"], 10)
        self.refused("InvalidParameterValue", self.ec2.modify_volume, VolumeId=volume, Size=2)
        self.refused("InvalidVolumeModification.NotFound", self.ec2.describe_volumes_modifications,
                     VolumeIds=[self.volume()])

    def test_a_copy_of_a_volume_tells_how_far_it_is(self):
        volume = self.volume()
        request = {"SourceVolumeId": volume, "Encrypted": True, "ClientToken": "one-copy", "TagSpecifications": [
            {"ResourceType": "volume", "Tags": [{"Key": "copy", "Value": "yes"}]}]}
        made = self.ec2.copy_volumes(**request)["Volumes"]
        copy = made[0]["VolumeId"]
        self.assertEqual((made[0]["SourceVolumeId"], made[0]["State"], made[0]["Encrypted"]), (volume, "creating", True))
        self.assertEqual(self.ec2.copy_volumes(**request)["Volumes"][0]["VolumeId"], copy)
        self.refused("IdempotentParameterMismatch", self.ec2.copy_volumes, **request | {"Size": 2})
        self.wait("volume_available", VolumeIds=[copy])
        statuses = self.ec2.describe_volume_status(VolumeIds=[volume, copy])["VolumeStatuses"]
        kinds = {each["VolumeId"]: each.get("InitializationStatusDetails", {}).get("InitializationType")
                 for each in statuses}
        self.assertEqual(kinds, {volume: None, copy: "volume-copy"})
        self.assertEqual({each["VolumeStatus"]["Status"] for each in statuses}, {"ok"})

    def test_a_volume_from_a_snapshot(self):
        snapshot = self.snapshot(self.volume())
        volume = self.volume(SnapshotId=snapshot, VolumeInitializationRate=100)
        found = self.described(volume)
        self.assertEqual((found["SnapshotId"], found["VolumeInitializationRate"]), (snapshot, 100))

    def test_volumes_in_use_stay_where_they_are(self):
        one, other, volume = self.instance(), self.instance(), self.volume()
        self.ec2.attach_volume(VolumeId=volume, InstanceId=one, Device="/dev/xvdf")
        self.wait("volume_in_use", VolumeIds=[volume])
        attach = {"VolumeId": volume, "InstanceId": other, "Device": "/dev/xvdf"}
        self.assertEqual(self.refused("VolumeInUse", self.ec2.attach_volume, **attach),
                         f"{volume} is already attached to an instance")
        self.assertEqual(self.refused("VolumeInUse", self.ec2.delete_volume, VolumeId=volume),
                         f"Volume {volume} is currently attached to {one}")
        self.assertEqual(
            self.refused("InvalidParameterValue", self.ec2.attach_volume, VolumeId=self.volume(), InstanceId=one,
                         Device="/dev/xvdf"),
            "Invalid value '/dev/xvdf' for unixDevice. Attachment point /dev/xvdf is already in use")

    def test_zones_states_and_names_are_checked(self):
        instance = self.instance()
        there = self.volume(AvailabilityZone="us-east-1b")
        self.assertEqual(
            self.refused("InvalidVolume.ZoneMismatch", self.ec2.attach_volume, VolumeId=there, InstanceId=instance,
                         Device="/dev/xvdf"),
            f"The volume '{there}' is not in the same availability zone as instance '{instance}'")
        free = self.volume()
        self.assertEqual(self.refused("IncorrectState", self.ec2.detach_volume, VolumeId=free),
                         f"Volume '{free}' is in the 'available' state.")
        self.refused("InvalidParameterValue", self.ec2.attach_volume, VolumeId=free, InstanceId=instance, Device="disk")
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.wait("instance_terminated", InstanceIds=[instance])
        self.assertEqual(
            self.refused("IncorrectState", self.ec2.attach_volume, VolumeId=free, InstanceId=instance,
                         Device="/dev/xvdf"),
            f"Instance '{instance}' is not 'running'.")
        self.refused("InvalidVolumeID.Malformed", self.ec2.delete_volume, VolumeId="vol-x")
        self.refused("InvalidZone.NotFound", self.ec2.create_volume, AvailabilityZone="us-east-1z", Size=1)
        self.refused("UnknownVolumeType", self.ec2.create_volume, AvailabilityZone=ZONE, Size=1, VolumeType="gp9")
        self.refused("InvalidParameterValue", self.ec2.create_volume, AvailabilityZone=ZONE, Size=1, VolumeType="gp3",
                     Iops=90_000)
        self.refused("MissingParameter", self.ec2.create_volume, AvailabilityZone=ZONE)

    def test_an_instance_has_a_limit_of_volumes(self):
        instance = self.instance()
        limit = self.ec2.describe_instance_types(InstanceTypes=["m5.large"])["InstanceTypes"][0]["EbsInfo"]
        most = limit["MaximumEbsAttachments"]
        volumes = [self.volume(wait=None) for _ in range(most)]
        self.wait("volume_available", VolumeIds=volumes)
        names = (f"/dev/xvd{first}{second}" for first in "bc" for second in "abcdefghijklmnopqrstuvwxyz")
        for volume in volumes[: most - 1]:
            self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=next(names))
        self.refused("AttachmentLimitExceeded", self.ec2.attach_volume, VolumeId=volumes[-1], InstanceId=instance,
                     Device=next(names))


class EncryptedByDefault(Story):
    """An account that encrypts volumes nobody asked to be encrypted."""

    KEY = "arn:aws:kms:us-east-1:123456789012:key/own"

    def test_a_new_volume_is_encrypted_under_the_default_key(self):
        self.assertFalse(self.ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"])
        self.assertEqual(self.ec2.get_ebs_default_kms_key_id()["KmsKeyId"], "alias/aws/ebs")
        with self.emulator.account() as account:
            account["config"] |= {"encrypts_by_default": True, "default_key": self.KEY}
        super().setUp()
        self.assertTrue(self.ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"])
        self.assertEqual(self.ec2.get_ebs_default_kms_key_id()["KmsKeyId"], self.KEY)
        made = self.ec2.describe_volumes(VolumeIds=[self.volume()])["Volumes"][0]
        self.assertEqual((made["Encrypted"], made["KmsKeyId"]), (True, self.KEY))


class SlowVolumes(Story):
    """Volumes and instances that are not ready at once."""

    def setUp(self):
        super().setUp()
        with self.emulator.account() as account:
            account["config"]["timing"] |= {"create_volume_ms": 5_000, "start_ms": 5_000}
        super().setUp()

    def test_what_is_not_ready_is_not_attached(self):
        instance, volume = self.instance(), self.volume(wait=None)
        attach = {"VolumeId": volume, "Device": "/dev/xvdf"}
        self.assertEqual(self.refused("IncorrectState", self.ec2.attach_volume, InstanceId=instance, **attach),
                         f"{volume} is not 'available'.")
        self.wait("volume_available", VolumeIds=[volume])
        pending = self.instance(wait=None)
        self.assertEqual(self.refused("IncorrectState", self.ec2.attach_volume, InstanceId=pending, **attach),
                         f"Instance '{pending}' is not 'running'.")


if __name__ == "__main__":
    unittest.main()
