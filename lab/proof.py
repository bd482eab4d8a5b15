#!/usr/bin/env python3
"""What the lab's migration must have come to, asserted by foreign clients only: boto3, kubectl and a CQL driver.

  before       notes who the legacy members are, for the other commands
  adopted      after `rehome apply`
  rolled-back  after `rehome rollback --discard-writes`
  returned     after `rehome rollback --keep-writes`
  finalized    after `rehome finalize`
  orphan       leaves a volume behind, as a run that lost a reply would
  collected    after `rehome gc --delete`: that volume is gone, and nothing else

Prints a line for each thing it saw, and ends with 1 at the first that is not so."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import boto3
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy

NAMESPACE, SET, MIGRATION = "cassandra", "cassandra", "lab"
# A member's volumes: where each is attached, and the file system that it has.
ROLES = {"data": ("/dev/xvdf", "xfs"), "commitlog": ("/dev/xvdg", "ext4")}
TAG = "rehome.dev/"
LEGACY_NETWORK = "10.99.1."
# Seconds a deleted pod may take to come back, and a set scaled up by a stranger is watched.
POD_LIMIT_S, WATCH_S = 300, 20
BLOCK = 1 << 20


def check(so, what):
    print(("ok      " if so else "NOT SO  ") + what, flush=True)
    if not so:
        sys.exit(1)


def kubectl(*words):
    done = subprocess.run(["kubectl", "--kubeconfig", os.environ["ADMIN_KUBECONFIG"], *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"kubectl {' '.join(words)}: {done.stderr}")
    return done.stdout


def objects(*words):
    return json.loads(kubectl("get", *words, "-o", "json"))


def tags(found):
    return {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}


def member(address):
    """Who a member says it is, asked of it alone."""
    only = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([address]), request_timeout=30)
    cluster = Cluster([address], execution_profiles={EXEC_PROFILE_DEFAULT: only}, connect_timeout=30)
    try:
        session = cluster.connect()
        local = session.execute("select host_id, tokens, cluster_name, data_center, rack from system.local").one()
        peers = session.execute("select peer, host_id from system.peers_v2").all()
    finally:
        cluster.shutdown()
    return {
        "host_id": str(local.host_id),
        "tokens": sorted(local.tokens),
        "cluster": local.cluster_name,
        "place": [local.data_center, local.rack],
        "peers": sorted(str(peer.peer) for peer in peers),
    }


def legacy_instances(ec2):
    reply = ec2.describe_instances(Filters=[{"Name": "tag:cluster", "Values": ["prod"]}])
    found = [instance for one in reply["Reservations"] for instance in one["Instances"]]
    return sorted(found, key=lambda instance: tags(instance)["Name"])


def volumes_of(instance):
    """Those of the roles."""
    attached = {d["DeviceName"]: d["Ebs"]["VolumeId"] for d in instance["BlockDeviceMappings"]}
    return {role: attached.get(device) for role, (device, _) in ROLES.items()}


def before(options):
    """Notes who the legacy members are."""
    noted = {}
    for instance in legacy_instances(boto3.client("ec2")):
        devices = {d["DeviceName"]: d["Ebs"]["DeleteOnTermination"] for d in instance["BlockDeviceMappings"]}
        noted[tags(instance)["Name"]] = {
            "instance": instance["InstanceId"],
            "zone": instance["Placement"]["AvailabilityZone"],
            "volumes": volumes_of(instance),
            "delete_on_termination": devices,
            **member(instance["PrivateIpAddress"]),
        }
    options.notes.write_text(json.dumps(noted, indent=1))
    check(len(noted) == 3, f"three legacy members: {', '.join(sorted(noted))}")


def content(path):
    """A hash of a disk's content: where it lies in the file does not matter, nor what is a hole."""
    digest = hashlib.blake2b()
    with open(path, "rb") as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:
                break
            file.seek(at)
            block = file.read(BLOCK)
            if block.count(0) != len(block):
                digest.update(at.to_bytes(8, "big") + block)
            at += BLOCK
    return digest.hexdigest()


def mounted(volume):
    """Whether any process of this machine has the volume's device mounted."""
    link = Path("/dev/disk/by-id") / f"nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"
    if not link.exists():
        return False
    device = os.stat(link).st_rdev
    number = f" {os.major(device)}:{os.minor(device)} "
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            namespace = os.readlink(process / "ns/mnt")
            if namespace not in seen and number in (process / "mountinfo").read_text():
                return True
        except OSError:
            continue
        seen.add(namespace)
    return False


def made_by_rehome(ec2, of, run=None):
    """Everything of a kind that carries the migration's tag, and the run's if one is asked for."""
    where = [{"Name": f"tag:{TAG}migration", "Values": [MIGRATION]}]
    if run:
        where.append({"Name": f"tag:{TAG}run", "Values": [run]})
    if of == "volumes":
        return ec2.describe_volumes(Filters=where)["Volumes"]
    return ec2.describe_snapshots(Filters=where, OwnerIds=["self"])["Snapshots"]


def current_run():
    """The run whose volumes the claims have. An earlier one that was rolled back with its writes has left snapshots."""
    volumes = objects("pv")["items"]
    runs = {volume["metadata"]["labels"][f"{TAG}run"] for volume in volumes}
    check(len(runs) == 1, f"every PersistentVolume is of run {', '.join(sorted(runs))}")
    return runs.pop()


def pods():
    found = objects("pods", "-n", NAMESPACE, "-l", "app=cassandra")["items"]
    return {pod["metadata"]["name"]: pod for pod in found}


def check_slot(ec2, member_name, role, noted, snapshots, pod):
    """Volume -> PersistentVolume -> claim -> pod, for a role of one member."""
    name, wanted, (_, fs_type) = f"{member_name} {role}", f"{role}-{member_name}", ROLES[role]
    claim = objects("pvc", wanted, "-n", NAMESPACE)
    check(claim["status"]["phase"] == "Bound", f"{name}: its claim is bound")
    check(not claim["metadata"].get("ownerReferences"), f"{name}: nothing owns its claim")
    volume = objects("pv", claim["spec"]["volumeName"])
    check(volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain", f"{name}: its PersistentVolume is Retain")
    check(volume["spec"]["csi"]["fsType"] == fs_type, f"{name}: its file system is {fs_type}")
    legacy = noted["volumes"][role]
    handle = volume["spec"]["csi"]["volumeHandle"]
    disk = ec2.describe_volumes(VolumeIds=[handle])["Volumes"][0]
    check(disk["AvailabilityZone"] == noted["zone"], f"{name}: {handle} is in {noted['zone']}")
    labels = tags(disk)
    check(labels.get(f"{TAG}member") == member_name and labels.get(f"{TAG}role") == role, f"{name}: {handle} carries its tags")
    check(labels.get("ebs.csi.aws.com/cluster") == "true", f"{name}: the CSI driver may attach {handle}")
    source = snapshots[disk["SnapshotId"]]
    check(source["VolumeId"] == legacy, f"{name}: made from a snapshot of {legacy}")
    node = objects("node", pod["spec"]["nodeName"])
    holder = node["spec"]["providerID"].rsplit("/", 1)[1]
    attached = [one["InstanceId"] for one in disk["Attachments"]]
    check(attached == [holder], f"{name}: {handle} is attached to {holder} and to nobody else")
    used = [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v]
    check(wanted in used and len(used) == len(ROLES), f"{name}: its pod uses its claim")
    check(not mounted(legacy), f"{name}: {legacy} is mounted nowhere")
    pool = account_files()
    same = content(pool / f"volumes/{legacy}.img") == content(pool / f"snapshots/{disk['SnapshotId']}.img")
    check(same, f"{name}: {legacy} is as it was captured in {disk['SnapshotId']}")
    return handle, source


def account_files():
    """Where the emulator keeps volumes and snapshots as files."""
    return Path(os.environ["LAB_ACCOUNT"])


def check_members(noted, of_pods):
    """Every pod is its member, and knows pods only."""
    addresses = {name: pod["status"]["podIP"] for name, pod in of_pods.items()}
    for name, address in sorted(addresses.items()):
        found = member(address)
        for what in ("host_id", "tokens", "cluster", "place"):
            check(found[what] == noted[name][what], f"{name} at {address}: {what} is the legacy one")
        others = sorted(other for who, other in addresses.items() if who != name)
        check(found["peers"] == others, f"{name}: system.peers_v2 lists the other pods only: {', '.join(found['peers'])}")


def adopted(options):
    """After `rehome apply`."""
    ec2 = boto3.client("ec2")
    noted = json.loads(options.notes.read_text())
    found = pods()
    check(sorted(found) == sorted(noted), f"pods {', '.join(sorted(found))} are there")
    run = current_run()
    snapshots = {one["SnapshotId"]: one for one in made_by_rehome(ec2, "snapshots", run)}
    wanted = len(noted) * len(ROLES)
    check(len(snapshots) == 2 * wanted, f"{len(snapshots)} snapshots: a base and a final one of each volume")
    handles = set()
    for name in sorted(noted):
        slots = [check_slot(ec2, name, role, noted[name], snapshots, found[name]) for role in ROLES]
        handles |= {handle for handle, _ in slots}
        instants = {source["StartTime"] for _, source in slots}
        check(len(instants) == 1, f"{name}: its volumes were captured at one instant")
    made = {one["VolumeId"] for one in made_by_rehome(ec2, "volumes", run)}
    check(made == handles and len(handles) == wanted, f"no volume was made but those {wanted}")
    states = {one["InstanceId"]: one["State"]["Name"] for one in legacy_instances(ec2)}
    check(set(states.values()) == {"stopped"}, "every legacy instance is stopped")
    configured = json.loads(kubectl("get", "statefulsets,pods,configmaps,services", "-n", NAMESPACE, "-o", "json"))["items"]
    # The run's own record tells where the members came from; pods do not read it.
    theirs = [one for one in configured if not one["metadata"]["name"].startswith(("rehome-run-", "rehome-plan-"))]
    specs = [one.get("spec", one.get("data")) for one in theirs]
    check(LEGACY_NETWORK not in json.dumps(specs), "no legacy address in anything the pods are configured with")
    check_members(noted, found)
    if options.restart:
        check_restart(options.restart, noted)


def claimed(name):
    """The PersistentVolumes of a member's claims."""
    return [objects("pvc", f"{role}-{name}", "-n", NAMESPACE)["spec"]["volumeName"] for role in ROLES]


def check_restart(name, noted):
    """A deleted pod comes back on the same volumes, at another address."""
    old = pods()[name]
    volumes = claimed(name)
    kubectl("delete", "pod", name, "-n", NAMESPACE, "--wait=true")
    end = time.monotonic() + POD_LIMIT_S
    while True:
        new = pods().get(name)
        ready = new and any(c["type"] == "Ready" and c["status"] == "True" for c in new["status"].get("conditions", []))
        if ready and new["metadata"]["uid"] != old["metadata"]["uid"]:
            try:
                found = member(new["status"]["podIP"])
                break
            except Exception as error:  # it is ready for its peers before it is for clients
                if time.monotonic() > end:
                    raise error
        if time.monotonic() > end:
            check(False, f"{name} comes back within {POD_LIMIT_S} s")
        time.sleep(1)
    addresses = old["status"]["podIP"], new["status"]["podIP"]
    check(addresses[0] != addresses[1], f"{name} was deleted and is back: {addresses[0]} -> {addresses[1]}")
    check(found["host_id"] == noted[name]["host_id"], f"{name}: the same member")
    check(claimed(name) == volumes, f"{name}: on the same volumes")


def check_back(instance, noted):
    """A legacy member serves again, as it was, and no late stop can take it down."""
    name, ec2 = tags(instance)["Name"], boto3.client("ec2")
    check(instance["State"]["Name"] == "running", f"{name}: {instance['InstanceId']} runs")
    protected = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="disableApiStop")
    check(protected["DisableApiStop"]["Value"], f"{name}: protected from a stop that comes late")
    found = member(instance["PrivateIpAddress"])
    check(found["host_id"] == noted[name]["host_id"], f"{name}: the same member, and open to clients")
    check(found["tokens"] == noted[name]["tokens"], f"{name}: with its tokens")
    check(found["peers"] == noted[name]["peers"], f"{name}: it knows the legacy members only")


def check_closed(ec2):
    """Nothing of the new side is left, and who scales the set up starts nothing."""
    check(objects("pv")["items"] == [], "no PersistentVolume is left")
    volumes = everything(ec2, "volumes")
    kubectl("scale", f"statefulset/{SET}", "-n", NAMESPACE, "--replicas=3")
    time.sleep(WATCH_S)
    phases = {name: pod["status"]["phase"] for name, pod in pods().items()}
    check(set(phases.values()) == {"Pending"}, f"scaled up by hand, no clone starts: {phases}")
    check(everything(ec2, "volumes") == volumes, "and no volume is provisioned")
    kubectl("scale", f"statefulset/{SET}", "-n", NAMESPACE, "--replicas=0")
    end = time.monotonic() + POD_LIMIT_S
    while pods():
        if time.monotonic() > end:
            check(False, "the pending pods go away")
        time.sleep(1)


def returned(options):
    """After `rehome rollback --keep-writes`."""
    ec2 = boto3.client("ec2")
    noted = json.loads(options.notes.read_text())
    for instance in legacy_instances(ec2):
        name = tags(instance)["Name"]
        check_back(instance, noted)
        now = volumes_of(instance)
        for role, volume in now.items():
            old = noted[name]["volumes"][role]
            labels = tags(ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0])
            adopted = labels.get(f"{TAG}member") == name and labels.get(f"{TAG}role") == role and volume != old
            check(adopted, f"{name} {role}: on {volume}, which its pod wrote to")
            original = ec2.describe_volumes(VolumeIds=[old])["Volumes"][0]
            check(original["State"] == "available", f"{name} {role}: {old} is attached to nothing, and kept")
            check(tags(original).get(f"{TAG}replaced-by") == volume, f"{name} {role}: {old} says what replaced it")
        devices = {d["DeviceName"]: d["Ebs"]["DeleteOnTermination"] for d in instance["BlockDeviceMappings"]}
        theirs = [on for device, on in devices.items() if device != instance["RootDeviceName"]]
        check(not any(theirs), f"{name}: no volume goes with the instance")
    check_closed(ec2)


def rolled_back(options):
    """After `rehome rollback --discard-writes`."""
    ec2 = boto3.client("ec2")
    noted = json.loads(options.notes.read_text())
    for instance in legacy_instances(ec2):
        name = tags(instance)["Name"]
        check_back(instance, noted)
        check(volumes_of(instance) == noted[name]["volumes"], f"{name}: on its original volumes")
        devices = {d["DeviceName"]: d["Ebs"]["DeleteOnTermination"] for d in instance["BlockDeviceMappings"]}
        check(devices == noted[name]["delete_on_termination"], f"{name}: DeleteOnTermination is as it was")
    check(made_by_rehome(ec2, "volumes") == [], "no volume of the run is left")
    check(made_by_rehome(ec2, "snapshots") == [], "no snapshot of the run is left")
    check_closed(ec2)


def finalized(options):
    """After `rehome finalize`."""
    ec2 = boto3.client("ec2")
    noted = json.loads(options.notes.read_text())
    snapshots = made_by_rehome(ec2, "snapshots", current_run())
    legacy = sorted(volume for one in noted.values() for volume in one["volumes"].values())
    check(sorted(one["VolumeId"] for one in snapshots) == legacy, "one snapshot of each legacy volume is left")
    check(all(f"{TAG}keep-until" in tags(one) for one in snapshots), "each says until when it is kept")
    instances = {tags(one)["Name"]: one for one in legacy_instances(ec2)}
    check({one["State"]["Name"] for one in instances.values()} == {"stopped"}, "every legacy instance is still there, stopped")
    check(all(volumes_of(instances[name]) == noted[name]["volumes"] for name in noted), "with its volumes")
    check_members(noted, pods())


def orphan(options):
    """Leaves a volume behind that carries the tags of one in use: what a create whose reply was lost makes."""
    ec2 = boto3.client("ec2")
    twin = made_by_rehome(ec2, "volumes", current_run())[0]
    made = ec2.create_volume(
        AvailabilityZone=twin["AvailabilityZone"],
        SnapshotId=twin["SnapshotId"],
        VolumeType=twin["VolumeType"],
        TagSpecifications=[{"ResourceType": "volume", "Tags": twin["Tags"]}],
    )["VolumeId"]
    # Described at once it may be unknown, which the SDK's own waiter takes for an answer.
    end = time.monotonic() + POD_LIMIT_S
    while [one["State"] for one in ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [made]}])["Volumes"]] != ["available"]:
        if time.monotonic() > end:
            check(False, f"{made} gets available")
        time.sleep(1)
    there = {"orphan": made, "volumes": everything(ec2, "volumes"), "snapshots": everything(ec2, "snapshots")}
    beside(options).write_text(json.dumps(there))
    check(True, f"{made} is left behind")


def collected(options):
    """After `rehome gc --delete`."""
    ec2, there = boto3.client("ec2"), json.loads(beside(options).read_text())
    left = [one for one in there["volumes"] if one != there["orphan"]]
    check(everything(ec2, "volumes") == left, f"{there['orphan']} is gone, and no other volume")
    check(everything(ec2, "snapshots") == there["snapshots"], "every snapshot is there")
    noted = json.loads(options.notes.read_text())
    check_members(noted, pods())


def beside(options):
    """Where `orphan` notes what there is."""
    return options.notes.with_name("orphan.json")


def everything(ec2, of):
    """The ids of all volumes, or all snapshots, of the account."""
    if of == "volumes":
        return sorted(one["VolumeId"] for one in ec2.describe_volumes()["Volumes"])
    return sorted(one["SnapshotId"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=Path, required=True, help="where `before` notes what it saw")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("before", help=before.__doc__).set_defaults(do=before)
    command = commands.add_parser("adopted", help=adopted.__doc__)
    command.add_argument("--restart", metavar="POD", help="also delete this pod and see it come back")
    command.set_defaults(do=adopted)
    commands.add_parser("rolled-back", help=rolled_back.__doc__).set_defaults(do=rolled_back)
    commands.add_parser("returned", help=returned.__doc__).set_defaults(do=returned)
    commands.add_parser("finalized", help=finalized.__doc__).set_defaults(do=finalized)
    commands.add_parser("orphan", help=orphan.__doc__).set_defaults(do=orphan)
    commands.add_parser("collected", help=collected.__doc__).set_defaults(do=collected)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
