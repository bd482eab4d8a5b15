# member.sh: makes a legacy member of the machine that this runs on, as root; once more changes nothing.
#
# Settings stand at its head: CLUSTER, DC, RACK, SEEDS (addresses, by commas), ADDRESS (its own), DISKS (DEVICE:TYPE:PATH,
# by spaces), UNITS (where Cassandra's unit goes: /etc/systemd/system as hand-written ones do; a package's place if not given).
# Nothing but POSIX: Run Command gives scripts to sh.
set -eu
: "${CLUSTER:?}" "${DC:?}" "${RACK:?}" "${SEEDS:?}" "${ADDRESS:?}" "${DISKS:?}"

# The uid that a Debian package takes is a machine's next free one. The image has 999: a move must get along with it.
getent passwd cassandra > /dev/null ||
  useradd --system --uid 997 --user-group --home-dir /var/lib/cassandra --no-create-home --shell /usr/sbin/nologin cassandra

units=/usr/lib/systemd/system
mounts=
# The outer directory first: the commit log's is inside the data's.
for disk in $DISKS; do
  path=${disk##*:} device=${disk%%:*} type=${disk#*:}
  type=${type%%:*}
  [ -b "$device" ] || { echo "$device is not there" >&2; exit 1; }
  blkid "$device" > /dev/null || "mkfs.$type" -q "$device"
  # By UUID, as most have it: it is the file system's, whichever volume it is on and whatever the kernel calls that.
  uuid=$(blkid -s UUID -o value "$device")
  grep -q " $path " /etc/fstab || echo "UUID=$uuid $path $type defaults,noatime,nofail 0 0" >> /etc/fstab

  name=$(systemd-escape --path "$path")
  # systemd makes these two units of that line by itself where it has udev, which also makes the link; in a container it
  # ignores devices in fstab.
  cat > "$units/$name-device.service" <<END
[Unit]
Description=Wait for the file system $uuid
DefaultDependencies=no
Before=$name.mount
[Service]
Type=oneshot
TimeoutStartSec=90
ExecStart=/bin/sh -c 'until found=\$\$(blkid -U $uuid); do sleep 0.2; done; mkdir -p /dev/disk/by-uuid; ln -sfn \$\$found /dev/disk/by-uuid/$uuid'
END
  cat > "$units/$name.mount" <<END
[Unit]
Documentation=man:fstab(5)
Requires=$name-device.service
After=$name-device.service
[Mount]
What=/dev/disk/by-uuid/$uuid
Where=$path
Type=$type
Options=defaults,noatime,nofail
[Install]
WantedBy=local-fs.target
END
  systemctl daemon-reload
  systemctl enable --quiet "$name.mount"
  # Makes the directory as well.
  systemctl start "$name.mount"
  mountpoint -q "$path"
  [ "$(stat -c %U "$path")" = cassandra ] || chown cassandra:cassandra "$path"
  mounts="$mounts $path"
done

CASSANDRA_CLUSTER_NAME=$CLUSTER CASSANDRA_DC=$DC CASSANDRA_RACK=$RACK CASSANDRA_SEEDS=$SEEDS CASSANDRA_NUM_TOKENS=16 \
  CASSANDRA_LISTEN_ADDRESS=$ADDRESS CASSANDRA_RPC_ADDRESS=$ADDRESS /opt/cassandra/bin/configure
cat > "${UNITS:-$units}/cassandra.service" <<END
[Unit]
Description=Apache Cassandra
After=network.target
# Never on the empty directories below the mounts: it would join as a new member.
RequiresMountsFor=$mounts
$(printf 'AssertPathIsMountPoint=%s\n' $mounts)
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
systemctl enable --quiet cassandra.service
# Not waited for: the seeds wait for each other.
systemctl start --no-block cassandra.service
