"""`rehome emulate ec2` in a process of its own, as any client meets it."""

import json
import os
import pathlib
import subprocess
import tempfile
import time
import unittest
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

# The user's own settings have no say here.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "no_proxy": "127.0.0.1"}

# The binary that xtask built.
REHOME = os.environ.get("REHOME", "rehome")
REGION = "us-east-1"
ZONE = f"{REGION}a"
IMAGE = "ami-0123456789abcdef0"
# Longer than anything takes here, on a machine that has other things to do.
LIMIT_S = 60
CREDENTIALS = {"aws_access_key_id": "AKIDFOREIGN", "aws_secret_access_key": "any"}


class Emulator:
    """An emulator with an account of its own: changes show at once and calls are not counted, unless asked for."""

    def __init__(self, *options, time_scale=0, lag_ms=0, throttling=False):
        self.home = tempfile.TemporaryDirectory(prefix="rehome-foreign-")
        self.state = pathlib.Path(self.home.name) / "ec2"
        self.options = [f"--time-scale={time_scale}", *options]
        self.start()
        with self.account() as account:
            account["config"]["consistency"]["lag_ms"] = lag_ms
            account["config"]["limits"]["throttling"] = throttling

    def start(self):
        self.clients = {}
        command = [REHOME, "emulate", "ec2", f"--state={self.state}", "--port=0", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http"):
            raise RuntimeError(f"{' '.join(command)} said {self.url!r}")

    def stop(self):
        self.process.terminate()
        self.process.wait(LIMIT_S)
        self.process.stdout.close()

    def close(self):
        self.stop()
        self.home.cleanup()

    def account(self):
        """The account's file, to be changed while the emulator is down: for what no action of AWS' does."""
        return Account(self)

    def set_faults(self, *rules):
        """These and no others, at the admin endpoint; what it answers."""
        body = json.dumps({"faults": rules}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_emulator/faults", body, method="PUT")) as reply:
            return json.load(reply)["faults"]

    def client(self, service):
        """A client that tries each call once: a retry would hide what was answered."""
        if service not in self.clients:
            config = botocore.config.Config(region_name=REGION, retries={"mode": "standard", "total_max_attempts": 1})
            self.clients[service] = boto3.client(service, endpoint_url=self.url, config=config, **CREDENTIALS)
        return self.clients[service]


class Account:
    def __init__(self, emulator):
        self.emulator = emulator
        self.path = emulator.state / "account.json"

    def __enter__(self):
        self.emulator.stop()
        self.content = json.loads(self.path.read_text())
        return self.content

    def __exit__(self, failed, *_):
        if failed is None:
            self.path.write_text(json.dumps(self.content))
        self.emulator.start()


class Story(unittest.TestCase):
    """Tests that share an emulator; each makes what it needs."""

    OPTIONS = {}

    @classmethod
    def setUpClass(cls):
        cls.emulator = Emulator(**cls.OPTIONS)
        cls.addClassCleanup(cls.emulator.close)

    def setUp(self):
        for service in ("ec2", "autoscaling", "sts", "ssm"):
            setattr(self, service, self.emulator.client(service))

    def refused(self, code, call, **parameters):
        """The message of a refusal with this code."""
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**parameters)
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], code, error["Message"])
        return error["Message"]

    def wait(self, name, **parameters):
        waiter = self.ec2.get_waiter(name)
        waiter.wait(WaiterConfig={"Delay": 0.1, "MaxAttempts": int(LIMIT_S / 0.1)}, **parameters)

    def until(self, look):
        """What `look` finds, once it finds something."""
        for _ in range(int(LIMIT_S / 0.1)):
            if found := look():
                return found
            time.sleep(0.1)
        return self.fail("it did not happen")

    def instance(self, wait="instance_running", **parameters):
        made = self.ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, InstanceType="m5.large", **parameters)
        instance = made["Instances"][0]["InstanceId"]
        if wait:
            self.wait(wait, InstanceIds=[instance])
        return instance

    def volume(self, wait="volume_available", **parameters):
        parameters = {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3"} | parameters
        volume = self.ec2.create_volume(**parameters)["VolumeId"]
        if wait:
            self.wait(wait, VolumeIds=[volume])
        return volume

    def snapshot(self, volume):
        snapshot = self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        self.wait("snapshot_completed", SnapshotIds=[snapshot])
        return snapshot

    def described(self, volume):
        return self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
