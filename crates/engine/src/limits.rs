//! Every limit of the engine, by name.

use std::time::Duration;

/// Between the first two looks at something that changes by itself. The pauses double up to [`POLL`].
pub const POLL_SOONEST: Duration = Duration::from_millis(125);
/// Between two looks at something that changes by itself.
pub const POLL: Duration = Duration::from_millis(500);
/// The longest pause between two looks at what is over in seconds or minutes; it grows from [`POLL`] up to it.
pub const POLL_MAX: Duration = Duration::from_secs(5);
/// How long it may take to tell whose credentials these are, before a run is taken up; and then whether EC2 shows an instance
/// of the plan. A rollback that production waits for is held up by no more than both.
pub const CALLER: Duration = Duration::from_secs(30);
/// First pause after an error that is tried again.
pub const RETRY: Duration = Duration::from_secs(1);
/// Longest pause after an error that is tried again.
pub const RETRY_MAX: Duration = Duration::from_secs(20);
/// How long a snapshot call whose reply was lost is looked for by tag before it counts as not done. EC2's describes
/// may lag behind its effects (EC2 developer guide, "Eventual consistency"); a duplicate that shows later is collected
/// by the sweep. Counted from the end of the call; from its beginning, and [`rehome_ports::CALL_LIMIT`] longer, where nobody knows its end.
pub const SETTLE: Duration = Duration::from_secs(30);
/// How long EC2 may not know an id that it has just given out (EC2 developer guide, "Eventual
/// consistency": up to five minutes).
pub const NOT_FOUND_GRACE: Duration = Duration::from_mins(5);
/// How long a snapshot that a rollback deletes may be in use before it is left. A volume that is made of it is deleted before it, and
/// goes in seconds; an image stays.
pub const SNAPSHOT_HELD: Duration = Duration::from_mins(5);
/// How long EC2 must say that it does not know a legacy instance until that counts as terminated. It is as old as its cluster, so
/// that nothing late is shown of it.
pub const FORGOTTEN: Duration = Duration::from_mins(1);
/// Attempts to make a volume that fails after it was accepted (a key that cannot be used fails this way).
pub const VOLUME_ATTEMPTS: u32 = 3;
/// Between two touches of a claim that should be binding: the pauses double from the first to the longest. Short, since a
/// touch can be lost: the binder drops an object whose update meets a conflict, and other controllers change a new
/// PersistentVolume too.
pub const NUDGE: Duration = Duration::from_millis(250);
/// See [`NUDGE`].
pub const NUDGE_MAX: Duration = Duration::from_secs(1);
/// How long a driver's lease lasts without renewal.
pub const LEASE: Duration = Duration::from_secs(15);
/// Between two renewals.
pub const LEASE_RENEW: Duration = Duration::from_secs(4);
/// After a renewal that failed, and between two looks at a lease that another holds.
pub const LEASE_RETRY: Duration = Duration::from_secs(1);
/// The least time that each undo has. What a step takes going forward says nothing of it: pods end in their own time, and a
/// volume of a dead node is detached after six minutes (kube-controller-manager, maxWaitForUnmountDuration). Production waits.
pub const UNDO: Duration = Duration::from_mins(30);
/// How long a claim may take to go before those are looked for that use it.
pub const HOLDERS_NAMED: Duration = Duration::from_secs(30);
/// How long a PersistentVolume that was deleted may be there before it is looked at what holds it. Longer than EC2 may show that a
/// volume is attached to nothing after it was.
pub const VOLUME_HELD: Duration = Duration::from_mins(1);
/// How long the attacher may take to see that a volume is detached which EC2 shows so, where it does not say that it fails.
pub const ATTACHER_LATE: Duration = Duration::from_mins(5);
/// How long a pod may be missing before its set is looked at: somebody may have scaled it down.
pub const POD_MISSING: Duration = Duration::from_secs(15);
/// How long a container may wait for a name or a configuration that is wrong. A ConfigMap may be written anew in this moment.
pub const MISCONFIGURED: Duration = Duration::from_mins(1);
/// How long a container may wait for an image that cannot be pulled. Registries come back, and throttle; and while the next pull
/// goes well the kubelet still tells of the last one that did not.
pub const UNPULLABLE: Duration = Duration::from_mins(10);
/// How long pods are waited for before it is looked at whether their volumes attach: that takes seconds.
pub const ATTACH_LATE: Duration = Duration::from_secs(30);
/// The least time between two such looks: each lists the attachments of the whole cluster.
pub const ATTACHMENTS_GAP: Duration = Duration::from_secs(15);
/// How long a volume may not attach for a reason that does not pass by itself. Somebody may be mending a policy, and the driver's
/// next try may be minutes away: its pauses grow to five.
pub const UNATTACHABLE: Duration = Duration::from_mins(2);
/// The same of one that may fail because its node's instance is gone: Kubernetes leaves a pod there for five minutes, and then has
/// it made anew elsewhere.
pub const NODE_GONE: Duration = Duration::from_mins(10);
/// How long pods are waited for before it is looked at what their kubelets say: a volume is mounted within seconds.
pub const MOUNT_LATE: Duration = Duration::from_secs(30);
/// The least time between two such looks: each lists the warnings of all pods of the namespace.
pub const WARNINGS_GAP: Duration = Duration::from_secs(15);
/// How long a volume may not be mounted for a reason that does not pass by itself: somebody may be mending a node.
pub const UNMOUNTABLE: Duration = Duration::from_mins(5);
/// After so long without a word a mount that failed counts as made, and begins to fail anew if it is told of again. A kubelet's pauses
/// grow to two minutes, but after 25 events of a pod it tells one in five minutes only, of whatever volume (client-go
/// `tools/record/events_cache.go`).
pub const MOUNT_SILENCE: Duration = Duration::from_mins(12);
/// How often a container is started anew before its pod counts as one that may never answer.
pub const RESTARTS: u64 = 3;
/// How long such a pod is waited for once all others answer. The kubelet's pause before the next start grows to five minutes.
pub const ONE_MORE_TRY: Duration = Duration::from_mins(6);
/// How long a pod may not answer before its containers are looked at.
pub const NOT_ANSWERING: Duration = Duration::from_mins(1);
/// How much is told of what a container has said at its end.
pub const MESSAGE_CHARS: usize = 300;
/// How long a pod whose set is scaled to 0 may not even begin to end, before a person is told how to end it.
pub const POD_ENDS: Duration = Duration::from_mins(1);
/// How long a pod that should let nobody in any more, or be drained, is asked, on the way back. Its set is scaled down next.
pub const CLOSE: Duration = Duration::from_mins(1);
/// A driver starts no act when its lease has less than this left by its machine's clocks (invariant I10).
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How long a request to the apiserver may take. A connection that a balancer has forgotten would else be waited for until the
/// system gives it up, in a quarter of an hour or never.
pub const REQUEST: Duration = Duration::from_secs(20);
/// How long a request for the driver's own Lease may take; a renewal that takes longer goes on, and another one is sent beside
/// it, which must fit into [`LEASE`].
pub const LEASE_REQUEST: Duration = Duration::from_secs(3);
/// Scripts that run on hosts and in pods at the same time; as many again that drain or start a member.
pub const SCRIPTS_AT_ONCE: usize = 128;
/// Requests to the apiserver at the same time.
pub const KUBE_AT_ONCE: usize = 32;
/// How long a look that other steps may share waits for them, by members of the run, and at most.
pub const BATCH_LINGER_PER_MEMBER: Duration = Duration::from_millis(2);
/// See [`BATCH_LINGER_PER_MEMBER`].
pub const BATCH_LINGER_MAX: Duration = Duration::from_millis(250);
/// The least time between two looks at one kind of resource, by members of the run, and at most.
pub const BATCH_GAP_PER_MEMBER: Duration = Duration::from_millis(15);
/// See [`BATCH_GAP_PER_MEMBER`].
pub const BATCH_GAP_MAX: Duration = Duration::from_secs(5);
/// The least time between two lists of one kind of object, by members of the run, and at most.
pub const LIST_GAP_PER_MEMBER: Duration = Duration::from_millis(1);
/// See [`LIST_GAP_PER_MEMBER`].
pub const LIST_GAP_MAX: Duration = Duration::from_secs(1);
/// Objects a page of a list.
pub const LIST_PAGE: usize = 500;
/// Between two looks at a snapshot: the shortest pause, and the longest one. It may take hours.
pub const SNAPSHOT_POLL: Duration = Duration::from_secs(2);
/// See [`SNAPSHOT_POLL`].
pub const SNAPSHOT_POLL_MAX: Duration = Duration::from_mins(1);
/// The share of the account's rates of calls that a run keeps to if the user says nothing, in percent. The rest is for
/// everybody else in the account, the cluster's CSI driver among them.
pub const API_SHARE_PERCENT: u8 = 80;
/// How long a host may let nobody in, while a run goes forward, until a person has to look: one that asks elsewhere who may (SSSD,
/// LDAP) says so too while nobody answers it.
pub const LET_IN: Duration = Duration::from_mins(1);
/// Between two tries to be let in.
pub const LET_IN_PAUSE: Duration = Duration::from_secs(5);
/// How long one script in a pod may take, or one of a view on a host, in seconds.
pub const VIEW_SCRIPT_S: u32 = 60;
/// How long other scripts may take in one attempt, in seconds.
pub const SCRIPT_S: u32 = 600;
