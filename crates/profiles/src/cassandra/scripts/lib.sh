# Shared by all host scripts. Every script may run twice, at any time, and finds what is done.
set -u
export LC_ALL=C PATH="$PATH:/opt/cassandra/bin:/usr/share/cassandra/bin:/usr/sbin:/sbin"
fail() { echo "rehome: $*" >&2; exit 1; }
done_() { echo '{"answer":"done"}'; exit 0; }
IN_USE=$CONF
# processes: Cassandra's, by their ids. Its class is an argument of its own, behind a class path of some 6,000 bytes; `pgrep -f`
# sees 4,095 of them before procps 3.3.16. In brackets, or grep would find itself.
processes() {
  grep -lzx 'org[.]apache[.]cassandra[.]service[.]CassandraDaemon' "/proc/"[0-9]*/cmdline 2>/dev/null | sed 's|/cmdline$||; s|.*/||'
}
# shown PROPERTY [UNIT]: what systemd says of the unit. `--value` came with systemd 230.
shown() { systemctl show -p "$1" "${2:-$UNIT}" | sed -n "s/^$1=//p"; }
case $UNIT in *.*) ;; *) UNIT=$UNIT.service ;; esac
SYSTEMD=/etc/systemd/system
HOLD=$SYSTEMD/$UNIT.d/rehome-hold.conf
# From here on nothing starts the service: no boot, no Restart=, no configuration management, which likes to unmask what it
# is to start and leaves the drop-in alone. Its assertion never holds. A unit that is itself a file in /etc cannot be masked;
# where the root volume is full there may be no drop-in.
hold() {
  written=
  mkdir -p "${HOLD%/*}" && printf '[Unit]\nAssertPathExists=/nonexistent/held-by-rehome\n' > "$HOLD" && written=yes
  systemctl mask "$UNIT" >/dev/null 2>&1
  systemctl daemon-reload
  [ "$(shown LoadState)" = masked ] && return
  [ "$written" ] || fail "$HOLD cannot be written"
  shown DropInPaths | grep -qF "$HOLD" || fail "$UNIT can be neither masked nor held: it would start again by itself"
}
let_go() {
  rm -f "$HOLD" && rmdir "${HOLD%/*}" 2>/dev/null
  systemctl unmask "$UNIT" >/dev/null 2>&1
  systemctl daemon-reload
}
# SSM cuts output at 24,000 characters, which the devices of a host with many snaps or containers exceed, and the members of
# a cluster of hundreds.
packed() { gzip -n | base64 -w0; echo; }
