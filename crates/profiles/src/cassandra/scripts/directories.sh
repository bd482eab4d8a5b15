# Where Cassandra keeps what. What its file does not say lies below -Dcassandra.storagedir, which only its process tells.
arguments=$(for pid in $(pgrep -f org.apache.cassandra.service.CassandraDaemon); do tr '\0' '\n' < "/proc/$pid/cmdline"; done 2>/dev/null)
property() { printf '%s\n' "$arguments" | sed -n "s/^-D$1=//p" | tail -n 1; }
# The process may have been started with another file than the migration names.
config=$(property cassandra.config)
case $config in file:/*) IN_USE=/$(printf '%s\n' "$config" | sed 's|^file:/*||') ;; esac
# nested NAME KEY: the value of a key below a name, a level deep; none where either is commented out.
nested() {
  [ -r "$IN_USE" ] && awk -v name="$1:" -v key="$2" '
    on && /^[^ \t#\r]/ { exit }
    on {
      line = $0; sub(/^[ \t]+(-[ \t]+)?/, "", line)
      if (match(line, "^" key "[ \t]*:")) {
        value = substr(line, RLENGTH + 1)
        sub(/[ \t]#.*$/, "", value); gsub(/["\047\r]/, "", value); gsub(/^[ \t]+|[ \t]+$/, "", value)
        if (value !~ /^#/) print value
        exit
      }
    }
    index($0, name) == 1 { on = 1 }' "$IN_USE"
}
# directories SETTING DEFAULT: those of a setting, or its default below the storage directory, or `?`.
directories() {
  found=$(setting "$1") storage=$(property cassandra.storagedir)
  [ -n "$found" ] || found=${storage:+${storage%/}/$2}
  printf '%s\n' "${found:-?}"
}
# mount_of PATH: the mount point that it lies on, links followed. What does not exist yet will lie where its parent does.
mount_of() {
  at=$(readlink -m "$1")
  while [ ! -e "$at" ] && [ "$at" != / ]; do at=$(dirname "$at"); done
  findmnt -n -o TARGET -T "$at" | tail -n 1
}
