section() { echo "@@ $1"; }
section os; . /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-unknown}"
# json COMMAND: the JSON that it prints, packed. What it says instead of any is why nothing is known of the host.
json() {
  told=$("$@" 2>/dev/null)
  case $told in
    \{*) printf '%s\n' "$told" | packed ;;
    *) fail "no JSON from $*: $("$@" 2>&1 | head -n 1)" ;;
  esac
}
# util-linux knows the columns PATH and PTTYPE from 2.33 on: -p writes paths as names, and a table without partitions is not
# seen before.
columns=NAME,PKNAME,TYPE,SIZE,FSTYPE,LABEL,UUID,SERIAL,MODEL
lsblk -o PTTYPE >/dev/null 2>&1 && columns=$columns,PTTYPE
section lsblk; json lsblk -J -b -p -o "$columns"
section links; for link in /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol* /dev/xvd* /dev/sd*; do
  [ -e "$link" ] && echo "$link $(readlink -f "$link")"; done
# What --real leaves out, which is of 2.33 too. To ask an automount for its size would mount it.
pseudo=autofs,binfmt_misc,bpf,cgroup,cgroup2,configfs,cpuset,debugfs,devpts,devtmpfs,efivarfs,fuse.gvfsd-fuse,fuse.lxcfs,fusectl
pseudo=$pseudo,hugetlbfs,mqueue,nfsd,nsfs,overlay,proc,pstore,ramfs,rootfs,rpc_pipefs,securityfs,selinuxfs,sysfs,tmpfs,tracefs
section mounts; json findmnt -J -b -l -t "no$pseudo" -o SOURCE,TARGET,FSTYPE,OPTIONS,SIZE,AVAIL
# Whatever is mounted below a mount point keeps it busy: memory, a network's file system, an automount that waits.
section inside; for path in $MOUNTS; do
  findmnt -n -r -o TARGET,FSTYPE,SOURCE | awk -v below="${path%/}/" 'index($1, below) == 1 { print $1 "\t" $2 "\t" $3 }'
done | head -n 50
# With 0 or 1 behind each: what is not in use an older kernel need not know. An xfs_info that is older than the file system's mkfs
# knows less than is in use.
section xfs; for path in $MOUNTS; do
  used=$(xfs_info "$path" 2>/dev/null | tr -s ', \t' '\n' | sed -n 's/^\([a-z0-9]*\)=1$/\1/p' | tr '\n' ' ')
  [ -z "$used" ] || printf '%s\t%s\n' "$path" "$used"
done
section holders; for path in $MOUNTS; do holders "$path"; done
section service; systemctl show "$UNIT" -p Id -p ActiveState -p UnitFileState -p Restart 2>/dev/null
# As systemd has them: by the hierarchy of its own where there are several.
section processes; for pid in $pids; do
  printf '%s %s\n' "$pid" "$(sed -n 's/^[0-9]*:name=systemd://p; s/^0:://p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)"; done
section fstab; awk '!/^[ \t]*#/ && NF > 1 {print $1, $2, $4}' /etc/fstab 2>/dev/null
tell() {
  case $2 in
    /*) printf '%s\t%s\t%s\n' "$1" "$(mount_of "$2")" "$(readlink -m "$2")" ;;
    *) printf '%s\t\t\n' "$1" ;;
  esac
}
each() { directories "$2" "$3" | while IFS= read -r path; do tell "$1" "$path"; done; }
section directories
each data data_file_directories data
# A keyspace or a table that somebody moved to another disk by a link.
directories data_file_directories data | while IFS= read -r path; do
  find "$path/" -mindepth 1 -maxdepth 2 -type l -xtype d 2>/dev/null | sort | head -n 50
done | while IFS= read -r path; do tell data "$path"; done
[ -z "$(setting local_system_data_file_directory)" ] || each data local_system_data_file_directory data
each commitlog commitlog_directory commitlog
each hints hints_directory hints
each saved_caches saved_caches_directory saved_caches
case $(setting cdc_enabled | tr A-Z a-z) in '' | false | no | off) ;; *) each cdc_raw cdc_raw_directory cdc_raw ;; esac
# What only the configuration says, and a pod must say alike. From 5.0 on some are a class with parameters.
section settings; for name in authenticator authorizer network_authorizer role_manager commitlog_sync cdc_enabled; do
  value=$(nested "$name" class_name)
  [ -n "$value" ] || value=$(setting "$name" | head -n 1)
  [ -z "$value" ] || printf '%s\t%s\n' "$name" "$value"
done
for name in server_encryption_options.internode_encryption client_encryption_options.enabled; do
  value=$(nested "${name%.*}" "${name#*.}")
  [ -z "$value" ] || printf '%s\t%s\n' "$name" "$value"
done
# launch_files: what a start of the service reads its arguments from, but for the launcher itself. The class path begins with
# the directory of the configuration.
launch_files() {
  for dir in "${CONF%/*}" "${IN_USE%/*}" "$(printf '%s\n' "$arguments" | sed -n '/^-cp$/{n;s/:.*//;p;}' | head -n 1)"; do
    [ -z "$dir" ] || printf '%s\n' "$dir/cassandra-env.sh" "$dir"/jvm*.options
  done
  printf '%s\n' "/etc/default/${UNIT%.*}" "/etc/sysconfig/${UNIT%.*}" "$(shown FragmentPath)"
  shown DropInPaths | tr ' ' '\n'
}
# Who has joined does not start with -Dcassandra.replace_address, unless it is for the first boot (isReplacing in Cassandra's
# DatabaseDescriptor). It may have been deleted since the process began, so that the next start goes well.
section once
once=$(printf '%s\n' "$arguments" | grep -m 1 '^-Dcassandra\.replace_address=')
if [ -n "$once" ] && [ -z "$(property cassandra.replace_address_first_boot)" ]; then
  each_file() { launch_files | while IFS= read -r file; do [ ! -f "$file" ] || readlink -f "$file"; done | sort -u; }
  told=$(each_file | while IFS= read -r file; do
    awk -v file="$file" '
      { sub(/(^|[ \t])#.*/, "") }
      match($0, /-Dcassandra\.replace_address=[^ \t"\047]*/) { print file " line " NR ": " substr($0, RSTART, RLENGTH) }' "$file"
  done)
  age=$(ps -o etimes= -p "${pids%%[!0-9]*}" 2>/dev/null | tr -d ' ')
  changed=$(each_file | while IFS= read -r file; do find "$file" -newermt "$age seconds ago" 2>/dev/null; done)
  [ -n "$told$changed" ] || told="the running process: $once"
  [ -z "$told" ] || printf '%s\n' "$told"
fi
section modes; for path in $MOUNTS; do stat -c '%a %n' "$path" 2>/dev/null; done
# Each mount point, and of what lies right below it one for each owner: a data directory may have hundreds of keyspaces.
# What is mounted there is not below it.
section paths; for path in $MOUNTS; do
  stat -c '%u %g %n' "$path" 2>/dev/null
  find "$path" -mindepth 1 -maxdepth 1 -printf '%D %U %G %p\n' 2>/dev/null |
    awk -v own="$(stat -c %d "$path" 2>/dev/null)" '$1 == own {sub(/^[0-9]+ /, ""); print}' | sort -u -k 1,1n -k 2,2n
done
