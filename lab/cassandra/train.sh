#!/bin/bash
# train.sh ROOT: starts Cassandra and nodetool once in a root file system, so that Java writes down the classes that they
# load (files/bin/java-with). For build.sh, which gives it namespaces of its own; nothing but the archives stays.
set -euo pipefail
root=$1
mount --make-rprivate /
mount -t proc proc "$root/proc"
for place in tmp run root var/lib/cassandra etc/cassandra; do
  mount -t tmpfs tmpfs "$root/$place"
done
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
  cp -a "/dev/$device" "$root/dev/"
done
ip link set lo up
hostname localhost

in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }

in_root CASSANDRA_LISTEN_ADDRESS=127.0.0.1 /opt/cassandra/bin/configure
# There is nobody whose gossip could settle.
in_root CLASS_ARCHIVE=dump JVM_OPTS='-Dcassandra.skip_wait_for_gossip_to_settle=0' \
  /opt/cassandra/bin/cassandra -f > "$root/tmp/cassandra.log" 2>&1 &
cassandra=$!
for ((tries = 0; ; tries++)); do
  ! grep -q 'Starting listening for CQL clients' "$root/tmp/cassandra.log" || break
  if ((tries > 600)) || ! kill -0 "$cassandra" 2>/dev/null; then
    tail -n 20 "$root/tmp/cassandra.log"
    echo 'Cassandra did not start' >&2
    exit 1
  fi
  sleep 0.5
done
in_root CLASS_ARCHIVE=dump /opt/cassandra/bin/nodetool status
in_root /opt/cassandra/bin/nodetool stopdaemon || true
wait "$cassandra" || true
[[ -s $root/opt/cassandra/cds/cassandra.jsa && -s $root/opt/cassandra/cds/nodetool.jsa ]]
