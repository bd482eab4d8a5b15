# Held first: nothing starts it again between the stop and the check.
hold
drained=
case $(shown ActiveState) in
  # It ended by SIGTERM, upon which Cassandra drains: by somebody's hand, or by this script's before.
  inactive) drained=yes ;;
  # There is no process left to ask, or it is on its way out.
  failed | deactivating) ;;
  # In `activating` too it may serve: a unit may wait for more than its process.
  *) nodetool drain && drained=yes ;;
esac
if [ -z "$drained" ]; then
  # What it did not write out is in its commit log and nowhere else. No plan is made where that would not move (RH0212), but
  # the configuration may have changed since.
  log=$(directories commitlog_directory commitlog)
  case $log in
    /*)
      point=$(mount_of "$log")
      case " $MOUNTS " in
        *" $point "*) ;;
        *) fail "$UNIT was not drained, and what it has not written out would be lost: its commit log, $log, is on ${point:-an unknown mount point}, which does not move" ;;
      esac ;;
  esac
  echo "rehome: $UNIT was not drained; its next start replays the commit log, which moves with it" >&2
fi
systemctl stop "$UNIT" || fail "$UNIT does not stop"
[ "$(shown ActiveState)" = inactive ] || systemctl reset-failed "$UNIT"
[ -z "$(processes)" ] || fail 'a Cassandra process is left'
mask
sync
