"""Scripts in instances, as boto3 sees them; a guest program that runs them here stands for the machines."""

import pathlib
import tempfile
import unittest

from emulator import Emulator, Story

GUEST = """#!/bin/sh
case $1 in
down) exit 0 ;;
exec) exec timeout "$3" sh ;;
esac
"""


def guest_program(directory):
    path = pathlib.Path(directory) / "guest"
    path.write_text(GUEST)
    path.chmod(0o755)
    return path


class Scripts(Story):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="rehome-foreign-")
        cls.addClassCleanup(directory.cleanup)
        cls.emulator = Emulator(f"--guests={guest_program(directory.name)}")
        cls.addClassCleanup(cls.emulator.close)

    def run_script(self, *lines, **parameters):
        """The invocation of a script in a new instance, once it has ended."""
        instance = self.instance()
        command = self.ssm.send_command(InstanceIds=[instance], DocumentName="AWS-RunShellScript",
                                        Parameters={"commands": list(lines)} | parameters)["Command"]
        one = {"CommandId": command["CommandId"], "InstanceId": instance}
        return self.until(lambda: next((found for found in [self.ssm.get_command_invocation(**one)]
                                        if found["Status"] not in ("Pending", "InProgress")), None))

    def test_a_script_runs_and_its_end_is_told(self):
        found = self.run_script("echo out", "echo err >&2", "exit 3")
        self.assertEqual((found["Status"], found["ResponseCode"]), ("Failed", 3))
        self.assertEqual((found["StandardOutputContent"], found["StandardErrorContent"]), ("out\n", "err\n"))
        self.assertEqual(self.run_script("true")["Status"], "Success")

    def test_a_script_is_ended_at_its_limit(self):
        found = self.run_script("sleep 1000", executionTimeout=["1"])
        self.assertEqual((found["Status"], found["StatusDetails"]), ("TimedOut", "ExecutionTimedOut"))

    def test_boto3s_waiter_follows_a_command(self):
        instance = self.instance()
        command = self.ssm.send_command(InstanceIds=[instance], DocumentName="AWS-RunShellScript", TimeoutSeconds=60,
                                        Comment="a check", Parameters={"commands": ["true"]})["Command"]
        self.ssm.get_waiter("command_executed").wait(
            CommandId=command["CommandId"], InstanceId=instance, WaiterConfig={"Delay": 0.2, "MaxAttempts": 300})

    def test_machines_that_run_are_listed(self):
        up, down = self.instance(), self.instance()
        self.ec2.stop_instances(InstanceIds=[down])
        self.wait("instance_stopped", InstanceIds=[down])
        found = self.ssm.describe_instance_information(
            Filters=[{"Key": "InstanceIds", "Values": [up, down]}])["InstanceInformationList"]
        self.assertEqual([(each["InstanceId"], each["PingStatus"]) for each in found], [(up, "Online")])
        everything = self.ssm.get_paginator("describe_instance_information").paginate()
        self.assertIn(up, {each["InstanceId"] for page in everything for each in page["InstanceInformationList"]})
        self.refused("InvalidInstanceId", self.ssm.send_command, InstanceIds=[down], DocumentName="AWS-RunShellScript")

    def test_what_it_does_not_know_is_refused(self):
        instance = self.instance()
        self.refused("InvalidDocument", self.ssm.send_command, InstanceIds=[instance], DocumentName="AWS-RunSonnet")
        self.refused("InvocationDoesNotExist", self.ssm.get_command_invocation, InstanceId=instance,
                     CommandId="00000000-0000-0000-0000-000000000000")
        self.refused("UnknownOperationException", self.ssm.describe_parameters)


if __name__ == "__main__":
    unittest.main()
