section() { echo "@@ $1"; }
section os; . /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-unknown}"
section lsblk; lsblk -J -b -o PATH,PKNAME,TYPE,SIZE,FSTYPE,LABEL,UUID,PTTYPE,SERIAL,MODEL 2>/dev/null
section links; for link in /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol* /dev/xvd* /dev/sd*; do
  [ -e "$link" ] && echo "$link $(readlink -f "$link")"; done
section mounts; findmnt -J -b -l --real -o SOURCE,TARGET,FSTYPE,OPTIONS,SIZE,AVAIL 2>/dev/null
section service; systemctl show "$UNIT" -p ActiveState -p UnitFileState -p Restart 2>/dev/null
section paths; for path in $MOUNTS; do stat -c '%u %g %n' "$path" 2>/dev/null; done
