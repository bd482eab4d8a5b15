"""A few calls of the AWS CLI."""

import json
import os
import subprocess
import sys
import unittest

from emulator import CREDENTIALS, IMAGE, REGION, ZONE, Story


class Cli(Story):
    def aws(self, *arguments):
        environment = {"PATH": os.environ["PATH"], "HOME": self.emulator.home.name, "AWS_DEFAULT_REGION": REGION,
                       "AWS_ENDPOINT_URL": self.emulator.url, "AWS_MAX_ATTEMPTS": "1",
                       **{name.upper(): value for name, value in CREDENTIALS.items()}}
        command = [sys.executable, "-m", "awscli", *arguments, "--output=json"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def answered(self, *arguments):
        ended = self.aws(*arguments)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return json.loads(ended.stdout) if ended.stdout else None

    def test_an_instance_gets_a_volume(self):
        made = self.answered("ec2", "run-instances", f"--image-id={IMAGE}", "--count=1", "--instance-type=m5.large",
                             f"--placement=AvailabilityZone={ZONE}")
        instance = made["Instances"][0]["InstanceId"]
        volume = self.answered("ec2", "create-volume", f"--availability-zone={ZONE}", "--size=1", "--volume-type=gp3",
                               "--tag-specifications=ResourceType=volume,Tags=[{Key=Name,Value=data}]")["VolumeId"]
        self.answered("ec2", "wait", "volume-available", f"--volume-ids={volume}")
        self.answered("ec2", "attach-volume", f"--volume-id={volume}", f"--instance-id={instance}",
                      "--device=/dev/xvdf")
        found = self.answered("ec2", "describe-volumes", "--filters=Name=tag:Name,Values=data",
                              "--query=Volumes[].Attachments[].InstanceId")
        self.assertEqual(found, [instance])

    def test_other_services(self):
        self.assertEqual(self.answered("sts", "get-caller-identity")["Account"], "123456789012")
        self.assertEqual(self.answered("autoscaling", "describe-auto-scaling-groups"), {"AutoScalingGroups": []})
        self.assertEqual(self.answered("ssm", "describe-instance-information"), {"InstanceInformationList": []})

    def test_a_refusal_is_told(self):
        ended = self.aws("ec2", "delete-volume", "--volume-id=vol-0123456789abcdef0")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("An error occurred (InvalidVolume.NotFound) when calling the DeleteVolume operation: "
                      "The volume 'vol-0123456789abcdef0' does not exist.", ended.stderr)


if __name__ == "__main__":
    unittest.main()
