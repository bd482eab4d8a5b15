let_go
drained() { [ -n "$(processes)" ] && nodetool netstats 2>/dev/null | grep -q '^Mode: DRAIN'; }
# A stop that failed after its drain, or in the midst of one, left a process that serves nobody, within the unit or beside it.
if drained; then
  systemctl stop "$UNIT" || fail "$UNIT was drained and does not stop"
  if drained; then
    left=$(processes)
    case $left in *[!0-9]*) fail "of several Cassandra processes it is not known which one was drained" ;; esac
    kill "$left"
    for _ in $(seq 60); do [ -n "$(processes)" ] || break; sleep 1; done
    [ -z "$(processes)" ] || fail "process $left was drained and does not end"
  fi
fi
systemctl start "$UNIT" || fail "$UNIT does not start"
