"""Instances, tags and places as boto3 sees them."""

import unittest

from emulator import IMAGE, ZONE, Story


class Instances(Story):
    def test_an_instance_is_launched_stopped_started_and_terminated(self):
        instance = self.instance(
            BlockDeviceMappings=[{"DeviceName": "/dev/xvdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}],
            Placement={"AvailabilityZone": ZONE},
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "db-0"}]}])
        found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        self.assertEqual((found["Placement"]["AvailabilityZone"], found["ImageId"]), (ZONE, IMAGE))
        self.assertEqual([each["DeviceName"] for each in found["BlockDeviceMappings"]], ["/dev/xvda", "/dev/xvdf"])
        data = found["BlockDeviceMappings"][1]["Ebs"]["VolumeId"]
        stopped = self.ec2.stop_instances(InstanceIds=[instance])["StoppingInstances"][0]
        self.assertEqual((stopped["PreviousState"]["Name"], stopped["CurrentState"]["Code"]), ("running", 64))
        self.wait("instance_stopped", InstanceIds=[instance])
        shown = lambda: self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        self.assertEqual(shown()["StateReason"]["Code"], "Client.UserInitiatedShutdown")
        self.ec2.start_instances(InstanceIds=[instance])
        self.wait("instance_status_ok", InstanceIds=[instance])
        self.assertNotIn("StateReason", shown())
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.wait("instance_terminated", InstanceIds=[instance])
        self.assertEqual(self.described(data)["State"], "available")
        self.refused("IncorrectInstanceState", self.ec2.start_instances, InstanceIds=[instance])

    def test_attributes_are_shown_and_changed(self):
        instance = self.instance()
        self.ec2.modify_instance_attribute(InstanceId=instance, DisableApiStop={"Value": True})
        self.ec2.modify_instance_attribute(InstanceId=instance, Attribute="disableApiTermination", Value="true")
        self.ec2.modify_instance_attribute(InstanceId=instance, BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}])
        shown = {name: self.ec2.describe_instance_attribute(InstanceId=instance, Attribute=name) for name in (
            "instanceType", "disableApiStop", "disableApiTermination", "rootDeviceName", "blockDeviceMapping")}
        self.assertEqual(shown["instanceType"]["InstanceType"], {"Value": "m5.large"})
        self.assertEqual(shown["disableApiStop"]["DisableApiStop"], {"Value": True})
        self.assertEqual(shown["disableApiTermination"]["DisableApiTermination"], {"Value": True})
        self.assertEqual(shown["rootDeviceName"]["RootDeviceName"], {"Value": "/dev/xvda"})
        self.assertFalse(shown["blockDeviceMapping"]["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"])
        self.refused("OperationNotPermitted", self.ec2.stop_instances, InstanceIds=[instance])
        self.refused("OperationNotPermitted", self.ec2.terminate_instances, InstanceIds=[instance])
        self.refused("IncorrectInstanceState", self.ec2.modify_instance_attribute, InstanceId=instance,
                     InstanceType={"Value": "m5.xlarge"})

    def test_a_token_launches_once(self):
        request = {"ImageId": IMAGE, "InstanceType": "m5.large", "MinCount": 2, "MaxCount": 2, "ClientToken": "pair"}
        first = self.ec2.run_instances(**request)
        again = self.ec2.run_instances(**request)
        ids = lambda reply: [each["InstanceId"] for each in reply["Instances"]]
        self.assertEqual((ids(first), first["ReservationId"]), (ids(again), again["ReservationId"]))
        self.refused("IdempotentParameterMismatch", self.ec2.run_instances, **request | {"InstanceType": "m5.xlarge"})

    def test_pages_of_instances_types_and_statuses(self):
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "set", "Value": "paged"}]}]
        made = self.ec2.run_instances(ImageId=IMAGE, InstanceType="t3.micro", MinCount=6, MaxCount=6,
                                      TagSpecifications=tags)["Instances"]
        ids = {each["InstanceId"] for each in made}
        self.wait("instance_running", InstanceIds=list(ids))
        pages = list(self.ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "tag:set", "Values": ["paged"]}], PaginationConfig={"PageSize": 5}))
        found = {each["InstanceId"] for page in pages for group in page["Reservations"] for each in group["Instances"]}
        self.assertEqual((found, len(pages)), (ids, 2))
        statuses = self.ec2.get_paginator("describe_instance_status").paginate(PaginationConfig={"PageSize": 5})
        self.assertLessEqual(ids, {each["InstanceId"] for page in statuses for each in page["InstanceStatuses"]})
        types = self.ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 100})
        known = {each["InstanceType"]: each for page in types for each in page["InstanceTypes"]}
        self.assertEqual(known["m5.large"]["Hypervisor"], "nitro")
        self.assertEqual(known["m4.large"]["EbsInfo"]["NvmeSupport"], "unsupported")

    def test_every_instance_type_can_be_launched_as_it_is_described(self):
        for each in self.ec2.describe_instance_types()["InstanceTypes"]:
            made = self.ec2.run_instances(ImageId=IMAGE, InstanceType=each["InstanceType"], MinCount=1, MaxCount=1)
            found = made["Instances"][0]
            self.assertEqual([found["Architecture"]], each["ProcessorInfo"]["SupportedArchitectures"])
            self.ec2.terminate_instances(InstanceIds=[found["InstanceId"]])

    def test_unknown_instances_are_named(self):
        gone = ["i-0123456789abcdef0", "i-0123456789abcdef1"]
        self.assertEqual(self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=gone[:1]),
                         f"The instance ID '{gone[0]}' does not exist")
        self.assertEqual(self.refused("InvalidInstanceID.NotFound", self.ec2.stop_instances, InstanceIds=gone),
                         f"The instance IDs '{', '.join(gone)}' do not exist")
        self.refused("InvalidInstanceID.Malformed", self.ec2.start_instances, InstanceIds=["i-x"])

    def test_tags_come_go_and_are_paged(self):
        instance, volume = self.instance(), self.volume()
        tags = [{"Key": f"k{number}", "Value": "<v> & more"} for number in range(4)]
        self.ec2.create_tags(Resources=[instance, volume], Tags=tags)
        mine = [{"Name": "resource-id", "Values": [instance, volume]}]
        pages = list(self.ec2.get_paginator("describe_tags").paginate(
            Filters=mine, PaginationConfig={"PageSize": 5}))
        self.assertEqual([len(page["Tags"]) for page in pages], [5, 3])
        self.assertEqual({each["Value"] for page in pages for each in page["Tags"]}, {"<v> & more"})
        # One with its value, one with another value, one whatever its value is.
        self.ec2.delete_tags(Resources=[instance, volume], Tags=[
            {"Key": "k0", "Value": "<v> & more"}, {"Key": "k1", "Value": "other"}, {"Key": "k2"}])
        left = {each["Key"] for each in self.ec2.describe_tags(Filters=mine)["Tags"]}
        self.assertEqual(left, {"k1", "k3"})
        self.refused("InvalidParameterValue", self.ec2.create_tags, Resources=[volume],
                     Tags=[{"Key": "aws:mine", "Value": ""}])

    def test_zones_and_regions(self):
        zones = self.ec2.describe_availability_zones(ZoneNames=[ZONE])["AvailabilityZones"]
        self.assertEqual([(each["ZoneId"], each["State"]) for each in zones], [("use1-az1", "available")])
        by_id = self.ec2.describe_availability_zones(ZoneIds=["use1-az2"])["AvailabilityZones"]
        self.assertEqual([each["ZoneName"] for each in by_id], ["us-east-1b"])
        regions = self.ec2.describe_regions(RegionNames=["us-east-1"])["Regions"]
        self.assertEqual(regions[0]["Endpoint"], "ec2.us-east-1.amazonaws.com")


if __name__ == "__main__":
    unittest.main()
