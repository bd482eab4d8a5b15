# In the locale of the scripts Java prints a question mark for each letter that is not ASCII; the disk has the names as they are.
export LC_ALL=C.UTF-8
command -v "${NODETOOL:-nodetool}" >/dev/null || fail "${NODETOOL:-nodetool} is not in PATH"
echo "@@ info"; nodetool info -T || fail "nodetool info failed"
echo "@@ status"; nodetool status || fail "nodetool status failed"
echo "@@ describecluster"; cluster=$(nodetool describecluster) || fail "nodetool describecluster failed"
printf '%s\n' "$cluster"
# Cassandra 4.0 and later tell the versions of all members there. Each nodetool is a Java that starts, and members wait for it.
case $cluster in
  (*"Database versions:"*) ;;
  (*) echo "@@ version"; nodetool version ;;
esac
