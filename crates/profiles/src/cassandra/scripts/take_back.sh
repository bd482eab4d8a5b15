# letters DEVICE: what tells a Xen device from the others; EC2 and the kernel may have another word before it.
letters() { printf '%s\n' "$1" | sed -n -E 's,^(/dev/)?(xvd|sd)([a-z]+)$,\3,p'; }
# take_back POINT VOLUME UID GID TOP DEVICE: POINT is mounted by its line in fstab, from VOLUME and no other; all files on it are
# the host's own again. A pod's fsGroup, or its image's entrypoint, has given them to other ids.
take_back() {
  attach "$1"
  device=$(findmnt -n -o FSTYPE,SOURCE -M "$1" | awk '$1 != "autofs" {print $2}' | tail -n 1)
  device=$(readlink -f "${device%%[*}")
  serial=$(lsblk -d -n -o SERIAL "$device" 2>/dev/null | tr -d ' -')
  # One device may have several names: the numbers tell.
  linked=$(stat -L -c %t:%T "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol${2#vol-}" 2>/dev/null)
  # A Xen instance has neither, and calls the device what EC2 was told.
  named=$(letters "$6")
  [ "$serial" = "vol${2#vol-}" ] || { [ -n "$linked" ] && [ "$linked" = "$(stat -L -c %t:%T "$device")" ]; } ||
    { [ -z "$serial$linked" ] && [ -n "$named" ] && [ "$named" = "$(letters "$device")" ]; } ||
    fail "$1 is mounted from $device, which is not $2"
  find "$1" -xdev -mindepth 1 -path "${1%/}/lost+found" -prune -o \
    \( ! -uid "$3" -o ! -gid "$4" \) -exec chown -h "$3:$4" {} + || fail "the files in $1 cannot be given to $3:$4"
  chown -h "$5" "$1" || fail "$1 cannot be given to $5"
}
