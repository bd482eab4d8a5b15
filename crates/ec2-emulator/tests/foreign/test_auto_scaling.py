"""Auto Scaling as boto3 sees it. Groups are put into the account's file: no action here makes them."""

import unittest

from emulator import Story


class AutoScaling(Story):
    def setUp(self):
        super().setUp()
        self.members = sorted(self.instance() for _ in range(2))
        group = {"members": {instance: "InService" for instance in self.members}, "changing": {}, "unhealthy_since": {},
                 "suspended": [], "min_size": 0, "created_at": 1_767_225_600_000}
        with self.emulator.account() as account:
            behind = {"target_group_arns": ["arn:one"], "load_balancer_names": ["classic"]}
            account["groups"] = {"db": group | behind, "other": group | {"members": {}}}
            # Members that stand still for as long as a test looks elsewhere are not replaced meanwhile.
            account["config"]["timing"]["auto_scaling_ms"] = 3_000
        super().setUp()

    def states(self):
        found = self.autoscaling.describe_auto_scaling_instances(InstanceIds=self.members)["AutoScalingInstances"]
        return [each["LifecycleState"] for each in found]

    def test_groups_and_members_are_described_in_pages(self):
        pages = list(self.autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
            PaginationConfig={"PageSize": 1}))
        groups = [group for page in pages for group in page["AutoScalingGroups"]]
        self.assertEqual(([group["AutoScalingGroupName"] for group in groups], len(pages)), (["db", "other"], 2))
        self.assertEqual([each["HealthStatus"] for each in groups[0]["Instances"]], ["Healthy"] * 2)
        self.assertEqual((groups[0]["DesiredCapacity"], groups[1]["Instances"]), (2, []))
        self.assertEqual([each["TargetGroupARNs"] for each in groups], [["arn:one"], []])
        self.assertEqual([each["LoadBalancerNames"] for each in groups], [["classic"], []])
        pages = list(self.autoscaling.get_paginator("describe_auto_scaling_instances").paginate(
            PaginationConfig={"PageSize": 1}))
        self.assertEqual([each["InstanceId"] for page in pages for each in page["AutoScalingInstances"]], self.members)
        # Unknown names are left out, and no error.
        named = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["none"])
        self.assertEqual(named["AutoScalingGroups"], [])

    def test_a_member_goes_to_standby_and_comes_back(self):
        entering = self.autoscaling.enter_standby(
            AutoScalingGroupName="db", InstanceIds=self.members, ShouldDecrementDesiredCapacity=True)["Activities"]
        self.assertEqual({each["StatusCode"] for each in entering}, {"InProgress"})
        self.until(lambda: self.states() == ["Standby"] * 2)
        self.refused("ValidationError", self.autoscaling.enter_standby, AutoScalingGroupName="db",
                     InstanceIds=self.members, ShouldDecrementDesiredCapacity=True)
        leaving = self.autoscaling.exit_standby(AutoScalingGroupName="db", InstanceIds=self.members)["Activities"]
        self.assertEqual(len(leaving), 2)
        self.until(lambda: self.states() == ["InService"] * 2)
        message = self.refused("ValidationError", self.autoscaling.enter_standby, AutoScalingGroupName="none",
                               InstanceIds=self.members, ShouldDecrementDesiredCapacity=True)
        self.assertEqual(message, "AutoScalingGroup name not found - none")

    def test_processes_are_suspended_and_resumed(self):
        some = ["ReplaceUnhealthy", "Terminate"]
        self.autoscaling.suspend_processes(AutoScalingGroupName="db", ScalingProcesses=some)
        look = lambda: [each["ProcessName"] for each in self.autoscaling.describe_auto_scaling_groups(
            AutoScalingGroupNames=["db"])["AutoScalingGroups"][0]["SuspendedProcesses"]]
        self.assertEqual(look(), some)
        self.autoscaling.resume_processes(AutoScalingGroupName="db", ScalingProcesses=some[:1])
        self.assertEqual(look(), some[1:])
        self.autoscaling.suspend_processes(AutoScalingGroupName="db")
        self.assertEqual(len(look()), 9)
        self.autoscaling.resume_processes(AutoScalingGroupName="db")
        self.refused("ValidationError", self.autoscaling.suspend_processes, AutoScalingGroupName="db",
                     ScalingProcesses=["Sleep"])

    def test_a_member_that_stands_still_is_terminated_and_replaced(self):
        self.ec2.stop_instances(InstanceIds=self.members[:1])
        self.wait("instance_terminated", InstanceIds=self.members[:1])
        group = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["db"])["AutoScalingGroups"][0]
        now = {each["InstanceId"] for each in group["Instances"]}
        self.assertEqual(len(now), 2)
        self.assertNotIn(self.members[0], now)


if __name__ == "__main__":
    unittest.main()
