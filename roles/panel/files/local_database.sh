#!/bin/sh
# The panel's database in this host's PostgreSQL, owned by the panel's user, open to the worker's:
#   local_database.sh make    prints "changed: …" for what it has made
#   local_database.sh drop    prints "changed: …" for what it has removed, then "other: …" for all that somebody else has there, or "empty"
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
make() {
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
}
drop() {
    command -v psql >/dev/null && command -v pg_lsclusters >/dev/null || { echo "empty"; return 0; }
    systemctl start postgresql.service
    answers
    if [ -n "$(sql postgres "SELECT 1 FROM pg_database WHERE datname = 'streamfleet'")" ]; then
        sql postgres 'DROP DATABASE streamfleet WITH (FORCE)'
        echo "changed: database"
    fi
    for role in streamfleet-worker streamfleet-panel; do
        if [ -n "$(sql postgres "SELECT 1 FROM pg_roles WHERE rolname = '$role'")" ]; then
            # It fails where a role has something in a database of others, whose owner has to say whose that is to be.
            sql postgres "DROP ROLE \"$role\""
            echo "changed: role $role"
        fi
    done
    others=$(
        sql postgres "SELECT 'other: database ' || datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
        sql postgres "SELECT 'other: user ' || rolname FROM pg_roles WHERE rolname <> 'postgres' AND rolname NOT LIKE 'pg\_%'"
        sql postgres "SELECT DISTINCT 'other: schema ' || n.nspname || ' of database postgres' FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%'"
        pg_lsclusters --no-header | awk 'NR > 1 {print "other: cluster " $1 "/" $2}'
    )
    echo "${others:-empty}"
}
case "${1-}" in
make) make ;;
drop) drop ;;
*)
    echo 'Usage: local_database.sh make|drop' >&2
    exit 64
    ;;
esac
