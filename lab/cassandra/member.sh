# member.sh: makes a legacy member of the machine that this runs on, as root; once more changes nothing.
#
# Settings stand at its head: CLUSTER, DC, RACK, SEEDS (addresses, by commas), ADDRESS (its own), DEVICE (of the data),
# UNITS (where Cassandra's unit goes: /etc/systemd/system as hand-written ones do; a package's place if not given).
# Nothing but POSIX: Run Command gives scripts to sh.
set -eu
: "${CLUSTER:?}" "${DC:?}" "${RACK:?}" "${SEEDS:?}" "${ADDRESS:?}" "${DEVICE:?}"
point=/var/lib/cassandra

# The uid that a Debian package takes is a machine's next free one. The image has 999: a move must get along with it.
getent passwd cassandra > /dev/null ||
  useradd --system --uid 997 --user-group --home-dir "$point" --no-create-home --shell /usr/sbin/nologin cassandra

# The link by the volume's id: what the kernel calls the device changes with every attachment.
for link in /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol*; do
  [ "$(readlink -f "$link")" != "$(readlink -f "$DEVICE")" ] || break
done
[ -b "$link" ] || { echo "$DEVICE is not there" >&2; exit 1; }
blkid "$link" > /dev/null || mkfs.xfs -q "$link"

mkdir -p "$point"
grep -q " $point " /etc/fstab || echo "$link $point xfs defaults,noatime,nofail 0 0" >> /etc/fstab

units=/usr/lib/systemd/system
# systemd makes these two units of that line by itself where it has udev; in a container it ignores devices in fstab.
cat > "$units/var-lib-cassandra-device.service" <<END
[Unit]
Description=Wait for $link
DefaultDependencies=no
Before=var-lib-cassandra.mount
[Service]
Type=oneshot
TimeoutStartSec=90
ExecStart=/bin/sh -c 'until [ -b $link ]; do sleep 0.2; done'
END
cat > "$units/var-lib-cassandra.mount" <<END
[Unit]
Documentation=man:fstab(5)
Requires=var-lib-cassandra-device.service
After=var-lib-cassandra-device.service
[Mount]
What=$link
Where=$point
Type=xfs
Options=defaults,noatime,nofail
[Install]
WantedBy=local-fs.target
END

CASSANDRA_CLUSTER_NAME=$CLUSTER CASSANDRA_DC=$DC CASSANDRA_RACK=$RACK CASSANDRA_SEEDS=$SEEDS CASSANDRA_NUM_TOKENS=16 \
  CASSANDRA_LISTEN_ADDRESS=$ADDRESS CASSANDRA_RPC_ADDRESS=$ADDRESS /opt/cassandra/bin/configure
cat > "${UNITS:-$units}/cassandra.service" <<END
[Unit]
Description=Apache Cassandra
After=network.target
# Never on the empty directory below the mount: it would join as a new member.
RequiresMountsFor=$point
AssertPathIsMountPoint=$point
[Service]
User=cassandra
Group=cassandra
Environment=MAX_HEAP_SIZE=384M
ExecStart=/opt/cassandra/bin/cassandra -f
# What the JVM ends with after SIGTERM.
SuccessExitStatus=143
Restart=always
RestartSec=2
LimitNOFILE=16384
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --quiet var-lib-cassandra.mount cassandra.service
systemctl start var-lib-cassandra.mount
mountpoint -q "$point"
[ "$(stat -c %U "$point")" = cassandra ] || chown cassandra:cassandra "$point"
# Not waited for: the seeds wait for each other.
systemctl start --no-block cassandra.service
