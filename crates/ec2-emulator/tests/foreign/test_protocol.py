"""What no action is about: who calls, dry runs, what is unknown, throttling, lost and late replies."""

import unittest
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import model
import offered
from emulator import CREDENTIALS, IMAGE, REGION, ZONE, Emulator, Story

EC2 = "2016-11-15"
NO_VOLUME = "vol-0123456789abcdef0"


class Protocol(Story):
    def post(self, version, /, **form):
        """Status and body of a reply to a form, which no SDK would have sent."""
        body = urllib.parse.urlencode({"Version": version} | form).encode()
        try:
            with urllib.request.urlopen(self.emulator.url, body) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_the_caller_is_told(self):
        caller = self.sts.get_caller_identity()
        self.assertEqual((caller["Account"], caller["Arn"]),
                         ("123456789012", "arn:aws:iam::123456789012:user/AKIDFOREIGN"))

    def test_every_reply_has_the_id_of_its_request(self):
        replies = [self.ec2.describe_regions(), self.sts.get_caller_identity(),
                   self.autoscaling.describe_auto_scaling_groups(), self.ssm.describe_instance_information()]
        ids = [reply["ResponseMetadata"].get("RequestId") for reply in replies]
        self.assertTrue(all(ids) and len(set(ids)) == len(ids), ids)

    def test_a_dry_run_changes_nothing(self):
        message = "Request would have succeeded, but DryRun flag is set."
        calls = [
            (self.ec2.create_volume, {"AvailabilityZone": ZONE, "Size": 1}),
            (self.ec2.run_instances, {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1}),
            (self.ec2.describe_volumes, {}), (self.ec2.describe_instances, {}), (self.ec2.describe_snapshots, {}),
            (self.ec2.describe_instance_types, {}), (self.ec2.describe_tags, {}), (self.ec2.describe_regions, {}),
        ]
        before = len(self.ec2.describe_volumes()["Volumes"])
        for call, parameters in calls:
            self.assertEqual(self.refused("DryRunOperation", call, DryRun=True, **parameters), message)
        self.assertEqual(len(self.ec2.describe_volumes()["Volumes"]), before)
        # What does not exist is told, dry run or not.
        self.refused("InvalidVolume.NotFound", self.ec2.delete_volume, VolumeId=NO_VOLUME, DryRun=True)

    def test_an_action_that_is_not_known_is_answered_as_ec2_does(self):
        message = self.refused("InvalidAction", self.ec2.describe_vpcs)
        self.assertEqual(message, "The action DescribeVpcs is not valid for this web service.")
        self.refused("InvalidAction", self.autoscaling.describe_policies)
        self.refused("InvalidAction", self.sts.get_session_token)
        status, body = self.post(EC2, Action="DescribeMoons")
        self.assertEqual((status, "InvalidAction" in body), (400, True))
        # One service's actions are not another's.
        for version, action in ((EC2, "EnterStandby"), (EC2, "GetCallerIdentity"), ("2011-01-01", "DescribeVolumes")):
            status, body = self.post(version, Action=action)
            self.assertEqual((status, "InvalidAction" in body), (400, True), body)

    def test_a_flag_is_true_or_false(self):
        status, body = self.post(EC2, Action="DescribeRegions", DryRun="yes")
        self.assertEqual(status, 400)
        self.assertIn("<Code>InvalidParameterValue</Code>", body)

    def test_a_parameter_that_is_not_known_is_answered_as_ec2_does(self):
        for name, told in (("VolumeIds", "VolumeIds"), ("Filter.1.Values.1", "Values")):
            status, body = self.post(EC2, Action="DescribeVolumes", **{name: "all"})
            self.assertEqual(status, 400)
            self.assertIn(f"<Code>UnknownParameter</Code><Message>The parameter {told} is not recognized", body)

    def test_no_parameter_that_ec2_has_is_unknown(self):
        for action in offered.ACTIONS["ec2"]:
            # The first one in the order of names is told: none before the last.
            _, body = self.post(EC2, Action=action, **dict.fromkeys(parameters(action), "x"), **{"~": "x"})
            self.assertIn("<Message>The parameter ~ is not recognized</Message>", body, action)


def parameters(action):
    """All names that an action takes, of members of structures and of lists too."""
    query = model.QueryExchange({"status": 0, "request": "", "reply": "", "target": None})
    query.is_ec2 = True

    def below(prefix, shape):
        if shape.type_name == "list":
            return below(f"{prefix}.1", shape.member)
        if shape.type_name != "structure":
            return [prefix]
        dot = f"{prefix}." if prefix else ""
        return [name for member in shape.members.items()
                for name in below(dot + query.request_name(*member), member[1])]

    return below("", model.service("ec2").operation_model(action).input_shape)


class Permissions(Story):
    def test_who_may_not_is_told_so(self):
        with self.emulator.account() as account:
            account["config"]["denied"] = ["CreateVolume", "EnterStandby"]
        ec2, autoscaling = self.emulator.client("ec2"), self.emulator.client("autoscaling")
        message = self.refused("UnauthorizedOperation", ec2.create_volume, AvailabilityZone=ZONE, Size=1, DryRun=True)
        self.assertIn("is not authorized to perform: ec2:CreateVolume", message)
        self.refused("AccessDenied", autoscaling.enter_standby, AutoScalingGroupName="db",
                     ShouldDecrementDesiredCapacity=True)


class Faults(Story):
    """Replies that are lost, and errors."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.emulator.set_faults)

    def retrying(self):
        config = botocore.config.Config(region_name=REGION, retries={"mode": "standard", "total_max_attempts": 3})
        return boto3.client("ec2", endpoint_url=self.emulator.url, config=config, **CREDENTIALS)

    def test_a_reply_can_be_lost_after_its_effect_and_a_retry_meets_it(self):
        error = {"errorAfterEffect": {"status": 503, "code": "Unavailable", "message": "The service is unavailable."}}
        for effect in (error, "noReply"):
            instance, volume = self.instance(), self.volume()
            self.emulator.set_faults({"action": "AttachVolume", "calls": {"nth": 1}, "effect": effect})
            message = self.refused("VolumeInUse", self.retrying().attach_volume, VolumeId=volume, InstanceId=instance,
                                   Device="/dev/xvdf")
            self.assertEqual(message, f"{volume} is already attached to an instance")

    def test_a_client_that_tries_once_sees_the_connection_closed(self):
        self.emulator.set_faults({"action": "CreateVolume", "effect": "noReply"})
        before = len(self.ec2.describe_volumes()["Volumes"])
        with self.assertRaises(botocore.exceptions.ConnectionClosedError):
            self.ec2.create_volume(AvailabilityZone=ZONE, Size=1)
        self.assertEqual(len(self.ec2.describe_volumes()["Volumes"]), before + 1)

    def test_a_service_that_fails_says_on_which_side(self):
        broken = {"error": {"status": 500, "code": "InternalFailure", "message": "An internal error has occurred"}}
        self.emulator.set_faults(*(
            {"action": action, "calls": {"nth": 1}, "effect": broken}
            for action in ("DescribeAutoScalingGroups", "GetCallerIdentity", "DescribeRegions")))
        self.refused("InternalFailure", self.autoscaling.describe_auto_scaling_groups)
        self.refused("InternalFailure", self.sts.get_caller_identity)
        self.refused("InternalFailure", self.ec2.describe_regions)

    def test_each_service_throttles_and_denies_in_its_own_codes(self):
        calls = [(self.ec2.describe_regions, "RequestLimitExceeded", "UnauthorizedOperation"),
                 (self.autoscaling.describe_auto_scaling_groups, "Throttling", "AccessDenied"),
                 (self.sts.get_caller_identity, "Throttling", "AccessDenied"),
                 (self.ssm.describe_instance_information, "ThrottlingException", "AccessDeniedException")]
        for call, throttled, denied in calls:
            self.emulator.set_faults({"effect": "throttle"})
            self.refused(throttled, call)
            self.emulator.set_faults({"effect": "deny"})
            self.refused(denied, call)

    def test_there_may_be_no_capacity(self):
        self.emulator.set_faults({"effect": "insufficientCapacity"})
        self.refused("InsufficientVolumeCapacity", self.ec2.create_volume, AvailabilityZone=ZONE, Size=1)
        self.refused("InsufficientInstanceCapacity", self.ec2.run_instances, ImageId=IMAGE, MinCount=1, MaxCount=1)


class Throttling(Story):
    OPTIONS = {"throttling": True}

    def test_who_calls_too_often_is_throttled_and_told_so(self):
        launch = {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, "DryRun": True}
        # Five at once, then two a second.
        answers = set()
        for _ in range(100):
            with self.assertRaises(botocore.exceptions.ClientError) as caught:
                self.ec2.run_instances(**launch)
            reply = caught.exception.response
            answers.add((reply["ResponseMetadata"]["HTTPStatusCode"], reply["Error"]["Code"]))
            if len(answers) > 1:
                break
        self.assertEqual(answers, {(412, "DryRunOperation"), (503, "RequestLimitExceeded")})


class Consistency(Story):
    """Describes that are late, as EC2's are."""

    OPTIONS = {"lag_ms": 8_000}

    def test_what_was_just_made_is_not_found_yet_and_then_is(self):
        made = [self.ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"] for _ in range(6)]
        message = self.refused("InvalidVolume.NotFound", self.ec2.describe_volumes, VolumeIds=made)
        self.assertTrue(any(volume in message for volume in made), message)
        self.until(lambda: set(made) <= {each["VolumeId"] for each in self.ec2.describe_volumes()["Volumes"]})


class Restart(unittest.TestCase):
    def test_an_emulator_that_is_started_again_goes_on(self):
        emulator = Emulator()
        self.addCleanup(emulator.close)
        volume = emulator.client("ec2").create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
        emulator.stop()
        emulator.start()
        found = emulator.client("ec2").describe_volumes(VolumeIds=[volume])["Volumes"][0]
        self.assertEqual((found["State"], found["Size"]), ("available", 1))


if __name__ == "__main__":
    unittest.main()
