# Shared by all host scripts. Every script may run twice, at any time, and finds what is done.
set -u
export LC_ALL=C PATH="$PATH:/opt/cassandra/bin:/usr/share/cassandra/bin:/usr/sbin:/sbin"
fail() { echo "rehome: $*" >&2; exit 1; }
done_() { echo '{"answer":"done"}'; exit 0; }
data_dirs() {
  if [ -r "$CONF" ]; then
    awk '/^data_file_directories:/{on=1;next} on&&/^ *- /{sub(/^ *- */,"");gsub(/["'"'"']/,"");print;next} on&&/^[^ #]/{exit}' "$CONF"
  fi
}
