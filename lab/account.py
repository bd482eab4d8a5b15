#!/usr/bin/env python3
"""The lab's account, as a foreign client of EC2 and SSM sees it (boto3).

The endpoint and credentials come from the environment, as for any AWS client."""

import argparse
import json
import sys
import time

import boto3

IMAGE = "ami-0123456789abcdef0"
TYPE = "m5.large"
# Seconds an instance may take until SSM knows it.
ONLINE_LIMIT_S = 180
# SSM's own limits of waiting: for delivery, and for the script.
DELIVERY_LIMIT_S = 60
POLL_S = 0.5


def launch(options):
    """Launches one instance and prints its id."""
    tags = [{"Key": "Name", "Value": options.name}]
    tags += [dict(zip(("Key", "Value"), tag.split("=", 1))) for tag in options.tag]
    devices = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "VolumeType": "gp3"}}]
    for disk in options.disk:
        device, gib = disk.split("=", 1)
        # On, as the console has it for volumes made with the instance: rehome must switch it off.
        ebs = {"VolumeSize": int(gib), "VolumeType": "gp3", "DeleteOnTermination": True}
        devices.append({"DeviceName": device, "Ebs": ebs})
    reply = boto3.client("ec2").run_instances(
        ImageId=IMAGE,
        InstanceType=TYPE,
        MinCount=1,
        MaxCount=1,
        Placement={"AvailabilityZone": options.zone},
        PrivateIpAddress=options.address,
        BlockDeviceMappings=devices,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": tags},
            {"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": f"{options.name} (legacy)"}]},
        ],
    )
    print(reply["Instances"][0]["InstanceId"])


def online(options):
    """Waits until SSM knows all these instances."""
    ssm = boto3.client("ssm")
    end = time.monotonic() + ONLINE_LIMIT_S
    while True:
        known = ssm.describe_instance_information()["InstanceInformationList"]
        missing = set(options.instances) - {one["InstanceId"] for one in known if one["PingStatus"] == "Online"}
        if not missing:
            return
        if time.monotonic() > end:
            sys.exit(f"not online in SSM after {ONLINE_LIMIT_S} s: {', '.join(sorted(missing))}")
        time.sleep(POLL_S)


def power(options):
    """Starts or stops instances, and waits until they are."""
    ec2, ids = boto3.client("ec2"), options.instances
    if options.verb == "start":
        ec2.start_instances(InstanceIds=ids)
    else:
        # As a person at the console would: lifted for the moment of the stop.
        for one in ids:
            ec2.modify_instance_attribute(InstanceId=one, DisableApiStop={"Value": False})
        ec2.stop_instances(InstanceIds=ids)
    state = {"start": "instance_running", "stop": "instance_stopped"}[options.verb]
    ec2.get_waiter(state).wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": ONLINE_LIMIT_S})


def script(options):
    """Runs the script on standard input on instances, at the same time, through SSM."""
    ssm = boto3.client("ssm")
    sent = ssm.send_command(
        InstanceIds=options.instances,
        DocumentName="AWS-RunShellScript",
        TimeoutSeconds=DELIVERY_LIMIT_S,
        Parameters={"commands": [sys.stdin.read()], "executionTimeout": [str(options.limit_s)]},
    )["Command"]["CommandId"]
    waiting, failed = set(options.instances), False
    while waiting:
        time.sleep(POLL_S)
        for instance in sorted(waiting):
            try:
                seen = ssm.get_command_invocation(CommandId=sent, InstanceId=instance)
            except ssm.exceptions.InvocationDoesNotExist:
                continue
            if seen["Status"] in ("Pending", "InProgress", "Delayed"):
                continue
            waiting.discard(instance)
            failed |= seen["Status"] != "Success"
            result = {key: seen[key] for key in ("InstanceId", "Status", "StandardOutputContent", "StandardErrorContent")}
            print(json.dumps(result))
    sys.exit(1 if failed else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("launch", help=launch.__doc__)
    command.add_argument("--name", required=True)
    command.add_argument("--zone", required=True)
    command.add_argument("--address", required=True)
    command.add_argument("--disk", action="append", default=[], metavar="DEVICE=GIB", help="a volume besides the root's")
    command.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE")
    command.set_defaults(do=launch)
    command = commands.add_parser("online", help=online.__doc__)
    command.add_argument("instances", nargs="+")
    command.set_defaults(do=online)
    command = commands.add_parser("power", help=power.__doc__)
    command.add_argument("verb", choices=("start", "stop"))
    command.add_argument("instances", nargs="+")
    command.set_defaults(do=power)
    command = commands.add_parser("script", help=script.__doc__)
    command.add_argument("--limit-s", type=int, default=300)
    command.add_argument("instances", nargs="+")
    command.set_defaults(do=script)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
