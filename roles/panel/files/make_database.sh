#!/bin/sh
# Make the panel's database in this host's PostgreSQL: owned by the panel's user, open to the worker's. Prints "changed" if so.
set -eu
cd /
sql() {
    setpriv --reuid=postgres --regid=postgres --init-groups -- psql --no-psqlrc --quiet --tuples-only --no-align \
        --set=ON_ERROR_STOP=1 --dbname="$1" --command="$2"
}
answers() {
    tries=0
    until sql postgres 'SELECT 1' >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -ge 60 ]; then
            echo "PostgreSQL does not answer; see: journalctl -u 'postgresql@*'" >&2
            exit 1
        fi
        sleep 0.5
    done
}
# The service may have just been installed without being started.
systemctl enable --quiet --now postgresql.service
answers
# Web, jobs and worker come by the socket; a port of loopback would be open to every process of this host. A server that
# has databases of others as well is left as it is.
others="NOT datistemplate AND datname NOT IN ('postgres', 'streamfleet')"
if [ -z "$(sql postgres "SELECT 1 FROM pg_database WHERE $others")" ] && [ -n "$(sql postgres 'SHOW listen_addresses')" ]; then
    sql postgres "ALTER SYSTEM SET listen_addresses TO ''"
    systemctl restart postgresql.service
    answers
    echo "changed: no port, socket only"
fi
for role in streamfleet-panel streamfleet-worker; do
    if [ -z "$(sql postgres "SELECT 1 FROM pg_roles WHERE rolname = '$role'")" ]; then
        sql postgres "CREATE ROLE \"$role\" LOGIN"
        echo "changed: role $role"
    fi
done
if [ -z "$(sql postgres "SELECT 1 FROM pg_database WHERE datname = 'streamfleet'")" ]; then
    sql postgres "CREATE DATABASE streamfleet OWNER \"streamfleet-panel\" ENCODING 'UTF8' TEMPLATE template0"
    sql streamfleet 'GRANT "streamfleet-panel" TO "streamfleet-worker"'
    echo "changed: database"
fi
