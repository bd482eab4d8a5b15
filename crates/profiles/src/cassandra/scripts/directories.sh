# Where Cassandra keeps what. What its file does not say lies below -Dcassandra.storagedir, which only its process tells.
pids=$(processes)
arguments=$(for pid in $pids; do tr '\0' '\n' < "/proc/$pid/cmdline"; done 2>/dev/null)
property() { printf '%s\n' "$arguments" | sed -n "s/^-D$1=//p" | tail -n 1; }
# started_with: the file that the process took, whichever the migration names: by -Dcassandra.config, else the first of its name
# on its class path (YamlConfigurationLoader.getStorageConfigURL). None if that cannot be told; in a container a path means
# another file.
started_with() {
  for pid in $pids; do [ "/proc/$pid/root/" -ef / ] || return; done
  config=$(property cassandra.config)
  case $config in
    file:/*) printf '%s\n' "$config" | sed 's|^file:/*|/|'; return ;;
    *:*) return ;;
  esac
  path=$(printf '%s\n' "$arguments" | sed -n -E '/^-(cp|classpath|-class-path)$/{n;p;}' | tail -n 1)
  [ -n "$path" ] || path=$(tr '\0' '\n' < "/proc/$pid/environ" 2>/dev/null | sed -n 's/^CLASSPATH=//p')
  printf '%s\n' "$path" | tr : '\n' | while IFS= read -r entry; do
    case $entry in /*) ;; *) entry="/proc/$pid/cwd/$entry" ;; esac
    [ ! -f "$entry/${config:-cassandra.yaml}" ] || { readlink -f "$entry/${config:-cassandra.yaml}"; break; }
  done
}
[ -z "$pids" ] || IN_USE=$(started_with)
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
