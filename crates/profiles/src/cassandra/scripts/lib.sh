# Shared by all host scripts. Every script may run twice, at any time, and finds what is done.
set -u
# Whatever root's own is: nobody else writes to what a script leaves.
umask 022
export LC_ALL=C PATH="$PATH:/opt/cassandra/bin:/usr/share/cassandra/bin:/usr/sbin:/sbin"
fail() { echo "rehome: $*" >&2; exit 1; }
done_() { echo '{"answer":"done"}'; exit 0; }
IN_USE=$CONF
# processes: Cassandra's, by their ids. Its class is an argument of its own, behind a class path of some 6,000 bytes; `pgrep -f`
# sees 4,095 of them before procps 3.3.16. In brackets, or grep would find itself.
processes() {
  grep -lzx 'org[.]apache[.]cassandra[.]service[.]CassandraDaemon' "/proc/"[0-9]*/cmdline 2>/dev/null | sed 's|/cmdline$||; s|.*/||'
}
# holders POINT: other processes that have a file open there, or stand in it: `pid name path`.
holders() {
  own=" $(processes | tr '\n' ' ')"
  find "/proc/"[0-9]*/cwd "/proc/"[0-9]*/root "/proc/"[0-9]*/fd -maxdepth 1 -type l \( -lname "$1" -o -lname "$1/*" \) \
    -printf '%p %l\n' 2>/dev/null | sed -E 's|^.*/([0-9]+)/(cwd\|root\|fd)[^ ]* |\1 |' | sort -u -k 1,1n | head -n 20 |
    while read -r pid path; do
      case $own in *" $pid "*) continue ;; esac
      printf '%s %s %s\n' "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null)" "$path"
    done
}
# shown PROPERTY [UNIT]: what systemd says of the unit. `--value` came with systemd 230.
shown() { systemctl show -p "$1" "${2:-$UNIT}" | sed -n "s/^$1=//p"; }
case $UNIT in *.*) ;; *) UNIT=$UNIT.service ;; esac
SYSTEMD=/etc/systemd/system
HOLD=$SYSTEMD/$UNIT.d/rehome-hold.conf
# From here on nothing starts the service: no boot, no Restart=, no configuration management, which likes to unmask what it
# is to start and leaves the drop-in alone. Its assertion never holds. The unit keeps its own ExecStop= and KillMode=, which one
# that is masked has not; so it is masked when it has stopped, and before only where the root volume is full and there is no
# drop-in.
hold() {
  mkdir -p "${HOLD%/*}" && printf '[Unit]\nAssertPathExists=/nonexistent/held-by-rehome\n' > "$HOLD" && systemctl daemon-reload &&
    shown DropInPaths | grep -qF "$HOLD" && return
  mask
}
# mask: the second hold of a unit that has stopped. One that is itself a file in /etc cannot be masked.
mask() {
  systemctl mask "$UNIT" >/dev/null 2>&1
  systemctl daemon-reload
  [ "$(shown LoadState)" = masked ] && return
  [ -s "$HOLD" ] || fail "$HOLD cannot be written"
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
# part NUMBER CHARACTERS TEXT: that part of a packed text.
part() {
  printf '{"answer":"part","text":"%s","total_chars":%d}\n' \
    "$(printf %s "$3" | tail -c +$(($1 * $2 + 1)) | head -c "$2")" "${#3}"
}
# lasting: of a view what stays the same from one part to the next, and is read. Loads and counters do not, and each member's
# addresses are told more than once.
lasting() {
  sed -E -e '/^@@ info$/,/^@@ status$/{/^(@@|ID |Native Transport active|Data Center|Rack|Token)/!d;}' \
    -e '/^[?UD][NLJM] /s/ +[0-9.,]+ (bytes|[KMGTPE]i?B) / /' \
    -e '/Schema versions:/,/^[[:space:]]*$/s/: \[.*/: []/' -e '/^Stats for all nodes:/,/^[[:space:]]*$/d' -e '/^Keyspaces:/,/^@@/{/^@@/!d;}'
}
