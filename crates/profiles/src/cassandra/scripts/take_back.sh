# letters DEVICE: what tells a Xen device from the others; EC2 and the kernel may have another word before it.
letters() { printf '%s\n' "$1" | sed -n -E 's,^(/dev/)?(xvd|sd)([a-z]+)$,\3,p'; }
# A find that runs something in other directories refuses a PATH with any that is not absolute.
PATH=$(printf '%s\n' "$PATH" | tr : '\n' | grep '^/' | paste -s -d : -)
# mode_of POINT WORD UID: the mode that the mount point had before a run that did not come to its end shut it, or has.
mode_of() {
  mode=$(cat "/var/lib/rehome/$RUN.$2" "$OWN/$RUN.$2" 2>/dev/null | head -n 1)
  if [ -z "$mode" ]; then
    mode=$(stat -c %a "$1")
    # Shut, and the word lost with /run: no service but root's could have been there. This is what mkfs makes.
    [ "$(stat -c %u:%g:%a "$1")" != 0:0:700 ] || [ "$3" = 0 ] || mode=755
  fi
  case $mode in '' | *[!0-7]*) fail "the mode of $1 is not known" ;; esac
  echo "$mode"
}
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
  mode=$(mode_of "$1" "$2.mode" "$3") || exit 1
  # Whose the files are now may be anybody's on this host, who could have a link take the place of a directory, and something
  # else given away. So nobody is let in, and who is in already finds that each directory is changed from within (-execdir).
  leave "$2.mode" "$mode"
  # With the zeros setgid goes, too (chmod(1)).
  chown -h 0:0 "$1" && chmod 00700 "$1" || fail "$1 cannot be given to root"
  find "$1" -xdev -mindepth 1 -path "${1%/}/lost+found" -prune -o \
    \( ! -uid "$3" -o ! -gid "$4" \) -execdir chown -h "$3:$4" {} + ||
    fail "the files in $1 cannot be given to $3:$4; until they are, nobody but root is let in"
  chown -h "$5" "$1" && chmod "$mode" "$1" || fail "$1 cannot be given to $5, mode $mode"
}
