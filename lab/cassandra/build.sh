#!/bin/bash
# build.sh CACHE: makes Cassandra's root file system and image, and prints their directory as its last line.
#
#   CACHE/debian-HASH.tar         Debian with Java, by `packages`
#   CACHE/jars-HASH/              Cassandra and what it needs, by `pom.xml`
#   CACHE/cassandra-HASH/rootfs/  both: what legacy machines start from, read-only
#   CACHE/cassandra-HASH/image.tar  the same as image lab.local/cassandra:VERSION, for `ctr images import`
#
# HASH is of all that the part is made from: a part that is there is not made again.
set -euo pipefail
shopt -s nullglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${1:?usage: build.sh CACHE}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
export LC_ALL=C

say() { echo "$*" >&2; }

# hash FILE...: of names and contents.
hash() { sha256sum "$@" | sha256sum | cut -c 1-12; }

# The first free name for what is not finished: half a part must not pass for one.
part() { rm -rf "$1.part" && echo "$1.part"; }

make_jars() {
  local to=$1 made
  made=$(part "$to")
  say "Cassandra's jars (Maven)"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$made" >&2
  mv "$made" "$to"
}

make_debian() {
  local to=$1 made sources=()
  made=$(part "$to")
  say "Debian with Java (mmdebstrap)"
  # From where this machine has its own packages.
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    [[ ! -s $file ]] || sources+=("$file")
  done
  mmdebstrap --quiet --variant=minbase --include="$(paste -sd , "$here/packages")" --format=tar \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$made" "${sources[@]}" >&2
  mv "$made" "$to"
}

# make_cassandra TO DEBIAN JARS
make_cassandra() {
  local to=$1 debian=$2 jars=$3 made
  made=$(part "$to")
  say "root file system"
  mkdir -p "$made/rootfs"
  tar -C "$made/rootfs" --numeric-owner -xf "$debian"
  local root=$made/rootfs home=$made/rootfs/opt/cassandra
  mkdir -p "$home/lib" "$home/cds" "$root/etc/cassandra" "$root/var/lib/cassandra"
  cp "$jars"/*.jar "$home/lib/"
  cp -r "$here/files/bin" "$here/files/conf" "$home/"
  (cd "$root" && printf -- '-cp\n%s\n' "$(printf '/%s\n' opt/cassandra/lib/*.jar | paste -sd :)" > "$home/class-path")
  ln -s /opt/cassandra/bin/nodetool "$root/usr/local/bin/nodetool"
  # Each machine makes an id for itself at its first start.
  : > "$root/etc/machine-id"
  rm -f "$root/var/lib/dbus/machine-id"
  # Not this machine's names.
  : > "$root/etc/resolv.conf"
  echo localhost > "$root/etc/hostname"
  echo '127.0.0.1 localhost' > "$root/etc/hosts"
  say "classes laid out in memory (a start of Cassandra)"
  # Java compares the jars' times with those it saw.
  find "$home" -exec touch --no-dereference --date=@1767225600 {} +
  unshare --mount --net --uts --pid --fork --kill-child "$here/train.sh" "$root" >&2
  say "image"
  make_image "$made" "$debian"
  mv "$made" "$to"
}

# make_image DIRECTORY DEBIAN: a docker-archive of two layers, Debian and Cassandra.
make_image() {
  local made=$1 debian=$2 version layer root=$1/rootfs
  version=$(basename "$root"/opt/cassandra/lib/cassandra-all-*.jar .jar)
  version=${version#cassandra-all-}
  layer=$made/layer
  mkdir -p "$layer/etc" "$layer/opt" "$layer/usr/local/bin"
  cp -a "$root/opt/cassandra" "$layer/opt/"
  ln -s /opt/cassandra/bin/nodetool /opt/cassandra/bin/docker-entrypoint.sh "$layer/usr/local/bin/"
  # As in the official image. Legacy machines make a user of their own, with another uid: so the two differ in life.
  sed '/:x:999:/d' "$root/etc/group" > "$layer/etc/group"
  sed '/:x:999:/d' "$root/etc/passwd" > "$layer/etc/passwd"
  echo 'cassandra:x:999:' >> "$layer/etc/group"
  echo 'cassandra:x:999:999::/var/lib/cassandra:/usr/sbin/nologin' >> "$layer/etc/passwd"
  install -d -o 999 -g 999 "$layer/etc/cassandra" "$layer/var/lib/cassandra"
  tar -C "$layer" --numeric-owner --sort=name -cf "$made/cassandra.tar" .
  ln -s "$debian" "$made/debian.tar"
  local ids
  ids=$(cd "$made" && sha256sum debian.tar cassandra.tar | sed 's/^\([0-9a-f]*\) .*/"sha256:\1"/' | paste -sd ,)
  cat > "$made/config.json" <<END
{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [$ids]},
 "config": {"Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["cassandra", "-f"], "Volumes": {"/var/lib/cassandra": {}},
  "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/cassandra/bin", "LANG=C.UTF-8",
   "CASSANDRA_HOME=/opt/cassandra", "CASSANDRA_CONF=/etc/cassandra"]}}
END
  cat > "$made/manifest.json" <<END
[{"Config": "config.json", "RepoTags": ["lab.local/cassandra:$version"], "Layers": ["debian.tar", "cassandra.tar"]}]
END
  tar -C "$made" --dereference -cf "$made/image.tar" manifest.json config.json debian.tar cassandra.tar
  rm -r "$layer" "$made"/{debian,cassandra}.tar "$made"/{config,manifest}.json
}

cd "$here"
inputs=(build.sh train.sh pom.xml packages files/bin/* files/conf/*)
jars=$cache/jars-$(hash pom.xml)
debian=$cache/debian-$(hash packages).tar
cassandra=$cache/cassandra-$(hash "${inputs[@]}")

exec 9> "$cache/cassandra.lock"
flock 9
[[ -d $jars ]] || make_jars "$jars"
[[ -f $debian ]] || make_debian "$debian"
[[ -d $cassandra ]] || make_cassandra "$cassandra" "$debian" "$jars"
echo "$cassandra"
