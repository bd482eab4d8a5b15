# Shared by all host scripts. Every script may run twice, at any time, and finds what is done.
set -u
export LC_ALL=C PATH="$PATH:/opt/cassandra/bin:/usr/share/cassandra/bin:/usr/sbin:/sbin"
fail() { echo "rehome: $*" >&2; exit 1; }
done_() { echo '{"answer":"done"}'; exit 0; }
IN_USE=$CONF
# setting NAME: the values of a scalar, or of a list of scalars, a line each; none where it is commented out, `?` where this
# does not understand it.
setting() {
  [ -r "$IN_USE" ] && awk -v name="$1:" '
    function tell(value) {
      sub(/[ \t]#.*$/, "", value); gsub(/["\047\r]/, "", value); gsub(/^[ \t]+|[ \t]+$/, "", value)
      if (value != "" && value !~ /^#/) print value
    }
    on && /^[ \t]*-[ \t]/ { sub(/^[ \t]*-/, ""); tell($0); next }
    on && /^[^ \t#\r]/ { exit }
    index($0, name) == 1 {
      on = 1; value = substr($0, length(name) + 1)
      if (value ~ /^[ \t]*\[/) {
        if (value !~ /\]/) { print "?"; exit }
        sub(/\].*/, "", value); sub(/^[ \t]*\[/, "", value)
        many = split(value, each, ","); for (n = 1; n <= many; n++) tell(each[n])
      } else tell(value)
    }' "$IN_USE"
}
# The directory that has system.local: that of Cassandra's own tables if it has one, else the first of all.
system_dir() {
  for name in local_system_data_file_directory data_file_directories; do setting "$name"; done | head -n 1
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
