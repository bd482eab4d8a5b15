# Not found out is not unmounted.
command -v findmnt >/dev/null || fail 'findmnt is not in PATH: it is part of util-linux'
# mounted POINT: whether a file system is. An automount (x-systemd.automount in fstab) is a mount point too, whether or not
# anybody has asked for what is behind it; `findmnt` shows it below the file system, and asks for nothing.
mounted() { findmnt -n -o FSTYPE -M "$1" 2>/dev/null | awk '$1 != "autofs" {found = 1} END {exit !found}'; }
# automount_of POINT: the unit that mounts there when somebody looks; none where there is none.
automount_of() {
  unit=$(systemd-escape -p --suffix=automount "$1" 2>/dev/null) || return
  [ "$(shown LoadState "$unit" 2>/dev/null)" != loaded ] || printf '%s\n' "$unit"
}
# attach POINT: mounted by its line in fstab; its automount, which `detach` stopped, waits there again.
attach() {
  mounted "$1" && return
  automount=$(automount_of "$1")
  [ -z "$automount" ] || systemctl start "$automount"
  # Whoever looks has it mounted. An automount is started in vain where its mount fails: `mount` says why.
  ls "$1/" >/dev/null 2>&1
  mounted "$1" || mount "$1"
  mounted "$1" || fail "$1 cannot be mounted as fstab says"
}
# detach POINT: nothing is mounted there, and nothing will be because somebody looks.
detach() {
  automount=$(automount_of "$1")
  # In this order: systemd detaches what is above an automount that it stops, though it be in use (MNT_DETACH in automount.c).
  mounted "$1" && { umount "$1" || fail "$1 $IS_BUSY: $(holders "$1" | head -n 5 | tr '\n' ';')"; }
  [ -z "$automount" ] || systemctl stop "$automount" || fail "$automount does not stop: it would mount $1 again"
  mounted "$1" && fail "$1 is still mounted"
  return 0
}
