//! The legacy members.

use rehome_model::finding::Severity::{Error, Info, Warning};

use super::{Check, check};

pub(super) const CHECKS: &[Check] = &[
    check(
        "RH0101",
        Error,
        "instance does not exist",
        "A member that is not found would be left behind, and its replicas with it.",
        "Correct spec.source.members or the region.",
    ),
    check(
        "RH0102",
        Error,
        "instance is not running",
        "The base snapshot and the drain need a member that serves; one that was down has missed writes.",
        "Only if no pod anywhere runs on this member's data, as after a move from here or from another cluster: start it, let it catch \
         up, then plan again.",
    ),
    check(
        "RH0103",
        Error,
        "host cannot be asked",
        "Without a look inside nothing is known of its volumes and identity, and it could not be quiesced.",
        "See that SSM (or ssh) reaches it: agent online, instance profile, security group.",
    ),
    check(
        "RH0104",
        Error,
        "application does not answer",
        "A member is moved by its identity, which the running application tells.",
        "Only if no pod anywhere runs on this member's data, as after a move from here or from another cluster: start the application \
         on it and see why it does not answer. Where Cassandra's JMX asks for a password, or nodetool is not in PATH, say so under \
         spec.application.settings.nodetool.",
    ),
    check(
        "RH0105",
        Error,
        "two members with one identity",
        "Two copies of one member in one cluster evict each other and lose writes.",
        "Find out which is the copy; stop its process and keep it stopped, before anything else. Do not decommission, removenode or \
         assassinate it: they go by the host id, which both share.",
    ),
    check(
        "RH0106",
        Error,
        "cluster has members that the migration does not name",
        "What is left behind keeps part of the data, and would talk to the moved members' old addresses.",
        "Name all members under spec.source.members. A cluster with a data center that stays cannot be moved yet; decommission only members that nobody needs.",
    ),
    check(
        "RH0107",
        Error,
        "a member is not up",
        "A replica that is down lacks writes that hints may not bring to it after the move.",
        "Bring it up, repair if it was down longer than the hint window, then plan again.",
    ),
    check(
        "RH0108",
        Error,
        "members of different clusters",
        "Members of two clusters in one set would mix their data.",
        "Select the members of one cluster only.",
    ),
    check(
        "RH0109",
        Warning,
        "member of an Auto Scaling group",
        "A group terminates members that it finds stopped. The plan puts each that is in service into Standby first, and back on rollback, unless the group's processes Terminate, ReplaceUnhealthy and HealthCheck are all suspended: what a health check has once marked as unhealthy stays so when it runs again, and is replaced as soon as somebody resumes the others. A dry run cannot tell whether the caller may do so.",
        "Nothing, if the caller may autoscaling:EnterStandby and ExitStandby; else suspend all three processes yourself before you plan, and leave them so until the legacy instances are no longer needed, or serve again after a rollback.",
    ),
    check(
        "RH0110",
        Error,
        "no agreement on one schema",
        "Members that start with different schemas refuse or misread each other's writes.",
        "Let the schema settle (see the application's own tool), then plan again.",
    ),
    check(
        "RH0112",
        Info,
        "Name tag is not used",
        "A member's name becomes a label of its PersistentVolume, and names must differ. Such a member is called by its instance id.",
        "Nothing; or a tag of letters, digits, '-', '_' and '.', 63 characters at most, that no other member has.",
    ),
    check(
        "RH0113",
        Error,
        "Auto Scaling group's MinSize",
        "EnterStandby lowers the desired capacity, and is refused where fewer than MinSize would be left: the run would fail half way, and be undone.",
        "Lower MinSize by the command that is shown, then plan again; raise it again after a rollback.",
    ),
    check(
        "RH0114",
        Error,
        "member on its way in its Auto Scaling group",
        "Only a member in service can be put into Standby, and only one in Standby is left alone when it is stopped.",
        "Wait until it is InService or Standby, then plan again.",
    ),
    check(
        "RH0115",
        Error,
        "disk of another member",
        "The directory that the configuration names is not the one the running member uses: an old copy of its data would be moved.",
        "See where the application really keeps its data, and correct its configuration or spec.application.settings.",
    ),
    check(
        "RH0116",
        Error,
        "identity cannot be read from the disk",
        "Once a member has stopped its disk is all that says who it is, and no volume is moved without. Formats that cannot be read (those before 4.0, `oa` of a 5.0 with storage_compatibility_mode: NONE, BTI and other compressors than LZ4 for its own tables) would be found out in the downtime.",
        "See that spec.application.settings names the configuration file and the data directory in use. A file of before an upgrade from 3.x \
         (`me-`) is written anew by `nodetool upgradesstables system local peers_v2` on the member. Else this version or table format cannot \
         be moved yet.",
    ),
    check(
        "RH0117",
        Error,
        "Auto Scaling group behind a load balancer",
        "EnterStandby deregisters a member from the group's target groups and load balancers, with a draining of 300 s by default. It is done while the run prepares, up to a day before the cutover: an outage for whoever comes by them, that nobody announced.",
        "Suspend the group's processes yourself, by the command that is shown, before you plan: rehome leaves such a group alone (RH0109). Or detach the target group, if its clients can do without it. Then plan again.",
    ),
    check(
        "RH0118",
        Error,
        "not run by its unit",
        "The cutover stops and holds a unit of systemd, and the way back starts it: what something else runs is neither stopped nor \
         started again. That holds of a process outside the unit's control group too (a container that the unit starts, a session of \
         `su -`): systemd does not see it end, and a supervisor of its own may start it anew.",
        "Name the unit in spec.application.settings.unit, or have systemd run the application itself: a script of the unit calls \
         `runuser -u cassandra --`, which opens no session.",
    ),
    check(
        "RH0119",
        Warning,
        "public address",
        "A public address that is no Elastic IP is given away when the instance stops: on the way back the member would have another \
         one, and its seeds and peers would name addresses that nobody has.",
        "See that it is an Elastic IP (aws ec2 describe-addresses), or have the members talk by private addresses.",
    ),
    check(
        "RH0120",
        Error,
        "cannot be started again",
        "Every rollback starts the member where it was. A Cassandra that has joined refuses to start with \
         -Dcassandra.replace_address: \"Cannot replace address with a node that is already bootstrapped\".",
        "Delete the line that is shown (cassandra-env.sh, jvm*.options, the unit or its environment); replace_address_first_boot \
         may stay. The member need not be restarted before the move.",
    ),
    check(
        "RH0121",
        Error,
        "Auto Scaling group that may rebalance",
        "Members are put into Standby one after the other, and come back so on rollback: the group's zones differ in between. A group \
         over several zones then launches a new member, which joins the cluster, where there are fewer, and terminates one, with its \
         data, where there are more; a termination protection does not keep Auto Scaling from it.",
        "Suspend the group's process AZRebalance by the command that is shown, before you plan, and leave it so until the legacy \
         instances are no longer needed.",
    ),
    check(
        "RH0122",
        Error,
        "instance that cannot be stopped for good",
        "The fence protects each instance from termination and stops it, and a rollback starts it. EC2 refuses that protection to a \
         Spot instance, may take it back at any time, and starts a stopped one only where it has capacity to spare; an instance \
         whose root is on an instance store cannot be stopped at all. The run would fail half way, and be undone.",
        "Replace the member by one on an On-Demand instance with an EBS root, by the application's own means (Cassandra: add a node, \
         decommission this one), then plan again.",
    ),
    check(
        "RH0123",
        Error,
        "member that is closed to clients",
        "A member that serves nobody is no whole member: the run would find that out hours later, when all base snapshots are made, and \
         a rollback waits for every member to serve.",
        "Open it (`nodetool enablebinary` on the host) and see why it was closed, then plan again.",
    ),
    check(
        "RH0124",
        Error,
        "member that another run moves",
        "A run has taken this instance into its hands and has not let it go. It may be recorded in another cluster or namespace: two runs \
         that move one member would each capture it, and the one that is taken back would start it beside the other's pods.",
        "While a pod anywhere runs on this member's data, leave the instance as it is. Go on with that run, roll it back or finalize it \
         with --release-legacy, where it is recorded. Only if there is no such pod, and the run no longer exists, empty the tag: `aws ec2 \
         create-tags --resources INSTANCE --tags Key=rehome.dev/held-by,Value=`.",
    ),
];
