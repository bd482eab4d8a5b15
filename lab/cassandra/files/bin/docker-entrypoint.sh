#!/bin/sh
# docker-entrypoint.sh COMMAND...: does with the environment what the official image's entrypoint does.
set -eu
if [ "${1:-}" = cassandra ]; then
  if [ "$(id -u)" = 0 ]; then
    # Data that comes from a machine where `cassandra` had another uid. What is right already is not touched: a change
    # of every file's owner would take long on a large volume.
    find /var/lib/cassandra "${CASSANDRA_CONF:-/etc/cassandra}" \! -user cassandra -exec chown cassandra:cassandra {} +
    exec setpriv --reuid=cassandra --regid=cassandra --init-groups "$0" "$@"
  fi
  /opt/cassandra/bin/configure
fi
exec "$@"
